/**
 * What differs between two page trees, in key order, at a cost that follows the differences: where both walks stand before the
 * same block, both step over it unread. How the walks are kept together is told in btree/diff.ts; here keys are bytes.
 *
 * A damaged tree ends the walk: every node has to begin at or above the key by which its parent places it, and behind what came before.
 */
import { type Block, corrupt } from '../block/block.js';
import { MAX_DEPTH } from '../btree/node.js';
import { readChain } from './overflow.js';
import { compareKeys, entryOffset, isPageLeaf, nrPageEntries, type Place, pageChildAt, placeOf } from './page-node.js';
import type { PageTree } from './page-tree.js';

/** A key of which the two trees have different values; each value by the entry that holds it, if there is one. */
export interface PageDifference {
  readonly key: DataView;
  /** Finds the entry; before the walk goes on. */
  readonly before: (() => PageEntry) | undefined;
  readonly after: (() => PageEntry) | undefined;
}

/** Where an entry is; valid until the next call to anything that reads. */
export interface PageEntry {
  readonly leaf: Block;
  readonly index: number;
}

/** Lazy, and valid until one of the trees changes. An absent tree is an empty one. `key` is reused from one difference to the next. */
export function* diffPageTrees(before: PageTree | undefined, after: PageTree | undefined): Generator<PageDifference> {
  if (before !== undefined && before.root === after?.root) return;
  const [a, b] = [new PageWalk(before), new PageWalk(after)];
  while (!a.done || !b.done) {
    if (a.subtree !== NONE && a.subtree === b.subtree) {
      a.skip();
      b.skip();
      continue;
    }
    const order = a.done ? 1 : b.done ? -1 : a.compare(b);
    if (a.subtree !== NONE && (order < 0 || (order === 0 && (b.subtree === NONE || a.height >= b.height)))) a.enter();
    else if (b.subtree !== NONE && order >= 0) b.enter();
    else if (order < 0) {
      yield { key: a.key, before: () => a.entry, after: undefined };
      a.skip();
    } else if (order > 0) {
      yield { key: b.key, before: undefined, after: () => b.entry };
      b.skip();
    } else {
      if (!sameValues(a, b)) yield { key: a.key, before: () => a.entry, after: () => b.entry };
      a.skip();
      b.skip();
    }
  }
}

const NONE = -1;

class PageWalk {
  readonly tree: PageTree | undefined;
  readonly #path: { nr: number; index: number; nrEntries: number; isLeaf: boolean; height: number }[] = [];
  readonly key = new DataView(new ArrayBuffer(128));
  /** Before the root, whose least key is not known, every key is possible. */
  #isFirst = true;
  done = false;
  subtree = NONE;
  height = -1;

  constructor(tree: PageTree | undefined) {
    this.tree = tree;
    if (tree === undefined) {
      this.done = true;
      return;
    }
    this.subtree = tree.root;
    this.height = heightOf(tree);
  }

  get entry(): PageEntry {
    const step = this.#path.at(-1) as { nr: number; index: number };
    return { leaf: (this.tree as PageTree).read(step.nr), index: step.index };
  }

  compare(other: PageWalk): number {
    if (this.#isFirst || other.#isFirst) return this.#isFirst && other.#isFirst ? 0 : this.#isFirst ? -1 : 1;
    return compareKeys(this.key, 0, other.key, 0, (this.tree as PageTree).keySize);
  }

  skip(): void {
    const step = this.#path.at(-1);
    if (step !== undefined) step.index++;
    this.#arrive();
  }

  enter(): void {
    const tree = this.tree as PageTree;
    if (this.#path.length === MAX_DEPTH) tree.refuseDepth();
    const node = tree.read(this.subtree);
    const nrEntries = nrPageEntries(node);
    if (!this.#isFirst && nrEntries > 0 && compareKeys(node.view, entryOffset(node, 0), this.key, 0, tree.keySize) < 0)
      corrupt(node, 'page node', 'key 0', 'lower', 'at or above the key by which its parent places it');
    this.#path.push({ nr: node.nr, index: 0, nrEntries, isLeaf: isPageLeaf(node), height: this.height });
    this.#arrive();
  }

  #arrive(): void {
    const tree = this.tree as PageTree;
    this.subtree = NONE;
    this.height = -1;
    for (let step = this.#path.at(-1); step !== undefined; step = this.#path.at(-1)) {
      if (step.index < step.nrEntries) {
        const node = tree.read(step.nr);
        const at = entryOffset(node, step.index);
        if (!this.#isFirst && compareKeys(node.view, at, this.key, 0, tree.keySize) < 0)
          corrupt(node, 'page node', `key ${step.index}`, 'lower', 'above those that come before it');
        this.#isFirst = false;
        for (let i = 0; i < tree.keySize; i += 4) this.key.setUint32(i, node.view.getUint32(at + i));
        if (step.isLeaf) return;
        this.subtree = pageChildAt(node, step.index);
        this.height = step.height - 1;
        return;
      }
      this.#path.pop();
      const parent = this.#path.at(-1);
      if (parent !== undefined) parent.index++;
    }
    this.done = true;
  }
}

function heightOf(tree: PageTree): number {
  let nr = tree.root;
  for (let height = 0; height < MAX_DEPTH; height++) {
    const node = tree.read(nr);
    if (isPageLeaf(node)) return height;
    nr = pageChildAt(node, 0);
  }
  return tree.refuseDepth();
}

const places: [Place, Place] = [
  { at: 0, length: 0, chain: 0 },
  { at: 0, length: 0, chain: 0 },
];

function sameValues(a: PageWalk, b: PageWalk): boolean {
  const { tm } = a.tree as PageTree;
  return tm.blocks.hold(() => {
    const [entryA, entryB] = [a.entry, b.entry];
    const [inA, inB] = [placeOf(entryA.leaf, entryA.index, places[0]), placeOf(entryB.leaf, entryB.index, places[1])];
    if (inA.length !== inB.length) return false;
    if (inA.chain !== 0 || inB.chain !== 0) {
      if (inA.chain === inB.chain) return true;
      if (inA.chain === 0 || inB.chain === 0) return false;
      return sameBytes(readChain(tm, inA.chain, inA.length), 0, readChain(tm, inB.chain, inB.length), 0, inA.length);
    }
    return sameBytes(entryA.leaf.bytes, inA.at, entryB.leaf.bytes, inB.at, inA.length);
  });
}

function sameBytes(a: Uint8Array, atA: number, b: Uint8Array, atB: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[atA + i] !== b[atB + i]) return false;
  return true;
}
