/**
 * A full audit of a metadata device: every reference is found by walking everything, and compared with what the space maps
 * say, block by block. Every model run ends here. It decodes blocks by itself where it can, so that a bug in a reader does
 * not hide the same bug in a writer.
 *
 * What is held against what:
 *   - references found (superblock 1, index block, bitmaps, reference-count trees, all trees) = the count of EVERY block;
 *     a shared node is counted once a reference, and walked once
 *   - bitmap pair 3 exactly where the reference-count tree has an entry, at least 3 there
 *   - nrAllocated = counts above 0; of each bitmap nrFree = pairs that are 0 (over all 16 320), none below noneFreeBefore
 *   - the shape of every tree: docs/format/btree.md, section 2
 *   - the same counts for data blocks, from what the visitors of leaf values report
 *
 * A data space map is read from its root, which is true only when it has just been settled: audit after a commit.
 */
import {
  type Block,
  type BlockValidator,
  bitmapValidator,
  ENTRIES_PER_BITMAP,
  indexBlockValidator,
  nodeValidator,
  type SpaceMapRoot,
  type TransactionManager,
  u64At,
} from '@pdata/persistent-data';
import { expect } from 'vitest';
import type { MetadataSpaceMap } from '../src/space-map/metadata-space-map.js';

/** Looks at one value of a leaf; reports what it refers to. */
export type ValueVisitor = (auditor: Auditor, view: DataView, at: number, key: number) => void;

/** A tree: how large its values are, and what they refer to. */
export interface TreeKind {
  readonly valueSize: number;
  readonly value?: ValueVisitor;
}

/** The tree under a root, or anything else: a function that reports its references. */
export type AuditRoot = { readonly root: number; readonly kind: TreeKind } | ((auditor: Auditor) => void);

/** Roots of trees as values: the upper levels of a nested tree, from the top; `last` is what the last level stores. */
export function nestedKind(nrLevels: number, last: TreeKind): TreeKind {
  if (nrLevels === 1) return last;
  const below = nestedKind(nrLevels - 1, last);
  return { valueSize: 8, value: (auditor, view, at) => auditor.tree(u64At(view, at), below) };
}

/** What a parent has to know of a subtree. */
interface Subtree {
  readonly depth: number;
  readonly nrEntries: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Of the node itself: for an internal node what it claims, which may be lower than what is below. */
  readonly firstKey: number;
  readonly lastKey: number;
  /** Leaves in order, entries in each: for tests of exact shapes. */
  readonly valueSize: number;
}

export interface AuditResult {
  /** References found to each metadata block. */
  readonly references: ReadonlyMap<number, number>;
  /** References found to each data block. */
  readonly dataReferences: ReadonlyMap<number, number>;
  readonly nrNodes: number;
}

export class Auditor {
  readonly tm: TransactionManager;
  readonly references = new Map<number, number>();
  readonly dataReferences = new Map<number, number>();
  readonly #subtrees = new Map<number, { kind: TreeKind; subtree: Subtree }>();

  constructor(tm: TransactionManager) {
    this.tm = tm;
  }

  get nrNodes(): number {
    return this.#subtrees.size;
  }

  /** A reference to metadata block `nr`; true the first time, when what it contains is to be walked. */
  block(nr: number): boolean {
    const before = this.references.get(nr) ?? 0;
    this.references.set(nr, before + 1);
    return before === 0;
  }

  /** A reference to data block `nr`. */
  dataBlock(nr: number): void {
    this.dataReferences.set(nr, (this.dataReferences.get(nr) ?? 0) + 1);
  }

  /** A reference to the tree at `root`. */
  tree(root: number, kind: TreeKind): void {
    this.#node(root, kind, 0);
  }

  /** The block, copied: the cache may reuse its frame while what it points at is walked. */
  read(nr: number, validator: BlockValidator): DataView {
    const block: Block = this.tm.read(nr, validator);
    return new DataView(block.bytes.slice().buffer);
  }

  /** A reference to the index and trees of a data space map; returns the counts it keeps. */
  dataSpaceMap(root: SpaceMapRoot): Map<number, number> {
    const bitmaps: BitmapFigures[] = [];
    this.tree(root.bitmapRoot, {
      valueSize: 16,
      value: (_, view, at, key) => {
        expect(key, 'key in a space-map index').toBe(bitmaps.length);
        bitmaps.push(bitmapFigures(view, at));
      },
    });
    return this.counts(root, bitmaps);
  }

  /** All counts above 0 that a space map keeps; its figures and its reference-count tree are checked. */
  counts(root: SpaceMapRoot, bitmaps: readonly BitmapFigures[]): Map<number, number> {
    expect(bitmaps.length, 'bitmaps').toBe(Math.ceil(root.nrBlocks / ENTRIES_PER_BITMAP));
    const overflow = new Map<number, number>();
    this.tree(root.refCountRoot, {
      valueSize: 4,
      value: (_, view, at, key) => {
        const count = view.getUint32(at, true);
        expect(count, `count of block ${key} in the reference-count tree`).toBeGreaterThanOrEqual(3);
        overflow.set(key, count);
      },
    });
    const counts = new Map<number, number>();
    bitmaps.forEach((figures, bitmapNr) => {
      this.block(figures.blockNr);
      const view = this.read(figures.blockNr, bitmapValidator);
      let nrFree = 0;
      let firstFree = -1;
      for (let entry = 0; entry < ENTRIES_PER_BITMAP; entry++) {
        const pair = view.getUint8(16 + (entry >>> 2)) >>> (2 * (entry & 3));
        const value = 2 * (pair & 1) + ((pair >>> 1) & 1); // the lower bit is the high one
        if (value === 0) {
          nrFree++;
          if (firstFree < 0) firstFree = entry;
          continue;
        }
        const nr = bitmapNr * ENTRIES_PER_BITMAP + entry;
        if (nr >= root.nrBlocks) expect.fail(`block ${nr}, behind the end of the space map, has a count`);
        if (value < 3) counts.set(nr, value);
        else {
          const count = overflow.get(nr);
          if (count === undefined) expect.fail(`block ${nr}: 3 in its bitmap, nothing in the reference-count tree`);
          counts.set(nr, count as number);
          overflow.delete(nr);
        }
      }
      same(figures.blockNr, `nrFree, of bitmap ${bitmapNr},`, figures.nrFree, nrFree);
      if (firstFree >= 0 && figures.noneFreeBefore > firstFree) {
        expect.fail(`bitmap ${bitmapNr}: entry ${firstFree} is free, below noneFreeBefore ${figures.noneFreeBefore}`);
      }
    });
    expect([...overflow.keys()], 'in the reference-count tree, but not 3 in their bitmaps').toEqual([]);
    expect(root.nrAllocated, 'nrAllocated').toBe(counts.size);
    return counts;
  }

  #node(nr: number, kind: TreeKind, level: number): Subtree {
    if (level >= 20) expect.fail(`the tree at block ${nr} is too deep: a cycle?`);
    const known = this.#subtrees.get(nr);
    if (!this.block(nr) && known !== undefined) {
      same(nr, 'value size, as another tree has it', known.kind.valueSize, kind.valueSize);
      return known.subtree;
    }
    const view = this.read(nr, nodeValidator);
    const field = (at: number): number => view.getUint32(at, true);
    const [flags, nrEntries, maxEntries, valueSize] = [field(4), field(16), field(20), field(24)];
    const isLeaf = flags === 2;
    if (!isLeaf) same(nr, 'flags', flags, 1);
    same(nr, 'valueSize', valueSize, isLeaf ? kind.valueSize : 8);
    same(nr, 'maxEntries', maxEntries, Math.floor(Math.floor(4064 / (8 + valueSize)) / 3) * 3);
    if (nrEntries > maxEntries || (!isLeaf && nrEntries === 0)) expect.fail(`block ${nr} has ${nrEntries} entries`);
    const keys = Array.from({ length: nrEntries }, (_, i) => u64At(view, 32 + 8 * i));
    for (let i = 1; i < nrEntries; i++) {
      if ((keys[i] as number) <= (keys[i - 1] as number))
        expect.fail(`block ${nr}: key ${i} is not above key ${i - 1}`);
    }
    let depth = 1;
    let lastKey = keys[nrEntries - 1] ?? -1;
    keys.forEach((key, i) => {
      const at = 32 + 8 * maxEntries + valueSize * i;
      if (isLeaf) {
        kind.value?.(this, view, at, key);
        return;
      }
      const childNr = u64At(view, at);
      const child = this.#node(childNr, kind, level + 1);
      if (i === 0) depth = child.depth + 1;
      same(nr, `depth of child ${i}`, child.depth + 1, depth);
      requireFill(childNr, child);
      if (key > child.firstKey) expect.fail(`block ${nr}: key ${i} is ${key}, above the lowest of its child`);
      if (i + 1 < nrEntries && child.lastKey >= (keys[i + 1] as number)) {
        expect.fail(
          `block ${nr}: below child ${i} there is key ${child.lastKey}, not below key ${i + 1} of the parent`,
        );
      }
      if (i + 1 === nrEntries) lastKey = child.lastKey;
    });
    const firstKey = keys[0] ?? -1;
    const subtree = { depth, nrEntries, maxEntries, flags, firstKey, lastKey, valueSize };
    this.#subtrees.set(nr, { kind, subtree });
    return subtree;
  }
}

function same(nr: number, what: string, found: number, expected: number): void {
  if (found !== expected) expect.fail(`block ${nr}: ${what} is ${found}, expected ${expected}`);
}

function requireFill(nr: number, { nrEntries, maxEntries }: Subtree): void {
  const least = Math.floor(maxEntries / 3);
  if (nrEntries < least) expect.fail(`block ${nr} is no root and has ${nrEntries} entries, fewer than ${least}`);
}

export interface BitmapFigures {
  readonly blockNr: number;
  readonly nrFree: number;
  readonly noneFreeBefore: number;
}

function bitmapFigures(view: DataView, at: number): BitmapFigures {
  return {
    blockNr: u64At(view, at),
    nrFree: view.getUint32(at + 8, true),
    noneFreeBefore: view.getUint32(at + 12, true),
  };
}

/**
 * Audits the state that `tm` is in: the committed one, right after a commit or an open, else the current one.
 *
 * @param roots everything the superblock refers to, besides the metadata space map
 * @param data the root of a data space map whose counts are to equal the data references found; counted as a root, too
 */
export function audit(tm: TransactionManager, roots: readonly AuditRoot[], data?: SpaceMapRoot): AuditResult {
  const auditor = new Auditor(tm);
  const map = tm.spaceMap as MetadataSpaceMap;
  auditor.block(0);
  for (const root of roots) {
    if (typeof root === 'function') root(auditor);
    else auditor.tree(root.root, root.kind);
  }
  const dataCounts = data === undefined ? undefined : auditor.dataSpaceMap(data);

  const { root } = map;
  auditor.block(root.bitmapRoot);
  const counts = auditor.counts(root, map.bitmaps);
  const wrong = differences(counts, auditor.references);
  const someFree = Array.from({ length: 50 }, (_, i) => Math.floor((i / 50) * root.nrBlocks));
  for (const nr of [...counts.keys(), ...someFree, root.nrBlocks - 1]) {
    if (map.count(nr) !== (counts.get(nr) ?? 0))
      wrong.push(`block ${nr}: count() says ${map.count(nr)}, its bitmap not`);
  }
  if (wrong.length > 0) expect.fail(`metadata counts that differ from the references found: ${wrong.join('; ')}`);
  if (dataCounts !== undefined) {
    const wrongData = differences(dataCounts, auditor.dataReferences);
    if (wrongData.length > 0) expect.fail(`data counts that differ from the references: ${wrongData.join('; ')}`);
  }
  return auditor;
}

/** As {@link audit} for what a reader of the device alone finds: the index block as it is written, everything validated. */
export function auditIndexBlock(tm: TransactionManager): void {
  const map = tm.spaceMap as MetadataSpaceMap;
  const view = tm.read(map.root.bitmapRoot, indexBlockValidator).view;
  for (let i = 0; i < 255; i++) {
    const figures = map.bitmaps[i] ?? { blockNr: 0, nrFree: 0, noneFreeBefore: 0 };
    const { blockNr, nrFree, noneFreeBefore } = figures;
    expect(bitmapFigures(view, 16 + 16 * i), `index entry ${i}`).toEqual({ blockNr, nrFree, noneFreeBefore });
  }
}

function differences(counts: ReadonlyMap<number, number>, references: ReadonlyMap<number, number>): string[] {
  const wrong: string[] = [];
  for (const nr of new Set([...counts.keys(), ...references.keys()])) {
    const [count, found] = [counts.get(nr) ?? 0, references.get(nr) ?? 0];
    if (count !== found && wrong.length < 20) wrong.push(`block ${nr}: counted ${count}, referred to ${found} times`);
  }
  return wrong;
}
