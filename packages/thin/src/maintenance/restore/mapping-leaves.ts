/**
 * Turns the mappings of a device, or of a part that devices share (`def`), into leaves.
 *
 * Leaves are filled from left to right; the last two are evened out, so that none is under a third, which the format demands
 * of all nodes but a root (docs/format/btree.md, section 2). Leaves of shared parts are adopted as they are, which is what
 * keeps them shared. Where that would leave a leaf too small beside others, what is small is joined to its neighbour, and
 * if the neighbour was shared, to a copy of it:
 *
 *     a small rest before a shared leaf      the leaf's entries are copied behind the rest
 *     a small shared leaf among others       its entries are copied
 *     a small rest at the end                the leaf before it is taken back, or its entries copied, and evened out with it
 *
 * A dump of metadata that the kernel wrote is made of whole leaves, so none of that happens there.
 *
 * How often a leaf is used is only noted here (`nrUses`); reference counts are settled when all devices are known.
 */
import { BLOCK_SIZE } from '@pdata/device';
import { Block, keyAt, maxEntriesFor, nodeValidator, nrEntries, type TransactionManager } from '@pdata/persistent-data';
import type { DataCounts } from './data-counts.js';

const MAPPING_SIZE = 8;
const MAX_ENTRIES = maxEntriesFor(MAPPING_SIZE);
const MIN_ENTRIES = MAX_ENTRIES / 3;
const KEYS_AT = 32;
const VALUES_AT = KEYS_AT + 8 * MAX_ENTRIES;
const LEAF = 2;

/** A finished leaf. */
export interface MappingLeaf {
  readonly blockNr: number;
  readonly nr: number;
  /** -1 when the leaf is empty. */
  readonly firstKey: number;
  readonly lastKey: number;
  /** Whether it belongs to a part that devices may share. */
  readonly inDef: boolean;
  /** Parents that point at it. */
  nrUses: number;
}

interface Member {
  readonly leaf: MappingLeaf;
  /** Written for this part, and nobody else's so far. */
  readonly own: boolean;
}

export class MappingLeaves {
  readonly #tm: TransactionManager;
  readonly #counts: DataCounts;
  readonly #inDef: boolean;
  /** The leaf being filled, and the full one before it. */
  #filling = emptyLeaf();
  #before = emptyLeaf();
  #nrFilling = 0;
  #nrBefore = 0;
  #members: Member[] = [];
  /** The only member so far is too small to have neighbours. */
  #hasSmallMember = false;
  /** The highest virtual block so far, -1 at the beginning. */
  lastKey = -1;
  /** Mappings so far. */
  nrMappings = 0;

  /** `inDef`: the leaves are those of a part, not of a device. */
  constructor(tm: TransactionManager, counts: DataCounts, inDef: boolean) {
    this.#tm = tm;
    this.#counts = counts;
    this.#inDef = inDef;
  }

  /** `length` mappings; `origin` must be above `lastKey`, the data blocks within the counts. */
  add(origin: number, data: number, length: number, time: number): void {
    if (this.#hasSmallMember) this.#takeBack();
    for (let i = 0; i < length; i++) this.#put(origin + i, data + i, time);
    this.#counts.inc(data, length);
    this.lastKey = origin + length - 1;
    this.nrMappings += length;
  }

  /** The leaves of a shared part; their keys must be above `lastKey`. */
  adopt(leaves: readonly MappingLeaf[]): void {
    for (const leaf of leaves) {
      if (this.#hasSmallMember) this.#takeBack();
      const isAlone = this.#members.length === 0 && this.#nrPending === 0;
      const isSmall = leaf.nr < MIN_ENTRIES;
      if (isSmall && isAlone) this.#hasSmallMember = true;
      if ((isSmall && !isAlone) || (this.#nrPending > 0 && this.#nrPending < MIN_ENTRIES)) {
        this.#copyEntries(leaf, true);
      } else {
        this.#writePending();
        this.#members.push({ leaf, own: false });
      }
      if (leaf.nr > 0) this.lastKey = leaf.lastKey;
      this.nrMappings += leaf.nr;
    }
  }

  /** All leaves, in order; one that is empty when there is no mapping. The object starts anew. */
  finish(): readonly MappingLeaf[] {
    if (this.#nrPending > 0 && this.#nrPending < MIN_ENTRIES && this.#members.length > 0) this.#takeBack();
    this.#writePending();
    const leaves = this.#members.map(({ leaf }) => leaf);
    if (leaves.length === 0) leaves.push(this.#write(this.#filling, 0));
    this.#members = [];
    this.#hasSmallMember = false;
    this.lastKey = -1;
    this.nrMappings = 0;
    return leaves;
  }

  get #nrPending(): number {
    return this.#nrBefore + this.#nrFilling;
  }

  /** Adds an entry without counting anything. */
  #put(key: number, data: number, time: number): void {
    if (this.#nrFilling === MAX_ENTRIES) this.#nextLeaf();
    const { view } = this.#filling;
    const at = KEYS_AT + 8 * this.#nrFilling++;
    view.setUint32(at, key, true);
    view.setUint32(at + 4, key / 0x100000000, true);
    view.setUint32(at + 8 * MAX_ENTRIES, ((data & 0xff) << 24) | time, true);
    view.setUint32(at + 8 * MAX_ENTRIES + 4, data / 256, true);
  }

  #nextLeaf(): void {
    if (this.#nrBefore > 0) this.#members.push({ leaf: this.#write(this.#before, this.#nrBefore), own: true });
    const written = this.#before;
    this.#before = this.#filling;
    this.#nrBefore = this.#nrFilling;
    this.#filling = written;
    this.#nrFilling = 0;
  }

  /** Writes what is in memory as one or two leaves. */
  #writePending(): void {
    if (this.#nrBefore > 0 && this.#nrFilling < MIN_ENTRIES) this.#evenOut();
    if (this.#nrBefore > 0) this.#members.push({ leaf: this.#write(this.#before, this.#nrBefore), own: true });
    if (this.#nrFilling > 0) this.#members.push({ leaf: this.#write(this.#filling, this.#nrFilling), own: true });
    this.#nrBefore = 0;
    this.#nrFilling = 0;
  }

  /** Moves entries from the full leaf to the small one after it. */
  #evenOut(): void {
    const moved = this.#nrBefore - Math.ceil((this.#nrBefore + this.#nrFilling) / 2);
    for (const at of [KEYS_AT, VALUES_AT]) {
      const bytes = this.#filling.bytes;
      bytes.copyWithin(at + 8 * moved, at, at + 8 * this.#nrFilling);
      bytes.set(this.#before.bytes.subarray(at + 8 * (this.#nrBefore - moved), at + 8 * this.#nrBefore), at);
    }
    this.#nrBefore -= moved;
    this.#nrFilling += moved;
  }

  /** Makes the last member's entries pending again, before what is pending (less than a leaf). */
  #takeBack(): void {
    const { leaf, own } = this.#members.pop() as Member;
    this.#hasSmallMember = false;
    const [rest, nrRest] = [this.#filling, this.#nrFilling];
    this.#filling = this.#before;
    this.#nrFilling = 0;
    this.#before = rest;
    this.#copyEntries(leaf, !own);
    if (own) this.#tm.dec(leaf.blockNr);
    if (nrRest === 0) return;
    // Now: filling holds the member, before the rest. The rest follows it.
    this.#before = this.#filling;
    this.#nrBefore = this.#nrFilling;
    this.#filling = rest;
    this.#nrFilling = nrRest;
    if (this.#nrBefore + nrRest <= MAX_ENTRIES) this.#join();
  }

  /** Puts both pending leaves into one. */
  #join(): void {
    for (const at of [KEYS_AT, VALUES_AT]) {
      this.#before.bytes.set(this.#filling.bytes.subarray(at, at + 8 * this.#nrFilling), at + 8 * this.#nrBefore);
    }
    const joined = this.#before;
    this.#before = this.#filling;
    this.#filling = joined;
    this.#nrFilling += this.#nrBefore;
    this.#nrBefore = 0;
  }

  /** Adds a leaf's entries; `counted` when its data blocks are thereby referred to once more. */
  #copyEntries({ blockNr }: MappingLeaf, counted: boolean): void {
    // Copied first: a full leaf may have to be written meanwhile, which may take this block's place in the cache.
    const leaf = this.#tm.read(blockNr, nodeValidator);
    const nr = nrEntries(leaf);
    const entries = Array.from({ length: nr }, (_, i) => {
      const at = VALUES_AT + 8 * i;
      const low = leaf.view.getUint32(at, true);
      return [keyAt(leaf, i), leaf.view.getUint32(at + 4, true) * 256 + (low >>> 24), low & 0xffffff] as const;
    });
    for (const [key, data, time] of entries) {
      this.#put(key, data, time);
      if (counted) this.#counts.inc(data, 1);
    }
  }

  #write(leaf: Block, nr: number): MappingLeaf {
    leaf.view.setUint32(16, nr, true);
    const block = this.#tm.newBlock(nodeValidator);
    block.bytes.set(leaf.bytes);
    const isEmpty = nr === 0;
    return {
      blockNr: block.nr,
      nr,
      firstKey: isEmpty ? -1 : keyAt(leaf, 0),
      lastKey: isEmpty ? -1 : keyAt(leaf, nr - 1),
      inDef: this.#inDef,
      nrUses: 0,
    };
  }
}

/** Takes back the references a leaf gives to data blocks: nobody uses it after all. */
export function forgetLeaf(tm: TransactionManager, counts: DataCounts, { blockNr }: MappingLeaf): void {
  const leaf = tm.read(blockNr, nodeValidator);
  for (let i = 0, at = VALUES_AT; i < nrEntries(leaf); i++, at += 8) {
    counts.dec(leaf.view.getUint32(at + 4, true) * 256 + (leaf.view.getUint32(at, true) >>> 24));
  }
  tm.dec(blockNr);
}

function emptyLeaf(): Block {
  const block = new Block(new Uint8Array(BLOCK_SIZE), 0);
  block.view.setUint32(4, LEAF, true);
  block.view.setUint32(20, MAX_ENTRIES, true);
  block.view.setUint32(24, MAPPING_SIZE, true);
  return block;
}
