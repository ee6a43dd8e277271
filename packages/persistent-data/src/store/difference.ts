/** What differs between two states, collection by collection, at a cost that follows the differences. */
import {
  ARRAY_VALUES_AT,
  arrayBlockValidator,
  arrayValueSize,
  maxArrayEntriesFor,
  nrArrayEntries,
} from '../array/array-block.js';
import { corrupt, setU64At, u64At } from '../block/block.js';
import { diffTrees } from '../btree/diff.js';
import { subtreeType } from '../btree/nested.js';
import { BTree } from '../btree/tree.js';
import type { ValueType } from '../btree/value-type.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import type { Definition } from './definitions.js';
import type { ArraySpec, BitsetSpec, BTreeSpec, Collections, NestedSpec } from './schema.js';
import { readState, type StateEntry, stateValidator } from './state-block.js';

/** A key whose value is not the same in two states, or that only one of them has. */
export interface Difference<K, V> {
  readonly key: K;
  /** Undefined when the first state does not have it. */
  readonly before: V | undefined;
  /** Undefined when the second state does not have it. */
  readonly after: V | undefined;
}

/** The differences of a collection declared as `S`. */
export type DifferencesOf<S> =
  S extends BTreeSpec<infer K, infer V>
    ? Iterable<Difference<K, V>>
    : S extends ArraySpec<infer V>
      ? Iterable<Difference<number, V>>
      : S extends BitsetSpec
        ? Iterable<Difference<number, boolean>>
        : S extends NestedSpec<infer V>
          ? Iterable<Difference<[tree: number, key: number], V>>
          : never;

/** The differences of the collections of a schema; space maps belong to no state, and are not among them. */
export type Differences<C extends Collections> = {
  readonly [Name in keyof C as C[Name] extends { kind: 'spaceMap' } ? never : Name]: DifferencesOf<C[Name]>;
};

/** The tables of two states, kept until `close`. */
export interface TwoStates {
  readonly before: number;
  readonly after: number;
  close(): void;
}

export function differences<C extends Collections>(
  definitions: readonly Definition[],
  tm: TransactionManager,
  open: () => TwoStates,
): Differences<C> {
  const found: Record<string, Iterable<unknown>> = {};
  for (const { id, kind, name } of definitions) {
    if (kind === undefined) continue;
    found[name] = {
      *[Symbol.iterator]() {
        const states = open();
        try {
          yield* kind.differences(tm, entryOf(tm, states.before, id), entryOf(tm, states.after, id));
        } finally {
          states.close();
        }
      },
    };
  }
  return found as Differences<C>;
}

/** A collection that a state does not have is compared as an empty one. */
function entryOf(tm: TransactionManager, stateNr: number, id: number): StateEntry | undefined {
  return readState(tm.read(stateNr, stateValidator)).find(({ collectionId }) => collectionId === id);
}

/** Of two trees of values of a fixed size. */
export function treeDifferences<V>(
  tm: TransactionManager,
  type: ValueType<V>,
  before: StateEntry | undefined,
  after: StateEntry | undefined,
): Generator<Difference<number, V>> {
  const open = (entry: StateEntry | undefined): BTree<V> | undefined =>
    entry === undefined ? undefined : new BTree(tm, type, entry.root);
  return diffTrees(open(before), open(after));
}

/** Of two arrays. */
export function* arrayDifferences<V>(
  tm: TransactionManager,
  type: ValueType<V>,
  before: StateEntry | undefined,
  after: StateEntry | undefined,
): Generator<Difference<number, V>> {
  const elementsPerBlock = maxArrayEntriesFor(type.size);
  const numbers: ValueType<number> = { size: 8, decode: u64At, encode: setU64At };
  for (const block of treeDifferences(tm, numbers, before, after)) {
    const [a, b] = [elementsIn(tm, type.size, block.before), elementsIn(tm, type.size, block.after)];
    const first = block.key * elementsPerBlock;
    for (let i = 0; i < Math.max(a.nr, b.nr); i++) {
      const at = ARRAY_VALUES_AT + type.size * i;
      if (i < a.nr && i < b.nr && sameBytes(a.bytes, b.bytes, at, type.size)) continue;
      yield {
        key: first + i,
        before: i < a.nr ? type.decode(a.view, at) : undefined,
        after: i < b.nr ? type.decode(b.view, at) : undefined,
      };
    }
  }
}

function elementsIn(
  tm: TransactionManager,
  valueSize: number,
  blockNr: number | undefined,
): { nr: number; bytes: Uint8Array; view: DataView } {
  if (blockNr === undefined) return { nr: 0, bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)) };
  const block = tm.read(blockNr, arrayBlockValidator);
  const size = arrayValueSize(block);
  if (size !== valueSize) corrupt(block, 'array block', 'valueSize', size, valueSize);
  const bytes = block.bytes.slice();
  return { nr: nrArrayEntries(block), bytes, view: new DataView(bytes.buffer) };
}

/** Of two sets of nested trees. */
export function* nestedDifferences<V>(
  tm: TransactionManager,
  type: ValueType<V>,
  before: StateEntry | undefined,
  after: StateEntry | undefined,
): Generator<Difference<[tree: number, key: number], V>> {
  const roots = subtreeType(tm);
  for (const { key: tree, before: a, after: b } of treeDifferences(tm, roots, before, after)) {
    const open = (root: number | undefined): BTree<V> | undefined =>
      root === undefined ? undefined : new BTree(tm, type, root);
    for (const { key, before: old, after: now } of diffTrees(open(a), open(b)))
      yield { key: [tree, key], before: old, after: now };
  }
}

/** Of two bitsets: the bits past the shorter one's end are not there. */
export function* bitDifferences(
  words: Generator<Difference<number, { readonly low: number; readonly high: number }>>,
  lengthBefore: number,
  lengthAfter: number,
): Generator<Difference<number, boolean>> {
  for (const { key, before, after } of words) {
    for (let i = 0; i < 64; i++) {
      const bit = key * 64 + i;
      const [old, now] = [bitOf(before, i, bit < lengthBefore), bitOf(after, i, bit < lengthAfter)];
      if (old !== now) yield { key: bit, before: old, after: now };
    }
  }
}

const bitOf = (
  word: { readonly low: number; readonly high: number } | undefined,
  i: number,
  exists: boolean,
): boolean | undefined =>
  word === undefined || !exists ? undefined : ((i < 32 ? word.low >>> i : word.high >>> (i - 32)) & 1) === 1;

function sameBytes(a: Uint8Array, b: Uint8Array, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[at + i] !== b[at + i]) return false;
  return true;
}
