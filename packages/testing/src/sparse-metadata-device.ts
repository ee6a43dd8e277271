/** A device of any size that keeps only the blocks that were written: for layouts of devices of 16 GiB. */
import { BLOCK_SIZE, type MetadataDevice, nrBlocksOfRun } from '@pdata/device';

export class SparseMetadataDevice implements MetadataDevice {
  readonly name = 'sparse';
  readonly readOnly = false;
  readonly nrBlocks: number;
  readonly blocks = new Map<number, Uint8Array>();

  constructor(nrBlocks: number) {
    this.nrBlocks = nrBlocks;
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
      this.blocks.set(firstBlockNr + i, from.slice(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE));
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
  grow(): never {
    throw new RangeError('a sparse device has the size it has');
  }
  close(): void {}
}
