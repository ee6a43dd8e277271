/**
 * Reads tree nodes for a dump: each is validated as it is read, and each leaf is read once.
 *
 * Internal nodes are few and met again by every device that shares them, so they stay in a small cache. Leaves are many and
 * met once; up to 252 of them, the children of one internal node, are read together: sorted by block number, neighbours on
 * the device in one request. Both kinds of block are views of memory allocated once.
 *
 * What a node says of itself is checked by its validator. How it fits between its neighbours is checked here, because a
 * dump that prints a leaf in the wrong place would be wrong without anybody noticing: its keys must lie in the range its
 * parent gives it. That also bounds the walk of a hostile image: ranges are disjoint, so no node is met twice in a tree.
 *
 * Format: docs/format/btree.md, sections 1 and 2.
 */
import { BLOCK_SIZE, CorruptBlockError } from '@pdata/device';
import {
  Block,
  isLeaf,
  keyAt,
  MAX_METADATA_BLOCKS,
  maxEntries,
  nodeValidator,
  nrEntries,
  valueSize,
} from '@pdata/persistent-data';
import type { BlockSource } from './forgiving-source.js';

/** 2 MiB of nodes. Slots are chosen by block number; a collision costs a read, nothing else. */
const NR_CACHED = 512;
/** Children of one internal node: (4096 - 32) / 16 is the most that fit, 252 what the kernel puts there. */
export const MAX_CHILDREN = 254;

const MAPPING_SIZE = 8;

export class NodeReader {
  /** Blocks that can hold metadata: on a device that is larger than the format can use, no more than that. */
  readonly nrBlocks: number;
  readonly #device: BlockSource;
  readonly #cached: (Block | undefined)[] = new Array(NR_CACHED).fill(undefined);
  #slab: Uint8Array | undefined;
  readonly #slots: Block[] = [];
  readonly #order = new Float64Array(MAX_CHILDREN);

  constructor(device: BlockSource) {
    this.#device = device;
    this.nrBlocks = Math.min(device.nrBlocks, MAX_METADATA_BLOCKS);
  }

  /** A validated node. Valid until another node is read; to keep more, copy it. @throws {@link CorruptBlockError} */
  node(blockNr: number): Block {
    const slot = blockNr % NR_CACHED;
    let block = this.#cached[slot];
    if (block?.nr === blockNr) return block;
    block ??= new Block(new Uint8Array(BLOCK_SIZE), -1);
    this.#cached[slot] = block;
    block.nr = -1; // should the read or the check fail, nothing valid is here
    this.#device.read(blockNr, block.bytes);
    block.nr = blockNr;
    try {
      nodeValidator.check(block);
    } catch (error) {
      block.nr = -1;
      throw error;
    }
    return block;
  }

  /**
   * Reads `nr` leaves of a mapping tree, given in any order; `leaf(i)` then validates and returns the i-th.
   * All must be block numbers on the device, `nr` at most {@link MAX_CHILDREN}.
   */
  readLeaves(blockNrs: ArrayLike<number>, nr: number): void {
    this.#slab ??= new Uint8Array(MAX_CHILDREN * BLOCK_SIZE);
    const slab = this.#slab;
    // Block number and index in one sortable number: 2^44 x 2^8 stays below 2^53.
    const order = this.#order;
    for (let i = 0; i < nr; i++) order[i] = (blockNrs[i] as number) * 256 + i;
    const sorted = order.subarray(0, nr).sort();
    for (let from = 0; from < nr; ) {
      const first = Math.floor((sorted[from] as number) / 256);
      let to = from + 1;
      while (to < nr && Math.floor((sorted[to] as number) / 256) === first + (to - from)) to++;
      this.#device.read(first, slab.subarray(from * BLOCK_SIZE, to * BLOCK_SIZE));
      for (let at = from; at < to; at++) this.#placeOf[(sorted[at] as number) % 256] = at;
      from = to;
    }
    for (let at = this.#slots.length; at < nr; at++) {
      this.#slots.push(new Block(slab.subarray(at * BLOCK_SIZE, (at + 1) * BLOCK_SIZE), -1));
    }
    for (let i = 0; i < nr; i++) (this.#slots[this.#placeOf[i] as number] as Block).nr = blockNrs[i] as number;
  }
  readonly #placeOf = new Uint8Array(256);

  /** Leaf `i` of the last `readLeaves`, whose keys must lie in low..high (exclusive). @throws {@link CorruptBlockError} */
  leaf(i: number, low: number, high: number): Block {
    const block = this.#slots[this.#placeOf[i] as number] as Block;
    nodeValidator.check(block);
    requireMappingLeaf(block);
    requireRange(block, low, high);
    return block;
  }
}

/** Refuses what is no leaf of 8-byte values. */
export function requireMappingLeaf(node: Block): void {
  requireLeafOf(node, MAPPING_SIZE);
}

export function requireLeafOf(node: Block, size: number): void {
  if (!isLeaf(node)) throw corruptNode(node.nr, 'flags', '1 (internal)', '2 (leaf), as all its siblings and cousins');
  if (valueSize(node) !== size) throw corruptNode(node.nr, 'valueSize', valueSize(node), size);
}

/** Refuses a node with keys outside low..high (exclusive). */
export function requireRange(node: Block, low: number, high: number): void {
  const nr = nrEntries(node);
  if (nr === 0) return;
  const first = keyAt(node, 0);
  const last = keyAt(node, nr - 1);
  if (first < low) throw corruptNode(node.nr, 'key 0', first, `at least ${low}, its key in the parent`);
  if (last >= high) throw corruptNode(node.nr, `key ${nr - 1}`, last, `below ${high}, the next key in the parent`);
}

/** Refuses a pointer that leaves the device, or names the superblock. */
export function requireChild(parentNr: number, index: number, childNr: number, nrBlocks: number): void {
  if (childNr >= 1 && childNr < nrBlocks) return;
  throw corruptNode(parentNr, `child ${index}`, childNr, `a block from 1 to ${nrBlocks - 1}`);
}

export function corruptNode(
  blockNr: number,
  field: string,
  found: number | string,
  expected: number | string,
): CorruptBlockError {
  return new CorruptBlockError({ structure: 'btree node', blockNr, field, found, expected });
}

/** Byte offset of a leaf's first value: behind the room for its keys. */
export const mappingValuesOffset = (leaf: Block): number => 32 + 8 * maxEntries(leaf);
