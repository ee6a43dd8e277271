/**
 * A state that is being changed: the current one, or a clone. It keeps its collections open, and what they are now is written
 * into the state's table when a transaction, or a part of one, ends.
 *
 * The order matters: before a collection of a state is changed, the table is shadowed. If others hold the table, that
 * counts the collections' roots once more, and only then can be told whether a root may be changed in place.
 */
import type { Block } from '../block/block.js';
import { u64At } from '../block/block.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import type { Collection, Scope } from './collection.js';
import type { Definition } from './definitions.js';
import { NameError } from './errors.js';
import {
  nrStateEntries,
  readState,
  refuseMissingCollection,
  refuseUnknownCollection,
  stateRootOffset,
  stateValidator,
  updateState,
} from './state-block.js';

/** What a head asks of its store. */
export interface HeadOwner {
  readonly tm: TransactionManager;
  requireReadable(): void;
  /** Throws unless a transaction is under way; sees to it that so many blocks can be had. */
  beginChange(nrBlocks: number): void;
}

/** Counts the root of every collection of a table that was copied. */
export function incStateRoots(tm: TransactionManager, copy: Block): void {
  for (let i = 0; i < nrStateEntries(copy); i++) tm.inc(u64At(copy.view, stateRootOffset(i)));
}

/** Gives up one reference to a state; what nobody else reads is given back. */
export function releaseState(
  tm: TransactionManager,
  stateNr: number,
  definitions: ReadonlyMap<number, Definition>,
): void {
  if (tm.spaceMap.isShared(stateNr)) {
    tm.dec(stateNr);
    return;
  }
  const entries = readState(tm.read(stateNr, stateValidator));
  tm.dec(stateNr);
  for (const { collectionId, root } of entries) {
    const definition = definitions.get(collectionId);
    if (definition?.kind === undefined) refuseUnknownCollection(stateNr, collectionId);
    definition.kind.release(tm, root);
  }
}

export class Head implements Scope {
  readonly #owner: HeadOwner;
  readonly #definitions: readonly Definition[];
  readonly collections = new Map<string, Collection>();
  /** Collections changed since their roots were last written into the table. */
  #changed: Collection[] = [];
  #phase = 0;
  #ended: string | undefined;
  stateNr: number;

  constructor(owner: HeadOwner, definitions: readonly Definition[], stateNr: number) {
    this.#owner = owner;
    this.#definitions = definitions;
    this.stateNr = stateNr;
    const entries = new Map(this.#table().map((entry) => [entry.collectionId, entry]));
    for (const { id, name, kind } of definitions) {
      if (kind === undefined) continue;
      const entry = entries.get(id);
      if (entry === undefined) refuseMissingCollection(stateNr, id);
      this.collections.set(name, kind.open(this, name, entry.root, entry.length));
    }
  }

  get tm(): TransactionManager {
    return this.#owner.tm;
  }

  requireReadable(): void {
    this.#owner.requireReadable();
    if (this.#ended !== undefined) throw new NameError(this.#ended);
  }

  /** It is dropped: from here on its collections say so. */
  end(why: string): void {
    this.#ended = why;
  }

  beginChange(collection: Collection, nrBlocks: number): void {
    if (this.#ended !== undefined) throw new NameError(this.#ended);
    this.#owner.beginChange(nrBlocks);
    if (collection.phase === this.#phase) return;
    this.#shadowTable();
    collection.phase = this.#phase;
    this.#changed.push(collection);
  }

  /** Writes what has changed into the table: `stateNr` then says all. */
  settle(): void {
    if (this.#changed.length === 0) return;
    for (const collection of this.#changed) collection.settle();
    this.tm.blocks.hold(() => {
      const table = this.#shadowTable();
      for (const collection of this.#changed) {
        const { id } = this.#definitions.find(({ name }) => name === collection.name) as Definition;
        updateState(table, id, collection.root, collection.length);
      }
    });
    this.#changed = [];
    this.#phase++;
  }

  /** One reference more to the state as it is now; returns its table. */
  share(): number {
    this.settle();
    this.tm.inc(this.stateNr);
    this.#phase++; // whoever changes a collection next has to copy the table first
    return this.stateNr;
  }

  /** Back to the state whose table is in `stateNr`. */
  reset(stateNr: number): void {
    this.stateNr = stateNr;
    this.#ended = undefined;
    this.#changed = [];
    this.#phase++;
    const entries = new Map(this.#table().map((entry) => [entry.collectionId, entry]));
    for (const { id, name } of this.#definitions) {
      const entry = entries.get(id);
      if (entry !== undefined) this.collections.get(name)?.reset(entry.root, entry.length);
    }
  }

  #table(): ReturnType<typeof readState> {
    return readState(this.tm.read(this.stateNr, stateValidator));
  }

  #shadowTable(): Block {
    const { tm } = this;
    return tm.blocks.hold(() => {
      const table = tm.shadow(this.stateNr, stateValidator, (copy) => incStateRoots(tm, copy));
      this.stateNr = table.nr;
      return table;
    });
  }
}
