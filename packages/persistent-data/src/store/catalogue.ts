/**
 * The names of a store: snapshots, which are only read, and clones, which can be changed. A page tree, id → u64 table of the state,
 * then a msgpack record { name, kind, commit, time }. Each entry holds one reference to its state.
 *
 * All names are in memory too. They are few, and every one is looked for by its name.
 *
 * Format: docs/format/store.md, section 7.
 */
import { setU64At, u64At } from '../block/block.js';
import { TwoWayCursor } from '../btree/two-way-cursor.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { NameError } from './errors.js';
import { entryOffset } from './page-node.js';
import { pageReader } from './page-reader.js';
import { PageTree } from './page-tree.js';
import { packRecord, unpackRecord } from './record-codec.js';

export interface NamedState {
  readonly name: string;
  readonly kind: 'snapshot' | 'clone';
  /** The commit after which it was made. */
  readonly commit: number;
  /** When it was made, in milliseconds since 1970. */
  readonly time: number;
}

interface Entry extends NamedState {
  readonly id: number;
  readonly stateNr: number;
}

const KEY_SIZE = 8;
const MAX_NAME_LENGTH = 255;
const STATE_SIZE = 8;

export class Catalogue {
  readonly #tree: PageTree;
  readonly #key = new DataView(new ArrayBuffer(KEY_SIZE));
  #entries = new Map<string, Entry>();
  #nextId = 1;

  constructor(tm: TransactionManager, root: number) {
    this.#tree = new PageTree(tm, KEY_SIZE, root);
    this.#load();
  }

  static create(tm: TransactionManager): Catalogue {
    return new Catalogue(tm, PageTree.create(tm, KEY_SIZE).root);
  }

  get root(): number {
    return this.#tree.root;
  }

  /** Back to what the tree at `root` says. */
  reset(root: number): void {
    this.#tree.root = root;
    this.#load();
  }

  list(): NamedState[] {
    return [...this.#entries.values()].map(({ name, kind, commit, time }) => ({ name, kind, commit, time }));
  }

  /** @throws {@link NameError} when there is no such name */
  get(name: string): NamedState & { readonly stateNr: number } {
    const entry = this.#entries.get(name);
    if (entry !== undefined) return entry;
    const some = [...this.#entries.keys()].slice(0, 10).join(', ');
    throw new NameError(
      `there is no snapshot or clone called ${JSON.stringify(name)}${some === '' ? '; there are none at all' : `; there are ${some}`}`,
    );
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** The caller's reference to the state becomes the entry's. */
  add(state: NamedState & { readonly stateNr: number }): void {
    this.#put({ ...state, id: this.#nextId++ });
  }

  /** The state of a clone has moved. */
  move(name: string, stateNr: number): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined && entry.stateNr !== stateNr) this.#put({ ...entry, stateNr });
  }

  /** The entry's reference becomes the caller's. */
  remove(name: string): void {
    const entry = this.#entries.get(name) as Entry;
    this.#setKey(entry.id);
    this.#tree.remove(this.#key);
    this.#entries.delete(name);
  }

  #put(entry: Entry): void {
    const { name, kind, commit, time, id, stateNr } = entry;
    const record = packRecord({ name, kind, commit, time });
    const value = new Uint8Array(STATE_SIZE + record.length);
    setU64At(new DataView(value.buffer), 0, stateNr);
    value.set(record, STATE_SIZE);
    this.#setKey(id);
    this.#tree.insert(this.#key, value);
    this.#entries.set(name, entry);
  }

  #setKey(id: number): void {
    this.#key.setUint32(0, Math.floor(id / 2 ** 32));
    this.#key.setUint32(4, id >>> 0);
  }

  #load(): void {
    this.#entries = new Map();
    this.#nextId = 1;
    const cursor = new TwoWayCursor(pageReader(this.#tree));
    for (cursor.seek(undefined, false); !cursor.done; cursor.next()) {
      const { leaf, index } = cursor;
      const id = idAt(leaf.view, entryOffset(leaf, index));
      const entry = this.#tree.valueAt(leaf, index, (view, at, length) => ({
        ...(unpackRecord(
          new Uint8Array(view.buffer, view.byteOffset + at + STATE_SIZE, length - STATE_SIZE),
        ) as NamedState),
        stateNr: u64At(view, at),
        id,
      }));
      this.#entries.set(entry.name, entry);
      this.#nextId = id + 1;
    }
  }
}

const idAt = (view: DataView, at: number): number => view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);

/** @throws {@link NameError} for what cannot be a name */
export function refuseName(name: string): void {
  if (
    typeof name !== 'string' ||
    name === '' ||
    new TextEncoder().encode(name).length > MAX_NAME_LENGTH ||
    /\p{Surrogate}/u.test(name)
  )
    throw new NameError(
      `a name has from 1 to ${MAX_NAME_LENGTH} bytes in UTF-8, not ${JSON.stringify(name)?.slice(0, 40)}`,
    );
}
