/**
 * A log that one node has for itself, as bits in memory: what the core log and the disk log have in common.
 *
 * The search for resync work is a pointer that goes up once, as in the kernel: what fails, or falls out of sync behind it, waits
 * for `searchAgain` or `resume`. So a dead leg is not tried for ever, and a status line says what the kernel's would.
 *
 * Format: docs/format/mirror-log.md, section 4.
 */
import { nrRegionsOf } from '../format/limits.js';
import { RegionBits } from '../format/region-bits.js';
import type { DirtyLog, FlushLegs, LogStatus, MarkOutcome } from './dirty-log.js';

export interface BitmapLogOptions {
  /** Of the mirror, in sectors. */
  readonly length: number;
  /** Sectors, a power of two from 2 to `length`. */
  readonly regionSize: number;
  /**
   * The kernel's argument: `sync` takes no region for in sync, so that everything is copied; `nosync` takes all of them for it. Only at
   * the first `resume` of this object, where the kernel does so at each: there, a suspend and resume would start a whole
   * copy again, or hide a leg that failed. Default: as the log has it; a new one has nothing in sync.
   */
  readonly sync?: 'sync' | 'nosync';
}

export abstract class BitmapLog implements DirtyLog {
  abstract readonly kind: 'core' | 'disk';
  readonly regionSize: number;
  readonly nrRegions: number;
  /** A subclass changes these at resume only, and then calls {@link beginSearch}. */
  protected readonly cleanBits: RegionBits;
  protected readonly syncBits: RegionBits;
  readonly #recovering: RegionBits;
  #syncCount = 0;
  #searchFrom = 0;
  #isHandingOut = false;

  /** @throws {RangeError} when the kernel would not have the length or the region size */
  protected constructor({ length, regionSize, sync }: BitmapLogOptions) {
    if (sync !== undefined && sync !== 'sync' && sync !== 'nosync')
      throw new RangeError(`a log begins as it is, with sync or with nosync, not with ${String(sync)}`);
    this.nrRegions = nrRegionsOf(length, regionSize);
    this.regionSize = regionSize;
    this.cleanBits = new RegionBits(this.nrRegions);
    this.syncBits = new RegionBits(this.nrRegions);
    this.#recovering = new RegionBits(this.nrRegions);
  }

  abstract resume(flushLegs: FlushLegs): Promise<void>;
  abstract postsuspend(): Promise<void>;
  abstract close(): Promise<void>;
  abstract isClean(regionNr: number): boolean;
  abstract flush(): Promise<void>;
  abstract trustLegFlushes(): Promise<void>;
  abstract status(): LogStatus;
  abstract statusText(): string;
  abstract tableText(): string;

  /** A clean bit has been changed. */
  protected abstract cleanBitChanged(regionNr: number, clean: boolean): void;
  /** Whether a `clear` has an effect at all. */
  protected abstract readonly mayBecomeClean: boolean;

  get syncCount(): number {
    return this.#syncCount;
  }

  async presuspend(): Promise<void> {
    this.#isHandingOut = false;
  }

  isInSync(regionNr: number): boolean {
    return this.syncBits.has(regionNr);
  }

  async queryInSync(regionNr: number): Promise<boolean> {
    return this.isInSync(regionNr);
  }

  mark(regionNr: number): void {
    this.#setClean(regionNr, false);
  }

  clear(regionNr: number): void {
    if (this.mayBecomeClean && this.isInSync(regionNr)) this.#setClean(regionNr, true);
  }

  markOutcome(regionNr: number): MarkOutcome {
    return this.isInSync(regionNr) ? 'in sync' : 'not in sync';
  }

  async nextResyncWork(): Promise<number | undefined> {
    if (!this.#isHandingOut) return undefined;
    for (;;) {
      const regionNr = this.syncBits.next(false, this.#searchFrom);
      if (regionNr === this.nrRegions) {
        this.#searchFrom = regionNr;
        return undefined;
      }
      this.#searchFrom = regionNr + 1;
      if (this.#recovering.set(regionNr, true)) return regionNr;
    }
  }

  async searchAgain(): Promise<void> {
    this.#searchFrom = 0;
  }

  async setRegionSync(regionNr: number, inSync: boolean): Promise<void> {
    this.#recovering.set(regionNr, false);
    if (this.syncBits.set(regionNr, inSync)) this.#syncCount += inSync ? 1 : -1;
    if (!inSync) this.#setClean(regionNr, false);
  }

  /** The bits are as they are to be: counts, and hands out work from the first region on. */
  protected beginSearch(): void {
    this.#recovering.fill(false);
    this.#syncCount = this.syncBits.count();
    this.#searchFrom = 0;
    this.#isHandingOut = true;
  }

  #setClean(regionNr: number, clean: boolean): void {
    if (this.cleanBits.set(regionNr, clean)) this.cleanBitChanged(regionNr, clean);
  }
}
