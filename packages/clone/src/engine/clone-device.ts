/**
 * A clone: a `DataDevice` that holds from the first moment on what its source holds, and keeps what is written to it in its
 * destination, while the source is copied there in the background. When all is copied, the destination alone is the device.
 *
 * Here requests are checked and counted; what happens to regions is region-io.ts and background-hydration.ts, how it becomes
 * durable clone-core.ts. A request fails with the first error of its parts, when all of them have ended.
 *
 * Format: docs/format/clone.md, sections 5 to 10.
 */
import {
  type AllocationExtent,
  appendExtent,
  ClosedError,
  type DataDevice,
  type DataDeviceHints,
  DeviceOpenError,
  type MetadataDevice,
  type RangeOperation,
  ReadOnlyError,
  requireDataSize,
  requireSectorRange,
  SECTOR_SIZE,
  type WriteOptions,
  type WriteZeroesOptions,
} from '@pdata/device';
import { Gate } from '@pdata/device/engine';
import { CloneMetadata } from '../metadata/clone-metadata.js';
import { BackgroundHydration } from './background-hydration.js';
import { CloneCore } from './clone-core.js';
import type { CloneMode } from './clone-mode.js';
import type { CloneEvents, CloneListener } from './events.js';
import { sendMessage } from './messages.js';
import { type CloneDevices, type CloneOptions, requireU32, settingsOf } from './options.js';
import { RegionIo } from './region-io.js';
import { type CloneStatus, cloneStatus, cloneStatusLine } from './status.js';

/** Extents of an answer to `allocation`, about, and regions looked at for it. */
const MOST_EXTENTS = 4096;
const MOST_REGIONS = 65_536;
/** Regions that are zeroed at once: a request may be as large as the device. */
const WINDOW = 4096;

/**
 * A clone. Begin with {@link CloneDevice.openOrFormat}, as the kernel does; end with {@link CloneDevice.close}. The metadata device
 * and the two data devices are the caller's, and stay open.
 *
 * Requests reject with a {@link CloneModeError} in modes that do not allow them, with a {@link HydrationError} when the region that they
 * need cannot be copied, flushes with an {@link AbortedChangesError} after a commit that failed.
 */
export class CloneDevice implements DataDevice {
  readonly name: string;
  readonly size: number;
  readonly readOnly: boolean;
  readonly hints: DataDeviceHints;
  readonly #core: CloneCore;
  readonly #io: RegionIo;
  readonly #hydration: BackgroundHydration;
  /** Requests are behind it; a suspension closes it. */
  readonly #requests = new Gate();
  #suspension: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  private constructor(core: CloneCore, readOnly: boolean) {
    this.#core = core;
    this.#io = new RegionIo(core);
    this.#hydration = new BackgroundHydration(core);
    this.name = core.name;
    this.size = core.size;
    this.readOnly = readOnly;
    const { destination, regionBytes, passesDiscards } = core;
    this.hints = {
      preferredSize: regionBytes,
      discardGranularity: readOnly ? 0 : passesDiscards ? unitOfBoth(regionBytes, destination) : regionBytes,
      fastZeroes: destination.hints.fastZeroes,
    };
    this.#hydration.resume();
  }

  /**
   * Opens the clone on its metadata, and goes on with it where the last commit left it.
   *
   * Rejects with what `CloneMetadata.open` throws (not formatted, corrupt, or of another region size or size), and with
   * a {@link DeviceOpenError} when a device is smaller than the clone.
   */
  static async open(
    metadata: MetadataDevice,
    devices: CloneDevices,
    options: CloneOptions & { readonly regionSize?: number } = {},
  ): Promise<CloneDevice> {
    return CloneDevice.#start(devices, options, (targetSize) =>
      CloneMetadata.open(metadata, {
        ...(options.regionSize === undefined ? {} : { regionSize: options.regionSize }),
        ...(options.size === undefined ? {} : { targetSize }),
      }),
    );
  }

  /**
   * Makes a new clone, nothing of it hydrated. Whatever the metadata device held is lost; asking first is the caller's.
   * @param options `regionSize` in sectors: a power of two, 8 to 2 097 152
   */
  static async format(
    metadata: MetadataDevice,
    devices: CloneDevices,
    options: CloneOptions & { readonly regionSize: number },
  ): Promise<CloneDevice> {
    refuseReadOnly(metadata, options);
    return CloneDevice.#start(devices, options, (targetSize) =>
      CloneMetadata.format(metadata, { regionSize: options.regionSize, targetSize }),
    );
  }

  /** As the kernel does: formats when the first block of the metadata device is all zeros, otherwise opens what is there. */
  static async openOrFormat(
    metadata: MetadataDevice,
    devices: CloneDevices,
    options: CloneOptions & { readonly regionSize: number },
  ): Promise<CloneDevice> {
    const { regionSize, readOnly } = options;
    return CloneDevice.#start(devices, options, (targetSize) =>
      readOnly
        ? CloneMetadata.open(metadata, { regionSize, targetSize })
        : CloneMetadata.openOrFormat(metadata, { regionSize, targetSize }),
    );
  }

  static async #start(
    devices: CloneDevices,
    options: CloneOptions,
    opened: (targetSize: number) => CloneMetadata,
  ): Promise<CloneDevice> {
    const { source, destination } = devices;
    const { name = `clone of ${source.name}`, size = source.size, readOnly = false } = options;
    const settings = settingsOf(options); // refused before anything is lost
    requireDataSize(name, size, SECTOR_SIZE);
    if (!readOnly && destination.readOnly)
      throw new ReadOnlyError(`${name} cannot be opened: its destination ${destination.name} is open for reading only`);
    if (options.size !== undefined) refuseTooSmall(name, devices, size); // before it is formatted
    const metadata = opened(size / SECTOR_SIZE);
    try {
      refuseTooSmall(name, devices, metadata.targetSize * SECTOR_SIZE);
      return new CloneDevice(new CloneCore(name, metadata, devices, settings, { readOnly }), readOnly);
    } catch (error) {
      metadata.close();
      throw error;
    }
  }

  /** Sectors. */
  get regionSize(): number {
    return this.#core.metadata.regionSize;
  }

  get mode(): CloneMode {
    return this.#core.mode;
  }

  /** Whether all is hydrated and committed: the destination alone is the device now, and the source is not needed any more. */
  get isComplete(): boolean {
    return this.#core.isDone;
  }

  /** Whether the destination holds the region. In memory; the last commit may know of fewer. @throws {RangeError} */
  isHydrated(region: number): boolean {
    this.#refuseClosed();
    this.#core.refuseFailed();
    return this.#core.isHydrated(region);
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.#request('read', offset, into.byteLength, () => this.#io.read(offset, into));
  }

  write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    return this.#change('write', offset, from.byteLength, options, (fua) => {
      const write = (begin: number, end: number): Promise<void> => {
        const part = from.byteLength === end - begin ? from : from.subarray(begin - offset, end - offset);
        return this.#core.destination.write(begin, part, fua ? { fua } : undefined);
      };
      return this.#io.write(offset, offset + from.byteLength, { write });
    });
  }

  writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    const keepAllocated = options?.keepAllocated ?? false;
    return this.#change('writeZeroes', offset, length, options, async (fua) => {
      const core = this.#core;
      const write = (begin: number, end: number): Promise<void> =>
        core.destination.writeZeroes(begin, end - begin, { keepAllocated, fua });
      const window = core.isDone ? this.size : WINDOW * core.regionBytes;
      for (let at = offset; at < offset + length; ) {
        const next = Math.min(offset + length, (Math.floor(at / window) + 1) * window);
        await this.#io.write(at, next, { write });
        at = next;
      }
    });
  }

  /**
   * Marks whole regions hydrated, so that they are not copied, and passes the discard of them down. They read as the destination
   * has them then: as zeros, if it began as zeros.
   */
  discard(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.#change('discard', offset, length, options, (fua) => this.#io.discard(offset, offset + length, fua));
  }

  /** Commits the regions hydrated so far, if there are new ones, and flushes the destination. */
  async flush(): Promise<void> {
    this.#refuseClosed();
    if (!this.#requests.tryEnter()) await this.#requests.enter();
    try {
      await this.#makeDurable();
    } finally {
      this.#requests.leave();
    }
  }

  allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    return this.#request('allocation', offset, length, () => this.#allocation(offset, offset + length));
  }

  enableHydration(): void {
    this.#core.settings.hydrates = true;
    this.#hydration.wake();
  }

  /** Begins no copies any more; those on their way end. Writes go on copying what they need. */
  disableHydration(): void {
    this.#core.settings.hydrates = false;
  }

  /** @throws {RangeError} outside 0..2^32 - 1 */
  setHydrationThreshold(nrRegions: number): void {
    this.#core.settings.hydrationThreshold = requireU32('the hydration threshold', nrRegions);
    this.#hydration.wake();
  }

  /** @throws {RangeError} outside 0..2^32 - 1 */
  setHydrationBatchSize(nrRegions: number): void {
    this.#core.settings.hydrationBatchSize = requireU32('the hydration batch size', nrRegions);
    this.#hydration.batchSizeChanged();
  }

  /**
   * Sends a message as `dmsetup message` would, e.g. `hydration_threshold 64`.
   * Rejects with a {@link CloneMessageError}, which has the kernel's errno and log lines.
   */
  async message(line: string): Promise<void> {
    this.#refuseClosed();
    sendMessage(this, line);
  }

  /** Makes what was hydrated and written so far durable, as {@link flush} does. */
  commit(): Promise<void> {
    return this.flush();
  }

  /** @throws {@link CloneModeError} in fail mode */
  status(): CloneStatus {
    this.#refuseClosed();
    return cloneStatus(this.#core);
  }

  /** The kernel's status line; `Fail` in fail mode. The kernel commits before it tells: {@link commit}. */
  statusLine(): string {
    this.#refuseClosed();
    return cloneStatusLine(this.#core);
  }

  /** Calls `listener` when `event` happens; returns what ends that. */
  on<E extends keyof CloneEvents>(event: E, listener: CloneListener<E>): () => void {
    return this.#core.events.on(event, listener);
  }

  /**
   * Waits for the requests and copies on their way, and commits. Requests wait until {@link resume}. Rejects when that commit
   * failed; it is suspended all the same.
   */
  suspend(): Promise<void> {
    this.#refuseClosed();
    this.#suspension ??= this.#suspend();
    return this.#suspension;
  }

  async #suspend(): Promise<void> {
    this.#hydration.stop();
    await this.#requests.close();
    await this.#core.hydrations.idle();
    if (!this.readOnly && this.#core.mode !== 'fail' && this.#core.hasUncommitted) await this.#core.commit();
  }

  /** Ends a suspension. */
  async resume(): Promise<void> {
    this.#refuseClosed();
    await this.#letRequestsIn();
    if (this.#closing === undefined) this.#hydration.resume();
  }

  async #letRequestsIn(): Promise<void> {
    if (this.#suspension === undefined) return;
    await this.#suspension.catch(() => {}); // whoever suspended was told
    this.#suspension = undefined;
    this.#requests.open();
  }

  /** Waits for what is in flight, copies included, and commits. Rejects when that commit, or one before it, has failed. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#hydration.stop();
    await this.#letRequestsIn(); // what a suspension holds back was asked for before
    await this.#requests.close();
    await this.#core.hydrations.idle();
    await this.#core.close();
  }

  async #request<T>(operation: RangeOperation, offset: number, length: number, work: () => Promise<T>): Promise<T> {
    this.#refuseClosed();
    requireSectorRange(this, operation, offset, length);
    if (!this.#requests.tryEnter()) await this.#requests.enter();
    const pauses = operation !== 'allocation' && length > 0;
    if (pauses) this.#hydration.requestBegins();
    try {
      return await work();
    } finally {
      if (pauses) this.#hydration.requestEnds();
      this.#requests.leave();
    }
  }

  /** A request that writes. `work` is told `fua` when it has to make durable what it does. */
  async #change(
    operation: RangeOperation,
    offset: number,
    length: number,
    options: WriteOptions | undefined,
    work: (fua: boolean) => Promise<void>,
  ): Promise<void> {
    this.#refuseClosed();
    requireSectorRange(this, operation, offset, length);
    if (this.readOnly) throw new ReadOnlyError(`${operation} refused: ${this.name} is open for reading only`);
    await this.#request(operation, offset, length, async () => {
      const fua = options?.fua ?? false;
      // While there is something to commit, the commit makes it durable.
      const isDurable = fua && length > 0 && !this.#core.hasUncommitted;
      if (length > 0) await work(isDurable);
      if (fua && (!isDurable || this.#core.hasUncommitted)) await this.#makeDurable();
    });
  }

  async #makeDurable(): Promise<void> {
    this.#core.refuseFailed();
    if (!this.readOnly) await this.#core.commit();
  }

  #refuseClosed(): void {
    if (this.#closing !== undefined) throw new ClosedError(`${this.name} is closed`);
  }

  async #allocation(offset: number, end: number): Promise<AllocationExtent[]> {
    this.#core.refuseFailed();
    const extents: AllocationExtent[] = [];
    const { regionBytes, isDone } = this.#core;
    const lastToLookAt = isDone ? end : Math.min(end, (Math.floor(offset / regionBytes) + MOST_REGIONS) * regionBytes);
    for (let at = offset; at < lastToLookAt && extents.length < MOST_EXTENTS; ) {
      const run = this.#io.run(at, lastToLookAt);
      for (const { offset: begin, length, state } of await run.device.allocation(at, run.end - at)) {
        appendExtent(extents, begin, length, state);
        at = begin + length;
      }
      if (at < run.end) break; // the device's answer ended there
    }
    return extents;
  }
}

function refuseReadOnly(metadata: MetadataDevice, { readOnly }: CloneOptions): void {
  if (readOnly) throw new ReadOnlyError(`a clone that is to be read-only cannot be formatted on ${metadata.name}`);
}

function refuseTooSmall(name: string, { source, destination }: CloneDevices, size: number): void {
  for (const [what, device] of [
    ['source', source],
    ['destination', destination],
  ] as const) {
    if (device.size >= size) continue;
    throw new DeviceOpenError(
      `${name} cannot be opened: its ${what} ${device.name} has ${device.size} bytes, and the clone ${size}`,
    );
  }
}

/** The smallest unit that is whole regions (a power of two) and whole units of the destination. */
function unitOfBoth(regionBytes: number, destination: DataDevice): number {
  let unit = destination.hints.discardGranularity;
  while (unit % regionBytes !== 0) unit *= 2;
  return unit;
}
