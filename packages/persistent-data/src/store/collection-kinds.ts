/** What a store has to know of a collection, whatever its kind: how it is made, opened, given up, walked and compared. */
import { PersistentArray } from '../array/array.js';
import { Bitset, wordType } from '../array/bitset.js';
import { subtreeType } from '../btree/nested.js';
import { BTree } from '../btree/tree.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { BitsCollection } from './bits.js';
import { arrayKind, type BlockKind, btreeKind, pageKind, unitVisit } from './block-kinds.js';
import { BytesTree, type BytesTreeType } from './bytes-tree.js';
import { type Codec, codecOf } from './codec.js';
import type { Collection, Scope } from './collection.js';
import { arrayDifferences, bitDifferences, type Difference, nestedDifferences, treeDifferences } from './difference.js';
import { keyCodecOf } from './key-codec.js';
import { deleteNested, NestedCollection } from './nested.js';
import { NumberTree } from './number-tree.js';
import { diffPageTrees, type PageEntry } from './page-diff.js';
import { PageTree } from './page-tree.js';
import { recordCodec } from './record-codec.js';
import type { CollectionDescription } from './schema.js';
import type { StateEntry } from './state-block.js';
import { type UnitMaps, valueTypeOf } from './unit-references.js';
import { VectorCollection } from './vector.js';

export interface CollectionKind {
  /** An empty collection; returns its root, with one reference. */
  create(tm: TransactionManager): number;
  open(scope: Scope, name: string, root: number, length: number): Collection;
  /** Gives up one reference to a collection; what nobody else reads is given back. O(that). */
  release(tm: TransactionManager, root: number): void;
  readonly blocks: BlockKind;
  /** What differs between two such collections; one that is not there is an empty one. */
  differences(
    tm: TransactionManager,
    before: StateEntry | undefined,
    after: StateEntry | undefined,
  ): Iterable<Difference<unknown, unknown>>;
}

/** @throws {@link TypeError} for a shape that this version does not know, or for a space map, which is no part of a state */
export function collectionKind(shape: CollectionDescription, maps: UnitMaps): CollectionKind {
  switch (shape.kind) {
    case 'btree': {
      const keys = keyCodecOf(shape.key);
      if (keys.size === 0 && shape.value !== 'record') return numberTreeKind(codecOf(shape.value), keys.max, maps);
      return bytesTreeKind({ ...shape, keys }, maps);
    }
    case 'array':
      return vectorKind(codecOf(shape.value), maps);
    case 'nested':
      return nestedKind(codecOf(shape.value), maps);
    case 'bitset':
      return {
        create: (tm) => Bitset.create(tm, 0).root,
        open: (scope, name, root, length) => new BitsCollection(scope, name, root, length),
        release: (tm, root) => new Bitset(tm, root, 0).delete(),
        blocks: arrayKind(wordType.size),
        differences: (tm, before, after) =>
          bitDifferences(arrayDifferences(tm, wordType, before, after), before?.length ?? 0, after?.length ?? 0),
      };
    default:
      throw new TypeError(`no collection of a state is a ${shape.kind}`);
  }
}

function numberTreeKind(codec: Codec<unknown>, maxKey: number, maps: UnitMaps): CollectionKind {
  const type = valueTypeOf(codec, maps);
  return {
    create: (tm) => BTree.create(tm, type).root,
    open: (scope, name, root, length) => new NumberTree(scope, name, type, maxKey, root, length),
    release: (tm, root) => new BTree(tm, type, root).delete(),
    blocks: btreeKind(unitVisit(codec.units), codec.size),
    differences: (tm, before, after) => treeDifferences(tm, type, before, after),
  };
}

function bytesTreeKind(
  shape: { keys: ReturnType<typeof keyCodecOf>; value: (CollectionDescription & { kind: 'btree' })['value'] },
  maps: UnitMaps,
): CollectionKind {
  // Records of whole numbers: keys of eight bytes, as a compound key of one component would have them.
  const { keys: declared, value } = shape;
  const single = declared.size === 0 ? keyCodecOf([declared.description as string]) : undefined;
  const keys =
    single === undefined
      ? declared
      : {
          ...single,
          encode: (key: unknown, into: DataView) => single.encode([key], into),
          decode: (view: DataView, at: number) => (single.decode(view, at) as unknown[])[0],
        };
  const codec = value === 'record' ? undefined : codecOf(value);
  const valueType = codec && valueTypeOf(codec, maps);
  const { inc, dec } = valueType ?? {};
  const hooks =
    inc === undefined || dec === undefined
      ? undefined
      : {
          inc: (view: DataView, at: number) => inc(view, at, 1),
          dec: (view: DataView, at: number) => dec(view, at, 1),
        };
  const type: BytesTreeType<unknown> = {
    keys,
    hooks,
    values:
      valueType === undefined
        ? recordCodec()
        : {
            decode: (view, at) => valueType.decode(view, at),
            encode(decoded) {
              const bytes = new Uint8Array(valueType.size);
              valueType.encode(new DataView(bytes.buffer), 0, decoded);
              return bytes;
            },
          },
  };
  return {
    create: (tm) => PageTree.create(tm, keys.size, hooks).root,
    open: (scope, name, root, length) => new BytesTree(scope, name, type, root, length),
    release: (tm, root) => new PageTree(tm, keys.size, root, hooks).delete(),
    blocks: pageKind(unitVisit(codec?.units ?? []), codec?.size),
    *differences(tm, before, after) {
      const [a, b] = [before, after].map((entry) =>
        entry === undefined ? undefined : new PageTree(tm, keys.size, entry.root),
      );
      const decoded = (tree: PageTree | undefined, entry: PageEntry | undefined): unknown =>
        tree === undefined || entry === undefined
          ? undefined
          : tree.valueAt(entry.leaf, entry.index, type.values.decode);
      for (const difference of diffPageTrees(a, b)) {
        // One after the other: reading a long value may evict the leaf that the other one is in.
        const [old, now] = [difference.before, difference.after];
        yield { key: keys.decode(difference.key, 0), before: decoded(a, old?.()), after: decoded(b, now?.()) };
      }
    },
  };
}

function vectorKind(codec: Codec<unknown>, maps: UnitMaps): CollectionKind {
  const type = valueTypeOf(codec, maps);
  return {
    create: (tm) => PersistentArray.create(tm, type).root,
    open: (scope, name, root, length) => new VectorCollection(scope, name, type, root, length),
    release: (tm, root) => new PersistentArray(tm, type, root, 0).delete(),
    blocks: arrayKind(codec.size, unitVisit(codec.units)),
    differences: (tm, before, after) => arrayDifferences(tm, type, before, after),
  };
}

function nestedKind(codec: Codec<unknown>, maps: UnitMaps): CollectionKind {
  const type = valueTypeOf(codec, maps);
  const inner = btreeKind(unitVisit(codec.units), codec.size);
  return {
    create: (tm) => BTree.create(tm, subtreeType(tm)).root,
    open: (scope, name, root, length) => new NestedCollection(scope, name, type, root, length),
    release: (tm, root) => deleteNested(tm, type, root),
    blocks: btreeKind((_, at, visitor) => visitor.block(at, inner)),
    differences: (tm, before, after) => nestedDifferences(tm, type, before, after),
  };
}
