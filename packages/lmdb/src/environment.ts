/**
 * An LMDB environment of pools: a directory with data.mdb, lock.mdb and a lock file for each pool that was ever written.
 *
 * One `LmdbEnvironment` for a directory in a process: LMDB's own locks are of the kind that a process loses when it closes
 * a file twice opened, so a second one is refused. Other processes open their own. A pool has one writer, whoever has it
 * open; readers need nobody's leave (see lmdb-metadata-device.ts).
 *
 * Dropping a pool removes its name in one transaction and its blocks in as many as it takes; what a crash leaves of that,
 * the next writer of the environment sweeps up when it opens it.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { DeviceOpenError, ReadOnlyError, requireDeviceSize } from '@pdata/device';
import { type LockFile, openLockFile } from '@pdata/device/node';
import { Catalogue } from './catalogue.js';
import {
  DROPPED_KEYS,
  decode,
  droppedIdOf,
  droppedKey,
  encode,
  FORMAT_KEY,
  type FormatRecord,
  keysOfPool,
  MAX_NR_BLOCKS,
  POOL_KEYS,
  type PoolRecord,
  poolKey,
  poolNameOf,
  survivesUtf8,
} from './layout.js';
import { LmdbMetadataDevice } from './lmdb-metadata-device.js';
import { type OpenEnvironmentOptions, openStore } from './open-store.js';
import { PoolWriter } from './pool-writer.js';
import { type EnvironmentReader, readersOf } from './readers.js';
import { MAKES_ROOM, type Store } from './store.js';

const DEFAULT_MAX_STAGED = 16 * 2 ** 20;
const NO_BLOCKS = { nrBlocks: 0, recordBytes: 256 };
/** Entries removed in one transaction of a sweep. */
const SWEEP = 8192;
const MAX_NAME_BYTES = 255;

export interface OpenPoolOptions {
  /** That of the environment when left out. A writer needs the pool alone; readers, any number of them, do not mind it. */
  readonly mode?: 'read' | 'write';
  /**
   * Bytes of blocks that may be written before some are committed without a flush; 16 MiB when left out. Up to three times as much is
   * kept in memory. See {@link LmdbMetadataDevice}.
   */
  readonly maxStagedBytes?: number;
}

export interface CreatePoolOptions extends Omit<OpenPoolOptions, 'mode'> {
  /** Size in blocks of 4096 bytes, 1 to 2^31; `grow` enlarges it later. */
  readonly nrBlocks: number;
}

export class LmdbEnvironment {
  readonly #store: Store;
  readonly #open = new Set<LmdbMetadataDevice>();
  readonly #release: () => void;

  private constructor(
    /** The directory, as it was given. */
    readonly path: string,
    store: Store,
    release: () => void,
  ) {
    this.#store = store;
    this.#release = release;
  }

  /**
   * Opens the environment in the directory `path`.
   * @throws {@link DeviceOpenError} not there and not to be created, no directory, no permission, no LMDB environment or none of
   *   pdata's, damaged
   * @throws {@link DeviceBusyError} when this process has it open already
   * @throws {@link LmdbUnavailableError} when the library is not installed for this platform
   */
  static open(path: string, options: OpenEnvironmentOptions = {}): LmdbEnvironment {
    const { store, release } = openStore(path, options);
    const environment = new LmdbEnvironment(path, store, release);
    if (!store.readOnly) environment.#sweepAll();
    return environment;
  }

  get readOnly(): boolean {
    return this.#store.readOnly;
  }

  /** Bytes of data.mdb in use so far, free ones in between included. Grows; LMDB gives nothing back to the file system. */
  get size(): number {
    this.#store.requireOpen();
    return this.#store.size;
  }

  /**
   * Processes that hold a commit of the environment, the oldest commit first, this one included. What was freed since cannot be
   * reused, so that data.mdb grows: watch `nrCommitsBehind`.
   */
  readers(): EnvironmentReader[] {
    this.#store.requireOpen();
    if (!this.readOnly) this.#store.root.readerCheck();
    return readersOf(this.#store.root);
  }

  /** Names of the pools in the last commit, in the order of their bytes. */
  pools(): string[] {
    const transaction = this.#store.snapshot();
    try {
      return [...this.#store.pdata.getRange({ ...POOL_KEYS, transaction })].map(({ key }) => poolNameOf(key));
    } finally {
      transaction.done();
    }
  }

  /**
   * Makes a pool of zeroed blocks, which take no space until they are written, and opens it for writing.
   * @param name 1 to 255 bytes of UTF-8 without control characters
   * @throws {@link DeviceOpenError} when there is a pool of that name
   * @throws {RangeError} when `nrBlocks` is no size, or `name` no name
   */
  createPool(name: string, { nrBlocks, maxStagedBytes }: CreatePoolOptions): LmdbMetadataDevice {
    this.#requireWritable('create a pool');
    requireName(name);
    const label = this.#label(name);
    requireDeviceSize(label, nrBlocks, 1);
    if (nrBlocks > MAX_NR_BLOCKS)
      throw new RangeError(`size of ${nrBlocks} blocks, ${label}: at most ${MAX_NR_BLOCKS}`);
    const { pdata } = this.#store;
    const record = this.#store.transact(`create ${label}`, NO_BLOCKS, () => {
      if (pdata.getEntry(poolKey(name)) !== undefined) {
        throw new DeviceOpenError(
          `cannot create ${label}: there is a pool of that name already, and it is left as it is`,
        );
      }
      const format = decode(pdata.getEntry(FORMAT_KEY)?.value as Uint8Array) as FormatRecord;
      const pool: PoolRecord = { id: format.nextPoolId, nrBlocks };
      void pdata.put(poolKey(name), encode(pool), 0);
      void pdata.put(FORMAT_KEY, encode({ ...format, nextPoolId: format.nextPoolId + 1 }));
      return pool;
    });
    return this.#openForWriting(name, record.id, maxStagedBytes);
  }

  /**
   * @throws {@link DeviceOpenError} when there is no such pool
   * @throws {@link DeviceBusyError} for a writer: when the pool has one, in this process or another
   * @throws {@link ReadOnlyError} for a writer: when the environment is open for reading
   */
  openPool(name: string, options: OpenPoolOptions = {}): LmdbMetadataDevice {
    const { mode = this.readOnly ? 'read' : 'write' } = options;
    if (mode === 'write') this.#requireWritable(`open ${this.#label(name)} for writing`);
    const { id } = this.#findPool(name, 'open');
    if (mode === 'write') return this.#openForWriting(name, id, options.maxStagedBytes);
    return this.#opened(name, id, undefined, undefined);
  }

  /**
   * Removes the pool, its blocks and its catalogue. Readers that have it open keep their commit. O(stored blocks),
   * some microseconds each, in the foreground, and two syncs for every 8192 entries.
   * @throws as {@link openPool} for a writer: a pool that somebody writes is not deleted
   */
  deletePool(name: string): void {
    const label = this.#label(name);
    this.#requireWritable(`delete ${label}`);
    const { id } = this.#findPool(name, 'delete');
    const lock = this.#lock(id, label);
    try {
      const { pdata } = this.#store;
      this.#store.transact(`delete ${label}`, MAKES_ROOM, () => {
        void pdata.remove(poolKey(name));
        void pdata.put(droppedKey(id), encode({}), 0);
      });
      this.#sweep(id);
      rmSync(this.#lockPath(id), { force: true }); // ids are not used again, so nobody can be waiting for this one
    } finally {
      lock.release();
    }
  }

  /**
   * The catalogue of a pool that is open here: of its writer if it has one, otherwise of the reader opened last.
   * @throws {@link DeviceOpenError} when the pool is not open in this environment
   */
  catalogue<Rec>(poolName: string): Catalogue<Rec> {
    this.#store.requireOpen();
    const ofPool = [...this.#open].filter((device) => device.poolName === poolName);
    const device = ofPool.find(({ readOnly }) => !readOnly) ?? ofPool.at(-1);
    if (device === undefined) {
      throw new DeviceOpenError(`cannot use the catalogue of ${this.#label(poolName)}: open the pool first`);
    }
    return catalogueOf<Rec>(device);
  }

  /** Closes the pools that are open, waits for their flushes, then closes the environment. */
  async close(): Promise<void> {
    if (this.#store.isClosed) return;
    for (const device of [...this.#open]) device.close();
    try {
      await this.#store.close();
    } finally {
      this.#release();
    }
  }

  #openForWriting(name: string, id: number, maxStagedBytes = DEFAULT_MAX_STAGED): LmdbMetadataDevice {
    const label = this.#label(name);
    const lock = this.#lock(id, label);
    try {
      // Now that nobody else can write it: what the pool is since the last writer has left it.
      const { record, commitNr } = this.#findPool(name, 'open');
      if (record.id !== id) throw new DeviceOpenError(`cannot open ${label}: it was replaced while being opened`);
      const state = { nrBlocks: record.nrBlocks, commitNr };
      const maxStagedBlocks = Math.max(1, Math.floor(maxStagedBytes / 4096));
      return this.#opened(name, id, new PoolWriter(this.#store, label, name, id, state, maxStagedBlocks), lock);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  #opened(name: string, id: number, writer: PoolWriter | undefined, lock: LockFile | undefined): LmdbMetadataDevice {
    const device: LmdbMetadataDevice = new LmdbMetadataDevice({
      store: this.#store,
      poolName: name,
      poolId: id,
      label: this.#label(name),
      writer,
      onClose: () => {
        this.#open.delete(device);
        lock?.release();
      },
    });
    this.#open.add(device);
    return device;
  }

  #findPool(name: string, attempted: string): { id: number; record: PoolRecord; commitNr: number } {
    const transaction = this.#store.snapshot();
    try {
      const entry = this.#store.pdata.getEntry(poolKey(name), { transaction });
      if (entry === undefined) {
        throw new DeviceOpenError(`cannot ${attempted} ${this.#label(name)}: there is no such pool`);
      }
      const record = decode(entry.value) as PoolRecord;
      return { id: record.id, record, commitNr: entry.version ?? 0 };
    } finally {
      transaction.done();
    }
  }

  #sweepAll(): void {
    const dropped = [...this.#store.pdata.getRange(DROPPED_KEYS)].map(({ key }) => droppedIdOf(key));
    for (const id of dropped) this.#sweep(id);
  }

  /** Removes what is left of a dropped pool. */
  #sweep(id: number): void {
    const { blocks, catalogue, pdata } = this.#store;
    for (const database of [blocks, catalogue]) {
      for (;;) {
        const keys = [...database.getKeys({ ...keysOfPool(id), limit: SWEEP })].map((key) => Buffer.from(key));
        if (keys.length === 0) break;
        this.#store.transact('remove what a deleted pool left', MAKES_ROOM, () => {
          for (const key of keys) void database.remove(key);
        });
      }
    }
    this.#store.transact('remove what a deleted pool left', MAKES_ROOM, () => {
      void pdata.remove(droppedKey(id));
    });
  }

  #lock(id: number, label: string): LockFile {
    return openLockFile(this.#lockPath(id), label);
  }

  #lockPath(id: number): string {
    return join(this.path, `pool-${id}.lock`);
  }

  #label(name: string): string {
    return `pool ${JSON.stringify(name)} in ${this.path}`;
  }

  #requireWritable(attempted: string): void {
    this.#store.requireOpen();
    if (this.readOnly) {
      throw new ReadOnlyError(`cannot ${attempted}: the environment ${this.path} is open for reading only`);
    }
  }
}

const catalogueOf = <Rec>(device: LmdbMetadataDevice): Catalogue<Rec> =>
  device.catalogueOf((owner, pool) => new Catalogue<unknown>(owner, pool)) as Catalogue<Rec>;

function requireName(name: string): void {
  const bytes = Buffer.byteLength(name);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (bytes >= 1 && bytes <= MAX_NAME_BYTES && survivesUtf8(name) && !/[\u0000-\u001f\u007f]/.test(name)) return;
  throw new RangeError(
    `a pool's name has 1 to ${MAX_NAME_BYTES} bytes of UTF-8 without control characters, not ${JSON.stringify(name.slice(0, 80))}`,
  );
}
