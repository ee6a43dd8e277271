/** Sentences that several findings and errors end with. */
import type { CheckWords } from '@pdata/persistent-data/maintenance';

export const RESTORE =
  'Save what can be read with clone_repair -i DAMAGED -o NEW; it says which regions are in doubt. Do not activate the clone before.';

export const BITS_LOST =
  'Which of these regions are hydrated is not known. Taken for not hydrated, what was written to them since the clone was made is overwritten from the source.';

export const CLONE_WORDS: CheckWords = {
  subject: 'clone',
  countsNextStep:
    'Do not activate the clone. Repair the metadata to another device (clone_repair -i DAMAGED -o NEW): that counts everything anew.',
  leaksNextStep: 'Free it with clone_check --auto-repair.',
};
