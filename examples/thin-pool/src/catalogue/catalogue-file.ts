/**
 * The catalogue of a pool whose metadata is a plain image (`--raw`): one small msgpackr file, replaced as a whole.
 *
 *   offset  size   content
 *        0     8   "PDATACAT"
 *        8     4   crc32 of what follows, little-endian
 *       12     …   msgpack: a map of keys to records
 *
 * A change is staged in memory; `commit` writes all of it into a new file beside the old one, syncs it, renames it over the old one
 * and syncs the directory. So the file is the old one or the new one, whole. Metadata and catalogue are not one transaction here;
 * what that takes stands in volume-catalogue.ts.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { Packr } from 'msgpackr';
import { fileError, PoolError, quoted } from '../words/pool-error.js';
import type { CatalogueRecord } from './records.js';

const MAGIC = Buffer.from('PDATACAT');
const packr = new Packr({ useRecords: false });

/** What a pool needs of its catalogue; the catalogue of `@pdata/lmdb` is one too. */
export interface CatalogueStore {
  get(key: string): CatalogueRecord | undefined;
  put(key: string, record: CatalogueRecord): void;
  remove(key: string): boolean;
  entries(): Iterable<[string, CatalogueRecord]>;
  commit(): void;
  rollback(): void;
}

export class CatalogueFile implements CatalogueStore {
  readonly path: string;
  #committed: Map<string, CatalogueRecord>;
  #staged: Map<string, CatalogueRecord>;

  private constructor(path: string, records: Map<string, CatalogueRecord>) {
    this.path = path;
    this.#committed = records;
    this.#staged = new Map(records);
  }

  /** An empty catalogue; there is no file before the first commit. */
  static create(path: string): CatalogueFile {
    return new CatalogueFile(path, new Map());
  }

  /** @throws {@link PoolError} when the file cannot be read, or is damaged */
  static open(path: string): CatalogueFile {
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      throw fileError('read the catalogue', path, error);
    }
    const damaged = (why: string) =>
      new PoolError(
        'ERR_POOL_DAMAGED',
        `the catalogue ${quoted(path)} is damaged (${why}); the volumes are safe in the metadata: move the file away, and they come back under names like thin-0`,
      );
    if (bytes.length < 12 || !bytes.subarray(0, 8).equals(MAGIC)) throw damaged('it does not begin as one');
    if (crc32(bytes.subarray(12)) !== bytes.readUInt32LE(8)) throw damaged('its checksum does not fit');
    let content: unknown;
    try {
      content = packr.unpack(bytes.subarray(12));
    } catch {
      throw damaged('it cannot be decoded');
    }
    if (typeof content !== 'object' || content === null) throw damaged('it holds no records');
    return new CatalogueFile(path, new Map(Object.entries(content as Record<string, CatalogueRecord>)));
  }

  get(key: string): CatalogueRecord | undefined {
    return this.#staged.get(key);
  }

  put(key: string, record: CatalogueRecord): void {
    this.#staged.set(key, record);
  }

  remove(key: string): boolean {
    return this.#staged.delete(key);
  }

  entries(): Iterable<[string, CatalogueRecord]> {
    return [...this.#staged];
  }

  commit(): void {
    const content = packr.pack(Object.fromEntries(this.#staged));
    const head = Buffer.alloc(12);
    MAGIC.copy(head);
    head.writeUInt32LE(crc32(content), 8);
    const beside = `${this.path}.new`;
    try {
      writeDurably(beside, Buffer.concat([head, content]));
      renameSync(beside, this.path);
      syncFolder(dirname(this.path));
    } catch (error) {
      rmSync(beside, { force: true });
      throw fileError('write the catalogue', this.path, error);
    }
    this.#committed = new Map(this.#staged);
  }

  rollback(): void {
    this.#staged = new Map(this.#committed);
  }
}

function writeDurably(path: string, bytes: Buffer): void {
  const fd = openSync(path, 'w', 0o600);
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Makes names made, changed or removed in a folder durable. */
export function syncFolder(path: string): void {
  if (process.platform === 'win32') return; // folders cannot be opened there, and renames are journalled
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
