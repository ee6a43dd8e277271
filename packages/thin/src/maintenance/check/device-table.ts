/**
 * The devices of a pool, gathered from the two trees that must agree: details (what a device should have) and the top level
 * of the mapping tree (where its mappings are).
 *
 * Leaves come in no particular order and may be shared between the pool and its metadata snapshot, so entries are kept by
 * leaf, and each tree's own sequence is put together afterwards.
 *
 * Format: docs/format/thin.md, section 2.
 */
import { type Block, keyAt, u64At, valueOffset } from '@pdata/persistent-data';
import type { TreeWalker } from '@pdata/persistent-data/maintenance';
import { WideNumberList } from '@pdata/persistent-data/maintenance';

/** Entries of one kind of tree: a thin id and a number each. */
class EntriesByLeaf {
  readonly ids = new WideNumberList();
  readonly values = new WideNumberList();
  readonly #firstOf = new Map<number, number>();

  startLeaf(leafNr: number): void {
    this.#firstOf.set(leafNr, this.ids.length);
  }

  add(id: number, value: number): void {
    this.ids.push(id);
    this.values.push(value);
  }

  /** Places in the lists of the entries below `root`, ascending by id. */
  *inOrder(tree: WholeTree | undefined): Generator<number, void> {
    if (tree === undefined) return;
    for (const { blockNr, nrEntries } of tree.walker.leaves(tree.root)) {
      const first = this.#firstOf.get(blockNr) ?? 0;
      for (let i = 0; i < nrEntries; i++) yield first + i;
    }
  }
}

/** A device as its two trees have it; undefined where one of them does not, or cannot be used. */
export interface DeviceEntry {
  readonly thinId: number;
  readonly mappedBlocks: number | undefined;
  /** Root of its mappings; 0: the pointer leads nowhere. */
  readonly root: number | undefined;
}

/** A tree that was walked, settled and found whole: in a damaged one, following all paths could take for ever. */
export interface WholeTree {
  readonly walker: TreeWalker;
  readonly root: number;
}

export class DeviceTable {
  /** The latest creation or snapshot time of any device. */
  latestTime = 0;
  largestId = 0;
  readonly #details = new EntriesByLeaf();
  readonly #roots = new EntriesByLeaf();

  addDetailsLeaf(leaf: Block, nr: number): void {
    this.#details.startLeaf(leaf.nr);
    for (let i = 0; i < nr; i++) {
      const at = valueOffset(leaf, i);
      this.#details.add(keyAt(leaf, i), u64At(leaf.view, at));
      this.latestTime = Math.max(
        this.latestTime,
        leaf.view.getUint32(at + 16, true),
        leaf.view.getUint32(at + 20, true),
      );
    }
  }

  /** @param reachRoot counts the pointer to a device's root; false when it leads nowhere */
  addTopLeaf(leaf: Block, nr: number, reachRoot: (thinId: number, root: number) => boolean): void {
    this.#roots.startLeaf(leaf.nr);
    for (let i = 0; i < nr; i++) {
      const thinId = keyAt(leaf, i);
      const root = u64At(leaf.view, valueOffset(leaf, i));
      this.largestId = Math.max(this.largestId, thinId);
      this.#roots.add(thinId, reachRoot(thinId, root) ? root : 0);
    }
  }

  /** All devices of either tree, ascending by id; what a tree cannot say is undefined. */
  *devices(details: WholeTree | undefined, top: WholeTree | undefined): Generator<DeviceEntry, void> {
    const left = this.#details.inOrder(details);
    const right = this.#roots.inOrder(top);
    let l = left.next();
    let r = right.next();
    while (!l.done || !r.done) {
      const leftId = l.done ? Number.POSITIVE_INFINITY : this.#details.ids.at(l.value);
      const rightId = r.done ? Number.POSITIVE_INFINITY : this.#roots.ids.at(r.value);
      yield {
        thinId: Math.min(leftId, rightId),
        mappedBlocks: !l.done && leftId <= rightId ? this.#details.values.at(l.value) : undefined,
        root: !r.done && rightId <= leftId ? this.#roots.values.at(r.value) : undefined,
      };
      if (leftId <= rightId) l = left.next();
      if (rightId <= leftId) r = right.next();
    }
  }
}
