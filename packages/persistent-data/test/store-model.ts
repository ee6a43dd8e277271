/**
 * The store beside plain maps: whatever a sequence of transactions, snapshots, clones, drops, savepoints, aborts, commits and
 * reopenings does to the one, it does to the other. Used by the model tests, and by the exploration of crashes.
 */
import type { MetadataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import {
  array,
  bitset,
  btree,
  MetadataStore,
  nested,
  record,
  type StoreOptions,
  schema,
  spaceMap,
  struct,
  type Transaction,
  u32,
  u64,
  unit,
  type WritableCollections,
} from '@pdata/persistent-data/store';

export const modelSchema = schema({
  version: 1,
  collections: {
    numbers: btree({ key: u64, value: struct({ a: u64, b: u32 }) }),
    records: btree({ key: [u32, u64], value: record<string>() }),
    owners: btree({ key: u64, value: struct({ unit: unit('units') }) }),
    bits: bitset(),
    slots: array(u32),
    trees: nested({ value: u64 }),
    units: spaceMap(),
  },
});
type Shape = typeof modelSchema.collections;
export type ModelStore = MetadataStore<Shape>;

/** One state, in plain maps. Entries are strings, so that states are compared as text. */
export interface PlainState {
  numbers: Map<number, number>;
  records: Map<string, string>;
  owners: Map<number, number>;
  bits: boolean[];
  slots: number[];
  trees: Map<number, Map<number, number>>;
}

export interface PlainStore {
  main: PlainState;
  names: Map<string, { kind: 'snapshot' | 'clone'; state: PlainState }>;
}

const emptyState = (): PlainState => ({
  numbers: new Map(),
  records: new Map(),
  owners: new Map(),
  bits: [],
  slots: [],
  trees: new Map(),
});
export const emptyPlainStore = (): PlainStore => ({ main: emptyState(), names: new Map() });

const copyState = (state: PlainState): PlainState => ({
  numbers: new Map(state.numbers),
  records: new Map(state.records),
  owners: new Map(state.owners),
  bits: [...state.bits],
  slots: [...state.slots],
  trees: new Map([...state.trees].map(([tree, entries]) => [tree, new Map(entries)])),
});
export const copyPlainStore = ({ main, names }: PlainStore): PlainStore => ({
  main: copyState(main),
  names: new Map([...names].map(([name, { kind, state }]) => [name, { kind, state: copyState(state) }])),
});

const sorted = <V>(map: Map<number, V>): [number, V][] => [...map].sort(([a], [b]) => a - b);
const NR_UNITS = 40;

/** Everything that a state holds, as text. */
export function plainText({ numbers, records, owners, bits, slots, trees }: PlainState): string {
  return JSON.stringify([
    sorted(numbers),
    [...records].sort(([a], [b]) => (a < b ? -1 : 1)),
    sorted(owners),
    bits.map(Number),
    slots,
    sorted(trees).map(([tree, entries]) => [tree, sorted(entries)]),
  ]);
}

type Readable = Pick<WritableCollections<Shape>, 'numbers' | 'records' | 'owners' | 'bits' | 'slots' | 'trees'>;
const recordKey = (a: number, b: number): string => `${`${a}`.padStart(10, '0')}:${`${b}`.padStart(16, '0')}`;

/** The same, of a state of the store. */
export function storeText(
  c: {
    [Name in keyof Readable]: Partial<Readable[Name]> & unknown;
  },
): string {
  const { numbers, records, owners, bits, slots, trees } = c as Readable;
  return JSON.stringify([
    [...numbers].map(([key, { a }]) => [key, a]),
    [...records].map(([[a, b], value]) => [recordKey(a, b), value]),
    [...owners].map(([key, value]) => [key, value.unit]),
    Array.from({ length: bits.length }, (_, bit) => Number(bits.has(bit))),
    [...slots],
    [...trees.trees()].map((tree) => [tree, [...trees.entries(tree)]]),
  ]);
}

/** Names and all their states, as text. */
export const wholePlainText = ({ main, names }: PlainStore): string =>
  [plainText(main), ...[...names].sort().map(([name, { kind, state }]) => `${name} ${kind} ${plainText(state)}`)].join(
    '\n',
  );

export function wholeStoreText(store: ModelStore): string {
  const named = store
    .names()
    .map(({ name, kind }) => {
      using view = store.view(name);
      return `${name} ${kind} ${storeText(view.collections)}`;
    })
    .sort();
  return [storeText(store.collections), ...named].join('\n');
}

export class StoreUnderModel {
  readonly random: () => number;
  device: MetadataDevice;
  store: ModelStore;
  model = emptyPlainStore();
  readonly #options: StoreOptions;

  constructor(device: MetadataDevice, random: () => number, options: StoreOptions = {}) {
    this.device = device;
    this.random = random;
    this.#options = options;
    this.store = MetadataStore.open(device, modelSchema, options);
    if (this.store.collections.units.length === 0) {
      this.store.transaction(({ units }) => units.extend(NR_UNITS));
      this.store.commitSync();
    }
  }

  /** One transaction of some random changes; now and then it is aborted, or a part of it undone. */
  transaction(nrChanges: number, room: 'is there' | 'may lack room' = 'is there'): void {
    const { store, random } = this;
    const before = this.model;
    this.model = copyPlainStore(before);
    const abort = new Error('aborted on purpose');
    try {
      store.transaction((collections, tx) => {
        const target = this.#pick(
          [...this.model.names].filter(([, { kind }]) => kind === 'clone').map(([name]) => name),
        );
        const [c, plain] =
          target !== undefined && random() < 0.3
            ? [tx.on(target), this.#stateOf(target)]
            : [collections, this.model.main];
        this.#changes(c, plain, nrChanges);
        if (random() < 0.3) this.#undonePart(c, plain, tx, nrChanges);
        this.#changes(collections, this.model.main, Math.ceil(nrChanges / 4)); // of the model as it is by now
        if (random() < 0.4) this.#names(tx);
        if (random() < 0.15) throw abort;
      });
    } catch (error) {
      if (error !== abort && !(room === 'may lack room' && error instanceof NoSpaceError)) throw error;
      this.model = before;
    }
  }

  async reopen(): Promise<void> {
    await this.store.close();
    this.store = MetadataStore.open(this.device, modelSchema, this.#options);
  }

  #undonePart(c: WritableCollections<Shape>, plain: PlainState, tx: Transaction<Shape>, nrChanges: number): void {
    const kept = copyPlainStore(this.model);
    const savepoint = tx.savepoint();
    this.#changes(c, copyState(plain), nrChanges);
    if (this.random() < 0.5) {
      tx.savepoint();
      this.#names(tx);
    }
    savepoint.rollback();
    this.model = kept;
  }

  #stateOf(name: string): PlainState {
    return (this.model.names.get(name) as { state: PlainState }).state;
  }

  #names(tx: Transaction<Shape>): void {
    const { random, model } = this;
    const names = [...model.names.keys()];
    const name = `n${Math.floor(random() * 6)}`;
    const other = this.#pick(names);
    if (model.names.has(name)) {
      if (random() < 0.2) {
        tx.restore(name);
        model.main = copyState(this.#stateOf(name));
      } else {
        tx.drop(name);
        model.names.delete(name);
      }
    } else if (random() < 0.5) {
      const of = this.#pick(names.filter((known) => model.names.get(known)?.kind === 'clone'));
      const isOfClone = of !== undefined && random() < 0.3;
      tx.snapshot(name, isOfClone ? { of } : {});
      model.names.set(name, { kind: 'snapshot', state: copyState(isOfClone ? this.#stateOf(of) : model.main) });
    } else {
      const from = random() < 0.5 ? other : undefined;
      tx.clone(name, from);
      model.names.set(name, { kind: 'clone', state: copyState(from === undefined ? model.main : this.#stateOf(from)) });
    }
  }

  #changes(c: WritableCollections<Shape>, plain: PlainState, nr: number): void {
    const { random } = this;
    const below = (end: number): number => Math.floor(random() * end);
    for (let i = 0; i < nr; i++) {
      const key = below(400);
      const value = below(1e6);
      switch (below(11)) {
        case 0:
        case 1:
          for (let j = 0; j < 12; j++) {
            c.numbers.set(key * 10 + j, { a: value, b: j });
            plain.numbers.set(key * 10 + j, value);
          }
          break;
        case 2: {
          c.numbers.deleteRange({ from: key * 5, to: key * 5 + 60 });
          for (const known of plain.numbers.keys())
            if (known >= key * 5 && known < key * 5 + 60) plain.numbers.delete(known);
          break;
        }
        case 3:
        case 4: {
          const text = 'x'.repeat(below(random() < 0.1 ? 12_000 : 300)) + value;
          c.records.set([key % 7, key], text);
          plain.records.set(recordKey(key % 7, key), text);
          break;
        }
        case 5:
          c.records.delete([key % 7, key]);
          plain.records.delete(recordKey(key % 7, key));
          break;
        case 6:
          this.#own(c, plain, below(30));
          break;
        case 7: {
          const length = below(200);
          c.bits.resize(length, value % 2 === 0);
          plain.bits = Array.from({ length }, (_, bit) => plain.bits[bit] ?? value % 2 === 0);
          if (length > 0) {
            c.bits.set(key % length, value % 3 === 0);
            plain.bits[key % length] = value % 3 === 0;
          }
          break;
        }
        case 8:
          c.slots.push(value);
          plain.slots.push(value);
          if (value % 7 === 0) {
            const length = below(plain.slots.length + 1500);
            c.slots.resize(length, value);
            plain.slots = Array.from({ length }, (_, index) => plain.slots[index] ?? value);
          }
          break;
        default:
          this.#tree(c, plain, key % 5, key, value);
      }
    }
  }

  #own(c: WritableCollections<Shape>, plain: PlainState, key: number): void {
    const old = plain.owners.get(key);
    if (old !== undefined && this.random() < 0.5) {
      c.owners.delete(key);
      plain.owners.delete(key);
      return;
    }
    // Units that another value names, as often as new ones.
    const known = this.#pick([...plain.owners.values()]);
    if (known !== undefined && this.random() < 0.5) {
      c.owners.set(key, { unit: known });
      plain.owners.set(key, known);
      return;
    }
    let free = 0;
    for (let nr = 0; nr < NR_UNITS; nr++) if (c.units.count(nr) === 0) free++;
    if (free < NR_UNITS / 2) return; // some are free now but not in states that a crash could bring back
    const nr = c.units.allocate();
    c.owners.set(key, { unit: nr });
    c.units.release(nr);
    plain.owners.set(key, nr);
  }

  #tree(c: WritableCollections<Shape>, plain: PlainState, tree: number, key: number, value: number): void {
    const { random } = this;
    const other = (tree + 1) % 5;
    if (random() < 0.15) {
      c.trees.dropTree(tree);
      plain.trees.delete(tree);
    } else if (random() < 0.3 && plain.trees.has(tree) && !plain.trees.has(other)) {
      c.trees.copyTree(tree, other);
      plain.trees.set(other, new Map(plain.trees.get(tree)));
    } else {
      const entries = plain.trees.get(tree) ?? new Map<number, number>();
      plain.trees.set(tree, entries);
      c.trees.set(tree, key, value);
      entries.set(key, value);
      for (let i = 0; i < 20; i++) {
        c.trees.set(tree, value + i, i);
        entries.set(value + i, i);
      }
      c.trees.delete(tree, key + 1);
      entries.delete(key + 1);
    }
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.random() * from.length)];
  }
}
