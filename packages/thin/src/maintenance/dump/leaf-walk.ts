/**
 * The leaves of a tree from left to right, without reading them: their numbers and the keys each may hold, as its internal
 * nodes say. The walk comes in batches, one for each lowest internal node (up to 252 leaves).
 *
 * All leaves of a tree lie at the same depth (docs/format/btree.md, section 2), so the left-most path tells at which depth
 * to stop; whoever reads the leaves finds out if one is none.
 */

import { CorruptBlockError } from '@pdata/device';
import { childAt, isLeaf, keyAt, nrEntries } from '@pdata/persistent-data';
import { corruptNode, MAX_CHILDREN, type NodeReader, requireChild, requireRange } from './node-reader.js';

/** Two entries a node would reach all 2^22 blocks of the largest device at this depth; only a cycle gets here. */
const MAX_DEPTH = 24;
/** Damaged nodes that the search for an undamaged path looks at: bounds it on a hostile image. */
const MAX_TRIES = 1000;

/**
 * Leaf `i` may hold the keys from `lows[i]` to `highs[i]` (exclusive), which is also `lows[i + 1]` unless something between
 * the two was damaged. Used again for the next batch.
 */
export interface LeafBatch {
  nr: number;
  readonly blockNrs: Float64Array;
  readonly lows: Float64Array;
  readonly highs: Float64Array;
}

/** Told of each part of a tree that cannot be read, with the keys it held (`high` exclusive). Throws to end the walk. */
export type OnDamage = (error: CorruptBlockError, blockNr: number, low: number, high: number) => void;

class Level implements LeafBatch {
  nr = 0;
  readonly blockNrs = new Float64Array(MAX_CHILDREN);
  readonly lows = new Float64Array(MAX_CHILDREN + 1);
  readonly highs = new Float64Array(MAX_CHILDREN);
}

export class LeafWalk {
  readonly #reader: NodeReader;
  readonly #onDamage: OnDamage;
  /** One set of arrays for each depth: a node is copied before its children take its place in the reader's cache. */
  readonly #levels: Level[] = [];

  constructor(reader: NodeReader, onDamage: OnDamage) {
    this.#reader = reader;
    this.#onDamage = onDamage;
  }

  /** A batch is valid until the next step. One walk at a time. */
  *batches(rootNr: number): Generator<LeafBatch, void> {
    let height: number;
    try {
      height = this.#height(rootNr);
    } catch (error) {
      this.#damaged(error, rootNr, 0, Number.POSITIVE_INFINITY);
      return;
    }
    if (height === 0) {
      const only = this.#level(0);
      only.nr = 1;
      only.blockNrs[0] = rootNr;
      only.lows[0] = 0;
      only.lows[1] = Number.POSITIVE_INFINITY;
      only.highs[0] = Number.POSITIVE_INFINITY;
      yield only;
      return;
    }
    yield* this.#below(rootNr, height, 0, Number.POSITIVE_INFINITY);
  }

  *#below(blockNr: number, height: number, low: number, high: number): Generator<LeafBatch, void> {
    const level = this.#level(height);
    try {
      this.#copyInternal(blockNr, low, high, level);
    } catch (error) {
      this.#damaged(error, blockNr, low, high);
      return;
    }
    if (height === 1) {
      yield level;
      return;
    }
    for (let i = 0; i < level.nr; i++) {
      yield* this.#below(level.blockNrs[i] as number, height - 1, level.lows[i] as number, level.highs[i] as number);
    }
  }

  /**
   * Internal nodes above the leaves; 0 when the root is a leaf. Follows the left-most path that can be read: where that is
   * not the left side, the walk meets the damage again and reports it.
   */
  #height(blockNr: number, depth = 0, budget = { nrTries: MAX_TRIES }): number {
    const node = this.#reader.node(blockNr);
    if (isLeaf(node)) return 0;
    if (depth >= MAX_DEPTH) throw corruptNode(blockNr, 'depth', `more than ${MAX_DEPTH}`, 'a tree without cycles');
    // Copied: the node's place in the cache may be taken by a child.
    const children = Array.from({ length: nrEntries(node) }, (_, i) => childAt(node, i));
    let damage: unknown;
    for (const [i, child] of children.entries()) {
      try {
        requireChild(blockNr, i, child, this.#reader.nrBlocks);
        return this.#height(child, depth + 1, budget) + 1;
      } catch (error) {
        if (!(error instanceof CorruptBlockError) || budget.nrTries-- <= 0) throw error;
        damage ??= error;
      }
    }
    throw damage;
  }

  #copyInternal(blockNr: number, low: number, high: number, into: Level): void {
    const node = this.#reader.node(blockNr);
    if (isLeaf(node)) throw corruptNode(blockNr, 'flags', '2 (leaf)', '1 (internal), as all its siblings and cousins');
    requireRange(node, low, high);
    const nrChildren = nrEntries(node);
    let nr = 0;
    for (let i = 0; i < nrChildren; i++) {
      const child = childAt(node, i);
      const from = keyAt(node, i);
      const to = i + 1 < nrChildren ? keyAt(node, i + 1) : high;
      try {
        requireChild(blockNr, i, child, this.#reader.nrBlocks);
      } catch (error) {
        this.#damaged(error, blockNr, from, to);
        continue;
      }
      into.blockNrs[nr] = child;
      into.lows[nr] = from;
      into.highs[nr++] = to;
    }
    into.lows[nr] = high;
    into.nr = nr;
  }

  #level(height: number): Level {
    for (let at = this.#levels.length; at <= height; at++) this.#levels.push(new Level());
    return this.#levels[height] as Level;
  }

  #damaged(error: unknown, blockNr: number, low: number, high: number): void {
    if (!(error instanceof CorruptBlockError)) throw error;
    this.#onDamage(error, blockNr, low, high);
  }
}
