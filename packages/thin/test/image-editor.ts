/**
 * Damages metadata images on purpose: bytes, fields, counts, pointers; with the checksum left wrong, or made right again.
 *
 * Written against the format alone, with offsets of its own: a mistake in the code under test must not hide here.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { BLOCK_XOR, BlockImage } from '@pdata/testing';

/** Constants of the checksums, by kind of block. */
const { node, index, bitmap } = BLOCK_XOR;
export const XOR = { superblock: 160774, node, index, bitmap } as const;
export type BlockKind = keyof typeof XOR;

export type FixtureName = 'thin-basic' | 'thin-metasnap' | 'thin-powercut';

/** An image that a kernel wrote; the caller's own copy. */
export function fixture(name: FixtureName): Uint8Array {
  return new Uint8Array(gunzipSync(readFileSync(new URL(`./fixtures/${name}.img.gz`, import.meta.url))));
}

export interface EditedNode {
  readonly isLeaf: boolean;
  readonly max: number;
  readonly valueSize: number;
  readonly keys: readonly number[];
  /** Of each value the first eight bytes, or all if it is shorter. */
  readonly values: readonly number[];
}

export class ImageEditor extends BlockImage<BlockKind> {
  constructor(bytes: Uint8Array) {
    super(bytes, XOR);
  }

  static of(name: FixtureName): ImageEditor {
    return new ImageEditor(fixture(name));
  }

  copy(): ImageEditor {
    return new ImageEditor(this.bytes.slice());
  }

  // The superblock.
  get mappingRoot(): number {
    return this.u64(0, 320);
  }
  get detailsRoot(): number {
    return this.u64(0, 328);
  }
  get heldRoot(): number {
    return this.u64(0, 56);
  }

  /** A 64-bit field of the superblock, resealed. */
  superblock64(at: number, value: number | bigint): this {
    return this.put64(0, at, value).seal(0, 'superblock');
  }

  /** A 32-bit field of the superblock, resealed. */
  superblock32(at: number, value: number): this {
    return this.put32(0, at, value).seal(0, 'superblock');
  }

  // Nodes.
  node(blockNr: number): EditedNode {
    const [nr, max, valueSize] = [this.u32(blockNr, 16), this.u32(blockNr, 20), this.u32(blockNr, 24)];
    const entries = Array.from({ length: nr }, (_, i) => i);
    return {
      isLeaf: (this.u32(blockNr, 4) & 2) !== 0,
      max,
      valueSize,
      keys: entries.map((i) => this.u64(blockNr, 32 + 8 * i)),
      values: entries.map((i) => {
        const at = this.valueAt(blockNr, i);
        return valueSize < 8 ? this.u32(blockNr, at) : this.u64(blockNr, at);
      }),
    };
  }

  keyAt(index: number): number {
    return 32 + 8 * index;
  }

  valueAt(blockNr: number, index: number): number {
    return 32 + 8 * this.u32(blockNr, 20) + this.u32(blockNr, 24) * index;
  }

  /** Writes a node of 8-byte values, resealed. */
  putNode(blockNr: number, node: { isLeaf: boolean; entries: readonly (readonly [number, number | bigint])[] }): this {
    this.block(blockNr).fill(0);
    this.put32(blockNr, 4, node.isLeaf ? 2 : 1).put64(blockNr, 8, blockNr);
    this.put32(blockNr, 16, node.entries.length).put32(blockNr, 20, 252).put32(blockNr, 24, 8);
    node.entries.forEach(([key, value], i) => {
      this.put64(blockNr, this.keyAt(i), key).put64(blockNr, this.valueAt(blockNr, i), value);
    });
    return this.seal(blockNr, 'node');
  }

  /** Leaves below `root`, in order. */
  leaves(root: number): number[] {
    const { isLeaf, values } = this.node(root);
    return isLeaf ? [root] : values.flatMap((child) => this.leaves(child));
  }

  // Space maps.
  spaceMap(kind: 'data' | 'metadata') {
    const at = kind === 'data' ? 64 : 192;
    return {
      at,
      nrBlocks: this.u64(0, at),
      nrAllocated: this.u64(0, at + 8),
      bitmapRoot: this.u64(0, at + 16),
      refCountRoot: this.u64(0, at + 24),
    };
  }

  bitmapOf(kind: 'data' | 'metadata', blockNr: number): number {
    const { bitmapRoot } = this.spaceMap(kind);
    const at = Math.floor(blockNr / 16320);
    if (kind === 'metadata') return this.u64(bitmapRoot, 16 + 16 * at);
    return this.leaves(bitmapRoot).flatMap((leaf) => this.node(leaf).values)[at] as number;
  }

  /** The pair of `blockNr` as a count: 0, 1, 2, or 3 for more. */
  pair(kind: 'data' | 'metadata', blockNr: number): number {
    const byte = this.block(this.bitmapOf(kind, blockNr))[16 + Math.floor((blockNr % 16320) / 4)] as number;
    const raw = (byte >> (2 * (blockNr % 4))) & 3;
    return ((raw & 1) << 1) | (raw >> 1);
  }

  /** Sets the pair of `blockNr`, resealed; hints and the tree of large counts stay as they are. */
  setPair(kind: 'data' | 'metadata', blockNr: number, count: number): this {
    const bitmap = this.bitmapOf(kind, blockNr);
    const at = 16 + Math.floor((blockNr % 16320) / 4);
    const shift = 2 * (blockNr % 4);
    const raw = ((count & 1) << 1) | (count >> 1);
    const block = this.block(bitmap);
    block[at] = ((block[at] as number) & ~(3 << shift)) | (raw << shift);
    return this.seal(bitmap, 'bitmap');
  }

  /** Blocks of the metadata device with a count of 1 or more. */
  allocated(): number[] {
    return Array.from({ length: this.spaceMap('metadata').nrBlocks }, (_, nr) => nr).filter(
      (nr) => this.pair('metadata', nr) !== 0,
    );
  }
}
