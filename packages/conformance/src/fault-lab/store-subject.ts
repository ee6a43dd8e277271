/**
 * The embedded store under the crash explorer: transactions, snapshots and clones, commits one by one and several on their way; the
 * model is a plain map for each collection, and a copy of them for each name.
 *
 * Each change also writes its stamp to a fresh unit of a space map: a block of a second device, durable before the state that names it can
 * be sealed. A unit that is handed out again too early is overwritten while a crash could still bring back a state that names it.
 */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import {
  bitset,
  btree,
  MetadataStore,
  record,
  schema,
  spaceMap,
  struct,
  u64,
  unit,
} from '@pdata/persistent-data/store';
import type { CrashSubject } from '@pdata/testing';

export type StoreOperation =
  | { readonly op: 'put'; readonly key: number; readonly length: number }
  | { readonly op: 'remove'; readonly key: number; readonly length: number }
  | { readonly op: 'snapshot' | 'clone' | 'drop' | 'restore'; readonly name: string }
  /** Transactions go on while the commit is on its way, for `commit`; not, for `commitSync`. */
  | { readonly op: 'commit' | 'commitSync' | 'settle' }
  /** What is on its way gets so many turns. */
  | { readonly op: 'wait'; readonly turns: number };

const NR_BLOCKS = 120;
const KEYS = 40;
const NR_BITS = 60;
const NAMES = ['a', 'b', 'c'];
/** Few, so that freed ones are soon wanted again; often none is left. */
const NR_UNITS = 4;
/** Transactions go on while a commit is flushed. */
const FLUSH_TURNS = 12;
const MEDIA = { metadata: { nrBlocks: NR_BLOCKS, flushTurns: FLUSH_TURNS }, units: { nrBlocks: NR_UNITS } } as const;
const OPTIONS = { maxBlocks: NR_BLOCKS, history: 0, now: () => 1_700_000_000_000 } as const;

export const storeSchema = schema({
  version: 1,
  collections: {
    numbers: btree({ key: u64, value: u64 }),
    records: btree({ key: u64, value: record<string>() }),
    bits: bitset(),
    stamps: btree({ key: u64, value: struct({ stamp: u64, home: unit('units') }) }),
    units: spaceMap(),
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
    store.transaction(({ bits, units }) => {
      bits.resize(NR_BITS);
      units.extend(NR_UNITS);
    });
    await store.commit();
    await store.close();
  },
  async run(list, { devices: { metadata, units }, begins, promises }) {
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
          await undefined; // it may be sealed now
          break;
        }
        case 'wait':
          for (let turn = 0; turn < operation.turns; turn++) await undefined;
          break;
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
            apply(store, units, operation, value);
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
  async recover({ metadata, units }, { thorough }) {
    const store = MetadataStore.open(metadata, storeSchema, OPTIONS);
    await audit(store);
    const state = shownBy(store, units);
    if (thorough) {
      store.transaction(({ numbers }) => numbers.set(7, 7));
      store.commitSync();
      await audit(store);
    }
    await store.close();
    return state;
  },
};

type Change = Exclude<StoreOperation, { op: 'commit' | 'commitSync' | 'settle' | 'wait' }>;

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

/** Every reference counted, those to units too: the program holds none of its own. */
export async function audit(store: Store): Promise<void> {
  const { findings, units } = await store.check();
  if (findings.length > 0) throw new Error(`the check says: ${findings.join('; ')}`);
  const named = units.get('units');
  for (let nr = 0; nr < store.collections.units.length; nr++) {
    const [counted, found] = [store.collections.units.count(nr), named?.get(nr) ?? 0];
    if (counted !== found) throw new Error(`unit ${nr} is counted ${counted} times, and named ${found} times`);
  }
}

function apply(store: Store, unitsDevice: MetadataDevice, operation: Change, value: number): void {
  store.transaction(({ numbers, records, bits, stamps, units }, transaction) => {
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
    // What gives units back must not need one.
    const home = operation.op === 'drop' ? undefined : units.allocate();
    stamps.set(0, { stamp: value, home });
    if (home === undefined) return;
    unitsDevice.write(home, unitOf(value)); // at once: what the transaction frees is not handed out before it can not be undone any more
    unitsDevice.flush();
    units.release(home); // the value that names it keeps it
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

/** @param units where the stamps are besides; they are compared, if it is given */
export function shownBy(store: Store, units?: MetadataDevice): string {
  const inUnit = units && valuesOf(units);
  const named = store.names().map(({ name }) => [name, numbersOf(store.view(name).collections, inUnit)] as const);
  return inWords({
    stamp: store.collections.stamps.get(0)?.stamp ?? 0,
    numbers: numbersOf(store.collections, inUnit),
    names: new Map(named),
  });
}

function unitOf(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array(BLOCK_SIZE / 4).fill(value).buffer);
}

/** What each unit is full of; undefined where that is more than one value. */
function valuesOf(units: MetadataDevice): (number | undefined)[] {
  const words = new Uint32Array((units.nrBlocks * BLOCK_SIZE) / 4);
  units.read(0, new Uint8Array(words.buffer));
  return Array.from({ length: units.nrBlocks }, (_, nr) => {
    const unit = words.subarray((nr * BLOCK_SIZE) / 4, ((nr + 1) * BLOCK_SIZE) / 4);
    return unit.every((word) => word === unit[0]) ? unit[0] : undefined;
  });
}

/** The collections have to agree. */
function numbersOf(
  { numbers, records, bits, stamps }: Shown,
  inUnit: readonly (number | undefined)[] | undefined,
): Map<number, number> {
  const found = new Map<number, number>([...numbers]);
  for (const [key, text] of records)
    if (text !== recordOf(found.get(key) ?? -1)) throw new Error(`record ${key} is not that of ${found.get(key)}`);
  if ([...records].length !== found.size)
    throw new Error(`there are ${[...records].length} records for ${found.size} numbers`);
  if (inUnit !== undefined) {
    for (const [, { stamp, home }] of stamps) {
      const kept = home === undefined ? stamp : inUnit[home];
      if (kept !== stamp) throw new Error(`the stamp is ${stamp}, and its unit ${home} holds ${kept}`);
    }
  }
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
    if (dice < 0.38) return { op: 'put', ...range };
    if (dice < 0.5) return { op: 'remove', ...range };
    if (dice < 0.56) return { op: 'snapshot', name };
    if (dice < 0.6) return { op: 'clone', name };
    if (dice < 0.66) return { op: 'drop', name };
    if (dice < 0.69) return { op: 'restore', name };
    if (dice < 0.75) return { op: 'commitSync' };
    if (dice < 0.87) return { op: 'commit' };
    if (dice < 0.97) return { op: 'wait', turns: 1 + pick(16) };
    return { op: 'settle' };
  });
}
