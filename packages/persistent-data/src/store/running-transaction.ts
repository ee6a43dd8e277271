/** What a transaction does while its body runs, to names, clones and savepoints. After the body it says that it is over. */
import type { Savepoint } from '../transaction/savepoint.js';
import { type NamedState, refuseName } from './catalogue.js';
import { NameError, WrongTimeError } from './errors.js';
import type { Head } from './head.js';
import type { Collections, ReadableCollections, WritableCollections } from './schema.js';
import type { StoreState } from './store-state.js';
import type { SnapshotOptions, Transaction, TransactionSavepoint } from './transaction.js';
import { ReadScope, readableCollections } from './view.js';

/** A part of a transaction that can be undone. */
export interface StoreSavepoint {
  readonly savepoint: Savepoint;
  /** Puts back what is not in blocks. */
  readonly putBack: () => void;
}

/** What a transaction asks of its store. */
export interface TransactionHost<C extends Collections> {
  readonly state: StoreState;
  now(): number;
  beginChange(nrBlocks: number): void;
  pushSavepoint(): StoreSavepoint;
  /** False when the savepoint is gone. */
  rollbackTo(savepoint: StoreSavepoint): boolean;
  writable(head: Head): WritableCollections<C>;
  find(name: string): { readonly what: string; readonly stateNr: number };
}

const BLOCKS_OF_A_NAME = 24;
/** Giving up a state takes blocks too: bitmaps and counts are copied. */
export const BLOCKS_OF_A_RELEASE = 48;

export class RunningTransaction<C extends Collections> implements Transaction<C> {
  readonly #ownHost: TransactionHost<C>;
  isOver = false;

  constructor(host: TransactionHost<C>) {
    this.#ownHost = host;
  }

  savepoint(): TransactionSavepoint {
    const made = this.#host.pushSavepoint();
    return {
      rollback: () => {
        if (!this.#host.rollbackTo(made))
          throw new WrongTimeError('this savepoint is gone: it, or one before it, has been rolled back to');
      },
    };
  }

  snapshot(name: string, { of }: SnapshotOptions = {}): void {
    this.#name(name, 'snapshot', of === undefined ? this.#host.state.main : this.#cloneHead(of));
  }

  clone(name: string, from?: string): void {
    const { state } = this.#host;
    const source = from === undefined ? undefined : state.catalogue.get(from);
    if (from === undefined || source === undefined) this.#name(name, 'clone', state.main);
    else if (source.kind === 'clone') this.#name(name, 'clone', this.#cloneHead(from));
    else {
      this.#refuseTaken(name);
      this.#changing(BLOCKS_OF_A_NAME, () => {
        state.tm.inc(source.stateNr);
        this.#add(name, 'clone', source.stateNr);
      });
    }
  }

  drop(name: string): void {
    const { state } = this.#host;
    state.settleHeads();
    const { stateNr } = state.catalogue.get(name);
    this.#changing(BLOCKS_OF_A_RELEASE, () => {
      state.clones.get(name)?.end(`the clone ${JSON.stringify(name)} has been dropped`);
      state.clones.delete(name);
      state.catalogue.remove(name);
      state.release(stateNr);
    });
  }

  restore(name: string): void {
    const { state } = this.#host;
    state.settleHeads();
    const { stateNr } = state.catalogue.get(name);
    this.#changing(BLOCKS_OF_A_RELEASE, () => {
      state.tm.inc(stateNr);
      const old = state.main.stateNr;
      state.main.reset(stateNr);
      state.release(old);
      // The table of a clone is now the current state's too, and has to be copied before either is changed.
      state.clones.get(name)?.reset(stateNr);
    });
  }

  on(clone: string): WritableCollections<C> {
    return this.#host.writable(this.#cloneHead(clone));
  }

  read(name: string): ReadableCollections<C> {
    const { state } = this.#host;
    state.settleHeads();
    const { what, stateNr } = this.#host.find(name);
    return readableCollections<C>(new ReadScope(state.tm, what), state.definitions.current, stateNr, what);
  }

  get #host(): TransactionHost<C> {
    if (this.isOver) throw new WrongTimeError('the transaction is over');
    return this.#ownHost;
  }

  #cloneHead(name: string): Head {
    const { state } = this.#host;
    if (state.catalogue.get(name).kind === 'clone') return state.clone(name);
    throw new NameError(`${JSON.stringify(name)} is a snapshot, which is only read: make a clone of it to change`);
  }

  #name(name: string, kind: NamedState['kind'], head: Head): void {
    this.#refuseTaken(name);
    this.#changing(BLOCKS_OF_A_NAME, () => this.#add(name, kind, head.share()));
  }

  #add(name: string, kind: NamedState['kind'], stateNr: number): void {
    const { state } = this.#host;
    state.catalogue.add({ name, kind, stateNr, commit: state.commitNr, time: this.#host.now() });
  }

  #refuseTaken(name: string): void {
    refuseName(name);
    if (this.#host.state.catalogue.has(name))
      throw new NameError(`there is a snapshot or clone called ${JSON.stringify(name)} already: drop it first`);
  }

  /** What `work` throws leaves names and states half changed: the transaction can only be rolled back. */
  #changing(nrBlocks: number, work: () => void): void {
    this.#host.beginChange(nrBlocks);
    try {
      work();
    } catch (error) {
      this.#host.state.tm.fail(error);
      throw error;
    }
  }
}
