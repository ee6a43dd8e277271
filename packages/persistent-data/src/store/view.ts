/**
 * A state to be read: of a moment, of a snapshot, of a commit. It stays as it is while others write, however long, and keeps the
 * blocks that it reads from being used again; so close it.
 */
import { ClosedError, type StoreError } from '@pdata/device';
import type { SealedCounts } from '../transaction/space-map.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import type { Collection, Scope } from './collection.js';
import type { Definition } from './definitions.js';
import { SchemaError, WrongTimeError } from './errors.js';
import type { Collections, ReadableCollections } from './schema.js';
import { readState, stateValidator } from './state-block.js';

/** The reading side of a state in memory. */
export class ReadScope implements Scope {
  readonly tm: TransactionManager;
  readonly #what: string;
  /** Why it can be read no longer. */
  ended: StoreError | undefined;

  constructor(tm: TransactionManager, what: string) {
    this.tm = tm;
    this.#what = what;
  }

  requireReadable(): void {
    if (this.ended !== undefined) throw this.ended;
  }

  beginChange(): void {
    throw new WrongTimeError(`${this.#what} is only read: change the current state, or a clone, in a transaction`);
  }
}

/** The collections that the table in `stateNr` has; each opened when it is first asked for. */
export function readableCollections<C extends Collections>(
  scope: Scope,
  definitions: readonly Definition[],
  stateNr: number,
  what: string,
): ReadableCollections<C> {
  const entries = new Map(
    readState(scope.tm.read(stateNr, stateValidator)).map((entry) => [entry.collectionId, entry]),
  );
  const collections = {};
  for (const { id, name, kind, since } of definitions) {
    if (kind === undefined) continue;
    let opened: Collection | undefined;
    const open = (): Collection => {
      const entry = entries.get(id);
      if (entry === undefined)
        throw new SchemaError(
          `${what} has no collection ${name} as version ${since} of the schema declares it: it is older`,
        );
      return kind.open(scope, name, entry.root, entry.length);
    };
    Object.defineProperty(collections, name, { enumerable: true, get: () => (opened ??= open()) });
  }
  return collections as ReadableCollections<C>;
}

export class View<C extends Collections> {
  readonly collections: ReadableCollections<C>;
  /** What it shows: `the current state`, `snapshot "monday"`, `commit 7`. */
  readonly what: string;
  readonly #scope: ReadScope;
  readonly #sealed: SealedCounts;
  readonly #onClose: (view: View<C>) => void;
  /** @internal The table of the state. */
  readonly stateNr: number;

  /** @internal Made by the store. */
  constructor(
    tm: TransactionManager,
    definitions: readonly Definition[],
    state: { readonly what: string; readonly stateNr: number; readonly sealed: SealedCounts },
    onClose: (view: View<C>) => void,
  ) {
    this.what = state.what;
    this.stateNr = state.stateNr;
    this.#scope = new ReadScope(tm, this.what);
    this.#sealed = state.sealed;
    this.#onClose = onClose;
    this.collections = readableCollections(this.#scope, definitions, state.stateNr, this.what);
  }

  get isClosed(): boolean {
    return this.#scope.ended !== undefined;
  }

  /** Lets go of the state; its collections can be read no longer. */
  close(): void {
    this.end(new ClosedError(`the view of ${this.what} has been closed`));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal */
  end(why: StoreError): void {
    if (this.#scope.ended !== undefined) return;
    this.#scope.ended = why;
    this.#sealed.release();
    this.#onClose(this);
  }
}
