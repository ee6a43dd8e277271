/**
 * A pool's metadata blocks in an LMDB environment, as a `MetadataDevice` whose flush is a transaction.
 *
 * Open for writing, it keeps what was written since the last flush in memory (pool-writer.ts) and reads the rest from the
 * last commit. `flush` makes one LMDB transaction of it, together with what is staged in the pool's catalogue: durable
 * when it returns, and seen by other processes whole or not at all.
 *
 * Open for reading, it shows one commit, the last one when it was opened, until `refresh`. Nobody waits for it, writer or
 * reader; but LMDB cannot reuse a page that this commit reaches and later ones do not, so that the file grows while an old
 * reader stays. Refresh or close readers that live long. (Readers that died are found by their process id and removed.)
 *
 * A transaction larger than `maxStagedBytes` is written in parts: blocks other than block 0 are committed before the flush.
 * That is sound for metadata of the kernel's kind, where no superblock reaches a block before the flush; for other uses
 * of the device `flushIsAtomic` then holds for block 0 and the catalogue, and the rest may be there early.
 */
import {
  BLOCK_SIZE,
  DeviceError,
  type MetadataDevice,
  nrBlocksOfRun,
  ReadOnlyError,
  requireDeviceSize,
} from '@pdata/device';
import type { Catalogue } from './catalogue.js';
import { closedError } from './errors.js';
import { decode, MAX_NR_BLOCKS, type PoolRecord, poolKey } from './layout.js';
import type { LmdbReadTransaction, ReadOptions } from './lmdb-library.js';
import type { PoolWriter } from './pool-writer.js';
import type { Store } from './store.js';

/** What an environment makes a device of. */
export interface OpenPool {
  readonly store: Store;
  readonly poolName: string;
  readonly poolId: number;
  /** For messages: `pool "daily" in /srv/pools`. */
  readonly label: string;
  /** For a device that is open for writing. */
  readonly writer: PoolWriter | undefined;
  /** Of the environment's list of open devices. */
  onClose(): void;
}

const LAST_COMMIT: ReadOptions = {};
/** So many blocks that are not stored, one after the other, and it is worth asking where the next one is. */
const HOLES_BEFORE_SEARCH = 8;

/** Made by `LmdbEnvironment.createPool` and `openPool`. */
export class LmdbMetadataDevice implements MetadataDevice {
  readonly flushIsAtomic = true;
  readonly #pool: OpenPool;
  readonly #writer: PoolWriter | undefined;
  /** A reader's commit; none for the writer, who reads the last one. */
  #snapshot: { readonly transaction: LmdbReadTransaction; readonly nrBlocks: number } | undefined;
  #catalogue: Catalogue<unknown> | undefined;
  #isClosed = false;

  /** @internal */
  constructor(pool: OpenPool) {
    this.#pool = pool;
    this.#writer = pool.writer;
    if (pool.writer === undefined) this.#snapshot = this.#takeSnapshot();
  }

  /** `pool "NAME" in PATH`. */
  get name(): string {
    return this.#pool.label;
  }

  get poolName(): string {
    return this.#pool.poolName;
  }

  get readOnly(): boolean {
    return this.#writer === undefined;
  }

  get nrBlocks(): number {
    return this.#writer?.nrBlocks ?? this.#snapshot?.nrBlocks ?? 0;
  }

  read(firstBlockNr: number, into: Uint8Array): void {
    this.#requireOpen();
    const nr = nrBlocksOfRun(this, 'read', firstBlockNr, into);
    const { store, poolId } = this.#pool;
    const options = this.#snapshot ?? LAST_COMMIT;
    let nrHoles = 0; // one after the other, up to here
    let nextStored = firstBlockNr; // blocks below are known not to be stored
    for (let index = 0; index < nr; index++) {
      const blockNr = firstBlockNr + index;
      const block = into.subarray(index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE);
      const staged = this.#writer?.findBlock(blockNr);
      if (staged !== undefined) block.set(staged);
      else if (blockNr >= nextStored && store.readBlock(poolId, blockNr, block, options)) nrHoles = 0;
      else {
        block.fill(0);
        if (blockNr < nextStored || ++nrHoles < HOLES_BEFORE_SEARCH) continue;
        nrHoles = 0;
        nextStored = store.nextStored(poolId, blockNr + 1, firstBlockNr + nr, options);
      }
    }
  }

  write(firstBlockNr: number, from: Uint8Array): void {
    const writer = this.#requireWriter('write');
    nrBlocksOfRun(this, 'write', firstBlockNr, from);
    writer.stageBlocks(firstBlockNr, from);
  }

  /**
   * Commits everything written, and everything staged in the catalogue, since the last flush.
   * @throws {@link EnvironmentFullError} when the environment's `mapSize` does not allow for it
   * @throws {@link DeviceError} when the system refuses; then, and when the environment is full, what was staged is dropped,
   *   reads show the last commit, and every further write and flush fails until the pool is opened anew
   */
  flush(): void {
    this.#requireWriter('flush').flush();
  }

  /** As `flush`, committed by a thread of the library's. What is written after the call belongs to the next flush. */
  async flushAsync(): Promise<void> {
    await this.#requireWriter('flush').flushAsync();
  }

  grow(nrBlocks: number): void {
    const writer = this.#requireWriter('grow');
    requireDeviceSize(this.name, nrBlocks, this.nrBlocks);
    if (nrBlocks > MAX_NR_BLOCKS) {
      throw new DeviceError(`cannot grow ${this.name} to ${nrBlocks} blocks: a pool has ${MAX_NR_BLOCKS} at most`);
    }
    if (nrBlocks !== writer.nrBlocks) writer.grow(nrBlocks);
  }

  /**
   * A reader moves to the last commit, and lets go of the pages that only its old one reached. Does nothing for a writer,
   * who sees its own commits at once.
   * @throws {@link DeviceError} when the pool has been deleted since; the device then keeps the commit that it had
   */
  refresh(): void {
    this.#requireOpen();
    if (this.#snapshot === undefined) return;
    const old = this.#snapshot;
    this.#snapshot = this.#takeSnapshot();
    old.transaction.done();
  }

  /**
   * Waits for flushes that were asked for, drops what was written since, and gives the pool's lock, or the reader's commit,
   * free.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#writer?.close();
    this.#snapshot?.transaction.done();
    this.#pool.onClose();
  }

  /** @internal What the pool's catalogue stands on. */
  catalogueOf(make: (device: LmdbMetadataDevice, pool: OpenPool) => Catalogue<unknown>): Catalogue<unknown> {
    this.#requireOpen();
    this.#catalogue ??= make(this, this.#pool);
    return this.#catalogue;
  }

  /** @internal The commit to read, for the catalogue. */
  readOptions(): ReadOptions {
    this.#requireOpen();
    return this.#snapshot ?? LAST_COMMIT;
  }

  #takeSnapshot(): { transaction: LmdbReadTransaction; nrBlocks: number } {
    const { store, poolName, poolId, label } = this.#pool;
    const transaction = store.snapshot();
    const entry = store.pdata.getEntry(poolKey(poolName), { transaction });
    const record = entry && (decode(entry.value) as PoolRecord);
    if (record === undefined || record.id !== poolId) {
      transaction.done();
      throw new DeviceError(`cannot read ${label}: it has been deleted`);
    }
    return { transaction, nrBlocks: record.nrBlocks };
  }

  #requireOpen(): void {
    if (this.#isClosed || this.#pool.store.isClosed) throw closedError(this.name);
  }

  #requireWriter(operation: string): PoolWriter {
    this.#requireOpen();
    if (this.#writer === undefined) {
      throw new ReadOnlyError(`${operation} refused: ${this.name} is open for reading only`);
    }
    return this.#writer;
  }
}
