/**
 * thin_check: whether the metadata of a pool can be trusted, and, when asked, the repair of what can be repaired without
 * losing anything.
 *
 * Reads only, unless --auto-repair or --clear-needs-check-flag is given; and even then nothing is written when anything
 * worse than a leak is found. An interrupt ends the process at once: the check has nothing to tidy up, and the repair is
 * a transaction, or a sequence in which every step leaves the pool sound.
 *
 * Format: docs/format/tools.md, sections 2, 8 and 9.
 */
import { BLOCK_SIZE, CorruptBlockError, type MetadataDevice } from '@pdata/device';
import { Block } from '@pdata/persistent-data';
import {
  type CheckFinding,
  type CheckSummary,
  checkThin,
  NoMetadataSnapshotError,
  type RepairSummary,
  readThinSuperblock,
  repairThin,
  type ThinSuperblock,
  thinSuperblockValidator,
} from '@pdata/thin';
import { flag, value } from '../command-line/option-table.js';
import { u64 } from '../command-line/value-types.js';
import { FAILURE, SUCCESS } from '../exit-codes.js';
import { ToolError } from '../failure/tool-error.js';
import { drive } from '../io/drive.js';
import type { ProgressDisplay } from '../io/progress-display.js';
import { withThinInput } from '../io/thin-input.js';
import { counted, findingText, tellFigures, tellStages } from './check-report.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';
import { given } from './given.js';

/** What would make a repair blind, so that it cannot be combined with one. */
const REPAIR_CONFLICTS = ['metadata-snap', 'override-mapping-root', 'override-details-root'] as const;

export const thinCheck = defineCommand(
  {
    name: 'thin_check',
    summary: 'Check the metadata of a thin pool.',
    positional: {
      name: 'INPUT',
      help: "The pool's metadata device, or an image of it. It is only read, unless a repair is asked for.",
    },
    options: {
      'super-block-only': flag({ help: 'Check the superblock and nothing else.' }),
      'skip-mappings': flag({
        help: 'Check the list of thin devices, but neither their mappings nor the space maps.',
      }),
      'metadata-snap': flag({
        short: 'm',
        help: 'Check the metadata snapshot: the only way while the pool is in use. No space maps.',
      }),
      'ignore-non-fatal-errors': flag({ help: 'End with 0 unless a fatal error is found.' }),
      'auto-repair': flag({
        conflictsWith: ['super-block-only', 'skip-mappings', 'ignore-non-fatal-errors', ...REPAIR_CONFLICTS],
        help: 'Free leaked blocks, and clear the needs_check flag, unless something worse is found.',
      }),
      'clear-needs-check-flag': flag({
        conflictsWith: REPAIR_CONFLICTS,
        help: 'The same; without looking for leaks when the check is cut short by another option.',
      }),
      'override-mapping-root': value(u64, {
        placeholder: 'BLOCKNR',
        help: "Use this block as root of the mapping tree, instead of the superblock's.",
      }),
      'override-details-root': value(u64, {
        placeholder: 'BLOCKNR',
        help: "Use this block as root of the details tree, instead of the superblock's.",
      }),
      ...quietOption,
      ...jsonOption,
      ...hiddenOptions,
    },
    notes: `On standard output: TRANSACTION_ID=… and METADATA_FREE_BLOCKS=…, as the superblock has them; nothing with --quiet.
On standard error: each fault with its structure, block, effect and next step, and a verdict.

  fatal   something cannot be read, is lost, or would be overwritten: do not use the pool
  shape   a node breaks a rule of the format that nobody depends on when reading
  leak    a block is in use that nothing refers to: space is lost, nothing else

Exit codes: 0 sound, or repaired; 2 the command line cannot be understood; 64 anything else: faults were found
(with --ignore-non-fatal-errors: fatal ones), the metadata cannot be read.

Examples:
  thin_check /dev/mapper/vg-pool_tmeta
  thin_check -q --clear-needs-check-flag /dev/mapper/vg-pool_tmeta      what LVM runs
  thin_check --auto-repair meta.img
  thin_check --json meta.img`,
  },
  ({ options, positional, io, progress, print, facts }) => {
    const ofMetadataSnapshot = options['metadata-snap'];
    const isRepair = options['auto-repair'] || options['clear-needs-check-flag'];
    const mode = isRepair ? 'write' : 'read';
    return withThinInput(positional, { mode, ofMetadataSnapshot }, async (device) => {
      const { transactionId, freeBlocks } = readFigures(device, ofMetadataSnapshot);
      print(`TRANSACTION_ID=${transactionId}`);
      print(`METADATA_FREE_BLOCKS=${freeBlocks}`);
      Object.assign(facts, { transactionId, metadataFreeBlocks: freeBlocks });

      const roots = {
        ...given('mappingRoot', rootOnDevice(device, 'override-mapping-root', options['override-mapping-root'])),
        ...given('detailsRoot', rootOnDevice(device, 'override-details-root', options['override-details-root'])),
      };
      const ignoreNonFatal = options['ignore-non-fatal-errors'];
      const common = {
        superblockOnly: options['super-block-only'],
        skipMappings: options['skip-mappings'],
        onProgress: tellStages('Checking thin metadata', progress),
      };
      const work: Generator<CheckFinding, CheckSummary | RepairSummary> = isRepair
        ? repairThin(device, { ...common, ignoreNonFatal })
        : checkThin(device, {
            ...common,
            metadataSnapshot: ofMetadataSnapshot,
            ...roots,
          });
      const findings: CheckFinding[] = [];
      const summary = await drive(work, io, (finding) => {
        findings.push(finding);
        progress.line(findingText(finding));
      });
      tellVerdict(summary, progress);
      const { transactionId: _, metadataFreeBlocks: __, ...rest } = summary;
      Object.assign(facts, rest, { findings });
      return isAcceptable(summary, ignoreNonFatal) ? SUCCESS : FAILURE;
    });
  },
);

interface Figures {
  readonly transactionId: bigint;
  readonly freeBlocks: bigint;
}

/** Read before anything else, so that they are told whatever the check finds; and so that a wrong device is found out. */
function readFigures(device: MetadataDevice, ofMetadataSnapshot: boolean): Figures {
  const { transactionId, heldRoot, metadataSpaceMap } = superblockAt(device, 0);
  if (ofMetadataSnapshot) {
    if (heldRoot === 0) throw new NoMetadataSnapshotError('the pool holds no metadata snapshot');
    superblockAt(device, heldRoot);
  }
  // A superblock that claims more blocks in use than there are gives what 1.1.0 makes of it: 64 bits, turned over.
  const freeBlocks = BigInt.asUintN(64, BigInt(metadataSpaceMap.nrBlocks) - BigInt(metadataSpaceMap.nrAllocated));
  return { transactionId, freeBlocks };
}

function superblockAt(device: MetadataDevice, blockNr: number): ThinSuperblock {
  if (blockNr >= device.nrBlocks) {
    const [structure, expected] = ['thin superblock', `below ${device.nrBlocks}, the size of the device`];
    throw new CorruptBlockError({ structure, blockNr: 0, field: 'held root', found: blockNr, expected });
  }
  const block = new Block(new Uint8Array(BLOCK_SIZE), blockNr);
  device.read(blockNr, block.bytes);
  thinSuperblockValidator.check(block);
  return readThinSuperblock(block);
}

/** A root given as an option; refused as such when the device has no such block, which says nothing about the pool. */
function rootOnDevice(device: MetadataDevice, option: string, blockNr: bigint | undefined): number | undefined {
  if (blockNr === undefined) return undefined;
  if (blockNr > 0n && blockNr < BigInt(device.nrBlocks)) return Number(blockNr);
  const why = blockNr === 0n ? 'block 0 is the superblock' : `the device has only ${counted(device.nrBlocks, 'block')}`;
  throw new ToolError('ERR_OPTION', `--${option}=${blockNr}: ${why}`, {
    effect: 'nothing was checked; this says nothing about the pool',
    nextStep: `give the block of a root node, or leave --${option} out`,
  });
}

function isAcceptable(summary: CheckSummary | RepairSummary, ignoreNonFatal: boolean): boolean {
  if (summary.fatal > 0) return false;
  if (ignoreNonFatal) return true;
  return summary.shape === 0 && ('repaired' in summary || summary.clean);
}

/** What it comes down to, in the real tool's words where it has any. */
function tellVerdict(summary: CheckSummary | RepairSummary, progress: ProgressDisplay): void {
  const { fatal, leaks, needsCheck } = summary;
  const say = (text: string): void => progress.line(text);
  tellFigures(summary, 'repaired' in summary, progress);
  const isRepaired = 'repaired' in summary && summary.repaired.data + summary.repaired.metadata > 0;
  for (const kind of ['data', 'metadata'] as const) {
    if (leaks[kind] === 0) continue;
    say(isRepaired ? `freed ${leaks[kind]} leaked ${kind} blocks` : `${leaks[kind]} ${kind} blocks have leaked.`);
  }
  if (leaks.data + leaks.metadata > 0 && !('repaired' in summary)) say('perhaps you wanted to run with --auto-repair');
  if ('repaired' in summary && summary.needsCheckCleared) say('Cleared needs_check flag');
  else if (needsCheck && fatal === 0) {
    say(
      'note: the needs_check flag is set: the kernel keeps the pool read-only until --clear-needs-check-flag clears it',
    );
  }
}
