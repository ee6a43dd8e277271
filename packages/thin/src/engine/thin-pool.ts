/**
 * A thin pool in user space: the kernel's thin-pool target as a library. Metadata on a metadata device, data blocks on a
 * data device, volumes that are data devices themselves.
 *
 * Each change of what there is (create, snapshot, delete, …) is followed by a commit, as the kernel's messages are; what
 * volumes write is committed when they are flushed, and once a second.
 *
 * Not here: what happens behind this interface (pool-core.ts), messages (messages.ts), status lines (status.ts).
 * Format: docs/format/thin.md, sections 3 to 11.
 */
import { type DataDevice, type MetadataDevice, ReadOnlyError, SECTOR_SIZE } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import type { DeviceDetails } from '../format/device-details.js';
import type { ChangedRange } from '../metadata/changed-ranges.js';
import { NoSuchDeviceError } from '../metadata/errors.js';
import { type OpenThinMetadataOptions, ThinMetadata } from '../metadata/thin-metadata.js';
import { VolumeInUseError } from './errors.js';
import type { ThinPoolEvents, ThinPoolListener } from './events.js';
import { type PoolChanges, sendMessage } from './messages.js';
import { OpenThin } from './open-thin.js';
import { settingsOf, type ThinPoolOptions } from './options.js';
import { PoolCore } from './pool-core.js';
import type { PoolMode } from './pool-mode.js';
import { type PoolStatus, poolStatus, poolStatusLine } from './status.js';
import { type OpenVolumeOptions, ThinVolume } from './thin-volume.js';

export interface Alongside {
  /**
   * Runs synchronously after the change and before its commit, in the same transaction: what it stages on the same device is
   * committed with the change or not at all. If it throws, the change is taken back, and what it had staged is its own to
   * take back.
   */
  readonly alongside?: () => void;
}

/**
 * A thin pool. Begin with {@link ThinPool.open} or {@link ThinPool.format}; end with {@link ThinPool.close}. The two devices are
 * the caller's, and stay open.
 *
 * Changes reject with a {@link PoolModeError} in modes that do not allow them, with a {@link CommitError} when their commit failed
 * (they are undone then), with a {@link ClosedError} after `close`.
 */
export class ThinPool {
  readonly #core: PoolCore;
  readonly #volumes = new Set<ThinVolume>();
  #closing: Promise<void> | undefined;

  private constructor(core: PoolCore) {
    this.#core = core;
  }

  /**
   * Opens the pool on formatted metadata, grows into devices that have grown, and commits if that changed something. When the
   * metadata has no room for a larger data device, the pool opens with the size that it had.
   *
   * Rejects with a {@link NotFormattedError}, {@link UnsupportedMetadataError} or {@link CorruptBlockError} as `ThinMetadata.open` throws
   * them, and with a {@link ResizeError} when a device is smaller than the metadata has it.
   */
  static async open(metadata: MetadataDevice, data: DataDevice, options: ThinPoolOptions = {}): Promise<ThinPool> {
    const { metadataOptions } = parts(options);
    return ThinPool.#start(ThinMetadata.open(metadata, metadataOptions), metadata, data, options);
  }

  /**
   * Makes a new, empty pool, as large as the data device. Whatever the metadata device held is lost; asking first is the
   * caller's. Data blocks that were in use before are zeroed when they are used again, unless `skipBlockZeroing`.
   */
  static async format(
    metadata: MetadataDevice,
    data: DataDevice,
    options: ThinPoolOptions & { readonly dataBlockSize: number },
  ): Promise<ThinPool> {
    if (options.readOnly)
      throw new ReadOnlyError(`a pool that is to be read-only cannot be formatted on ${metadata.name}`);
    settingsOf(options); // refused before anything is lost
    const { metadataOptions } = parts(options);
    const formatted = ThinMetadata.format(metadata, { ...metadataOptions, dataBlockSize: options.dataBlockSize });
    return ThinPool.#start(formatted, metadata, data, options);
  }

  static async #start(
    opened: ThinMetadata,
    metadata: MetadataDevice,
    data: DataDevice,
    options: ThinPoolOptions,
  ): Promise<ThinPool> {
    try {
      const { settings, metadataOptions } = parts(options);
      const pool = new ThinPool(new PoolCore(opened, metadata, data, settings, metadataOptions));
      try {
        await pool.resume();
      } catch (error) {
        // Too little room to grow into a larger data device is no reason to be kept from what there is.
        if (!(error instanceof NoSpaceError)) throw error;
      }
      return pool;
    } catch (error) {
      opened.close();
      throw error;
    }
  }

  /** Sectors. */
  get dataBlockSize(): number {
    return this.#core.blockSize / SECTOR_SIZE;
  }

  get mode(): PoolMode {
    return this.#core.mode;
  }

  /** A new, empty thin device. Ids are whole numbers from 0 to 2^24 - 1. Rejects with a {@link DeviceExistsError}. */
  async createThin(thinId: number, how: Alongside = {}): Promise<void> {
    const { nrLosses } = this.#core;
    await this.#create(thinId, how);
    await this.#core.commit(nrLosses);
  }

  /**
   * A new thin device with all that `originId` holds now. The origin may be in use: the snapshot has each of its requests
   * whole or not at all, those that had ended before this call in any case; requests that write are held up until those in
   * flight have ended. (It may have a part of one that waits for space, or of zeros that are to take space, more than 64 blocks
   * of them.) Costs the same however large the origin is.
   * Rejects with a {@link DeviceExistsError}, {@link NoSuchDeviceError} or {@link PoolTimeError}.
   */
  async createSnapshot(thinId: number, originId: number, how: Alongside = {}): Promise<void> {
    const { nrLosses } = this.#core;
    await this.#snapshot(thinId, originId, how);
    await this.#core.commit(nrLosses);
  }

  /** Rejects with a {@link VolumeInUseError} while a volume of it is open, or with a {@link NoSuchDeviceError}. */
  async deleteThin(thinId: number, how: Alongside = {}): Promise<void> {
    const { nrLosses } = this.#core;
    await this.#delete(thinId, how);
    await this.#core.commit(nrLosses);
  }

  /** Sets the transaction id to `next` if it is `current`. Rejects with a {@link TransactionIdError} if it is another. */
  async setTransactionId(current: bigint, next: bigint): Promise<void> {
    const { nrLosses } = this.#core;
    await this.#setTransactionId(current, next);
    await this.#core.commit(nrLosses);
  }

  /**
   * Takes a metadata snapshot; returns its block. Others may read what it reaches while the pool goes on.
   * Rejects with a {@link MetadataSnapshotError} when one is held.
   */
  async reserveMetadataSnapshot(): Promise<number> {
    const { nrLosses } = this.#core;
    const block = await this.#reserve();
    await this.#core.commit(nrLosses);
    return block;
  }

  /** Rejects with a {@link MetadataSnapshotError} when none is held. */
  async releaseMetadataSnapshot(): Promise<void> {
    const { nrLosses } = this.#core;
    await this.#release();
    await this.#core.commit(nrLosses);
  }

  /**
   * Sends a message as `dmsetup message` would, e.g. `create_snap 1 0`. As in the kernel a message succeeds when its commit
   * fails; the pool's mode tells. Rejects with a {@link PoolMessageError}, which has the kernel's errno and log lines.
   */
  async message(line: string): Promise<void> {
    this.#core.refuseClosed();
    const changes: PoolChanges = {
      createThin: (thinId) => this.#create(thinId, {}),
      createSnapshot: (thinId, originId) => this.#snapshot(thinId, originId, {}),
      deleteThin: (thinId) => this.#delete(thinId, {}),
      setTransactionId: (current, next) => this.#setTransactionId(current, next),
      reserveMetadataSnapshot: () => this.#reserve(),
      releaseMetadataSnapshot: () => this.#release(),
    };
    await sendMessage(changes, this.mode, line);
    await this.#core.commit().catch(() => {}); // the mode tells, as in the kernel
  }

  /**
   * The volume of a thin device. All that are open of one device show the same, and order their requests together.
   * Rejects with a {@link NoSuchDeviceError}.
   */
  async openVolume(thinId: number, options: OpenVolumeOptions): Promise<ThinVolume> {
    this.#core.refuseClosed();
    this.#core.refuseFailed();
    if (this.#core.metadata.details(thinId) === undefined)
      throw new NoSuchDeviceError(`there is no thin device ${thinId} in this pool: create it, or see what there is`);
    const thin = this.#core.opened.get(thinId) ?? new OpenThin(thinId, this.#core.nrChanges);
    const volume = new ThinVolume(this.#core, thin, options, (closed) => {
      this.#volumes.delete(closed);
      thin.nrVolumes--;
      if (thin.nrVolumes === 0) this.#core.opened.delete(thinId);
    });
    this.#core.opened.set(thinId, thin);
    thin.nrVolumes++;
    this.#volumes.add(volume);
    return volume;
  }

  /** Every thin device, in order of ids. The pool may be changed meanwhile. */
  thins(): Iterable<{ readonly thinId: number; readonly details: DeviceDetails }> {
    this.#core.refuseClosed();
    this.#core.refuseFailed();
    return this.#core.metadata.devices();
  }

  /**
   * Where two thin devices may differ, in order: runs of virtual blocks that are not mapped to the same data block in both.
   * What they share is skipped unread. The pool may be changed meanwhile.
   * @throws {@link NoSuchDeviceError}
   */
  changedRanges(thinId: number, baseId: number, begin = 0, end = Number.POSITIVE_INFINITY): Generator<ChangedRange> {
    this.#core.refuseClosed();
    this.#core.refuseFailed();
    return this.#core.metadata.changedRanges(thinId, baseId, begin, end);
  }

  /** Makes all that was written or changed before this call durable. */
  async commit(): Promise<void> {
    this.#core.refuseClosed();
    this.#core.refuseFailed();
    await this.#core.commit();
  }

  /**
   * Measures both devices and grows into them; leaves out-of-data-space mode (writes that wait try again) and, if the metadata
   * grew, out-of-metadata-space mode. While needs_check is set nothing grows.
   * Rejects with a {@link ResizeError} when a device is smaller than the metadata has it.
   */
  async resume(): Promise<void> {
    this.#core.refuseClosed();
    await this.#core.exclusively(() => this.#core.resumeExclusively());
  }

  /** @throws {@link PoolModeError} in fail mode */
  status(): PoolStatus {
    return poolStatus(this.#core);
  }

  /** The kernel's status line for the pool; `Fail` in fail mode. */
  statusLine(): string {
    return poolStatusLine(this.#core);
  }

  /** Calls `listener` when `event` happens; returns what ends that. */
  on<E extends keyof ThinPoolEvents>(event: E, listener: ThinPoolListener<E>): () => void {
    return this.#core.events.on(event, listener);
  }

  /** Closes its volumes, which waits for what they have in flight, and commits. Rejects when that commit failed. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#volumes].map((volume) => volume.close()));
    await this.#core.close();
  }

  async #create(thinId: number, how: Alongside): Promise<void> {
    await this.#change(() => {
      this.#withAlongside(
        how,
        () => this.#core.change('create a thin device', undefined, (metadata) => metadata.createThin(thinId)),
        thinId,
      );
    });
  }

  async #snapshot(thinId: number, originId: number, how: Alongside): Promise<void> {
    this.#core.refuseUnchangeable();
    for (let done = false; !done; ) {
      const origin = this.#core.opened.get(originId);
      await origin?.writers.close();
      try {
        await this.#change(() => {
          if (this.#core.opened.get(originId) !== origin) return; // opened meanwhile, or closed
          done = true;
          this.#withAlongside(
            how,
            () =>
              this.#core.change('create a snapshot', undefined, (metadata) =>
                metadata.createSnapshot(thinId, originId),
              ),
            thinId,
          );
        });
      } finally {
        origin?.writers.open();
      }
    }
  }

  async #delete(thinId: number, how: Alongside): Promise<void> {
    const { alongside } = how;
    const remove = (): void => {
      this.#refuseInUse(thinId);
      this.#core.change('delete a thin device', undefined, (metadata) => metadata.deleteDevice(thinId));
    };
    if (alongside === undefined) await this.#change(remove);
    else {
      // Nothing brings it back but an abort: so there must be nothing else in the transaction.
      this.#core.refuseUnchangeable();
      this.#refuseInUse(thinId);
      await this.#core.changingAlone(() => {
        this.#core.refuseUnchangeable();
        remove();
        try {
          alongside();
        } catch (error) {
          this.#core.abortExclusively('delete a thin device', error);
          throw error;
        }
      });
    }
  }

  async #setTransactionId(current: bigint, next: bigint): Promise<void> {
    await this.#change(() =>
      this.#core.change('set the transaction id', undefined, (metadata) => metadata.setTransactionId(current, next)),
    );
  }

  async #reserve(): Promise<number> {
    this.#core.refuseUnchangeable();
    return this.#core.changingAlone(() => {
      this.#core.refuseUnchangeable();
      return this.#core.change('reserve a metadata snapshot', undefined, (metadata) =>
        metadata.reserveMetadataSnapshot(),
      );
    });
  }

  async #release(): Promise<void> {
    await this.#change(() =>
      this.#core.change('release the metadata snapshot', undefined, (metadata) => metadata.releaseMetadataSnapshot()),
    );
  }

  async #change(work: () => void): Promise<void> {
    this.#core.refuseUnchangeable();
    await this.#core.changing(() => {
      this.#core.refuseUnchangeable();
      work();
    });
  }

  /** Creates a thin device with `create`, which is taken back if what goes with it fails. */
  #withAlongside({ alongside }: Alongside, create: () => void, thinId: number): void {
    create();
    try {
      alongside?.();
    } catch (error) {
      this.#core.change('take back a thin device', undefined, (metadata) => metadata.deleteDevice(thinId));
      throw error;
    }
  }

  #refuseInUse(thinId: number): void {
    const thin = this.#core.opened.get(thinId);
    if (thin === undefined) return;
    const volumes = thin.nrVolumes === 1 ? 'a volume' : `${thin.nrVolumes} volumes`;
    throw new VolumeInUseError(`thin device ${thinId} cannot be deleted: ${volumes} of it are open; close them first`);
  }
}

function parts(options: ThinPoolOptions): {
  settings: ReturnType<typeof settingsOf>;
  metadataOptions: OpenThinMetadataOptions;
} {
  const { dataBlockSize, cacheBlocks } = options;
  return {
    settings: settingsOf(options),
    metadataOptions: {
      ...(dataBlockSize === undefined ? {} : { dataBlockSize }),
      ...(cacheBlocks === undefined ? {} : { cacheBlocks }),
    },
  };
}
