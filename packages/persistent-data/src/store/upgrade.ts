/**
 * Whose store is it, and of which schema? And how a store of an older schema becomes one of the program's.
 *
 * A collection that the new schema has in another shape is another collection, with an id of its own; the old one is there for the
 * hooks to read, and given up when they have run. Snapshots and the history keep theirs.
 */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import type { Definition } from './definitions.js';
import type { Directory, DirectoryEntry } from './directory.js';
import { NotAStoreError, SchemaError } from './errors.js';
import { Head, type HeadOwner, incStateRoots } from './head.js';
import {
  type Collections,
  describe,
  type ReadableCollections,
  type Schema,
  type WritableCollections,
} from './schema.js';
import { MAX_COLLECTIONS, readState, type StateEntry, stateValidator, writeState } from './state-block.js';
import type { StoreState } from './store-state.js';
import { FORMAT_VERSION, formatOf } from './superblock.js';
import { refuseSlowBody } from './synchronous-body.js';

/** What the directory keeps of a schema. */
export type DeclaredSchema = Pick<Schema<Collections>, 'version' | 'collections'>;

/** The directory of a new store. */
export function directoryOf(schema: DeclaredSchema): Directory {
  const specs = Object.entries(schema.collections);
  refuseTooMany(specs.length);
  const collections = specs.map(([name, spec], index) => ({
    id: index + 1,
    name,
    shape: describe(spec),
    since: schema.version,
  }));
  return { schemaVersion: schema.version, nextId: collections.length + 1, collections };
}

/** Blocks behind block 0 that are looked at before a store is made: 1 MiB. Whatever a store, or anybody, has kept there shows in these. */
const NR_LOOKED_AT = 255;

export const isBlank = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** @throws {@link NotAStoreError} when a device whose block 0 is all zeroes holds something behind it */
export function refuseContent(device: MetadataDevice): void {
  const behind = new Uint8Array(Math.min(NR_LOOKED_AT, device.nrBlocks - 1) * BLOCK_SIZE);
  if (behind.length > 0) device.read(1, behind);
  if (isBlank(behind)) return;
  throw new NotAStoreError(
    `${device.name} is not empty, though its first block is all zeroes: it is no store of ours, or one whose first block is lost, or a copy of one that was interrupted. It has not been changed; put back a copy, or make a new store on an empty device`,
  );
}

/** @throws {@link NotAStoreError} unless block 0 is that of a store of this format */
export function refuseForeign(bytes: Uint8Array, name: string): void {
  const format = formatOf(bytes);
  if (format === undefined)
    throw new NotAStoreError(
      `${name} holds something, but no store of ours: it has not been changed; a new store wants an empty device`,
    );
  if (format > FORMAT_VERSION)
    throw new NotAStoreError(
      `${name} holds a store of format ${format}, made by a later version, and this one knows formats up to ${FORMAT_VERSION}: it has not been changed; use that version`,
    );
}

const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
const isCurrent = ({ until }: DirectoryEntry): boolean => until === undefined;

/** @throws {@link SchemaError} unless `schema` is the store's own, or a later version */
export function refuseOtherSchema(directory: Directory, schema: DeclaredSchema, name: string): void {
  const { schemaVersion } = directory;
  if (schemaVersion > schema.version)
    throw new SchemaError(
      `the store on ${name} has version ${schemaVersion} of its schema, and this program knows version ${schema.version}: use the program that wrote it; nothing has been changed`,
    );
  if (schemaVersion < schema.version) return;
  const stored = new Map(directory.collections.filter(isCurrent).map((entry) => [entry.name, entry]));
  for (const [collection, spec] of Object.entries(schema.collections)) {
    const entry = stored.get(collection);
    stored.delete(collection);
    if (entry !== undefined && isSame(entry.shape, describe(spec))) continue;
    const found = entry === undefined ? 'it has no such collection' : `there it is ${JSON.stringify(entry.shape)}`;
    throw new SchemaError(
      `the store on ${name} has another schema: collection ${collection} is declared as ${JSON.stringify(describe(spec))}, and ${found}; nothing has been changed. Is it another program's store? If the schema was changed, raise its version, ${schemaVersion}`,
    );
  }
  const [missing] = stored.keys();
  if (missing !== undefined)
    throw new SchemaError(
      `the store on ${name} has another schema: it has a collection ${missing}, which is not declared; nothing has been changed. If it was removed, raise the schema's version, ${schemaVersion}`,
    );
}

/** Brings the current state and every clone to `schema`. Nothing of it is durable before the commit. */
export function reconcile(
  state: StoreState,
  schema: Schema<Collections>,
  owner: HeadOwner,
  writable: (head: Head) => WritableCollections<Collections>,
): void {
  const { tm } = state;
  const oldVersion = state.directory.schemaVersion;
  const old = state.definitions.current;
  const directory = nextDirectory(state.directory, schema);
  for (const { id, shape, since } of directory.collections)
    if (since === schema.version && shape.kind === 'spaceMap') state.addMap(id);
  state.replaceDirectory(directory);
  const { current } = state.definitions;
  const added = current.filter(({ since, kind }) => since === schema.version && kind !== undefined);
  const retired = old.filter(({ id }) => !current.some((definition) => definition.id === id));

  const upgraded = (stateNr: number): Head => {
    const entries = readState(tm.read(stateNr, stateValidator));
    const empty = added.map(
      (definition): StateEntry => ({ collectionId: definition.id, root: definition.kind?.create(tm) ?? 0, length: 0 }),
    );
    const head = new Head(owner, current, rewriteTable(tm, stateNr, [...entries, ...empty]));
    const context = {
      collections: writable(head),
      before: (wanted: Collections) => oldCollections(head, retired, entries, wanted),
    };
    for (let version = oldVersion + 1; version <= schema.version; version++)
      refuseSlowBody(schema.upgrade[version]?.(context as never), `the hook that upgrades to version ${version}`);
    head.settle();
    const isKept = ({ collectionId }: StateEntry): boolean => !retired.some(({ id }) => id === collectionId);
    const after = readState(tm.read(head.stateNr, stateValidator));
    head.reset(rewriteTable(tm, head.stateNr, after.filter(isKept)));
    for (const { collectionId, root } of after.filter((entry) => !isKept(entry)))
      state.definitions.byId.get(collectionId)?.kind?.release(tm, root);
    return head;
  };
  state.main = upgraded(state.main.stateNr);
  for (const { name, kind } of state.catalogue.list())
    if (kind === 'clone') state.clones.set(name, upgraded(state.catalogue.get(name).stateNr));
}

function nextDirectory(directory: Directory, schema: Schema<Collections>): Directory {
  const { version } = schema;
  const specs = new Map(Object.entries(schema.collections));
  refuseTooMany(specs.size);
  let { nextId } = directory;
  const kept = directory.collections.map((entry): DirectoryEntry => {
    if (!isCurrent(entry)) return entry;
    const spec = specs.get(entry.name);
    if (spec === undefined || !isSame(describe(spec), entry.shape)) return { ...entry, until: version };
    specs.delete(entry.name);
    return entry;
  });
  const added = [...specs].map(
    ([name, spec]): DirectoryEntry => ({ id: nextId++, name, shape: describe(spec), since: version }),
  );
  return { schemaVersion: version, nextId, collections: [...kept, ...added] };
}

function rewriteTable(tm: TransactionManager, stateNr: number, entries: readonly StateEntry[]): number {
  return tm.blocks.hold(() => {
    const table = tm.shadow(stateNr, stateValidator, (copy) => incStateRoots(tm, copy));
    writeState(table, entries);
    return table.nr;
  });
}

function oldCollections(
  head: Head,
  retired: readonly Definition[],
  entries: readonly StateEntry[],
  wanted: Collections,
): ReadableCollections<Collections> {
  const found: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(wanted)) {
    const definition = retired.find((old) => old.name === name && isSame(old.shape, describe(spec)));
    const entry = entries.find(({ collectionId }) => collectionId === definition?.id);
    if (definition?.kind === undefined || entry === undefined)
      throw new SchemaError(
        `the store had no collection ${name} of the shape ${JSON.stringify(describe(spec))} that the new schema gives up`,
      );
    found[name] = definition.kind.open(head, name, entry.root, entry.length);
  }
  return found as unknown as ReadableCollections<Collections>;
}

function refuseTooMany(nr: number): void {
  if (nr > MAX_COLLECTIONS) throw new RangeError(`a store has up to ${MAX_COLLECTIONS} collections, not ${nr}`);
}
