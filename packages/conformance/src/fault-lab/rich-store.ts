/** A schema with a collection of every kind, and the version after it; and all that a store of it shows, as one text. */
import {
  array,
  bitset,
  btree,
  bytes,
  type MetadataStore,
  nested,
  record,
  type StateName,
  schema,
  spaceMap,
  struct,
  text,
  u32,
  u64,
  unit,
} from '@pdata/persistent-data/store';

export const collections = {
  numbers: btree({ key: u64, value: u64 }),
  records: btree({ key: u64, value: record<unknown>() }),
  places: btree({ key: [u64, u32], value: struct({ name: text(20), home: unit('units') }) }),
  hashes: btree({ key: bytes(32), value: record<string>() }),
  words: array(u32),
  bits: bitset(),
  families: nested({ value: u64 }),
  units: spaceMap(),
} as const;
export const shape = schema({ version: 1, collections });
export const nextShape = schema({
  version: 2,
  collections: { ...collections, words: array(u64), added: btree({ key: u64, value: u64 }) },
  upgrade: {
    2: ({ collections: after, before }) => {
      for (const word of before({ words: collections.words }).words.values()) after.words.push(word);
    },
  },
});
export type RichStore = MetadataStore<typeof collections>;
export type Shown = ReturnType<RichStore['view']>['collections'];

/** Every state there is: the current one, what has a name, and what the history keeps. */
export function states(store: RichStore): StateName<typeof collections>[] {
  return [undefined, ...store.names().map(({ name }) => name), ...store.commits().map(({ commit }) => ({ commit }))];
}

export function viewOf(store: RichStore, state: StateName<typeof collections>): ReturnType<RichStore['view']> {
  return store.view(state as string | { readonly commit: number } | undefined);
}

/** Commits by their times, for their numbers depend on how often one was tried. */
export function inWords(store: RichStore): string {
  const named = [undefined, ...store.names().map(({ name }) => name)].map((name) => {
    using view = store.view(name);
    return [name ?? '', contentOf(view.collections)];
  });
  const { units } = store.collections;
  return JSON.stringify([named, Array.from({ length: units.length }, (_, nr) => units.count(nr))]);
}

function contentOf({ numbers, records, places, hashes, words, bits, families }: Shown): unknown {
  return [
    [...numbers],
    [...records],
    [...places],
    [...hashes].map(([key, value]) => [[...key], value]),
    [...words.values()],
    Array.from({ length: bits.length }, (_, bit) => (bits.has(bit) ? 1 : 0)).join(''),
    [...families.trees()].map((tree) => [tree, [...families.entries(tree)]]),
  ];
}
