/**
 * A pool that this process has open: engine, catalogue and data file behind one `PoolHost`.
 *
 * What changes volumes is done one after the other; their I/O goes on meanwhile. A change is durable, in metadata and catalogue,
 * when its promise resolves; when it rejects, everything is as before.
 */
import type { DataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import { PoolModeError, ThinMetadata, ThinPool, type ThinPoolOptions } from '@pdata/thin';
import { POOL_KEY, type VolumeRecord } from '../catalogue/records.js';
import { type CataloguedVolume, VolumeCatalogue } from '../catalogue/volume-catalogue.js';
import type {
  CheckReport,
  DiffPage,
  PoolEvent,
  PoolHost,
  PoolReport,
  ServingReport,
  SharingMap,
  VolumeReport,
} from '../pool-host.js';
import { checkName } from '../words/names.js';
import { PoolError, quoted } from '../words/pool-error.js';
import { checkVolumeSize, formatSize, plural } from '../words/sizes.js';
import { readOnlyView } from './committed-state.js';
import { isDiskFull, trimUnused } from './full-disk.js';
import { LocalReceiving } from './local-receiving.js';
import { OpenVolumes } from './open-volumes.js';
import { beginCheck } from './pool-check.js';
import { diffPage } from './pool-diff.js';
import {
  createParts,
  damagedPoolError,
  newIdentity,
  newPoolRecord,
  nrMetadataBlocksFor,
  openParts,
  type PoolFormat,
  type PoolParts,
} from './pool-directory.js';
import { poolReport, volumeReport, volumeReports } from './pool-reports.js';
import { mapSharing } from './sharing-map.js';
import { SpaceKeeper } from './space-keeper.js';
import { removeVolume } from './volume-removal.js';

export interface CreatePoolOptions {
  /** Bytes of data. */
  readonly size: number;
  /** Bytes of a data block. */
  readonly blockSize: number;
  readonly format: PoolFormat;
}

const SECTOR = 512;

export class LocalPoolHost implements PoolHost {
  readonly directory: string;
  readonly receiving: LocalReceiving;
  /** Set by who serves the pool. */
  serving: (() => ServingReport) | undefined;
  readonly #parts: PoolParts;
  readonly #pool: ThinPool;
  readonly #catalogue: VolumeCatalogue;
  readonly #open = new OpenVolumes();
  readonly #listeners = new Set<(event: PoolEvent) => void>();
  readonly #space: SpaceKeeper;
  #lastChange: Promise<unknown> = Promise.resolve();
  #nrCommits = 0;
  #lastReport: PoolReport | undefined;
  #closing: Promise<void> | undefined;

  private constructor(parts: PoolParts, pool: ThinPool, catalogue: VolumeCatalogue) {
    this.directory = parts.directory;
    this.#parts = parts;
    this.#pool = pool;
    this.#catalogue = catalogue;
    this.#space = new SpaceKeeper(pool, parts.metadata, (event) => this.#tell(event));
    this.receiving = new LocalReceiving({
      pool,
      catalogue,
      open: this.#open,
      inTurn: (change) => this.#inTurn(change),
      report: (volume) => this.#report(volume),
      tell: (message, volume) => this.#tell({ kind: 'volume', message, volume }),
    });
    pool.on('abort', () => catalogue.rollback());
    pool.on('commit', () => this.#nrCommits++);
    pool.on('mode', ({ to, reason }) =>
      this.#tell({ kind: 'mode', message: `The pool is now in mode ${to}: ${reason}` }),
    );
    pool.on('error', ({ operation, error }) =>
      this.#tell({ kind: 'error', message: `${operation}: ${error instanceof Error ? error.message : String(error)}` }),
    );
  }

  /** Makes an empty pool. @throws {@link PoolError} */
  static async create(directory: string, { size, blockSize, format }: CreatePoolOptions): Promise<void> {
    checkBlockSize(blockSize);
    const whole = Math.floor(checkVolumeSize(size) / blockSize) * blockSize;
    if (whole === 0) {
      throw new PoolError(
        'ERR_SIZE',
        `the size ${formatSize(size)} is less than one data block of ${formatSize(blockSize)}`,
      );
    }
    const nrMetadataBlocks = nrMetadataBlocksFor(whole, blockSize);
    await createParts(
      directory,
      { format, dataSize: whole, nrMetadataBlocks },
      async ({ metadata, data, catalogue }) => {
        const pool = await ThinPool.format(metadata, data, { dataBlockSize: blockSize / SECTOR });
        await pool.close();
        catalogue.put(POOL_KEY, newPoolRecord());
        catalogue.commit();
      },
    );
  }

  /** @throws {@link PoolError} when there is no pool, or somebody else has it open */
  static async open(directory: string, options: ThinPoolOptions = {}): Promise<LocalPoolHost> {
    try {
      return await LocalPoolHost.#openOnce(directory, options);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
    }
    // Opening may have to write, and there was no room: what the pool does not use is given back first.
    const parts = await openParts(directory, 'write');
    await trimUnused(parts).finally(() => parts.close());
    return await LocalPoolHost.#openOnce(directory, options);
  }

  static async #openOnce(directory: string, options: ThinPoolOptions): Promise<LocalPoolHost> {
    const parts = await openParts(directory, 'write');
    let pool: ThinPool | undefined;
    try {
      pool = await ThinPool.open(parts.metadata, parts.data, { lowWaterMark: lowWaterMark(parts), ...options });
      const catalogue = new VolumeCatalogue(parts.catalogue, { isOneTransaction: parts.format === 'lmdb' });
      const host = new LocalPoolHost(parts, pool, catalogue);
      await host.#reconcile();
      return host;
    } catch (error) {
      await pool?.close().catch(() => undefined);
      await parts.close();
      throw damagedPoolError(directory, error) ?? error;
    }
  }

  async status(): Promise<PoolReport> {
    // A pool that has failed says nothing any more but that; the rest is as it was when it still did.
    if (this.#pool.mode === 'fail' && this.#lastReport !== undefined) {
      return { ...this.#lastReport, mode: 'fail', statusLine: this.#pool.statusLine() };
    }
    this.#lastReport = poolReport(this.#parts, this.#pool, this.#catalogue, {
      nrCommits: this.#nrCommits,
      serving: this.serving?.(),
    });
    return this.#lastReport;
  }

  async volumes(): Promise<VolumeReport[]> {
    return volumeReports(this.#pool, this.#catalogue, this.#open);
  }

  async volume({ name }: { readonly name: string }): Promise<VolumeReport> {
    return this.#report(this.#catalogue.find(name));
  }

  createVolume(request: { readonly name: string; readonly size: number }): Promise<VolumeReport> {
    const name = checkName(request.name);
    const size = checkVolumeSize(request.size);
    return this.#inTurn(async () => {
      this.#catalogue.refuseTaken(name);
      const thinId = this.#catalogue.freeThinId();
      const record: VolumeRecord = { kind: 'volume', name, size, created: Date.now(), identity: newIdentity() };
      await this.#catalogue.change({
        act: (how) => this.#pool.createThin(thinId, how),
        put: [{ thinId, record }],
      });
      this.#tell({ kind: 'volume', message: `Volume ${quoted(name)} of ${formatSize(size)} created.`, volume: name });
      return this.#report({ thinId, record });
    });
  }

  snapshot(request: {
    readonly origin: string;
    readonly name: string;
    readonly writable?: boolean;
  }): Promise<VolumeReport> {
    const name = checkName(request.name);
    const kind = request.writable === true ? 'volume' : 'snapshot';
    return this.#inTurn(async () => {
      const origin = this.#catalogue.find(request.origin);
      this.#catalogue.refuseTaken(name);
      const thinId = this.#catalogue.freeThinId();
      const record: VolumeRecord = {
        kind,
        name,
        size: origin.record.size,
        created: Date.now(),
        identity: newIdentity(),
        origin: origin.record.identity,
      };
      await this.#catalogue.change({
        act: (how) => this.#pool.createSnapshot(thinId, origin.thinId, how),
        put: [{ thinId, record }],
      });
      const what = kind === 'snapshot' ? 'Snapshot' : 'Volume';
      this.#tell({
        kind: 'volume',
        message: `${what} ${quoted(name)} taken of ${quoted(origin.record.name)}.`,
        volume: name,
      });
      return this.#report({ thinId, record });
    });
  }

  renameVolume(request: { readonly name: string; readonly to: string }): Promise<VolumeReport> {
    const name = checkName(request.to);
    return this.#inTurn(async () => {
      const { thinId, record } = this.#catalogue.find(request.name);
      if (record.name === name) return this.#report({ thinId, record });
      this.#catalogue.refuseTaken(name);
      const renamed = { thinId, record: { ...record, name } };
      await this.#catalogue.change({ put: [renamed] });
      this.#tell({ kind: 'volume', message: `${quoted(record.name)} is called ${quoted(name)} now.`, volume: name });
      return this.#report(renamed);
    });
  }

  resizeVolume(request: {
    readonly name: string;
    readonly size: number;
    readonly shrink?: boolean;
  }): Promise<VolumeReport> {
    const size = checkVolumeSize(request.size);
    return this.#inTurn(async () => {
      const { thinId, record } = this.#catalogue.find(request.name);
      const { name } = record;
      if (record.kind === 'snapshot') {
        throw new PoolError(
          'ERR_NOT_A_SNAPSHOT',
          `${quoted(name)} is a snapshot and does not change: make a volume of it and resize that`,
        );
      }
      const resized = { thinId, record: { ...record, size } };
      if (size < record.size) {
        if (request.shrink !== true) {
          throw new PoolError(
            'ERR_SHRINK',
            `${quoted(name)} has ${formatSize(record.size)}; making it ${formatSize(size)} loses what lies behind that: say --shrink if that is meant`,
          );
        }
        this.#refuseUsed({ thinId, record });
        await this.#withVolume({ thinId, record }, (volume) => volume.writeZeroes(size, record.size - size));
        await this.#pool.commit();
      }
      await this.#catalogue.change({ put: [resized] });
      await this.#open.resize(thinId, size);
      this.#tell({ kind: 'volume', message: `${quoted(name)} has ${formatSize(size)} now.`, volume: name });
      return this.#report(resized);
    });
  }

  removeVolume(request: { readonly name: string }): Promise<void> {
    return this.#inTurn(async () => {
      const { thinId, record } = this.#catalogue.find(request.name);
      this.#refuseUsed({ thinId, record });
      await this.#remove(thinId);
      this.#tell({ kind: 'volume', message: `${quoted(record.name)} removed.`, volume: record.name });
    });
  }

  revertVolume(request: { readonly name: string; readonly snapshot: string }): Promise<VolumeReport> {
    return this.#inTurn(async () => {
      const volume = this.#catalogue.find(request.name);
      const snapshot = this.#catalogue.find(request.snapshot);
      const { name } = volume.record;
      if (volume.record.kind === 'snapshot') {
        throw new PoolError(
          'ERR_NOT_A_SNAPSHOT',
          `${quoted(name)} is a snapshot and does not change: only volumes are reverted`,
        );
      }
      if (volume.thinId === snapshot.thinId) {
        throw new PoolError('ERR_NOT_A_SNAPSHOT', `${quoted(name)} cannot be reverted to itself: name a snapshot`);
      }
      this.#refuseUsed(volume);
      const thinId = this.#catalogue.freeThinId();
      const { identity: origin, size } = snapshot.record;
      const reverted = { thinId, record: { ...volume.record, size, origin } };
      await this.#catalogue.replace(volume.thinId, thinId, reverted.record, (how) =>
        this.#pool.createSnapshot(thinId, snapshot.thinId, how),
      );
      await this.#remove(volume.thinId);
      this.#tell({
        kind: 'volume',
        message: `${quoted(name)} is as in ${quoted(snapshot.record.name)} again.`,
        volume: name,
      });
      return this.#report(reverted);
    });
  }

  async diff(request: { readonly name: string; readonly base: string; readonly from?: number }): Promise<DiffPage> {
    const volume = this.#catalogue.find(request.name);
    return diffPage(this.#pool, volume, this.#catalogue.find(request.base), request.from ?? 0);
  }

  async sharing(request: { readonly cells?: number } = {}): Promise<SharingMap> {
    return await mapSharing(this.#parts, this.#pool, this.#catalogue, request.cells ?? 512);
  }

  async check(): Promise<CheckReport> {
    const { over } = await this.#inTurn(() => beginCheck(this.#parts, this.#pool));
    return await over;
  }

  growPool(request: { readonly size: number }): Promise<PoolReport> {
    const size = Math.floor(checkVolumeSize(request.size) / this.#blockSize) * this.#blockSize;
    return this.#inTurn(async () => {
      const { data } = this.#parts;
      if (size < data.size) {
        throw new PoolError(
          'ERR_SHRINK',
          `the pool has ${formatSize(data.size)} of data, and cannot be made smaller (${formatSize(size)})`,
        );
      }
      await data.grow(size);
      await this.#pool.resume();
      this.#tell({ kind: 'space', message: `The pool has ${formatSize(size)} of data now.` });
      return await this.status();
    });
  }

  openVolume({ name, mode }: { readonly name: string; readonly mode: 'read' | 'write' }): Promise<DataDevice> {
    return this.#inTurn(async () => {
      const { thinId, record } = this.#catalogue.find(name);
      if (mode === 'write' && record.kind === 'snapshot') {
        throw new PoolError('ERR_NOT_A_SNAPSHOT', `${quoted(record.name)} is a snapshot and cannot be written to`);
      }
      const volume = await this.#pool.openVolume(thinId, {
        size: record.size,
        readOnly: mode === 'read',
        name: `${record.kind} ${quoted(record.name)}`,
      });
      return this.#open.add(thinId, volume, volume.name);
    });
  }

  onEvent(listener: (event: PoolEvent) => void): () => void {
    const own = (event: PoolEvent) => listener(event);
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  /** For whoever serves the pool: says what happened to its clients. */
  tellClients(message: string, volume?: string): void {
    this.#tell({ kind: 'client', message, ...(volume === undefined ? {} : { volume }) });
  }

  /** Closes every volume that is in use, and so gives up the writes that wait for space. */
  giveUpVolumes(): Promise<void> {
    return this.#open.closeAll();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#lastChange;
    await this.#space.close();
    await this.#open.closeAll();
    try {
      await this.#pool.close();
    } finally {
      await this.#parts.close();
    }
  }

  get #blockSize(): number {
    return this.#pool.dataBlockSize * SECTOR;
  }

  async #reconcile(): Promise<void> {
    const thinIds = [...this.#pool.thins()].map(({ thinId }) => thinId);
    await this.#catalogue.reconcile(thinIds, async (thinId) => {
      const volume = await this.#pool.openVolume(thinId, { size: SECTOR, readOnly: true });
      const highest = volume.status().highestMappedSector;
      await volume.close();
      const size = highest === undefined ? this.#blockSize : (highest + 1) * SECTOR;
      return { kind: 'volume', name: `thin-${thinId}`, size, created: 0, identity: newIdentity() };
    });
    try {
      for (const { thinId } of this.#catalogue.leftovers()) await this.#remove(thinId);
      await this.receiving.removeDeadImports(Date.now());
    } catch (error) {
      if (!(error instanceof PoolModeError)) throw error; // in a pool that is read-only they wait
    }
  }

  async #remove(thinId: number): Promise<void> {
    await removeVolume({ pool: this.#pool, catalogue: this.#catalogue, open: this.#open }, thinId);
  }

  #refuseUsed({ thinId, record }: CataloguedVolume): void {
    const nr = this.#open.nrUsers(thinId);
    if (nr === 0) return;
    throw new PoolError(
      'ERR_IN_USE',
      `${quoted(record.name)} is in use (${plural(nr, 'user')}): disconnect its clients first`,
    );
  }

  async #withVolume({ thinId, record }: CataloguedVolume, use: (volume: DataDevice) => Promise<void>): Promise<void> {
    const volume = await this.#pool.openVolume(thinId, { size: record.size, name: record.name });
    try {
      await use(volume);
    } finally {
      await volume.close();
    }
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const run = this.#lastChange.then(async () => {
      if (this.#closing !== undefined) throw new PoolError('ERR_POOL_BUSY', 'the pool is being closed');
      try {
        return await change();
      } catch (error) {
        throw this.#inWords(error);
      }
    });
    this.#lastChange = run.catch(() => undefined);
    return run;
  }

  /** The engine does not know what a command can do about it. */
  #inWords(error: unknown): unknown {
    if (error instanceof PoolModeError && this.#pool.mode !== 'fail' && this.#pool.status().needsCheck) {
      const advice = `end what serves it, then: thin-pool check ${this.directory} --repair`;
      return new PoolError(
        error.code,
        `the pool is read-only since something went wrong in it (needs_check); ${advice}`,
        {
          cause: error,
        },
      );
    }
    if (error instanceof NoSpaceError && error.of === 'metadata') {
      const message = `the pool has too little space for metadata: ${error.message}`;
      return new PoolError('ERR_NO_SPACE', message, { cause: error });
    }
    return error;
  }

  #report(volume: CataloguedVolume): Promise<VolumeReport> {
    return volumeReport(this.#pool, this.#catalogue, this.#open, volume);
  }

  #tell(event: Omit<PoolEvent, 'at'>): void {
    for (const listener of this.#listeners) listener({ at: Date.now(), ...event });
  }
}

/** In data blocks: warn when a sixteenth of the data is left, at most 4 GiB. */
function lowWaterMark({ metadata, data }: PoolParts): number {
  const opened = ThinMetadata.open(readOnlyView(metadata));
  const blockSize = opened.dataBlockSize * SECTOR;
  opened.close();
  return Math.floor(Math.min(data.size / 16, 4 * 1024 ** 3) / blockSize);
}

function checkBlockSize(blockSize: number): void {
  if (blockSize >= 64 * 1024 && blockSize <= 1024 ** 3 && blockSize % (64 * 1024) === 0) return;
  throw new PoolError(
    'ERR_SIZE',
    `the block size ${formatSize(blockSize)} is not possible: a multiple of 64 KiB, at most 1 GiB`,
  );
}
