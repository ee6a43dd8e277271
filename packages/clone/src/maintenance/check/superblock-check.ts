/**
 * Block 0: whether it can be believed, and what in it is odd. What the kernel refuses is fatal; what no one looks at is a notice.
 *
 * Format: docs/format/clone.md, section 1.
 */
import { CorruptBlockError, DeviceError } from '@pdata/device';
import { MAX_METADATA_BLOCKS } from '@pdata/persistent-data';
import { approximately, type BlockReader, counted, type Findings } from '@pdata/persistent-data/maintenance';
import { checkRegionSize, checkTargetSize } from '../../format/limits.js';
import {
  CLONE_VERSION,
  type CloneSuperblock,
  cloneSuperblockValidator,
  readCloneSuperblock,
  unusedBytesOf,
} from '../../format/superblock.js';
import { RESTORE } from './advice.js';

const STRUCTURE = 'clone superblock';

/** What the caller knows of the clone: the sizes that its table will name. Sectors. */
export interface ExpectedGeometry {
  readonly regionSize?: number;
  readonly targetSize?: number;
}

/** The superblock, or undefined when there is none, or none of a version that is known here (told as a finding). */
export function checkSuperblock(
  reader: BlockReader,
  findings: Findings,
  { regionSize, targetSize }: ExpectedGeometry,
): CloneSuperblock | undefined {
  const superblock = readSuperblock(reader, findings);
  if (superblock === undefined) return undefined;
  const refuse = (message: string, effect: string, nextStep = RESTORE): void =>
    findings.addFatal(() => ({ structure: STRUCTURE, blockNr: 0, message, effect, nextStep }));
  const { metadataSpaceMap, version } = superblock;

  if (version !== CLONE_VERSION) {
    refuse(
      `the version is ${version}, expected ${CLONE_VERSION}`,
      'The kernel refuses it, and what it means is not known here: nothing else was checked.',
      'Use the version of the software that wrote this metadata.',
    );
    return undefined;
  }
  const usable = Math.min(reader.device.nrBlocks, MAX_METADATA_BLOCKS);
  if (metadataSpaceMap.nrBlocks > usable) {
    refuse(
      metadataSpaceMap.nrBlocks > MAX_METADATA_BLOCKS
        ? `the metadata claims ${approximately(metadataSpaceMap.nrBlocks)} blocks, more than the ${MAX_METADATA_BLOCKS} that any can have`
        : `the metadata has ${counted(metadataSpaceMap.nrBlocks, 'block')}, but the device only ${reader.device.nrBlocks}`,
      'The kernel refuses the clone, and blocks behind the end of the device are lost.',
      'If the device was cut short, give it its former size back. Otherwise save what can be read with clone_repair -i DAMAGED -o NEW.',
    );
  }
  if (!isGeometryPossible(superblock, refuse)) return undefined;
  for (const [name, expected, found] of [
    ['region size', regionSize, superblock.regionSize],
    ['target size', targetSize, superblock.targetSize],
  ] as const) {
    if (expected === undefined || expected === found) continue;
    refuse(
      `the ${name} is ${found} sectors, but ${expected} were asked for`,
      'The kernel refuses to activate a clone whose table names other sizes.',
      'Make sure that this is the metadata of that clone. Both sizes are fixed for its life.',
    );
  }
  return superblock;
}

function isGeometryPossible(
  { regionSize, targetSize }: CloneSuperblock,
  refuse: (message: string, effect: string, nextStep: string) => void,
): boolean {
  const regionProblem = checkRegionSize(regionSize);
  const targetProblem = regionProblem === undefined ? checkTargetSize(targetSize, regionSize) : undefined;
  if (regionProblem === undefined && targetProblem === undefined) return true;
  refuse(
    regionProblem === undefined
      ? `the target size is ${approximately(targetSize)} sectors, expected ${targetProblem}`
      : `the region size is ${approximately(regionSize)} sectors, expected ${regionProblem}`,
    'Which region a bit stands for is not known: nothing else was checked.',
    'Save what can be read with clone_repair -i DAMAGED -o NEW --region-size SECTORS --target-size SECTORS; the table of the clone has both.',
  );
  return false;
}

function readSuperblock(reader: BlockReader, findings: Findings): CloneSuperblock | undefined {
  const refuse = (message: string, nextStep: string): undefined => {
    const effect = 'Nothing in this metadata can be found without it.';
    findings.addFatal(() => ({ structure: STRUCTURE, blockNr: 0, message, effect, nextStep }));
  };
  const block = reader.readOne(0);
  if (block instanceof DeviceError) {
    return refuse(block.message, 'Copy what can be read of the device to a good one, and go on there.');
  }
  try {
    cloneSuperblockValidator.check(block);
  } catch (error) {
    if (!(error instanceof CorruptBlockError)) throw error;
    if (block.bytes.every((byte) => byte === 0)) {
      return refuse(
        'block 0 is all zero: this device has never been formatted as clone metadata, or its beginning was wiped',
        'Make sure that this is the metadata device of a clone. Do not activate a clone that has data with it: the kernel would format it, and hydrate everything anew.',
      );
    }
    return refuse(
      error.message,
      'Make sure that this is the metadata device of a clone. If it is, save what can be read: clone_repair -i DAMAGED -o NEW --region-size SECTORS --target-size SECTORS; the table of the clone has both.',
    );
  }
  const odd = unusedBytesOf(block);
  if (odd.length > 0) {
    findings.addNotice({
      structure: STRUCTURE,
      blockNr: 0,
      message: `${counted(odd.length, 'byte')} that no version uses ${odd.length === 1 ? 'is' : 'are'} not zero, the first at ${odd[0]}`,
      effect: 'None: nobody looks at them, and the next commit clears them.',
      nextStep: 'Nothing needs to be done.',
    });
  }
  return readCloneSuperblock(block);
}
