/**
 * Raw disk images as files: read piece by piece, written sparse.
 *
 * An image may end anywhere, a volume only with a sector: the last sector is filled up with zeros.
 */
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { AllocationExtent, DataDevice } from '@pdata/device';
import { SECTOR_SIZE } from '@pdata/device';
import { poolAround, poolOfFile } from '../pool/pool-directory.js';
import { fileError, PoolError, quoted } from '../words/pool-error.js';

/** As much of a device as content is read from. */
export type ImageSource = Pick<DataDevice, 'size' | 'read' | 'allocation' | 'close'> & {
  /** Bytes, before they were filled up to whole sectors. */
  readonly fileSize: number;
};

/** @throws {@link PoolError} when a pool keeps its data or metadata there: whoever names it means one of its volumes */
export function refuseOwnFile(path: string): void {
  const pool = poolOfFile(path);
  if (pool === undefined) return;
  throw new PoolError(
    'ERR_FILE',
    `${quoted(path)} belongs to the pool ${quoted(pool)} and is no disk image: export one of its volumes and import that`,
  );
}

/** @throws {@link PoolError} when it cannot be opened, or is empty */
export async function openImage(path: string): Promise<ImageSource> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    const found = await file.stat();
    if (found.isDirectory()) throw new PoolError('ERR_FILE', `${quoted(path)} is a directory, not an image`);
    if (!found.isFile() && !found.isBlockDevice()) {
      throw new PoolError(
        'ERR_FILE',
        `${quoted(path)} is neither a file nor a block device; to import a stream, save it first`,
      );
    }
    const fileSize = found.isFile() ? found.size : await sizeOfBlockDevice(file);
    if (fileSize === 0) throw new PoolError('ERR_FILE', `${quoted(path)} is empty: there is nothing to import`);
    return imageSource(path, file, fileSize);
  } catch (error) {
    await file?.close();
    throw error instanceof PoolError ? error : fileError('open', path, error);
  }
}

function imageSource(path: string, file: FileHandle, fileSize: number): ImageSource {
  const size = Math.ceil(fileSize / SECTOR_SIZE) * SECTOR_SIZE;
  return {
    fileSize,
    size,
    async read(offset, into) {
      const wanted = Math.min(into.length, fileSize - offset);
      for (let at = 0; at < wanted; ) {
        const { bytesRead } = await file
          .read(into, at, wanted - at, offset + at)
          .catch((error: unknown) => Promise.reject(fileError('read', path, error)));
        if (bytesRead === 0) throw new PoolError('ERR_FILE', `${quoted(path)} became shorter while it was read`);
        at += bytesRead;
      }
      into.fill(0, wanted);
    },
    async allocation(offset, length): Promise<AllocationExtent[]> {
      return [{ offset, length, state: 'data' }];
    },
    close: () => file.close(),
  };
}

/** By looking for its end: the last byte that can be read. */
async function sizeOfBlockDevice(file: FileHandle): Promise<number> {
  const byte = new Uint8Array(1);
  const has = async (at: number): Promise<boolean> => {
    try {
      return (await file.read(byte, 0, 1, at)).bytesRead === 1;
    } catch {
      return false;
    }
  };
  let above = 1;
  while (above < Number.MAX_SAFE_INTEGER / 2 && (await has(above))) above *= 2;
  let below = 0;
  while (above - below > 1) {
    const middle = Math.floor((below + above) / 2);
    if (await has(middle)) below = middle;
    else above = middle;
  }
  return above;
}

export interface NewImage {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly fill: (write: Write) => Promise<void>;
}

/**
 * Files that appear under their names when all of them are complete, and not before.
 * @param force replaces files that are there already; but never a pool's own, nor what is no file
 */
export async function writeImages(images: readonly NewImage[], { force }: { readonly force: boolean }): Promise<void> {
  refuseTwice(images);
  for (const { path } of images) await refuseTarget(path, force);
  const written: { readonly beside: string; readonly path: string }[] = [];
  try {
    for (const image of images) {
      const beside = `${image.path}.part-${process.pid}`;
      written.push({ beside, path: image.path });
      await writeOne(image, beside);
    }
    for (const { beside, path } of written)
      await rename(beside, path).catch((error: unknown) => Promise.reject(fileError('write', path, error)));
  } catch (error) {
    for (const { beside } of written) await rm(beside, { force: true });
    throw error;
  }
}

async function writeOne({ path, size, fill }: NewImage, beside: string): Promise<void> {
  let file: FileHandle | undefined;
  try {
    file = await open(beside, 'wx', 0o600);
    await file.truncate(size);
    const opened = file;
    await fill(async (offset, bytes) => {
      for (let at = 0; at < bytes.length; ) {
        const { bytesWritten } = await opened.write(bytes, at, bytes.length - at, offset + at);
        at += bytesWritten;
      }
    });
    await file.sync();
  } catch (error) {
    throw error instanceof Error && 'syscall' in error ? fileError('write', path, error) : error;
  } finally {
    await file?.close();
  }
}

function refuseTwice(images: readonly NewImage[]): void {
  const paths = images.map(({ path }) => resolve(path));
  const twice = images.find((_, index) => paths.indexOf(paths[index]!) !== index);
  if (twice !== undefined) {
    throw new PoolError('ERR_FILE', `${quoted(twice.path)} is named twice: each image wants a file of its own`);
  }
}

async function refuseTarget(path: string, force: boolean): Promise<void> {
  const pool = poolAround(path);
  if (pool !== undefined) {
    throw new PoolError(
      'ERR_FILE',
      `${quoted(path)} lies in the pool ${quoted(pool)}, whose own files are there: write the image to another place`,
    );
  }
  const found = await stat(path).catch(() => undefined);
  if (found !== undefined && !found.isFile()) {
    throw new PoolError('ERR_FILE', `${quoted(path)} is not a regular file: serve the pool, and copy with nbdcopy`);
  }
  if (found !== undefined && !force) {
    throw new PoolError(
      'ERR_FILE',
      `${quoted(path)} is there already, and is left as it is: say --force to replace it`,
    );
  }
}

export type Write = (offset: number, bytes: Uint8Array) => Promise<void>;
