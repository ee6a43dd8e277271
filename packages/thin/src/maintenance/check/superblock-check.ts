/**
 * Block 0, and the metadata snapshot's copy of it: whether they can be believed, and what in them is odd.
 *
 * The real tools look at the checksum only; the kernel also refuses a wrong magic, a wrong home, features it does not know,
 * sizes that the devices do not have. What the kernel refuses is fatal here. What no one looks at is a notice at most.
 *
 * Format: docs/format/thin.md, sections 1 and 5.
 */
import { CorruptBlockError, DeviceError } from '@pdata/device';
import { MAX_METADATA_BLOCKS } from '@pdata/persistent-data';
import type { BlockReader } from '@pdata/persistent-data/maintenance';
import { approximately, counted } from '@pdata/persistent-data/maintenance';
import { MAX_DATA_BLOCKS, MAX_TIME } from '../../format/block-time.js';
import { checkDataBlockSize } from '../../format/limits.js';
import { readThinSuperblock, type ThinSuperblock, thinSuperblockValidator } from '../../format/superblock.js';
import type { ThinFindings } from './findings.js';

const STRUCTURE = 'thin superblock';
const RESTORE =
  'Restore a backup of the metadata, or save what can be read: thin_dump --repair, then thin_restore to another device.';

/** The superblock in block 0, or undefined when it cannot be believed (told as a finding). */
export function checkSuperblock(reader: BlockReader, findings: ThinFindings): ThinSuperblock | undefined {
  const superblock = readSuperblock(reader, 0, STRUCTURE, findings);
  if (superblock === undefined) return undefined;
  const refuse = (message: string, effect: string, nextStep = RESTORE): void =>
    findings.addFatal(() => ({ structure: STRUCTURE, blockNr: 0, message, effect, nextStep }));
  const { metadataSpaceMap, dataSpaceMap, dataBlockSize } = superblock;
  const deviceBlocks = reader.device.nrBlocks;

  if (superblock.incompatFlags !== 0) {
    refuse(
      `incompatible features 0x${superblock.incompatFlags.toString(16)} are set`,
      'The metadata may be laid out in a way that neither the kernel nor this program knows. The kernel refuses it.',
      'Use the version of the software that wrote this metadata.',
    );
  }
  if (metadataSpaceMap.nrBlocks > Math.min(deviceBlocks, MAX_METADATA_BLOCKS)) {
    refuse(
      metadataSpaceMap.nrBlocks > MAX_METADATA_BLOCKS
        ? `the metadata claims ${approximately(metadataSpaceMap.nrBlocks)} blocks, more than the ${MAX_METADATA_BLOCKS} that any can have`
        : `the metadata has ${counted(metadataSpaceMap.nrBlocks, 'block')}, but the device only ${deviceBlocks}`,
      'The kernel refuses the pool, and blocks behind the end of the device are lost.',
      'If the device was cut short, give it its former size back. Otherwise restore a backup of the metadata.',
    );
  }
  if (dataSpaceMap.nrBlocks > MAX_DATA_BLOCKS) {
    refuse(
      `the pool claims ${approximately(dataSpaceMap.nrBlocks)} data blocks, more than the 2^40 that mappings can name`,
      'The size of the pool is not known.',
    );
  }
  const sizeExpected = checkDataBlockSize(dataBlockSize);
  if (sizeExpected !== undefined) {
    refuse(
      `the data block size is ${dataBlockSize} sectors, expected ${sizeExpected}`,
      'Where data blocks lie on the data device is not known. The kernel cannot activate the pool.',
    );
  }
  noticeOddities(superblock, findings);
  return superblock;
}

/** The metadata snapshot's superblock in block `blockNr`, or undefined (told as a finding). */
export function checkHeldSuperblock(
  reader: BlockReader,
  blockNr: number,
  findings: ThinFindings,
): ThinSuperblock | undefined {
  return readSuperblock(reader, blockNr, 'metadata snapshot', findings);
}

function readSuperblock(
  reader: BlockReader,
  blockNr: number,
  structure: string,
  findings: ThinFindings,
): ThinSuperblock | undefined {
  const refuse = (message: string, nextStep: string): undefined => {
    findings.addFatal(() => ({
      structure,
      blockNr,
      message,
      effect:
        blockNr === 0
          ? 'Nothing in this metadata can be found without it.'
          : 'What the metadata snapshot holds cannot be read, nor released.',
      nextStep,
    }));
  };
  const block = reader.readOne(blockNr);
  if (block instanceof DeviceError) {
    return refuse(block.message, 'Copy what can be read of the device to a good one, and go on there.');
  }
  try {
    thinSuperblockValidator.check(block);
  } catch (error) {
    if (!(error instanceof CorruptBlockError)) throw error;
    if (blockNr === 0 && block.bytes.every((byte) => byte === 0)) {
      return refuse(
        'block 0 is all zero: this device has never been formatted as thin metadata, or its beginning was wiped',
        'Make sure that this is the metadata device of a pool. A new pool need not be checked: the kernel formats it.',
      );
    }
    return refuse(
      error.message,
      blockNr === 0
        ? 'Make sure that this is the metadata device of a thin pool. If it is, restore a backup, or save what can be read: thin_dump --repair, then thin_restore to another device.'
        : RESTORE,
    );
  }
  return readThinSuperblock(block);
}

function noticeOddities(superblock: ThinSuperblock, findings: ThinFindings): void {
  const notice = (message: string, effect: string, nextStep: string): void =>
    findings.addNotice({ structure: STRUCTURE, blockNr: 0, message, effect, nextStep });
  if (superblock.compatRoFlags !== 0) {
    notice(
      `read-only features 0x${superblock.compatRoFlags.toString(16)} are set`,
      'The kernel activates the pool only from a read-only metadata device.',
      'Use the version of the software that wrote this metadata.',
    );
  }
  if (superblock.version !== 1 && superblock.version !== 2) {
    notice(
      `the version is ${superblock.version}, expected 1 or 2`,
      'None: nobody looks at it, and the layout has never changed.',
      'Nothing needs to be done.',
    );
  }
  if (superblock.time >= MAX_TIME) {
    notice(
      `the pool's time is ${superblock.time}, but mappings carry times below ${MAX_TIME} only`,
      'Blocks that are mapped from now on would be mapped to wrong data blocks.',
      'Do not write to this pool. Copy its volumes to a new one.',
    );
  }
}
