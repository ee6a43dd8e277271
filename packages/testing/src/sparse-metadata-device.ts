/**
 * A metadata device of any size that keeps only the blocks that were written: devices of 16 GiB, and their growth, can be tested
 * without the memory for them. A block never written reads as zeros.
 */
import { BLOCK_SIZE, type MetadataDevice, nrBlocksOfRun } from '@pdata/device';

export class SparseMetadataDevice implements MetadataDevice {
  readonly name = 'sparse';
  readonly readOnly = false;
  readonly blocks = new Map<number, Uint8Array>();
  #nrBlocks: number;

  constructor(nrBlocks: number) {
    this.#nrBlocks = nrBlocks;
  }

  get nrBlocks(): number {
    return this.#nrBlocks;
  }

  read(firstBlockNr: number, into: Uint8Array): void {
    const nr = nrBlocksOfRun(this, 'read', firstBlockNr, into);
    for (let i = 0; i < nr; i++) {
      const block = this.blocks.get(firstBlockNr + i);
      if (block === undefined) into.fill(0, i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
      else into.set(block, i * BLOCK_SIZE);
    }
  }

  write(firstBlockNr: number, from: Uint8Array): void {
    const nr = nrBlocksOfRun(this, 'write', firstBlockNr, from);
    for (let i = 0; i < nr; i++) {
      // A copy: slice() of a Buffer would be none.
      this.blocks.set(firstBlockNr + i, new Uint8Array(from.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE)));
    }
  }

  /** The medium from its start to the last block written. */
  get bytes(): Uint8Array {
    const bytes = new Uint8Array((Math.max(...this.blocks.keys()) + 1) * BLOCK_SIZE);
    for (const [nr, block] of this.blocks) bytes.set(block, nr * BLOCK_SIZE);
    return bytes;
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
    for (const [nr, bytes] of this.blocks) copy.blocks.set(nr, bytes.slice());
    return copy;
  }
}
