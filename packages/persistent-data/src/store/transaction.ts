/**
 * What the body of a transaction has besides the collections of the current state: savepoints, names, clones.
 *
 * Everything here ends with the body; a handle used later says so.
 */
import type { Collections, ReadableCollections, WritableCollections } from './schema.js';

/** A point of a transaction. */
export interface TransactionSavepoint {
  /** Undoes everything since; savepoints made since are gone, and so is this one. */
  rollback(): void;
}

export interface SnapshotOptions {
  /** The clone to take it of; the current state when left out. */
  readonly of?: string;
}

export interface Transaction<C extends Collections> {
  savepoint(): TransactionSavepoint;
  /** Names the state as it is at this point of the transaction. O(1). */
  snapshot(name: string, options?: SnapshotOptions): void;
  /** Makes a state that can be changed, from a snapshot, another clone, or, without `from`, the current state. O(1). */
  clone(name: string, from?: string): void;
  /** Forgets a snapshot or clone, and gives back what nobody else shares. O(that). */
  drop(name: string): void;
  /** Makes what a snapshot or clone holds the current state. O(what only the state of before had). */
  restore(name: string): void;
  /** The collections of a clone, to be changed in this transaction. */
  on(clone: string): WritableCollections<C>;
  /** The collections of a snapshot or clone, to be read in this transaction. */
  read(name: string): ReadableCollections<C>;
}
