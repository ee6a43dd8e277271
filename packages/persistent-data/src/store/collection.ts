/**
 * What all collections have in common: a root in a state's table, a place to stand in, and the two questions that come before
 * every operation: may I read, may I change?
 */
import type { TransactionManager } from '../transaction/transaction-manager.js';

/** The state that a collection is part of: the current one or a clone, in which it may be changed; or one that is only read. */
export interface Scope {
  readonly tm: TransactionManager;
  /** Throws unless the state can be read now. */
  requireReadable(): void;
  /** Called before each change: throws unless `collection` can be changed now; sees to it that `nrBlocks` more can be had. */
  beginChange(collection: Collection, nrBlocks: number): void;
}

export abstract class Collection {
  readonly scope: Scope;
  readonly name: string;
  /** Counts changes, so that iterators notice them. */
  version = 0;
  /** In which phase of its state this collection was last prepared for changes. */
  phase = -1;

  constructor(scope: Scope, name: string) {
    this.scope = scope;
    this.name = name;
  }

  /** What the state's table says of the collection. */
  abstract readonly root: number;
  abstract readonly length: number;

  /** The table says something else now: after a rollback. */
  abstract reset(root: number, length: number): void;

  /** Writes what is kept in memory into blocks, so that `root` is true. */
  settle(): void {}

  protected change(nrBlocks: number): void {
    this.scope.beginChange(this, nrBlocks);
    this.version++;
  }

  /**
   * As {@link change}, then `work`. What it throws leaves the collection half changed: whoever catches that within the transaction can
   * only roll back.
   */
  protected changing<T>(nrBlocks: number, work: () => T): T {
    this.change(nrBlocks);
    try {
      return work();
    } catch (error) {
      this.scope.tm.fail(error);
      throw error;
    }
  }
}

/** Blocks that one change of a tree may take, its space map's included: a path copied, split at each level, its neighbours. */
export const BLOCKS_OF_A_CHANGE = 64;
