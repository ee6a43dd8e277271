/**
 * A B+tree of page nodes: keys of any one size, values of any length, shared and copied like the kernel's trees.
 *
 * One descent a change. A node without room for what may come is split before it is entered, a node less than a third full is
 * joined or evened out with a neighbour before something is removed below it: nothing climbs back up. An entry that goes to the
 * very end of a full leaf opens a new one, so that keys in ascending order leave full leaves behind.
 *
 * Values that do not fit a node are in chains (overflow.ts), each leaf entry one reference. What a value refers to besides, units
 * of space maps, is the owner's business: `hooks`.
 *
 * Format: docs/format/store.md, section 5.
 */
import { CorruptBlockError, StoreError } from '@pdata/device';
import { type Block, corrupt, setU64At } from '../block/block.js';
import { MAX_DEPTH } from '../btree/node.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { readChain, releaseChain, writeChain } from './overflow.js';
import {
  appendFrom,
  chainOffset,
  closePageEntry,
  entryOffset,
  entrySize,
  initPage,
  isKeyAt,
  isPageLeaf,
  leafEntrySize,
  maxInline,
  nrPageEntries,
  openPageEntry,
  PAGE_CAPACITY,
  PAGE_INTERNAL,
  PAGE_LEAF,
  type Place,
  pageChildAt,
  pageFloor,
  pageFree,
  pageKeySize,
  pageValidator,
  placeOf,
  setPageChildAt,
  writeKey,
  writeLeafEntry,
} from './page-node.js';

/** What a value refers to besides its own chain; for values that are in the node. */
export interface ValueHooks {
  /** The value at `at` exists once more: its leaf was copied while others still read it. */
  inc(view: DataView, at: number): void;
  dec(view: DataView, at: number): void;
}

export class PageTree {
  readonly tm: TransactionManager;
  readonly keySize: number;
  readonly hooks: ValueHooks | undefined;
  root: number;
  /** @internal Set by `locate`. */
  index = 0;
  readonly #place: Place = { at: 0, length: 0, chain: 0 };

  constructor(tm: TransactionManager, keySize: number, root: number, hooks?: ValueHooks) {
    this.tm = tm;
    this.keySize = keySize;
    this.root = root;
    this.hooks = hooks;
  }

  static create(tm: TransactionManager, keySize: number, hooks?: ValueHooks): PageTree {
    const leaf = tm.newBlock(pageValidator);
    initPage(leaf, PAGE_LEAF, keySize);
    return new PageTree(tm, keySize, leaf.nr, hooks);
  }

  /** The leaf responsible for `key`; `index` is its last entry with a key ≤ `key`, or -1. Valid until the next call. */
  locate(key: DataView): Block {
    let nr = this.root;
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const node = this.read(nr);
      const index = pageFloor(node, key);
      if (isPageLeaf(node)) {
        this.index = index;
        return node;
      }
      nr = pageChildAt(node, Math.max(index, 0));
    }
    return this.refuseDepth();
  }

  has(key: DataView): boolean {
    const leaf = this.locate(key);
    return isKeyAt(leaf, this.index, key);
  }

  /** Calls `decode` with the value under `key`, where it lies; undefined when there is none. */
  lookup<V>(key: DataView, decode: (view: DataView, at: number, length: number) => V): V | undefined {
    const leaf = this.locate(key);
    return isKeyAt(leaf, this.index, key) ? this.valueAt(leaf, this.index, decode) : undefined;
  }

  /** The value of entry `index` of `leaf`. */
  valueAt<V>(leaf: Block, index: number, decode: (view: DataView, at: number, length: number) => V): V {
    const { at, length, chain } = placeOf(leaf, index, this.#place);
    const bytes = chain === 0 ? undefined : readChain(this.tm, chain, length);
    try {
      return bytes === undefined ? decode(leaf.view, at, length) : decode(new DataView(bytes.buffer), 0, length);
    } catch (error) {
      if (error instanceof StoreError) throw error;
      // A checksum does not vouch for what was encoded.
      return corrupt(
        { nr: chain === 0 ? leaf.nr : chain },
        'value',
        `content (${(error as Error).message})`,
        'unreadable',
        'an encoded value',
      );
    }
  }

  /** Stores `value` under `key`; true when the key is new. The tree takes over what the value refers to. */
  insert(key: DataView, value: Uint8Array): boolean {
    const { tm, keySize } = this;
    // The chain first: writing it may evict what a descent has found.
    const isInline = value.length <= maxInline(keySize);
    const chain = isInline ? 0 : writeChain(tm, value);
    const inline = isInline ? value : undefined;
    return tm.blocks.hold(() => {
      const leaf = this.#descendToInsert(key, leafEntrySize(keySize, inline));
      const isNew = !isKeyAt(leaf, this.index, key);
      if (!isNew) {
        this.#release(leaf, this.index);
        closePageEntry(leaf, this.index--);
      }
      const at = openPageEntry(leaf, this.index + 1, leafEntrySize(keySize, inline));
      writeLeafEntry(leaf, at, key, inline, value.length, chain);
      return isNew;
    });
  }

  /** False when the key is not there; nothing is changed then. */
  remove(key: DataView): boolean {
    if (!this.has(key)) return false;
    return this.tm.blocks.hold(() => {
      const leaf = this.#descendToRemove(key);
      this.#release(leaf, this.index);
      closePageEntry(leaf, this.index);
      return true;
    });
  }

  /** Gives back every block and value that nobody else reads. The tree must not be used afterwards. */
  delete(): void {
    const { tm } = this;
    const pending: { nr: number; depth: number }[] = [{ nr: this.root, depth: 0 }];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { nr, depth } = next;
      if (depth >= MAX_DEPTH) this.refuseDepth();
      tm.blocks.hold(() => {
        if (!tm.spaceMap.isShared(nr)) {
          const node = this.read(nr);
          for (let i = nrPageEntries(node) - 1; i >= 0; i--) {
            if (isPageLeaf(node)) this.#release(node, i);
            else pending.push({ nr: pageChildAt(node, i), depth: depth + 1 });
          }
        }
        tm.dec(nr);
      });
    }
  }

  /** @internal */
  read(nr: number): Block {
    const node = this.tm.blocks.read(nr, pageValidator);
    if (pageKeySize(node) !== this.keySize) corrupt(node, 'page node', 'keySize', pageKeySize(node), this.keySize);
    return node;
  }

  /** @internal */
  refuseDepth(): never {
    throw new CorruptBlockError({
      structure: 'page tree',
      blockNr: this.root,
      field: 'depth',
      found: `${MAX_DEPTH} or more (a cycle?)`,
      expected: 'less',
    });
  }

  /** What leaf entry `index` refers to has one reader less. */
  #release(leaf: Block, index: number): void {
    const { at, chain } = placeOf(leaf, index, this.#place);
    if (chain !== 0) releaseChain(this.tm, chain);
    else this.hooks?.dec(leaf.view, at);
  }

  readonly #incChildren = (copy: Block): void => {
    const nr = nrPageEntries(copy);
    const isLeaf = isPageLeaf(copy);
    for (let i = 0; i < nr; i++) {
      if (!isLeaf) this.tm.inc(pageChildAt(copy, i));
      else if (chainOffset(copy, i) !== 0) this.tm.inc(placeOf(copy, i, this.#place).chain);
      else this.hooks?.inc(copy.view, placeOf(copy, i, this.#place).at);
    }
  };

  #shadow(nr: number): Block {
    this.read(nr);
    return this.tm.shadow(nr, pageValidator, this.#incChildren);
  }

  #shadowChild(parent: Block, index: number): Block {
    const nr = pageChildAt(parent, index);
    const child = this.#shadow(nr);
    if (child.nr !== nr) setPageChildAt(parent, index, child.nr);
    return child;
  }

  /** The leaf for `key`, shadowed, with room for an entry of `size` bytes under it; `index` as in `locate`. */
  #descendToInsert(key: DataView, size: number): Block {
    let node = this.#shadow(this.root);
    this.root = node.nr;
    let parent: Block | undefined;
    let parentIndex = 0;
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const isLeaf = isPageLeaf(node);
      let index = pageFloor(node, key);
      if (pageFree(node) < this.#needed(node, index, key, size)) {
        if (parent === undefined) {
          parent = node;
          parentIndex = 0;
          node = this.#pushDown(node);
        }
        node = this.#split(parent, parentIndex, node, key);
        index = pageFloor(node, key);
      }
      if (isLeaf) {
        this.index = index;
        return node;
      }
      if (index < 0) {
        writeKey(node.bytes, entryOffset(node, 0), key, this.keySize);
        index = 0;
      }
      parent = node;
      parentIndex = index;
      node = this.#shadowChild(node, index);
    }
    return this.refuseDepth();
  }

  /** Bytes that a node needs to be entered: a leaf for the entry, any other for one more child. */
  #needed(node: Block, index: number, key: DataView, size: number): number {
    if (!isPageLeaf(node)) return 2 + this.keySize + 8;
    return isKeyAt(node, index, key) ? size - entrySize(node, index) : 2 + size;
  }

  /** The root's entries move into a new node, its only child; the root keeps its block. */
  #pushDown(root: Block): Block {
    const child = this.tm.newBlock(pageValidator);
    const nr = child.nr;
    child.bytes.set(root.bytes);
    initPage(root, PAGE_INTERNAL, this.keySize);
    const at = openPageEntry(root, 0, this.keySize + 8);
    root.bytes.set(child.bytes.subarray(entryOffset(child, 0), entryOffset(child, 0) + this.keySize), at);
    setU64At(root.view, at + this.keySize, nr);
    return child;
  }

  /** Splits `node`, entry `index` of `parent`, which has room; returns the half that is responsible for `key`. */
  #split(parent: Block, index: number, node: Block, key: DataView): Block {
    const right = this.tm.newBlock(pageValidator);
    const nr = nrPageEntries(node);
    initPage(right, isPageLeaf(node) ? PAGE_LEAF : PAGE_INTERNAL, this.keySize);
    const isAppend = isPageLeaf(node) && pageFloor(node, key) === nr - 1 && !isKeyAt(node, nr - 1, key);
    const nrLeft = isAppend ? nr : halfOf(node);
    for (let i = nrLeft; i < nr; i++) appendFrom(right, node, i);
    for (let i = nr - 1; i >= nrLeft; i--) closePageEntry(node, i);
    const at = openPageEntry(parent, index + 1, this.keySize + 8);
    if (isAppend) writeKey(parent.bytes, at, key, this.keySize);
    else copyKey(parent, at, right, 0, this.keySize);
    setU64At(parent.view, at + this.keySize, right.nr);
    return isAppend || pageFloor(right, key) >= 0 ? right : node;
  }

  /** The leaf that holds `key`, which is there, shadowed and with entries to spare; `index` is its entry. */
  #descendToRemove(key: DataView): Block {
    let node = this.#shadow(this.root);
    this.root = node.nr;
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      while (!isPageLeaf(node) && nrPageEntries(node) === 1) this.#collapse(node);
      if (isPageLeaf(node)) {
        this.index = pageFloor(node, key);
        return node;
      }
      node = this.#filledChild(node, key);
    }
    return this.refuseDepth();
  }

  /** Takes the place of the only child. If others read the child too, what it points at has one more reader. */
  #collapse(node: Block): void {
    const { tm } = this;
    const childNr = pageChildAt(node, 0);
    const shared = tm.spaceMap.isShared(childNr);
    node.bytes.set(this.read(childNr).bytes);
    if (shared) this.#incChildren(node);
    tm.dec(childNr);
  }

  /** The child for `key`, at least a third full, if it has a neighbour that can help; both are shadowed then. */
  #filledChild(parent: Block, key: DataView): Block {
    const index = Math.max(pageFloor(parent, key), 0);
    const child = this.#shadowChild(parent, index);
    if (PAGE_CAPACITY - pageFree(child) >= PAGE_CAPACITY / 3) return child;
    const leftIndex = index > 0 ? index - 1 : 0;
    const [left, right] = [this.#shadowChild(parent, leftIndex), this.#shadowChild(parent, leftIndex + 1)];
    const usedRight = PAGE_CAPACITY - pageFree(right);
    if (usedRight <= pageFree(left)) {
      for (let i = 0; i < nrPageEntries(right); i++) appendFrom(left, right, i);
      closePageEntry(parent, leftIndex + 1);
      this.tm.dec(right.nr);
      return left;
    }
    evenOut(left, right, this.keySize);
    copyKey(parent, entryOffset(parent, leftIndex + 1), right, 0, this.keySize);
    return pageFloor(right, key) >= 0 ? right : left;
  }
}

function copyKey(to: Block, at: number, from: Block, index: number, size: number): void {
  const source = entryOffset(from, index);
  to.bytes.set(from.bytes.subarray(source, source + size), at);
}

/** Entries of the left half, by bytes; at least one on either side. */
function halfOf(node: Block): number {
  const nr = nrPageEntries(node);
  let left = (PAGE_CAPACITY - pageFree(node)) / 2;
  let index = 0;
  while (index < nr - 1 && left > 0) left -= 2 + entrySize(node, index++);
  return Math.max(1, index);
}

/** Deals the entries of two neighbours out again, by bytes. */
function evenOut(left: Block, right: Block, keySize: number): void {
  const half = (2 * PAGE_CAPACITY - pageFree(left) - pageFree(right)) / 2;
  const flags = isPageLeaf(left) ? PAGE_LEAF : PAGE_INTERNAL;
  const entries: Uint8Array[] = [];
  for (const node of [left, right]) {
    for (let i = 0; i < nrPageEntries(node); i++) {
      const at = entryOffset(node, i);
      entries.push(node.bytes.slice(at, at + entrySize(node, i)));
    }
  }
  initPage(left, flags, keySize);
  initPage(right, flags, keySize);
  let used = 0;
  entries.forEach((entry, index) => {
    const to = used < half && index < entries.length - 1 ? left : right;
    to.bytes.set(entry, openPageEntry(to, nrPageEntries(to), entry.length));
    used += entry.length + 2;
  });
}
