/**
 * Clone metadata as a reader finds it who knows the format alone (docs/format/clone.md), and an editor to damage it with. Decodes
 * everything by itself, with offsets of its own: a mistake in the code under test must not hide here.
 */
import { BLOCK_SIZE } from '@pdata/device';
import { BLOCK_XOR, BlockImage } from '@pdata/testing';
import { expect } from 'vitest';
import { checkClone } from '../src/maintenance/check/clone-check.js';

export const XOR = { superblock: 257649492, ...BLOCK_XOR } as const;
export type BlockKind = keyof typeof XOR;

/** Byte offsets of the superblock's fields. */
export const SB = { magic: 32, version: 40, spaceMap: 44, regionSize: 172, targetSize: 180, bitsetRoot: 188 } as const;

export class CloneImage extends BlockImage<BlockKind> {
  constructor(bytes: Uint8Array) {
    super(bytes, XOR);
  }

  copy(): CloneImage {
    return new CloneImage(this.bytes.slice());
  }

  get regionSize(): number {
    return this.u64(0, SB.regionSize);
  }
  get targetSize(): number {
    return this.u64(0, SB.targetSize);
  }
  get nrRegions(): number {
    return Math.ceil(this.targetSize / this.regionSize);
  }
  get bitsetRoot(): number {
    return this.u64(0, SB.bitsetRoot);
  }
  get spaceMap() {
    const [nrBlocks, nrAllocated, indexBlock, overflowRoot] = [0, 8, 16, 24].map((at) => this.u64(0, SB.spaceMap + at));
    return { nrBlocks, nrAllocated, indexBlock, overflowRoot } as Record<
      'nrBlocks' | 'nrAllocated' | 'indexBlock' | 'overflowRoot',
      number
    >;
  }
  get bitmaps(): number[] {
    const { nrBlocks, indexBlock } = this.spaceMap;
    return Array.from({ length: Math.ceil(nrBlocks / 16320) }, (_, i) => this.u64(indexBlock, 16 + 16 * i));
  }

  /** Nodes of the index below `root`, top down, and the array blocks in order. */
  bitset(root = this.bitsetRoot): { nodes: number[]; arrayBlocks: number[] } {
    const nr = this.u32(root, 16);
    const max = this.u32(root, 20);
    const values = Array.from({ length: nr }, (_, i) => this.u64(root, 32 + 8 * max + 8 * i));
    if (this.u32(root, 4) === 2) return { nodes: [root], arrayBlocks: values };
    const below = values.map((child) => this.bitset(child));
    return { nodes: [root, ...below.flatMap(({ nodes }) => nodes)], arrayBlocks: below.flatMap((b) => b.arrayBlocks) };
  }

  /** Hydrated regions, ascending. */
  hydrated(): number[] {
    const found: number[] = [];
    const { nrRegions } = this;
    this.bitset().arrayBlocks.forEach((blockNr, place) => {
      const bytes = this.block(blockNr);
      const nrBytes = 8 * this.u32(blockNr, 8);
      for (let i = 0; i < nrBytes; i++) {
        const byte = bytes[24 + i] as number;
        for (let bit = 0; byte >>> bit !== 0; bit++) {
          const regionNr = place * 32576 + 8 * i + bit;
          if (((byte >>> bit) & 1) === 1 && regionNr < nrRegions) found.push(regionNr);
        }
      }
    });
    return found;
  }

  /** The count of a block: 0 to 3. */
  count(blockNr: number): number {
    const bitmap = this.bitmaps[Math.floor(blockNr / 16320)] as number;
    const raw = ((this.block(bitmap)[16 + ((blockNr % 16320) >>> 2)] as number) >>> (2 * (blockNr & 3))) & 3;
    return ((raw & 1) << 1) | (raw >>> 1);
  }

  /** Sets a count, resealed; hints stay as they are. */
  setCount(blockNr: number, count: number): this {
    const bitmap = this.bitmaps[Math.floor(blockNr / 16320)] as number;
    const at = 16 + ((blockNr % 16320) >>> 2);
    const shift = 2 * (blockNr & 3);
    const block = this.block(bitmap);
    block[at] = ((block[at] as number) & ~(3 << shift)) | ((((count & 1) << 1) | (count >>> 1)) << shift);
    return this.seal(bitmap, 'bitmap');
  }

  /** Allocates free blocks that nothing will refer to, figures and all: what a lost commit would leave, were there any. */
  leak(...blockNrs: readonly number[]): this {
    const { indexBlock } = this.spaceMap;
    for (const blockNr of blockNrs) {
      this.setCount(blockNr, 1);
      const at = 24 + 16 * Math.floor(blockNr / 16320);
      this.put32(indexBlock, at, this.u32(indexBlock, at) - 1).seal(indexBlock, 'index');
      this.superblock64(SB.spaceMap + 8, this.u64(0, SB.spaceMap + 8) + 1);
    }
    return this;
  }

  superblock64(at: number, value: number | bigint): this {
    return this.put64(0, at, value).seal(0, 'superblock');
  }

  superblock32(at: number, value: number): this {
    return this.put32(0, at, value).seal(0, 'superblock');
  }

  /** Blocks that are reachable from the superblock, itself included: each exactly once. */
  reachable(): number[] {
    const { indexBlock, overflowRoot } = this.spaceMap;
    const { nodes, arrayBlocks } = this.bitset();
    return [0, indexBlock, overflowRoot, ...this.bitmaps, ...nodes, ...arrayBlocks].sort((a, b) => a - b);
  }
}

/**
 * Fails unless the metadata on a medium is sound: sealed blocks, lengths of arrays, a count of 1 for each reachable block and 0 for
 * every other, the figures of the superblock and the index; and unless our own check says so, too.
 */
export function expectSound(medium: { readonly bytes: Uint8Array }, about = 'image'): CloneImage {
  const image = new CloneImage(medium.bytes);
  const problems: string[] = [];
  const demand = (holds: boolean, problem: string): void => {
    if (!holds && problems.length < 10) problems.push(problem);
  };
  const kinds = (numbers: readonly number[], kind: BlockKind, homeAt: number): void => {
    for (const nr of numbers) {
      demand(image.kindOf(nr) === kind, `block ${nr} is no sealed ${kind}`);
      demand(image.u64(nr, homeAt) === nr, `block ${nr} says it is ${image.u64(nr, homeAt)}`);
    }
  };
  const { nrBlocks, nrAllocated, indexBlock, overflowRoot } = image.spaceMap;
  kinds([0], 'superblock', 8);
  demand(image.u64(0, SB.magic) === 0x8af27f64 && image.u32(0, SB.version) === 1, 'magic or version');
  demand(
    image.bytes.subarray(196, BLOCK_SIZE).every((byte) => byte === 0),
    'the superblock behind its fields is not zero',
  );
  const { nodes, arrayBlocks } = image.bitset();
  kinds([indexBlock], 'index', 8);
  kinds(image.bitmaps, 'bitmap', 8);
  kinds([overflowRoot, ...nodes], 'node', 8);
  kinds(arrayBlocks, 'array', 16);
  demand(image.u32(overflowRoot, 16) === 0, 'the reference-count tree is not empty');
  const nrWords = Math.ceil(image.nrRegions / 64);
  demand(arrayBlocks.length === Math.ceil(nrWords / 509), `${arrayBlocks.length} array blocks for ${nrWords} words`);
  arrayBlocks.forEach((nr, place) => {
    const fields = [4, 8, 12].map((at) => image.u32(nr, at));
    const due = Math.min(509, nrWords - 509 * place);
    demand(String(fields) === `509,${due},8`, `array block ${nr} has max, nr, size ${fields}, expected 509,${due},8`);
  });
  const reachable = image.reachable();
  demand(new Set(reachable).size === reachable.length, 'a block is reachable twice');
  demand(nrAllocated === reachable.length, `nrAllocated is ${nrAllocated}, but ${reachable.length} are reachable`);
  const wanted = new Set(reachable);
  for (let nr = 0; nr < nrBlocks; nr++) {
    const expected = wanted.has(nr) ? 1 : 0;
    if (image.count(nr) !== expected) demand(false, `block ${nr} has a count of ${image.count(nr)}, not ${expected}`);
  }
  image.bitmaps.forEach((_, at) => {
    const used = reachable.filter((nr) => Math.floor(nr / 16320) === at).map((nr) => nr % 16320);
    const [nrFree, noneFreeBefore] = [image.u32(indexBlock, 24 + 16 * at), image.u32(indexBlock, 28 + 16 * at)];
    demand(nrFree === 16320 - used.length, `bitmap ${at}: nrFree is ${nrFree} with ${used.length} in use`);
    const usedSet = new Set(used);
    for (let entry = 0; entry < noneFreeBefore; entry++) {
      if (!usedSet.has(entry)) demand(false, `bitmap ${at}: entry ${entry} is free, below noneFreeBefore`);
    }
  });
  expect(problems, about).toEqual([]);
  const check = checkClone(image.device({ readOnly: true }));
  const findings: unknown[] = [];
  for (;;) {
    const step = check.next();
    if (!step.done) {
      findings.push(step.value);
      continue;
    }
    expect(findings, `${about}: what checkClone says`).toEqual([]);
    expect(step.value.notices, about).toEqual([]);
    expect(step.value.countsVerified, about).toBe(true);
    expect(step.value.nrHydrated, about).toBe(image.hydrated().length);
    return image;
  }
}
