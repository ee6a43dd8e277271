/**
 * The embedded store under the crash explorer: transactions, snapshots and clones, commits one by one and several on their way; the
 * model is a plain map for each collection, and a copy of them for each name.
 */
import { NoSpaceError } from '@pdata/persistent-data';
import { bitset, btree, MetadataStore, record, schema, u64 } from '@pdata/persistent-data/store';
import type { CrashSubject } from '@pdata/testing';

export type StoreOperation =
  | { readonly op: 'put'; readonly key: number; readonly length: number }
  | { readonly op: 'remove'; readonly key: number; readonly length: number }
  | { readonly op: 'snapshot' | 'clone' | 'drop' | 'restore'; readonly name: string }
  /** Transactions go on while the commit is on its way, for `commit`; not, for `commitSync`. */
  | { readonly op: 'commit' | 'commitSync' | 'settle' };

const NR_BLOCKS = 120;
const KEYS = 40;
const NR_BITS = 60;
const NAMES = ['a', 'b', 'c'];
const MEDIA = { metadata: { nrBlocks: NR_BLOCKS } } as const;
const OPTIONS = { maxBlocks: NR_BLOCKS, history: 0, now: () => 1_700_000_000_000 } as const;

export const storeSchema = schema({
  version: 1,
  collections: {
    numbers: btree({ key: u64, value: u64 }),
    records: btree({ key: u64, value: record<string>() }),
    bits: bitset(),
    stamps: btree({ key: u64, value: u64 }),
  },
});
export type Store = MetadataStore<typeof storeSchema.collections>;
type Shown = ReturnType<Store['view']>['collections'];

interface Model {
  readonly stamp: number;
  readonly numbers: ReadonlyMap<number, number>;
  readonly names: ReadonlyMap<string, ReadonlyMap<number, number>>;
}

/** Each key is in all three collections; the record is long enough that a leaf holds few. */
const recordOf = (value: number): string => `${value} `.repeat(120);

export const subject: CrashSubject<StoreOperation, typeof MEDIA> = {
  name: 'store',
  media: MEDIA,
  operations,
  async prepare({ metadata }) {
    const store = MetadataStore.open(metadata, storeSchema, OPTIONS);
    store.transaction(({ bits }) => bits.resize(NR_BITS));
    await store.commit();
    await store.close();
  },
  async run(list, { devices: { metadata }, begins, promises }) {
    const store = MetadataStore.open(metadata, storeSchema, {
      ...OPTIONS,
      cacheBlocks: list.length % 2 === 0 ? 32 : 256,
    });
    let model: Model = { stamp: 0, numbers: new Map(), names: new Map() };
    let nextValue = 1;
    let state = inWords(model);
    const onTheWay: Promise<void>[] = [];
    begins(state);
    promises(state);
    for (const operation of list) {
      switch (operation.op) {
        case 'commit': {
          const committed = state;
          onTheWay.push(store.commit().then(() => promises(committed)));
          await undefined;
          break;
        }
        case 'commitSync':
          store.commitSync();
          promises(state);
          break;
        case 'settle':
          await Promise.all(onTheWay);
          break;
        default: {
          const value = nextValue++;
          const change = changed(model, operation, value);
          const after = change && { ...change, stamp: value };
          if (after === undefined) break;
          try {
            // Begun before: a commit on its way may take it along.
            begins(inWords(after));
            apply(store, operation, value);
            model = after;
            state = inWords(model);
          } catch (error) {
            if (!(error instanceof NoSpaceError)) throw error;
          }
        }
      }
    }
    await Promise.all(onTheWay);
  },
  async recover({ metadata }, { thorough }) {
    const store = MetadataStore.open(metadata, storeSchema, OPTIONS);
    const { findings } = await store.check();
    if (findings.length > 0) throw new Error(`the check says: ${findings.join('; ')}`);
    const state = shownBy(store);
    if (thorough) {
      store.transaction(({ numbers }) => numbers.set(7, 7));
      store.commitSync();
      const [finding] = (await store.check()).findings;
      if (finding !== undefined) throw new Error(`after more work the check says: ${finding}`);
    }
    await store.close();
    return state;
  },
};

type Change = Exclude<StoreOperation, { op: 'commit' | 'commitSync' | 'settle' }>;

/** The model after the change; undefined when it makes no sense. */
function changed({ numbers, names }: Model, operation: Change, value: number): Omit<Model, 'stamp'> | undefined {
  switch (operation.op) {
    case 'put': {
      const after = new Map(numbers);
      for (let key = operation.key; key < operation.key + operation.length; key++) after.set(key, value);
      return { numbers: after, names };
    }
    case 'remove': {
      const { key: begin, length } = operation;
      return { numbers: new Map([...numbers].filter(([key]) => key < begin || key >= begin + length)), names };
    }
    case 'snapshot':
    case 'clone':
      return names.has(operation.name) ? undefined : { numbers, names: new Map(names).set(operation.name, numbers) };
    case 'drop': {
      const left = new Map(names);
      return left.delete(operation.name) ? { numbers, names: left } : undefined;
    }
    case 'restore': {
      const named = names.get(operation.name);
      return named && { numbers: named, names };
    }
  }
}

function apply(store: Store, operation: Change, value: number): void {
  store.transaction(({ numbers, records, bits, stamps }, transaction) => {
    switch (operation.op) {
      case 'put':
      case 'remove':
        for (let key = operation.key; key < operation.key + operation.length; key++) {
          bits.set(key, operation.op === 'put');
          if (operation.op === 'put') {
            numbers.set(key, value);
            records.set(key, recordOf(value));
          } else {
            numbers.delete(key);
            records.delete(key);
          }
        }
        break;
      default:
        transaction[operation.op](operation.name);
    }
    stamps.set(0, value);
  });
}

function inWords({ stamp, numbers, names }: Model): string {
  const entries = (of: ReadonlyMap<number, number>): string =>
    [...of]
      .sort(([a], [b]) => a - b)
      .map(([key, value]) => `${key}:${value}`)
      .join(' ');
  return [`${stamp}`, entries(numbers), ...[...names].sort().map(([name, of]) => `${name} = ${entries(of)}`)].join(
    '; ',
  );
}

export function shownBy(store: Store): string {
  const named = store.names().map(({ name }) => [name, numbersOf(store.view(name).collections)] as const);
  return inWords({
    stamp: store.collections.stamps.get(0) ?? 0,
    numbers: numbersOf(store.collections),
    names: new Map(named),
  });
}

/** The three collections have to agree. */
function numbersOf({ numbers, records, bits }: Shown): Map<number, number> {
  const found = new Map<number, number>([...numbers]);
  for (const [key, text] of records)
    if (text !== recordOf(found.get(key) ?? -1)) throw new Error(`record ${key} is not that of ${found.get(key)}`);
  if ([...records].length !== found.size)
    throw new Error(`there are ${[...records].length} records for ${found.size} numbers`);
  for (let key = 0; key < NR_BITS; key++)
    if (bits.has(key) !== found.has(key)) throw new Error(`bit ${key} is ${bits.has(key)}`);
  return found;
}

function operations(random: () => number): StoreOperation[] {
  const pick = (below: number): number => Math.floor(random() * below);
  return Array.from({ length: 14 + pick(16) }, (): StoreOperation => {
    const dice = random();
    const range = { key: pick(KEYS), length: 1 + pick(12) };
    const name = NAMES[pick(NAMES.length)] as string;
    if (dice < 0.4) return { op: 'put', ...range };
    if (dice < 0.52) return { op: 'remove', ...range };
    if (dice < 0.59) return { op: 'snapshot', name };
    if (dice < 0.63) return { op: 'clone', name };
    if (dice < 0.69) return { op: 'drop', name };
    if (dice < 0.72) return { op: 'restore', name };
    if (dice < 0.82) return { op: 'commitSync' };
    if (dice < 0.94) return { op: 'commit' };
    return { op: 'settle' };
  });
}
