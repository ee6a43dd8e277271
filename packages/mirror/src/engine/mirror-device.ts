/**
 * A mirror: a data device whose every sector is on two to nine legs.
 *
 * Here requests are checked and counted, and the mirror is opened, suspended, changed and closed. What becomes of a write is
 * write-path.ts, of a read read-path.ts; recovery.ts copies what is not in sync; mirror-core.ts has what they share.
 *
 * Format: docs/format/mirror-log.md, sections 5 to 12.
 */
import {
  type AllocationExtent,
  ClosedError,
  type DataDevice,
  type DataDeviceHints,
  type RangeOperation,
  requireSectorRange,
  SECTOR_SIZE,
  type WriteOptions,
  type WriteZeroesOptions,
} from '@pdata/device';
import type { Listener } from '@pdata/device/engine';
import { CopyBuffers } from './copy-buffers.js';
import { LegError } from './errors.js';
import type { MirrorEvents } from './events.js';
import { MirrorCore } from './mirror-core.js';
import { legsOf, lengthOf, requireLeg } from './open-legs.js';
import { type MirrorOptions, requireRate, settingsOf } from './options.js';
import { ReadPath } from './read-path.js';
import { Recovery } from './recovery.js';
import { type MirrorStatus, mirrorStatus, mirrorStatusLine } from './status.js';
import { printMirrorArguments } from './table.js';
import { WritePath } from './write-path.js';

export interface SuspendOptions {
  /** Writes that are held back are tried again after `resume`, instead of failing. Default false. */
  readonly noflush?: boolean;
}

export interface AttachOptions {
  /**
   * `written`: the leg is the one that was taken away, as it was then: copy the regions that were written to since, and those of which
   * it may have lost something. `full`: copy everything.
   */
  readonly resync: 'written' | 'full';
}

export interface SetDefaultLegOptions {
  /** Take the leg for right everywhere, even where it has missed writes: these are lost. Default false. */
  readonly acceptLoss?: boolean;
}

/**
 * A mirror. Begin with {@link MirrorDevice.open}; end with {@link MirrorDevice.close}, which leaves a log that calls everything clean that
 * is. The legs, and the device that the log is on, are the caller's, and stay open.
 *
 * Requests reject with a {@link DeviceError} when no leg could do what was asked; with a {@link HeldWriteError} when a write that was held
 * back is given up; with a {@link ClosedError} after `close`. While the mirror is suspended they wait.
 */
export class MirrorDevice implements DataDevice {
  readonly name: string;
  readonly readOnly = false;
  readonly hints: DataDeviceHints;
  readonly #core: MirrorCore;
  readonly #reads: ReadPath;
  readonly #writes: WritePath;
  readonly #recovery: Recovery;
  #nrInFlight = 0;
  #isSuspended = false;
  /** Changes of the mirror itself, one after the other. */
  #changes: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;
  #drained: (() => void) | undefined;

  /** @internal See {@link MirrorDevice.open}. */
  constructor(core: MirrorCore, buffers: CopyBuffers, rate: number) {
    this.#core = core;
    this.#reads = new ReadPath(core);
    this.#writes = new WritePath(core, buffers);
    this.#recovery = new Recovery(core, rate);
    this.name = core.settings.name;
    this.hints = hintsOf(core.legs.all.map(({ device }) => device));
  }

  /**
   * Opens a mirror, and begins to copy what the log does not call in sync from `goodLeg` to the others.
   *
   * Rejects with a `RangeError` for options that make no sense, with a {@link LegError} for a leg that cannot be one, and as the log does
   * that cannot be used ({@link NotALogError}, {@link UnsupportedLogError}). A log whose device fails is no reason: the mirror opens with nothing in sync.
   */
  static open(options: MirrorOptions): Promise<MirrorDevice> {
    return openMirror(options);
  }

  /** @internal The log is asked, and the resync begins. */
  async begin(): Promise<void> {
    await this.#core.resumeLog();
    this.#recovery.start();
  }

  /** Bytes. */
  get size(): number {
    return this.#core.size;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.#check('read', offset, into.byteLength);
    if (into.byteLength === 0) return;
    await this.#inFlight(this.#reads.read(offset, into));
  }

  async write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    this.#check('write', offset, from.byteLength);
    const fua = options?.fua ?? false;
    if (from.byteLength > 0)
      await this.#inFlight(this.#writes.write({ kind: 'write', fua }, offset, from.byteLength, from));
    else if (fua) await this.flush();
  }

  async writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    this.#check('writeZeroes', offset, length);
    const { fua = false, keepAllocated = false } = options ?? {};
    if (length > 0)
      await this.#inFlight(this.#writes.write({ kind: 'writeZeroes', fua, keepAllocated }, offset, length, undefined));
    else if (fua) await this.flush();
  }

  /** Whole units of `hints.discardGranularity` become zeros on all legs and give their space back; the rest stays as it is. */
  async discard(offset: number, length: number, options?: WriteOptions): Promise<void> {
    this.#check('discard', offset, length);
    const { discardGranularity: unit } = this.hints;
    const begin = Math.ceil(offset / unit) * unit;
    const end = Math.floor((offset + length) / unit) * unit;
    const fua = options?.fua ?? false;
    if (unit > 0 && begin < end)
      await this.#inFlight(this.#writes.write({ kind: 'discard', fua }, begin, end - begin, undefined));
    else if (fua) await this.flush();
  }

  /** What was written before is durable on the legs; marks are not taken back by it. */
  async flush(): Promise<void> {
    this.#refuseClosed();
    await this.#inFlight(this.#flush());
  }

  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    this.#check('allocation', offset, length);
    this.#nrInFlight++;
    try {
      return await this.#reads.allocation(offset, length);
    } finally {
      this.#ended();
    }
  }

  /**
   * Stops: requests wait until {@link resume}, what is under way ends, the copying of a region is called off, the log has all that is
   * clean. Writes that are held back fail, unless `noflush`. Rejects with a {@link LogFailedError} when the log does not take it; the mirror is suspended then, too.
   */
  async suspend({ noflush = false }: SuspendOptions = {}): Promise<void> {
    await this.#change(async () => {
      if (this.#isSuspended) return;
      this.#isSuspended = true;
      if (!noflush) this.#writes.giveUpHeld('the mirror was suspended');
      await this.#stopIo();
      await this.#core.log.presuspend();
      await this.#core.log.postsuspend();
    });
  }

  /** Goes on after {@link suspend}, with what the log has. What could not be copied before is tried again. */
  async resume(): Promise<void> {
    await this.#change(async () => {
      if (!this.#isSuspended) return;
      await this.#core.resumeLog();
      this.#isSuspended = false;
      this.#goOn();
    });
  }

  /**
   * Makes another leg the one that is read, and that is right where they may differ. Rejects with a {@link LegError} when it is away, or
   * is not right everywhere because something is not in sync.
   */
  async setDefaultLeg(legNr: number, { acceptLoss = false }: SetDefaultLegOptions = {}): Promise<void> {
    await this.#changeLegs(async () => {
      const { legs, isInSync } = this.#core;
      if (legs.at(legNr).isAway) throw new LegError(`leg ${legNr} of ${this.name} is away: attach it first`);
      if (!acceptLoss && !isInSync && legNr !== legs.defaultNr) {
        throw new LegError(
          `leg ${legNr} of ${this.name} may lack something: ${this.#notInSync}. Wait until all is in sync; or, if what the default ` +
            'leg has there is lost, accept the loss',
        );
      }
      this.#core.moveDefault(legNr);
    });
  }

  /**
   * Takes a leg out of the mirror: it is not read, written or flushed any more. The log goes on saying which regions it has missed, so that
   * it can be brought back by {@link attachLeg}; until then nothing is copied. Rejects with a {@link LegError} when no other leg is good, or
   * other legs have missed what is on it.
   */
  async detachLeg(legNr: number): Promise<void> {
    await this.#changeLegs(() => this.#detach(legNr));
  }

  /**
   * Brings back a leg that was taken away, or puts another device in its place, and begins to copy what it lacks.
   * Rejects with a {@link LegError} when the device cannot be this leg, with a {@link LogFailedError} when the log does not take what it lacks.
   */
  async attachLeg(legNr: number, device: DataDevice, { resync }: AttachOptions): Promise<void> {
    if (resync !== 'written' && resync !== 'full')
      throw new RangeError(`resync is 'written' or 'full', and says what the leg lacks; it is not ${String(resync)}`);
    await this.#changeLegs(() => this.#attach(legNr, device, resync));
  }

  /** Puts another device in the place of a leg, which stays the caller's, and copies everything to it. Rejects as the two that it is made of. */
  async replaceLeg(legNr: number, device: DataDevice): Promise<void> {
    await this.#changeLegs(async () => {
      requireLeg(this.#core.legs, legNr, device, this.size, { log: this.#core.log, name: this.name });
      if (!this.#core.legs.at(legNr).isAway) await this.#detach(legNr);
      await this.#attach(legNr, device, 'full');
    });
  }

  /** Bytes a second that are copied at most, from now on; undefined: as fast as it can. @throws {RangeError} */
  setResyncRate(rate: number | undefined): void {
    this.#recovery.rate = requireRate(rate);
  }

  /** Resolves when there is nothing to copy now: true when all is in sync, false when copying failed or a leg is away. */
  async untilResynced(): Promise<boolean> {
    await this.#recovery.untilIdle();
    return this.#core.isInSync;
  }

  status(): MirrorStatus {
    return mirrorStatus(this.#core, { nrHeldWrites: this.#writes.nrHeld, isSuspended: this.#isSuspended });
  }

  /** The kernel's status line: `2 LEG0.img LEG1.img 512/512 1 AA 3 disk LOG.img A`. */
  statusLine(): string {
    return mirrorStatusLine(this.#core);
  }

  /** The kernel's table line without begin, length and target: `disk 2 LOG.img 128 2 LEG0.img 0 LEG1.img 0 1 handle_errors`. */
  tableLine(): string {
    const { legs, log, settings } = this.#core;
    const named = legs.all.map(({ device, offset }) => ({ device: device.name, offset: offset / SECTOR_SIZE }));
    return printMirrorArguments(log.tableText(), named, settings);
  }

  /** Calls `listener` when `event` happens; returns what ends that. */
  on<E extends keyof MirrorEvents>(event: E, listener: Listener<MirrorEvents, E>): () => void {
    return this.#core.events.on(event, listener);
  }

  /**
   * Ends what is in flight, gives up writes that are held back, and tells the log what is clean. Rejects with a {@link LogFailedError} when
   * it does not take that: what it had promised holds all the same, and more than necessary will be copied.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#changes;
    this.#writes.holdNothing('the mirror was closed');
    if (this.#isSuspended) this.#core.gate.open();
    await this.#recovery.stop();
    if (this.#nrInFlight > 0) await new Promise<void>((drained) => (this.#drained = drained));
    this.#core.stop();
    const { log } = this.#core;
    await this.#core.update();
    try {
      await log.presuspend();
      await log.postsuspend();
    } finally {
      await log.close();
    }
  }

  /** Alone with the legs; held writes are tried again afterwards, for the legs are others now. */
  async #changeLegs(work: () => Promise<void>): Promise<void> {
    await this.#change(async () => {
      if (!this.#isSuspended) await this.#stopIo();
      try {
        await work();
        this.#core.hasLegFailure = false;
      } finally {
        if (!this.#isSuspended) this.#goOn();
      }
    });
  }

  async #change(work: () => Promise<void>): Promise<void> {
    this.#refuseClosed();
    const change = this.#changes.then(work);
    this.#changes = change.catch(() => {});
    await change;
  }

  /** Nothing is under way any more, and what has come to rest is clean. */
  async #stopIo(): Promise<void> {
    await this.#recovery.stop();
    await this.#core.gate.close();
    await this.#core.update();
  }

  #goOn(): void {
    this.#core.gate.open();
    this.#writes.retryHeld();
    void this.#core.log.searchAgain().then(
      () => this.#recovery.start(),
      (error) => this.#core.logFailed(error),
    );
  }

  async #detach(legNr: number): Promise<void> {
    const { legs, isInSync } = this.#core;
    const leg = legs.at(legNr);
    if (leg.isAway) throw new LegError(`leg ${legNr} of ${this.name} is away already`);
    const successor = legs.all.find((other) => other !== leg && other.isGood);
    if (successor === undefined)
      throw new LegError(`leg ${legNr} of ${this.name} cannot be taken away: no other leg is good`);
    if (legNr === legs.defaultNr && !isInSync) {
      throw new LegError(
        `leg ${legNr} of ${this.name} cannot be taken away: others may lack what it has, for ${this.#notInSync}. Wait until all is in ` +
          'sync; or, if what it has there is lost, make another the default leg and accept the loss',
      );
    }
    const hasKept = !leg.has('flush') && (await flushes(leg.device));
    if (legNr === legs.defaultNr) this.#core.moveDefault(successor.nr);
    if (!hasKept) await this.#core.distrustUnclean();
    leg.isAway = true;
    if (!legs.present.some((other) => other.has('flush'))) await this.#core.hash.trustLegFlushes();
  }

  get #notInSync(): string {
    const { nrRegions, syncCount } = this.#core.log;
    return syncCount < nrRegions
      ? `${nrRegions - syncCount} of ${nrRegions} regions are not in sync`
      : 'a leg could not be flushed';
  }

  async #attach(legNr: number, device: DataDevice, resync: AttachOptions['resync']): Promise<void> {
    const { legs, log } = this.#core;
    const leg = legs.at(legNr);
    if (!leg.isAway) throw new LegError(`leg ${legNr} of ${this.name} is there already: take it away first`);
    requireLeg(legs, legNr, device, this.size, { log: this.#core.log, name: this.name });
    if (resync === 'full') {
      // Before the leg is there: a crash must not find anything in sync that it lacks.
      for (let regionNr = 0; regionNr < log.nrRegions; regionNr++) await log.setRegionSync(regionNr, false);
      this.#core.isInSync = false;
      await log.flush();
    }
    leg.device = device;
    leg.isAway = false;
    leg.forgive();
    await this.#core.update(); // it may lack nothing
  }

  async #flush(): Promise<void> {
    const { gate } = this.#core;
    if (!gate.tryEnter()) await gate.enter();
    try {
      await this.#core.flushForClient();
    } finally {
      gate.leave();
    }
  }

  async #inFlight(request: Promise<void>): Promise<void> {
    this.#nrInFlight++;
    try {
      await request;
    } finally {
      this.#ended();
    }
  }

  #ended(): void {
    this.#nrInFlight--;
    if (this.#nrInFlight === 0) this.#drained?.();
  }

  #check(operation: RangeOperation, offset: number, length: number): void {
    this.#refuseClosed();
    requireSectorRange(this, operation, offset, length);
  }

  #refuseClosed(): void {
    if (this.#closing !== undefined) throw new ClosedError(`${this.name} is closed`);
  }
}

/** @param makeBuffers for tests that take the stable copy out */
export async function openMirror(
  options: MirrorOptions,
  makeBuffers = (most: number): CopyBuffers => new CopyBuffers(most),
): Promise<MirrorDevice> {
  const settings = settingsOf(options);
  const rate = requireRate(options.resyncRate);
  const length = lengthOf(options, settings.name);
  const core = new MirrorCore(settings, legsOf(options, length), options.log, length * SECTOR_SIZE);
  const mirror = new MirrorDevice(core, makeBuffers(settings.copyMemory), rate);
  await mirror.begin();
  return mirror;
}

async function flushes(device: DataDevice): Promise<boolean> {
  try {
    await device.flush();
    return true;
  } catch {
    return false;
  }
}

/** What suits all legs. What one of them cannot zero quickly is not discarded, for a discard is zeros here. */
function hintsOf(devices: readonly DataDevice[]): DataDeviceHints {
  const hints = devices.map((device) => device.hints);
  const canDiscard = hints.every(({ discardGranularity, fastZeroes }) => discardGranularity > 0 && fastZeroes);
  return {
    preferredSize: Math.max(...hints.map(({ preferredSize }) => preferredSize)),
    discardGranularity: canDiscard ? Math.max(...hints.map(({ discardGranularity }) => discardGranularity)) : 0,
    fastZeroes: hints.every(({ fastZeroes }) => fastZeroes),
  };
}
