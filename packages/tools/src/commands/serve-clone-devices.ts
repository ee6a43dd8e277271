/**
 * Opens a clone for a server: what is there is gone on with, what is missing is made, and nothing that may be of value is
 * overwritten.
 *
 *   metadata               destination            what is done
 *   missing                missing                both are made, as large as they have to be; the destination is sparse
 *   missing, or blank      there                  formatted, when the destination is blank too, or may be overwritten
 *   of this clone          there                  gone on with
 *   of this clone          missing                refused: what is hydrated would be gone
 *
 * Blank is metadata whose first block is all zeros, as for the kernel; and a destination that is zeros at its beginning and its
 * end, where everything that anybody keeps on disks has something.
 *
 * Format: docs/format/clone.md, section 1.
 */
import { existsSync, statSync, unlinkSync } from 'node:fs';
import { CloneDevice, CloneMetadata, type CloneOptions, nrRegionsFor } from '@pdata/clone';
import { BLOCK_SIZE, type DataDevice, type MetadataDevice, SECTOR_SIZE } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import { NoSpaceError, NotFormattedError } from '@pdata/persistent-data';
import { ToolError } from '../failure/tool-error.js';
import { CLONE_IS_BUSY, refuseWiped, withCloneInput } from '../io/clone-input.js';
import { type OpenSource, sourceKind, withSource } from './serve-clone-source.js';
import { closingAfter, refuseOneFile, withDataFile, withNewDataFile } from './serve-files.js';

/** Sectors; 64 KiB: what a write of 4 KiB has copied for it at most, and enough of it not to be waited for long. */
export const DEFAULT_REGION_SIZE = 128;

export interface CloneFiles {
  readonly metadata: string;
  readonly source: string;
  readonly destination: string;
}

export interface OpenCloneOptions extends CloneOptions {
  /** Sectors; undefined for the metadata's, or the default where it is new. */
  readonly regionSize: number | undefined;
  /** A new clone may use a destination that holds something. */
  readonly overwrites: boolean;
}

export interface OpenClone {
  readonly clone: CloneDevice;
  /** Whether it was formatted now. */
  readonly isNew: boolean;
  /** Undefined for a clone that was complete already: then the source is not opened. */
  readonly source: OpenSource | undefined;
}

/** Runs `work` on the clone, and closes it: committed, whatever `work` throws. */
export async function withClone<T>(
  files: CloneFiles,
  options: OpenCloneOptions,
  work: (open: OpenClone) => Promise<T>,
): Promise<T> {
  const { metadata, destination, source } = files;
  refuseOneFile(
    sourceKind(source) === 'file' ? { metadata, source, destination } : { metadata, destination },
    'a clone needs a file or device of its own for each',
  );
  if (!existsSync(metadata)) {
    return withSource(source, (opened) =>
      withNewMetadata(metadata, opened.device.size, options.regionSize ?? DEFAULT_REGION_SIZE, (device) =>
        started(files, device, opened, { ...options, isNew: true }, work),
      ),
    );
  }
  const goOn = async (device: MetadataDevice): Promise<T> => {
    const found = lookAt(device);
    if (found !== undefined && !existsSync(destination)) throw missing(destination, found);
    if (found?.isComplete)
      return withDataFile(destination, 'write', DESTINATION, (opened) => {
        if (opened.size < found.size) throw tooSmall(destination, opened.size, { needs: found.size, of: 'the clone' });
        return finished(device, opened, options, work);
      });
    return withSource(source, (opened) =>
      started(files, device, opened, { ...options, isNew: found === undefined }, work),
    );
  };
  return withCloneInput(metadata, 'write', goOn, {
    tooSmall: 'for a new clone remove it, and it is made, as large as it has to be',
  });
}

const DESTINATION = { what: 'destination', busy: CLONE_IS_BUSY };

interface FoundClone {
  /** Bytes. */
  readonly size: number;
  readonly nrRegions: number;
  readonly nrHydrated: number;
  readonly isComplete: boolean;
}

/** What there is before the clone is opened; undefined for blank metadata. */
function lookAt(device: MetadataDevice): FoundClone | undefined {
  let metadata: CloneMetadata;
  try {
    metadata = CloneMetadata.open(device);
  } catch (error) {
    if (error instanceof NotFormattedError) return undefined;
    throw error;
  }
  const { targetSize, nrRegions, nrHydrated, isComplete } = metadata;
  metadata.close();
  return { size: targetSize * SECTOR_SIZE, nrRegions, nrHydrated, isComplete };
}

async function started<T>(
  { destination }: CloneFiles,
  metadata: MetadataDevice,
  source: OpenSource,
  { isNew, overwrites, regionSize, ...options }: OpenCloneOptions & { readonly isNew: boolean },
  work: (open: OpenClone) => Promise<T>,
): Promise<T> {
  const { size } = source.device;
  /** Whether the destination is to stay: only one that was made for a clone of which nothing came is not. */
  let isUsed = true;
  const go = async (opened: DataDevice): Promise<T> => {
    const devices = { source: source.device, destination: opened };
    const clone = isNew
      ? await CloneDevice.format(metadata, devices, {
          ...options,
          regionSize: regionSize ?? DEFAULT_REGION_SIZE,
        }).catch((cause: unknown) => Promise.reject(withoutRoom(cause, metadata)))
      : await CloneDevice.open(metadata, devices, {
          ...options,
          size,
          ...(regionSize === undefined ? {} : { regionSize }),
        });
    isUsed = true;
    return closingAfter(clone, () => work({ clone, isNew, source }));
  };
  if (isNew && !existsSync(destination)) {
    try {
      return await withNewDataFile(destination, size, DESTINATION, (opened) => {
        isUsed = false;
        return go(opened);
      });
    } finally {
      if (!isUsed) unlinkSync(destination); // nothing came of it
    }
  }
  const needed = { needs: size, of: 'the source' };
  const stats = statSync(destination, { throwIfNoEntry: false });
  // An empty file cannot even be opened as a device.
  if (stats?.isFile() && stats.size < size) throw tooSmall(destination, stats.size, needed);
  return withDataFile(destination, 'write', DESTINATION, async (opened) => {
    if (opened.size < size) throw tooSmall(destination, opened.size, needed);
    if (isNew && !overwrites) await refuseContent(destination, opened, metadata);
    return go(opened);
  });
}

/** Everything is in the destination: the source is not asked for, and may be gone. */
async function finished<T>(
  metadata: MetadataDevice,
  destination: DataDevice,
  { overwrites, regionSize, ...options }: OpenCloneOptions,
  work: (open: OpenClone) => Promise<T>,
): Promise<T> {
  const clone = await CloneDevice.open(
    metadata,
    { source: destination, destination },
    { ...options, name: `clone in ${destination.name}`, ...(regionSize === undefined ? {} : { regionSize }) },
  );
  return closingAfter(clone, () => work({ clone, isNew: false, source: undefined }));
}

/** As many blocks as the bits take, and as many again for a commit that changes all of them; files of them are sparse. */
async function withNewMetadata<T>(
  path: string,
  size: number,
  regionSize: number,
  work: (device: MetadataDevice) => Promise<T>,
): Promise<T> {
  const nrRegions = nrRegionsFor(Math.floor(size / SECTOR_SIZE), regionSize);
  const nrBlocks = Math.max(LEAST_METADATA_BLOCKS, 64 + 3 * Math.ceil(nrRegions / (BITS_IN_BLOCK / 2)));
  const device = openFileMetadataDevice(path, { mode: 'write', create: { nrBlocks } });
  try {
    return await work(device);
  } catch (error) {
    if (isBlank(device)) unlinkSync(path); // nothing came of it
    throw error;
  } finally {
    device.close();
  }
}

function isBlank(device: MetadataDevice): boolean {
  const block = new Uint8Array(BLOCK_SIZE);
  device.read(0, block);
  return block.every((byte) => byte === 0);
}

/** 4 MiB. */
const LEAST_METADATA_BLOCKS = 1024;
/** 509 words of 64 bits in an array block of {@link BLOCK_SIZE} bytes. */
const BITS_IN_BLOCK = Math.floor((BLOCK_SIZE - 24) / 8) * 64;

/** Looked at, at the beginning and at the end of a destination. */
const NR_BYTES_LOOKED_AT = 2 ** 20;

/** @param metadata of the new clone: where it has lost its superblock, that is worth more to be told */
async function refuseContent(path: string, device: DataDevice, metadata: MetadataDevice): Promise<void> {
  const length = Math.min(NR_BYTES_LOOKED_AT, device.size);
  for (const offset of [0, device.size - length]) {
    const [extent] = await device.allocation(offset, length);
    if (extent !== undefined && extent.state !== 'data' && extent.length === length) continue;
    const bytes = new Uint8Array(length);
    await device.read(offset, bytes);
    if (bytes.every((byte) => byte === 0)) continue;
    refuseWiped(metadata);
    throw new ToolError('ERR_NOT_BLANK', `the destination '${path}' is not blank`, {
      effect: 'a new clone would overwrite what it holds; nothing has been written',
      nextStep: 'give a path where nothing is yet, a blank device, or --overwrite to use this one all the same',
    });
  }
}

const tooSmall = (
  path: string,
  has: number,
  { needs, of }: { readonly needs: number; readonly of: string },
): ToolError =>
  new ToolError('ERR_DATA_SIZE', `the destination '${path}' has ${has} bytes, and ${of} ${needs}`, {
    effect: of === 'the clone' ? 'a part of the clone is not in it' : 'a clone is as large as its source',
    nextStep:
      of === 'the clone'
        ? 'give the destination that this clone was made with'
        : `enlarge it (truncate -s ${needs} '${path}', lvextend), or give a path where nothing is yet`,
  });

function withoutRoom(cause: unknown, { name, nrBlocks }: MetadataDevice): unknown {
  if (!(cause instanceof NoSpaceError)) return cause;
  const message = `the metadata device '${name}' is too small for this clone: it has ${nrBlocks} blocks of ${BLOCK_SIZE} bytes`;
  const nextStep = 'give a larger one; a file can be removed: then it is made, as large as it has to be';
  return new ToolError(cause.code, message, { effect: 'no clone has been made', nextStep }, { cause });
}

const missing = (path: string, { nrHydrated, nrRegions }: FoundClone): ToolError =>
  new ToolError('ERR_NO_INPUT', `the destination '${path}' does not exist`, {
    effect: `by the metadata it holds ${nrHydrated} of ${nrRegions} regions, and all that was written; without it that is gone`,
    nextStep:
      'give the destination that this clone was made with; to clone anew, give a --metadata too where nothing is yet',
  });
