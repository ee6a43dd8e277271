/**
 * Visits every node of one kind of tree once, however many trees share it, and judges how the nodes fit together.
 *
 * Layer by layer from the roots: all nodes of a layer are known before it is read, so they are read sorted, in long runs
 * (block-reader.ts); a 4 million mapping tree is three layers, and its leaves come in some sixty reads. Leaves are handed to
 * `onLeaf` as they pass; of internal nodes only the child numbers are kept.
 *
 * What a node says of itself is checked when it is read. What its parents say of it (lowest key from here, below the next
 * parent key) is collected per block while layers are read, as the tightest bounds of all parents, and held against the
 * lowest and highest key found below it in `settle`, from the leaves up. There the leaves' depth is compared too, and counts
 * are added up: per shared subtree once. Each visit of a block, a child or a parent pointer is bounded, cycles included.
 *
 * Not here: what a value means (`onLeaf`), how often a block should be referred to (bitmap-comparison.ts).
 * Format: docs/format/btree.md, section 2; which rules are fatal: docs/format/tools.md, sections 2 and 8.
 */
import { CorruptBlockError, DeviceError } from '@pdata/device';
import type { Block } from '../../block/block.js';
import {
  CHILD_SIZE,
  childAt,
  isLeaf,
  keyAt,
  MAX_DEPTH,
  maxEntries,
  nodeValidator,
  nrEntries,
  valueSize,
} from '../../btree/node.js';
import type { BlockCensus, PointerSource, Role } from './block-census.js';
import type { BlockReader } from './block-reader.js';
import { approximately, type CheckFinding, type Findings } from './findings.js';
import {
  HAS_PARENT,
  IS_BAD,
  IS_INTERNAL,
  IS_MISPLACED,
  IS_ON_PATH,
  IS_ROOT,
  IS_SETTLED,
  IS_THIN,
  type NodeNotes,
} from './node-notes.js';
import { NumberList, WideNumberList } from './number-list.js';

export interface TreeKind {
  /** "mapping tree", "device details tree"… */
  readonly structure: string;
  readonly role: Role;
  /** Bytes of a leaf's values. */
  readonly valueSize: number;
  /** Whether nodes may have several parents (or be roots of several trees). */
  readonly isShareable: boolean;
  /** What it means when a node cannot be used, and what to do. */
  readonly effect: string;
  readonly nextStep: string;
}

const shown = (key: number | undefined): string => approximately(key ?? 0);

/** What {@link TreeWalker.settle} found below a root. */
export interface TreeTotals {
  /** Entries in the leaves that can be used. */
  readonly nrEntries: number;
  /** Nodes that cannot be used, or are in the wrong place, as often as they are reached. */
  readonly nrBad: number;
}

export class TreeWalker {
  readonly #reader: BlockReader;
  readonly #census: BlockCensus;
  readonly #notes: NodeNotes;
  readonly #findings: Findings;
  readonly #kind: TreeKind;
  readonly #onLeaf: (leaf: Block, nr: number) => void;
  readonly #onRun: (nrBlocks: number) => void;

  /** Internal nodes, in the order met; `children` of node i are `#firstChild[i]` on. 0 stands for a pointer to nowhere. */
  readonly #children = new NumberList();
  readonly #firstChild = new NumberList();
  readonly #nrChildren = new NumberList();
  readonly #height = new NumberList();
  readonly #nrBelow = new WideNumberList();
  readonly #nrBadBelow = new WideNumberList();

  /**
   * @param onLeaf called once per usable leaf, in no particular order; the block is valid only during the call
   * @param onRun called after each read with the number of nodes it brought
   */
  constructor(
    tools: { reader: BlockReader; census: BlockCensus; notes: NodeNotes; findings: Findings },
    kind: TreeKind,
    onLeaf: (leaf: Block, nr: number) => void,
    onRun: (nrBlocks: number) => void = () => {},
  ) {
    this.#reader = tools.reader;
    this.#census = tools.census;
    this.#notes = tools.notes;
    this.#findings = tools.findings;
    this.#kind = kind;
    this.#onLeaf = onLeaf;
    this.#onRun = onRun;
  }

  /** Reaches `root` from `source` and adds it to `layer` when it is to be read. False when it leads nowhere. */
  addRoot(root: number, source: PointerSource, layer: NumberList): boolean {
    const reached = this.#census.reach(root, this.#kind.role, this.#kind.isShareable, source);
    if (reached === 'refused') return false;
    if (reached === 'first') layer.push(root);
    this.#notes.flags[root] = (this.#notes.flags[root] as number) | IS_ROOT;
    return true;
  }

  /** Whether `addRoot` has accepted `root`. */
  knows(root: number): boolean {
    return this.#census.hasRole(root, this.#kind.role) && ((this.#notes.flags[root] as number) & IS_ROOT) !== 0;
  }

  /** Reads everything below the nodes of `layer`. */
  *walk(layer: NumberList): Generator<CheckFinding, void> {
    for (let depth = 1; layer.length > 0; depth++) {
      const next = new NumberList();
      const numbers = layer.sorted();
      for (const { from, to } of this.#reader.runs(numbers)) {
        for (let i = from; i < to; i++) this.#visit(numbers[i] as number, next, depth === MAX_DEPTH);
        this.#onRun(to - from);
        yield* this.#findings.drain();
      }
      layer = next;
    }
  }

  /** Judges the tree below `root`; to be called when all trees of this kind have been walked. */
  *settle(root: number): Generator<CheckFinding, TreeTotals> {
    this.#settle(root);
    yield* this.#findings.drain();
    return { nrEntries: this.#entriesBelow(root), nrBad: this.#badBelow(root) };
  }

  /** The leaves of a tree that was settled without anything bad, from the lowest key up. */
  *leaves(root: number): Generator<{ readonly blockNr: number; readonly nrEntries: number }, void> {
    const { flags, slot } = this.#notes;
    const path = this.knows(root) ? [{ blockNr: root, child: 0 }] : [];
    for (let step = path.at(-1); step !== undefined; step = path.at(-1)) {
      const { blockNr } = step;
      const flag = flags[blockNr] as number;
      if ((flag & IS_BAD) !== 0) path.pop();
      else if ((flag & IS_INTERNAL) === 0) {
        yield { blockNr, nrEntries: slot[blockNr] as number };
        path.pop();
      } else {
        const index = slot[blockNr] as number;
        if (step.child === this.#nrChildren.at(index)) path.pop();
        else {
          const child = this.#children.at(this.#firstChild.at(index) + step.child++);
          if (child !== 0) path.push({ blockNr: child, child: 0 });
        }
      }
    }
  }

  #visit(blockNr: number, next: NumberList, isLastLayer: boolean): void {
    const block = this.#reader.block(blockNr);
    const { flags, slot, lowest, highest } = this.#notes;
    const fault = block instanceof DeviceError ? block.message : this.#faultOf(block);
    if (block instanceof DeviceError || fault !== undefined) {
      this.#bad(blockNr, fault as string);
      return;
    }
    const nr = nrEntries(block);
    const max = maxEntries(block);
    if (nr > 0) {
      lowest[blockNr] = keyAt(block, 0);
      highest[blockNr] = keyAt(block, nr - 1);
    }
    if (nr < Math.floor(max / 3)) flags[blockNr] = (flags[blockNr] as number) | IS_THIN;
    if (max % 3 !== 0) {
      this.#shape(blockNr, `btree node in block ${blockNr}: maxEntries is ${max}, expected a multiple of 3`);
    }
    if (isLeaf(block)) {
      slot[blockNr] = nr;
      this.#onLeaf(block, nr);
    } else if (isLastLayer) {
      this.#bad(blockNr, `the node in block ${blockNr} is more than ${MAX_DEPTH} levels below its root`);
    } else {
      this.#noteInternal(block, nr, next);
    }
  }

  /** What forbids using `block` as a node of this tree. */
  #faultOf(block: Block): string | undefined {
    try {
      nodeValidator.check(block);
    } catch (error) {
      if (error instanceof CorruptBlockError) return error.message;
      throw error;
    }
    const isInternal = !isLeaf(block);
    const expected = isInternal ? CHILD_SIZE : this.#kind.valueSize;
    const found = valueSize(block);
    if (found !== expected) return `btree node in block ${block.nr}: valueSize is ${found}, expected ${expected}`;
    if (isInternal && nrEntries(block) === 0) {
      return `btree node in block ${block.nr}: nrEntries is 0, expected at least 1 in an internal node`;
    }
    return undefined;
  }

  #noteInternal(block: Block, nr: number, next: NumberList): void {
    const { flags, slot, from, below } = this.#notes;
    const { role, isShareable, structure, effect, nextStep } = this.#kind;
    flags[block.nr] = (flags[block.nr] as number) | IS_INTERNAL;
    slot[block.nr] = this.#firstChild.length;
    this.#firstChild.push(this.#children.length);
    this.#nrChildren.push(nr);
    this.#height.push(0);
    this.#nrBelow.push(0);
    this.#nrBadBelow.push(0);
    const source: PointerSource = { structure, blockNr: block.nr, effect, nextStep };
    for (let i = 0; i < nr; i++) {
      const child = childAt(block, i);
      const reached = this.#census.reach(child, role, isShareable, source);
      if (reached === 'refused') {
        this.#children.push(0);
        continue;
      }
      this.#children.push(child);
      if (reached === 'first') next.push(child);
      flags[child] = (flags[child] as number) | HAS_PARENT;
      const key = keyAt(block, i);
      if (key > (from[child] as number)) from[child] = key;
      if (i + 1 < nr) {
        const bound = keyAt(block, i + 1);
        const known = below[child] as number;
        if (known === 0 || bound < known) below[child] = bound;
      }
    }
  }

  #settle(root: number): void {
    const { flags, slot } = this.#notes;
    const path = [root];
    const nextChild = [0];
    while (path.length > 0) {
      const blockNr = path[path.length - 1] as number;
      const flag = flags[blockNr] as number;
      if ((flag & (IS_SETTLED | IS_BAD)) === 0 && (flag & IS_INTERNAL) !== 0) {
        const index = slot[blockNr] as number;
        const at = nextChild[nextChild.length - 1] as number;
        if (at < this.#nrChildren.at(index)) {
          flags[blockNr] = flag | IS_ON_PATH;
          nextChild[nextChild.length - 1] = at + 1;
          this.#enterChild(blockNr, index, at, path, nextChild);
          continue;
        }
        this.#addUp(blockNr, index);
      }
      if ((flag & IS_SETTLED) === 0) this.#place(blockNr);
      path.pop();
      nextChild.pop();
    }
  }

  #enterChild(blockNr: number, index: number, at: number, path: number[], nextChild: number[]): void {
    const { flags } = this.#notes;
    const place = this.#firstChild.at(index) + at;
    const child = this.#children.at(place);
    if (child === 0 || ((flags[child] as number) & IS_SETTLED) !== 0) return;
    if (((flags[child] as number) & IS_ON_PATH) !== 0) {
      const { structure, effect, nextStep } = this.#kind;
      this.#findings.addFatal(() => ({
        structure,
        blockNr,
        message: `the node in block ${blockNr} points back to block ${child} above it: the tree runs in a circle`,
        effect,
        nextStep,
      }));
      this.#children.set(place, 0);
      return;
    }
    path.push(child);
    nextChild.push(0);
  }

  /** Sums up an internal node whose children are all settled. */
  #addUp(blockNr: number, index: number): void {
    const { highest } = this.#notes;
    const first = this.#firstChild.at(index);
    const nr = this.#nrChildren.at(index);
    let nrBelow = 0;
    let nrBad = 0;
    let height = 0;
    for (let i = 0; i < nr; i++) {
      const child = this.#children.at(first + i);
      if (child === 0) {
        nrBad++;
        continue;
      }
      nrBelow += this.#entriesBelow(child);
      nrBad += this.#badBelow(child);
      if (((this.#notes.flags[child] as number) & IS_BAD) !== 0) continue;
      const childHeight = this.#heightOf(child);
      if (height === 0) height = childHeight + 1;
      else if (childHeight + 1 !== height) {
        nrBad++;
        this.#fatal(blockNr, `the leaves below block ${blockNr} are at different depths`);
        break;
      }
      if (i === nr - 1) highest[blockNr] = Math.max(highest[blockNr] as number, highest[child] as number);
    }
    this.#nrBelow.set(index, nrBelow);
    this.#nrBadBelow.set(index, nrBad);
    this.#height.set(index, height);
  }

  /** Holds a node against what its parents say of it. */
  #place(blockNr: number): void {
    const { flags, lowest, highest, from, below, slot } = this.#notes;
    let flag = (flags[blockNr] as number) & ~IS_ON_PATH;
    if ((flag & IS_BAD) === 0 && (flag & HAS_PARENT) !== 0) {
      const isEmpty = (flag & IS_INTERNAL) === 0 && slot[blockNr] === 0;
      if (!isEmpty && (lowest[blockNr] as number) < (from[blockNr] as number)) {
        flag |= IS_MISPLACED;
        this.#fatal(
          blockNr,
          `the node in block ${blockNr} has key ${shown(lowest[blockNr])}, but a parent sends only keys from ${shown(from[blockNr])} on there`,
        );
      }
      if (!isEmpty && below[blockNr] !== 0 && (highest[blockNr] as number) >= (below[blockNr] as number)) {
        flag |= IS_MISPLACED;
        this.#fatal(
          blockNr,
          `the node in block ${blockNr} has key ${shown(highest[blockNr])}, but a parent sends only keys below ${shown(below[blockNr])} there`,
        );
      }
      if ((flag & IS_THIN) !== 0) {
        this.#shape(blockNr, `the node in block ${blockNr} is filled by less than a third, though it has a parent`);
      }
    }
    flags[blockNr] = flag | IS_SETTLED;
  }

  #entriesBelow(blockNr: number): number {
    const flag = this.#notes.flags[blockNr] as number;
    if ((flag & IS_BAD) !== 0) return 0;
    const slot = this.#notes.slot[blockNr] as number;
    return (flag & IS_INTERNAL) !== 0 ? this.#nrBelow.at(slot) : slot;
  }

  #badBelow(blockNr: number): number {
    const flag = this.#notes.flags[blockNr] as number;
    if ((flag & IS_BAD) !== 0) return 1;
    const own = (flag & IS_MISPLACED) !== 0 ? 1 : 0;
    return (flag & IS_INTERNAL) !== 0 ? own + this.#nrBadBelow.at(this.#notes.slot[blockNr] as number) : own;
  }

  #heightOf(blockNr: number): number {
    return ((this.#notes.flags[blockNr] as number) & IS_INTERNAL) !== 0
      ? this.#height.at(this.#notes.slot[blockNr] as number)
      : 0;
  }

  #bad(blockNr: number, message: string): void {
    this.#notes.flags[blockNr] = (this.#notes.flags[blockNr] as number) | IS_BAD;
    this.#fatal(blockNr, message);
  }

  #fatal(blockNr: number, message: string): void {
    const { structure, effect, nextStep } = this.#kind;
    this.#findings.addFatal(() => ({ structure, blockNr, message, effect, nextStep }));
  }

  #shape(blockNr: number, message: string): void {
    const { structure } = this.#kind;
    this.#findings.addShape(() => ({
      structure,
      blockNr,
      message,
      effect: 'Everything in it can be read, but the kernel may fail on it when it next balances the tree.',
      nextStep: 'Dump the metadata and restore it elsewhere; or pass it with --ignore-non-fatal-errors.',
    }));
  }
}
