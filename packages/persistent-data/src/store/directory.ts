/**
 * What the collections of a store are: a msgpack record in a chain of overflow blocks, written anew when the schema changes.
 *
 *   { schemaVersion, nextId, collections: [ { id, name, shape, since, until? } ] }
 *
 * A collection that a later schema has no longer, or of another shape, keeps its entry, with `until`, the first version without
 * it: snapshots taken before still have it.
 *
 * Format: docs/format/store.md, section 4.
 */
import { corrupt } from '../block/block.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { nrOverflowBlocks, readChain, releaseChain, writeChain } from './overflow.js';
import { packRecord, unpackRecord } from './record-codec.js';
import type { CollectionDescription } from './schema.js';

export interface DirectoryEntry {
  readonly id: number;
  readonly name: string;
  readonly shape: CollectionDescription;
  /** The schema version that declared it so. */
  readonly since: number;
  /** The first version that does not; undefined while it is current. */
  readonly until?: number;
}

export interface Directory {
  readonly schemaVersion: number;
  /** The next collection's id. */
  readonly nextId: number;
  readonly collections: readonly DirectoryEntry[];
}

/** The directory in its chain. */
export interface StoredDirectory {
  readonly directoryNr: number;
  readonly directoryLength: number;
}

export function readDirectory(tm: TransactionManager, { directoryNr, directoryLength }: StoredDirectory): Directory {
  const refuse = (found: string): never =>
    corrupt({ nr: directoryNr }, 'store directory', 'content', found, 'a directory of collections');
  if (directoryLength === 0 || nrOverflowBlocks(directoryLength) > tm.blocks.nrBlocks)
    refuse(`${directoryLength} bytes`);
  const bytes = readChain(tm, directoryNr, directoryLength);
  let found: unknown;
  try {
    found = unpackRecord(bytes);
  } catch (error) {
    refuse(`no msgpack (${(error as Error).message})`);
  }
  const { schemaVersion, nextId, collections } = (found ?? {}) as Partial<Directory>;
  if (typeof schemaVersion !== 'number' || typeof nextId !== 'number' || !Array.isArray(collections))
    refuse('something else');
  return found as Directory;
}

/** Writes `directory` in place of `old`. */
export function writeDirectory(tm: TransactionManager, directory: Directory, old?: StoredDirectory): StoredDirectory {
  const bytes = packRecord(directory);
  const directoryNr = writeChain(tm, bytes);
  if (old !== undefined) releaseChain(tm, old.directoryNr);
  return { directoryNr, directoryLength: bytes.length };
}
