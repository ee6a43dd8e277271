/**
 * When the disk under a pool is full.
 *
 * The data file grows as volumes are written, and shares its disk with the metadata. If data took the last byte, nothing could be
 * committed any more, not even a removal that makes room. So a little is kept free: writes of data are refused when only that is
 * left (a client sees ENOSPC, and a virtual machine may wait), while metadata go on.
 *
 * And where a disk was full nevertheless: blocks that the pool does not use may still take space in the data file, those of a
 * transaction that was thrown away. `trimUnused` gives them back.
 */
import { statfsSync } from 'node:fs';
import type {
  AllocationExtent,
  DataDeviceHints,
  GrowableDataDevice,
  WriteOptions,
  WriteZeroesOptions,
} from '@pdata/device';
import { checkThin, ThinMetadata } from '@pdata/thin';
import { PoolError } from '../words/pool-error.js';
import { formatSize } from '../words/sizes.js';
import { readOnlyView } from './committed-state.js';
import type { PoolParts } from './pool-directory.js';

/** Kept free: this, or an eighth of a small disk. */
const KEPT_FREE = 16 * 1024 * 1024;
/** Bytes of data written between two looks at the disk; much less than what is kept free. */
const LOOK_EVERY = 1024 * 1024;

/** The data file, which leaves some room on its disk. */
export class DataWithReserve implements GrowableDataDevice {
  readonly #data: GrowableDataDevice;
  readonly #room: () => Room | undefined;
  #bytesUntilLook = 0;

  /** @param room what is left on its disk; undefined where the system does not tell */
  constructor(data: GrowableDataDevice, room: () => Room | undefined) {
    this.#data = data;
    this.#room = room;
  }

  get name(): string {
    return this.#data.name;
  }

  get size(): number {
    return this.#data.size;
  }

  get readOnly(): boolean {
    return this.#data.readOnly;
  }

  get hints(): DataDeviceHints {
    return this.#data.hints;
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.#data.read(offset, into);
  }

  write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    const refusal = this.#refusal(from.length);
    return refusal === undefined ? this.#data.write(offset, from, options) : Promise.reject(refusal);
  }

  writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    const refusal = options?.keepAllocated === true ? this.#refusal(length) : undefined;
    return refusal === undefined ? this.#data.writeZeroes(offset, length, options) : Promise.reject(refusal);
  }

  discard(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.#data.discard(offset, length, options);
  }

  flush(): Promise<void> {
    return this.#data.flush();
  }

  allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    return this.#data.allocation(offset, length);
  }

  grow(size: number): Promise<void> {
    return this.#data.grow(size);
  }

  close(): Promise<void> {
    return this.#data.close();
  }

  #refusal(nrBytes: number): PoolError | undefined {
    this.#bytesUntilLook -= nrBytes;
    if (this.#bytesUntilLook > 0) return undefined;
    const room = this.#room();
    if (room !== undefined && room.free < room.kept) {
      return new PoolError(
        'ERR_NO_SPACE',
        `the disk that holds the pool is full (what is left, ${formatSize(room.free)}, is kept for metadata): make room on it, or remove volumes`,
      );
    }
    this.#bytesUntilLook = LOOK_EVERY;
    return undefined;
  }
}

/** Bytes. */
export interface Room {
  readonly free: number;
  /** Of these, what is not for data. */
  readonly kept: number;
}

export function roomOn(path: string): Room | undefined {
  try {
    const { bavail, blocks, bsize } = statfsSync(path);
    return { free: bavail * bsize, kept: Math.min(KEPT_FREE, (blocks * bsize) / 8) };
  } catch {
    return undefined;
  }
}

/** Whether somewhere under `error` the system said that the disk is full. */
export function isDiskFull(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    const { code, errno } = at as { code?: unknown; errno?: unknown };
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 28 || code === 122 || errno === 28) return true;
  }
  return false;
}

/**
 * Gives back what the data file holds of blocks that the last commit does not use. The pool is not open: nobody is about to use one.
 * Does nothing where the counts of blocks are not known to be right.
 */
export async function trimUnused({ metadata, data }: PoolParts): Promise<void> {
  const view = readOnlyView(metadata);
  const steps = checkThin(view);
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  if (step.value.fatal > 0 || !step.value.countsVerified) return;
  const opened = ThinMetadata.open(view);
  try {
    const blockSize = opened.dataBlockSize * 512;
    const nrBlocks = Math.min(opened.nrDataBlocks, Math.floor(data.size / blockSize));
    for (let begin = 0; begin < nrBlocks; ) {
      let end = begin;
      while (end < nrBlocks && opened.dataBlockCount(end) === 0) end++;
      if (end > begin) await data.discard(begin * blockSize, (end - begin) * blockSize);
      begin = end + 1;
    }
  } finally {
    opened.close();
  }
}
