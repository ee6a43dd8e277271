/**
 * clone_restore: writes the metadata of a clone from the XML that clone_dump made.
 *
 * Everything that can be known beforehand is looked at before the target is touched (restore-files.ts), and so is all of the XML. While
 * it is written the target has no valid superblock, so whatever interrupts that, nobody takes half of it for the whole.
 *
 * Format: docs/format/clone.md, section 12.
 */
import { CloneRestorer, type Progress, type RestoreSummary } from '@pdata/clone';
import { value } from '../command-line/option-table.js';
import { anyText } from '../command-line/value-types.js';
import { SUCCESS } from '../exit-codes.js';
import { CLONE_ADVICE, CLONE_IS_BUSY } from '../io/clone-input.js';
import { drive } from '../io/drive.js';
import { fileContent } from '../io/metadata-input.js';
import { PDATA_VERSION } from '../version.js';
import { tellInDoubt } from './clone-report.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';
import { checkXmlInput, explainedRestore, openOutput, type RestoreWords } from './restore-files.js';

export const CLONE_RESTORE_WORDS: RestoreWords = {
  tool: 'clone_restore',
  dump: 'clone_dump',
  subject: 'a clone',
  advice: CLONE_ADVICE,
  sizeAdvice: 'it takes 4 KiB for each 32576 regions, the same again for commits, and 64 KiB besides',
  // Superblock, space map (3), index and one array block.
  minBlocks: 6,
  busy: CLONE_IS_BUSY,
};

export const cloneRestore = defineCommand(
  {
    name: 'clone_restore',
    summary: 'Write the metadata of a clone from the XML of clone_dump.',
    version: PDATA_VERSION,
    options: {
      input: value(anyText, { short: 'i', placeholder: 'FILE', required: true, help: 'The XML. It is only read.' }),
      output: value(anyText, {
        short: 'o',
        placeholder: 'FILE',
        required: true,
        help: 'The metadata device, or a file large enough; it must exist. What it holds is lost.',
      }),
      ...quietOption,
      ...jsonOption,
      ...hiddenOptions,
    },
    notes: `Regions that the XML calls hydrated are read from the destination by whoever activates the clone: name none that
the destination does not hold. Regions in doubt are restored as not hydrated, with a warning.

Nothing is written before the whole XML has been read and found right. The superblock is written last: an output
to which only a part was written holds no valid metadata.

This command, and the XML, are pdata's own: no other tool reads the metadata of clones.

Exit codes: 0 done; 2 the command line cannot be understood; 64 anything else: XML with errors, an output that
is too small; 130 interrupted.

Examples:
  truncate -s 4M new.img && clone_restore -i clone.xml -o new.img
  clone_restore -i clone.xml -o /dev/vg/clone-meta`,
  },
  async ({ options, io, progress, facts }) => {
    const { input, output } = options;
    const nrInputBytes = checkXmlInput(input, CLONE_RESTORE_WORDS);
    const device = openOutput(output, input, CLONE_RESTORE_WORDS);
    const restorer = new CloneRestorer(device);
    try {
      io.catchInterrupts();
      const summary = await drive(restore(restorer, input), io, ({ stage, done }) =>
        progress.show({ stage, done, total: nrInputBytes }),
      );
      tellInDoubt(summary, progress);
      const { nrMetadataBlocks, ...rest } = summary;
      Object.assign(facts, rest, { metadataBlocksUsed: nrMetadataBlocks, metadataBlocks: device.nrBlocks });
      return SUCCESS;
    } catch (error) {
      throw explainedRestore(error, { input, output, hasBegunToWrite: restorer.hasBegunToWrite }, CLONE_RESTORE_WORDS);
    } finally {
      device.close();
    }
  },
);

function* restore(restorer: CloneRestorer, path: string): Generator<Progress, RestoreSummary> {
  for (const piece of fileContent(path)) yield restorer.push(piece);
  return restorer.end();
}
