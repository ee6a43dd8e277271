/** Clone metadata by its format alone (docs/format/clone.md), for comparing two images whose block numbers may differ. */
import { BLOCK_XOR, BlockImage } from '@pdata/testing';

const XOR = { superblock: 257649492, ...BLOCK_XOR } as const;

export class CloneBlocks extends BlockImage<keyof typeof XOR> {
  constructor(bytes: Uint8Array) {
    super(bytes, XOR);
  }

  setVersion(version: number): this {
    return this.put32(0, 40, version).seal(0, 'superblock');
  }

  /** Blocks of the metadata device, blocks in use, sizes: all that the superblock says but where things are. */
  superblockFigures(): number[] {
    return [44, 52, 172, 180].map((at) => this.u64(0, at));
  }

  /** The array blocks, by place; of an index of one node. */
  get #arrayBlocks(): number[] {
    const root = this.u64(0, 188);
    return Array.from({ length: this.u32(root, 16) }, (_, i) => this.u64(root, 32 + 8 * 252 + 8 * i));
  }

  /** What the array blocks hold, number and checksum aside. */
  arrayValues(): string[] {
    return this.#arrayBlocks.map(
      (nr) => Buffer.from(this.block(nr)).toString('hex', 4, 16) + Buffer.from(this.block(nr)).toString('hex', 24),
    );
  }

  /** Numbers of all blocks that the superblock leads to, ascending. */
  reachable(): number[] {
    const [index, overflow, root] = [60, 68, 188].map((at) => this.u64(0, at)) as [number, number, number];
    const nrBitmaps = Math.ceil(this.u64(0, 44) / 16320);
    const bitmaps = Array.from({ length: nrBitmaps }, (_, i) => this.u64(index, 16 + 16 * i));
    return [0, index, overflow, root, ...bitmaps, ...this.#arrayBlocks].sort((a, b) => a - b);
  }

  /** Hydrated regions, ascending. */
  hydrated(): number[] {
    const found: number[] = [];
    this.#arrayBlocks.forEach((nr, place) => {
      for (let i = 0; i < 8 * this.u32(nr, 8); i++) {
        const byte = this.block(nr)[24 + i] as number;
        for (let bit = 0; byte >>> bit !== 0; bit++) {
          if (((byte >>> bit) & 1) === 1) found.push(place * 32_576 + 8 * i + bit);
        }
      }
    });
    return found;
  }
}
