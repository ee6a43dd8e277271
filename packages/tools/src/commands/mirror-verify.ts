/**
 * mirror_verify: whether the legs of a mirror hold the same, and, when asked, making them so. Reads only, unless --repair-from is given.
 *
 * There is no real tool to stand in for; options, output and exit codes are made like those of thin_check.
 */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { MIN_LEGS, type RegionDifference, type VerifySummary, verifyMirror } from '@pdata/mirror';
import { type OptionTable, repeatable, value } from '../command-line/option-table.js';
import { anyText, u32 } from '../command-line/value-types.js';
import { FAILURE, SUCCESS, USAGE } from '../exit-codes.js';
import { ToolError } from '../failure/tool-error.js';
import { drive } from '../io/drive.js';
import type { ProgressDisplay } from '../io/progress-display.js';
import { PDATA_VERSION } from '../version.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';
import { given as givenOption } from './given.js';
import { refuseOneFile, withDataFile } from './serve-files.js';
import { regionSectors } from './serve-mirror.js';
import { IN_USE, refuseNrOfLegs, refuseRegions, SAME_FILE, sizeOf, withLegs } from './serve-mirror-devices.js';
import { volumeSize } from './serve-sizes.js';

const DEFAULT_REGION_SIZE = 1024;
/** Regions that are shown one by one. */
const MOST_SHOWN = 1000;

const options = {
  leg: repeatable(anyText, {
    placeholder: 'FILE',
    least: MIN_LEGS,
    help: 'A leg: a file or a block device; twice to nine times.',
  }),
  log: value(anyText, { placeholder: 'FILE', help: "The log's device: says where legs may differ. Only read." }),
  'region-sectors': value(regionSectors, {
    placeholder: 'N',
    help: `Sectors in a region [default: ${DEFAULT_REGION_SIZE}; to be given with --log].`,
  }),
  size: value(volumeSize, {
    placeholder: 'SIZE',
    help: 'Size of the mirror, when the legs have more [default: that of the smallest leg].',
  }),
  'repair-from': value(u32, {
    placeholder: 'NR',
    help: 'Copy what differs from this leg, counted from 0, to the others.',
  }),
  ...quietOption,
  ...jsonOption,
  ...hiddenOptions,
} as const satisfies OptionTable;

export const mirrorVerify = defineCommand(
  {
    name: 'mirror_verify',
    summary: 'Compare the legs of a mirror that is not in use, and repair from one of them.',
    version: PDATA_VERSION,
    options,
    notes: `Every leg is read whole and compared, region by region. With --log, a difference in a region that the log calls
clean is told from one where legs may differ, because they were being written to: those are copied when the
mirror is started the next time. Without --log every difference counts.

On standard output: NR_REGIONS=…, DIFFERING=…, UNEXPECTED=…, REPAIRED=… (regions); nothing with --quiet. On
standard error: each region that differs, and a verdict. Nothing is written unless --repair-from is given.

Exit codes: 0 the legs hold the same where they should, or do so now; 2 the command line cannot be understood; 64
anything else: legs differ, or cannot be read.

Examples:
  mirror_verify --leg a.img --leg b.img
  mirror_verify --leg a.img --leg b.img --log log.img --region-sectors 1024
  mirror_verify --leg a.img --leg b.img --repair-from 0`,
  },
  async ({ options: given, io, progress, print, facts }) => {
    refuseSenseless(given);
    const files = Object.fromEntries(given.leg.map((path, nr) => [`leg ${nr}`, path]));
    refuseOneFile({ ...files, ...(given.log === undefined ? {} : { log: given.log }) }, SAME_FILE);
    const mode = given['repair-from'] === undefined ? 'read' : 'write';
    return withLegs(given.leg, mode, async (legs) => {
      const size = sizeOf(legs, given.size);
      const length = Math.floor(size / SECTOR_SIZE);
      // Unless told: nobody is to think of region sizes to compare small legs.
      const regionSize = given['region-sectors'] ?? Math.min(DEFAULT_REGION_SIZE, 2 ** Math.floor(Math.log2(length)));
      refuseRegions(length, regionSize);
      const verify = async (log: DataDevice | undefined): Promise<number> => {
        const differences: RegionDifference[] = [];
        const work = verifyMirror({
          legs: legs.map((device) => ({ device })),
          regionSize,
          onProgress: progress.show,
          length,
          ...givenOption('log', log),
          ...givenOption('repairFrom', given['repair-from']),
        });
        const summary = await drive(work, io, (difference) => {
          if (differences.length === MOST_SHOWN) return;
          differences.push(difference);
          progress.line(differenceText(difference));
        });
        print(`NR_REGIONS=${summary.nrRegions}`);
        print(`DIFFERING=${summary.nrDiffering}`);
        print(`UNEXPECTED=${summary.nrUnexpected}`);
        print(`REPAIRED=${summary.nrRepaired}`);
        tellVerdict(summary, differences.length, progress);
        for (const leg of given.size === undefined ? legs : []) {
          if (leg.size > size)
            progress.line(
              `warning: '${leg.name}' is larger than the smallest leg: its last ${leg.size - size} bytes were not looked at`,
            );
        }
        Object.assign(facts, summary, { differences, differencesLeftOut: summary.nrDiffering - differences.length });
        return summary.nrUnexpected === 0 || summary.nrRepaired > 0 ? SUCCESS : FAILURE;
      };
      return given.log === undefined
        ? verify(undefined)
        : withDataFile(given.log, 'read', { what: "log's device", busy: IN_USE }, verify);
    });
  },
);

function refuseSenseless(given: {
  readonly leg: readonly string[];
  readonly log: string | undefined;
  readonly 'region-sectors': number | undefined;
  readonly 'repair-from': number | undefined;
}): void {
  refuseNrOfLegs(given.leg.length, { option: '--repair-from', legNr: given['repair-from'] ?? 0 });
  if (given.log === undefined || given['region-sectors'] !== undefined) return;
  throw new ToolError(
    'ERR_USAGE',
    'there is a --log without --region-sectors',
    { nextStep: 'give the region size that the log was made with' },
    { exitCode: USAGE },
  );
}

function differenceText({ regionNr, firstSector, nrSectors, legs, isExpected, isRepaired }: RegionDifference): string {
  const which = legs.length === 1 ? `leg ${legs[0]} differs` : `legs ${legs.join(', ')} differ`;
  const kind = isRepaired ? 'repaired' : isExpected ? 'may differ' : 'differs';
  return `${kind}: region ${regionNr}: ${which} in ${nrSectors} sectors, the first of them ${firstSector}`;
}

function tellVerdict(
  { nrRegions, nrDiffering, nrUnexpected, nrRepaired }: VerifySummary,
  nrShown: number,
  progress: ProgressDisplay,
): void {
  const say = (text: string): void => progress.line(text);
  if (nrDiffering > nrShown) say(`${nrDiffering - nrShown} more regions differ, but are not shown`);
  if (nrRepaired > 0) say(`${nrRepaired} regions have been repaired`);
  else if (nrUnexpected > 0) {
    say(
      `${nrUnexpected} of ${nrRegions} regions differ where they should not\n  effect: what is read there depends on the leg that is asked\n` +
        '  next step: find out which leg is right, and copy from it: --repair-from NR',
    );
  } else if (nrDiffering > 0)
    say(
      `${nrDiffering} of ${nrRegions} regions differ where the log says that they may: the next start of the mirror copies them`,
    );
  else say(`all ${nrRegions} regions are the same`);
}
