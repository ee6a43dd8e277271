/**
 * Records beside a pool's blocks, committed in the same transaction: names, tags, origins, times, what a program wants to
 * keep in step with the metadata.
 *
 * A record is anything that comes back from msgpack as it was: plain objects, arrays, strings, numbers, bigints of 64 bits, dates, bytes. It
 * is encoded when it is put, so that changing the object afterwards changes nothing here, and each `get` makes a new one.
 *
 * Changes are staged: this catalogue's own reader sees them at once, everybody else after the commit. They are committed
 * by the next flush of the pool's device, in the same LMDB transaction, or by `commit` alone, and dropped by `rollback`, by
 * a flush that fails, and when the device is closed.
 */
import { ReadOnlyError } from '@pdata/device';
import { decode, encode, keyOfRecord, keysOfPool, recordKeyOf, survivesUtf8 } from './layout.js';
import type { LmdbMetadataDevice, OpenPool } from './lmdb-metadata-device.js';

/** LMDB's limit for a key is 1978 bytes in pages of 4 KiB. */
const MAX_KEY_BYTES = 1024;

/** Made by `LmdbEnvironment.catalogue`. */
export class Catalogue<Rec> {
  readonly #device: LmdbMetadataDevice;
  readonly #pool: OpenPool;

  /** @internal */
  constructor(device: LmdbMetadataDevice, pool: OpenPool) {
    this.#device = device;
    this.#pool = pool;
  }

  /** @returns undefined when there is no such record. @throws {@link ClosedError} */
  get(key: string): Rec | undefined {
    const options = this.#device.readOptions();
    requireKey(key);
    const staged = this.#pool.writer?.findRecord(key);
    const bytes =
      staged === undefined
        ? this.#pool.store.catalogue.getBinary(keyOfRecord(this.#pool.poolId, key), options)
        : staged.bytes;
    return bytes === undefined ? undefined : (decode(bytes) as Rec);
  }

  /**
   * Stages `record`, in the place of one with the same key.
   * @param key 1 to 1024 bytes in UTF-8
   * @throws {@link ReadOnlyError} when the pool is open for reading
   * @throws {RangeError} when the key is no key, {TypeError} when the record would not come back as it is
   */
  put(key: string, record: Rec): void {
    const writer = this.#requireWriter();
    requireKey(key);
    // A copy: the encoder's buffer is shared by what it encodes, and one small record would keep all of it in memory.
    writer.stageRecord(key, Uint8Array.prototype.slice.call(encode(record)));
  }

  /** Stages a removal. @returns whether there was such a record. @throws {@link ReadOnlyError} */
  remove(key: string): boolean {
    const writer = this.#requireWriter();
    const isThere = this.get(key) !== undefined;
    if (isThere) writer.stageRecord(key, undefined);
    return isThere;
  }

  /** All records, staged changes included, as they are now, in the order of their keys' bytes. O(n) memory. */
  entries(): Iterable<[string, Rec]> {
    const options = this.#device.readOptions();
    const { store, poolId, writer } = this.#pool;
    const found = new Map<string, Uint8Array>();
    for (const { key, value } of store.catalogue.getRange({ ...keysOfPool(poolId), ...options })) {
      found.set(recordKeyOf(key), Uint8Array.prototype.slice.call(value));
    }
    let isSorted = true;
    for (const [key, bytes] of writer?.stagedRecords() ?? []) {
      if (bytes === undefined) found.delete(key);
      else {
        isSorted &&= found.has(key);
        found.set(key, bytes);
      }
    }
    const sorted = isSorted
      ? [...found]
      : [...found].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return sorted.map(([key, bytes]) => [key, decode(bytes) as Rec]);
  }

  /**
   * Commits what is staged here, alone: flushes that were asked for come first, blocks written since stay staged. Durable when
   * it returns; fails as a flush does.
   */
  commit(): void {
    this.#requireWriter().commitRecords();
  }

  /** Drops what is staged here. What a flush was asked for is not staged any more. */
  rollback(): void {
    this.#requireWriter().rollbackRecords();
  }

  #requireWriter(): NonNullable<OpenPool['writer']> {
    this.#device.readOptions();
    const { writer, label } = this.#pool;
    if (writer === undefined) {
      throw new ReadOnlyError(`change of the catalogue refused: ${label} is open for reading only`);
    }
    return writer;
  }
}

function requireKey(key: string): void {
  const bytes = Buffer.byteLength(key);
  if (bytes >= 1 && bytes <= MAX_KEY_BYTES && survivesUtf8(key)) return;
  throw new RangeError(
    `a catalogue's key has 1 to ${MAX_KEY_BYTES} bytes of UTF-8, not ${bytes}: ${JSON.stringify(key.slice(0, 40))}`,
  );
}
