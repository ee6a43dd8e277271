/**
 * A metadata device in memory that keeps only the blocks that were written: devices of the largest size, and their growth,
 * can be tested without the memory for them. A block never written reads as zeros.
 */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';

export class SparseMetadataDevice implements MetadataDevice {
  readonly name = 'sparse';
  readonly readOnly = false;
  readonly #blocks = new Map<number, Uint8Array>();
  #nrBlocks: number;

  constructor(nrBlocks: number) {
    this.#nrBlocks = nrBlocks;
  }

  get nrBlocks(): number {
    return this.#nrBlocks;
  }

  /** Blocks that take memory. */
  get nrWritten(): number {
    return this.#blocks.size;
  }

  read(firstBlockNr: number, into: Uint8Array): void {
    this.#refuseOutside(firstBlockNr, into);
    for (let at = 0; at < into.length; at += BLOCK_SIZE) {
      const block = this.#blocks.get(firstBlockNr + at / BLOCK_SIZE);
      if (block === undefined) into.fill(0, at, at + BLOCK_SIZE);
      else into.set(block, at);
    }
  }

  write(firstBlockNr: number, from: Uint8Array): void {
    this.#refuseOutside(firstBlockNr, from);
    for (let at = 0; at < from.length; at += BLOCK_SIZE) {
      this.#blocks.set(firstBlockNr + at / BLOCK_SIZE, new Uint8Array(from.subarray(at, at + BLOCK_SIZE)));
    }
  }

  flush(): void {}

  async flushAsync(): Promise<void> {}

  grow(nrBlocks: number): void {
    if (nrBlocks < this.#nrBlocks) throw new RangeError('devices do not shrink');
    this.#nrBlocks = nrBlocks;
  }

  close(): void {}

  /** An independent device with the same content: what a crash now would leave, if nothing were in doubt. */
  copy(): SparseMetadataDevice {
    const copy = new SparseMetadataDevice(this.#nrBlocks);
    for (const [nr, bytes] of this.#blocks) copy.#blocks.set(nr, bytes.slice());
    return copy;
  }

  #refuseOutside(firstBlockNr: number, bytes: Uint8Array): void {
    const nr = bytes.length / BLOCK_SIZE;
    if (Number.isInteger(firstBlockNr) && firstBlockNr >= 0 && firstBlockNr + nr <= this.#nrBlocks) return;
    throw new RangeError(`blocks ${firstBlockNr} to ${firstBlockNr + nr} are not all on the device`);
  }
}
