/**
 * clone_check: whether the metadata of a clone can be trusted, and, when asked, the freeing of leaked blocks.
 *
 * Reads only, unless --auto-repair is given; and even then nothing is written when anything worse than a leak is found. An interrupt
 * ends the process at once: the check has nothing to tidy up, and the repair is a transaction, or a sequence in which every step
 * leaves the metadata sound.
 *
 * No other tool reads this format; the options are those of thin_check, where they make sense.
 * Format: docs/format/clone.md, section 11.
 */
import { type CheckFinding, type CheckSummary, checkClone, type FreeLeaksSummary, freeCloneLeaks } from '@pdata/clone';
import { flag } from '../command-line/option-table.js';
import { FAILURE, SUCCESS } from '../exit-codes.js';
import { requireCloneSuperblock, withCloneInput } from '../io/clone-input.js';
import { drive } from '../io/drive.js';
import type { ProgressDisplay } from '../io/progress-display.js';
import { PDATA_VERSION } from '../version.js';
import { findingText, tellFigures, tellStages } from './check-report.js';
import { bitsetRootOption, refusingOptions, regionOptions, sizeOptions } from './clone-options.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';

export const cloneCheck = defineCommand(
  {
    name: 'clone_check',
    summary: 'Check the metadata of a clone.',
    version: PDATA_VERSION,
    positional: {
      name: 'INPUT',
      help: "The clone's metadata device, or an image of it. It is only read, unless a repair is asked for.",
    },
    options: {
      'super-block-only': flag({ help: 'Check the superblock and nothing else.' }),
      ...sizeOptions,
      ...bitsetRootOption,
      'ignore-non-fatal-errors': flag({ help: 'End with 0 unless a fatal error is found.' }),
      'auto-repair': flag({
        conflictsWith: ['super-block-only', 'ignore-non-fatal-errors', 'override-bitset-root'],
        help: 'Free leaked blocks, unless something worse is found. For everything else: clone_repair.',
      }),
      ...quietOption,
      ...jsonOption,
      ...hiddenOptions,
    },
    notes: `--region-size and --target-size: when given, metadata of a clone of another size is a fatal error, for the
kernel would refuse it.

On standard output: REGION_SIZE=…, TARGET_SIZE=…, REGIONS=…, HYDRATED_REGIONS=… and METADATA_FREE_BLOCKS=…;
nothing with --quiet. Where bits cannot be read, UNREADABLE_REGIONS=… says of how many regions, and
HYDRATED_REGIONS=… counts the others, or is missing when there are none. On standard error: each fault with its
structure, block, effect and next step, and a verdict.

  fatal   something cannot be read, is lost, or would be overwritten: do not activate the clone
  shape   something breaks a rule of the format that nobody depends on when reading
  leak    a block is in use that nothing refers to: space is lost, nothing else

This command is pdata's own: no other tool reads the metadata of clones.

Exit codes: 0 sound, or repaired; 2 the command line cannot be understood; 64 anything else: faults were found
(with --ignore-non-fatal-errors: fatal ones), the metadata cannot be read.

Examples:
  clone_check /dev/vg/clone-meta
  clone_check -q --region-size 8 --target-size 32768 meta.img
  clone_check --json meta.img`,
  },
  ({ options, positional, io, progress, print, facts }) => {
    const isRepair = options['auto-repair'];
    return withCloneInput(positional, isRepair ? 'write' : 'read', async (device) => {
      requireCloneSuperblock(device);
      const ignoreNonFatal = options['ignore-non-fatal-errors'];
      const common = {
        superblockOnly: options['super-block-only'],
        ...regionOptions(options),
        onProgress: tellStages('Checking clone metadata', progress),
      };
      const work: Generator<CheckFinding, CheckSummary | FreeLeaksSummary> = refusingOptions(
        'nothing was checked',
        () => (isRepair ? freeCloneLeaks(device, common) : checkClone(device, common)),
      );
      const findings: CheckFinding[] = [];
      const summary = await drive(work, io, (finding) => {
        findings.push(finding);
        progress.line(findingText(finding));
      });
      tellVerdict(summary, progress);
      for (const line of figures(summary)) print(line);
      Object.assign(facts, summary, { findings });
      return isAcceptable(summary, ignoreNonFatal) ? SUCCESS : FAILURE;
    });
  },
);

function figures(summary: CheckSummary): string[] {
  const { regionSize, targetSize, nrRegions, nrHydrated, nrUnreadable, metadataFreeBlocks } = summary;
  const known = {
    REGION_SIZE: regionSize,
    TARGET_SIZE: targetSize,
    REGIONS: nrRegions,
    HYDRATED_REGIONS: nrHydrated,
    UNREADABLE_REGIONS: nrUnreadable === 0 ? undefined : nrUnreadable,
    METADATA_FREE_BLOCKS: metadataFreeBlocks,
  };
  return Object.entries(known).flatMap(([name, number]) => (number === undefined ? [] : [`${name}=${number}`]));
}

function isAcceptable(summary: CheckSummary | FreeLeaksSummary, ignoreNonFatal: boolean): boolean {
  if (summary.fatal > 0) return false;
  if (ignoreNonFatal) return true;
  return summary.shape === 0 && ('freed' in summary || summary.clean);
}

function tellVerdict(summary: CheckSummary | FreeLeaksSummary, progress: ProgressDisplay): void {
  const nrLeaked = summary.leaks.metadata;
  const { nrRegions, nrUnreadable = 0 } = summary;
  if (nrUnreadable > 0) {
    const which = nrUnreadable === nrRegions ? 'all' : `${nrUnreadable} of all`;
    progress.line(`the bits of ${which} ${nrRegions} regions cannot be read: whether these are hydrated is not known`);
  }
  tellFigures(summary, 'freed' in summary, progress);
  if (nrLeaked === 0) return;
  if ('freed' in summary && summary.freed > 0) progress.line(`freed ${nrLeaked} leaked metadata blocks`);
  else progress.line(`${nrLeaked} metadata blocks have leaked.`);
  if (!('freed' in summary)) progress.line('perhaps you wanted to run with --auto-repair');
}
