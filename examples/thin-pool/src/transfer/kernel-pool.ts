/**
 * A pool of the kernel's (a metadata image and a data image, as under `dm-thin`) into a pool directory, and back.
 *
 * Metadata are copied block by block: what the kernel wrote stays as it is, to the byte. Both images are only read. A metadata image
 * that does not check is refused, since a copy would only carry the damage on.
 */
import type { MetadataDevice } from '@pdata/device';
import { BLOCK_SIZE, CorruptBlockError, StoreError } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import { checkThin, NotFormattedError, ThinMetadata } from '@pdata/thin';
import { POOL_KEY } from '../catalogue/records.js';
import { createParts, newPoolRecord, openParts, type PoolFormat, type PoolParts } from '../pool/pool-directory.js';
import { contentFrames, isAllZero } from '../stream/send.js';
import { PoolError, quoted } from '../words/pool-error.js';
import { formatSize } from '../words/sizes.js';
import { type NewImage, openImage, writeImages } from './image-file.js';

export interface KernelImages {
  readonly metadata: string;
  readonly data: string;
}

const BLOCKS_AT_ONCE = 256;

export async function importPool(directory: string, images: KernelImages, format: PoolFormat): Promise<void> {
  const source = openFileMetadataDevice(images.metadata, { mode: 'read' });
  try {
    if (!holdsMetadata(source)) refuseSwapped(images);
    refuseDamaged(source, images.metadata);
    const dataSize = dataSizeOf(source);
    const data = await openImage(images.data);
    try {
      if (data.size < dataSize) {
        throw new PoolError(
          'ERR_POOL_DAMAGED',
          `${quoted(images.data)} has ${formatSize(data.size)}, and the metadata count on ${formatSize(dataSize)} of data: is it the right one?`,
        );
      }
      await createParts(directory, { format, dataSize, nrMetadataBlocks: source.nrBlocks }, async (parts) => {
        const whole = [{ offset: 0, length: dataSize }];
        for await (const frame of contentFrames(data, whole, { skipZeros: true })) {
          if (frame.kind === 'data') await parts.data.write(frame.position, frame.bytes);
        }
        await parts.data.flush();
        copyMetadata(source, parts.metadata);
        parts.metadata.flush();
        parts.catalogue.put(POOL_KEY, newPoolRecord());
        parts.catalogue.commit();
      });
    } finally {
      await data.close();
    }
  } finally {
    source.close();
  }
}

/** The pool must not be open anywhere: both images are of one moment. Damaged metadata are exported too: that is how they are repaired. */
export async function exportPool(
  directory: string,
  images: KernelImages,
  { force }: { readonly force: boolean },
): Promise<void> {
  const parts = await openParts(directory, 'read');
  try {
    const size = dataSizeToExport(parts);
    const data: NewImage = {
      path: images.data,
      size,
      async fill(write) {
        const whole = [{ offset: 0, length: size }];
        for await (const frame of contentFrames(parts.data, whole, { skipZeros: true })) {
          if (frame.kind === 'data') await write(frame.position, frame.bytes);
        }
      },
    };
    const metadata: NewImage = {
      path: images.metadata,
      size: parts.metadata.nrBlocks * BLOCK_SIZE,
      async fill(write) {
        for (const { blockNr, bytes } of usedRuns(parts.metadata)) await write(blockNr * BLOCK_SIZE, bytes);
      },
    };
    await writeImages([data, metadata], { force });
  } finally {
    await parts.close();
  }
}

function copyMetadata(from: MetadataDevice, to: MetadataDevice): void {
  for (const { blockNr, bytes } of usedRuns(from)) to.write(blockNr, bytes);
}

/** Runs of blocks that are not all zero. The bytes are valid until the next run. */
function* usedRuns(device: MetadataDevice): Generator<{ blockNr: number; bytes: Uint8Array }> {
  const buffer = new Uint8Array(BLOCKS_AT_ONCE * BLOCK_SIZE);
  for (let blockNr = 0; blockNr < device.nrBlocks; blockNr += BLOCKS_AT_ONCE) {
    const nr = Math.min(BLOCKS_AT_ONCE, device.nrBlocks - blockNr);
    const bytes = buffer.subarray(0, nr * BLOCK_SIZE);
    device.read(blockNr, bytes);
    if (!isAllZero(bytes)) yield { blockNr, bytes };
  }
}

function dataSizeOf(device: MetadataDevice): number {
  const metadata = ThinMetadata.open(device);
  try {
    return metadata.nrDataBlocks * metadata.dataBlockSize * 512;
  } finally {
    metadata.close();
  }
}

/** Where the metadata do not say how much data they count on, all that there is. */
function dataSizeToExport({ metadata, data }: PoolParts): number {
  try {
    return dataSizeOf(metadata);
  } catch (error) {
    if (error instanceof CorruptBlockError || error instanceof NotFormattedError) return data.size;
    throw error;
  }
}

/** Whether there is at least a superblock to begin with. */
function holdsMetadata(device: MetadataDevice): boolean {
  try {
    dataSizeOf(device);
    return true;
  } catch (error) {
    if (error instanceof StoreError) return false;
    throw error;
  }
}

function refuseSwapped({ metadata, data }: KernelImages): void {
  let other: MetadataDevice;
  try {
    other = openFileMetadataDevice(data, { mode: 'read' });
  } catch (error) {
    if (error instanceof StoreError) return; // what is wrong with it is told by who reads it as data
    throw error;
  }
  try {
    if (!holdsMetadata(other)) return;
  } finally {
    other.close();
  }
  throw new PoolError(
    'ERR_FILE',
    `metadata and data are swapped: ${quoted(data)} holds the metadata of a pool, and ${quoted(metadata)} does not`,
  );
}

function refuseDamaged(device: MetadataDevice, name: string): void {
  const steps = checkThin(device);
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done !== true) {
      if (step.value.severity !== 'fatal') continue;
      throw new PoolError(
        'ERR_POOL_DAMAGED',
        `the metadata in ${quoted(name)} are damaged (${step.value.message}): repair them first, with pdata or thin-provisioning-tools`,
      );
    }
    if (step.value.needsCheck) {
      throw new PoolError(
        'ERR_POOL_DAMAGED',
        `the metadata in ${quoted(name)} say that they have to be checked (needs_check): run thin_check --clear-needs-check-flag on them first`,
      );
    }
    return;
  }
}
