/**
 * A log in memory: survives suspend and resume, and nothing else. After a restart everything is copied, unless the caller says
 * that the legs are equal (`nosync`).
 *
 * Format: docs/format/mirror-log.md, section 3.
 */
import { BitmapLog, type BitmapLogOptions } from './bitmap-log.js';
import type { FlushLegs, LogStatus } from './dirty-log.js';

export class CoreLog extends BitmapLog {
  readonly kind = 'core';
  protected readonly mayBecomeClean = true;
  readonly #sync: BitmapLogOptions['sync'];

  /** @throws {RangeError} when the kernel would not have the length or the region size */
  constructor(options: BitmapLogOptions) {
    super(options);
    this.#sync = options.sync;
    const isInSync = options.sync === 'nosync';
    this.syncBits.fill(isInSync);
    this.cleanBits.fill(isInSync);
  }

  async resume(_flushLegs: FlushLegs): Promise<void> {
    this.beginSearch();
  }

  async postsuspend(): Promise<void> {}

  async close(): Promise<void> {}

  isClean(): boolean {
    return false;
  }

  async flush(): Promise<void> {}

  async trustLegFlushes(): Promise<void> {}

  status(): LogStatus {
    const { kind, nrRegions, syncCount } = this;
    return { kind, health: 'A', hasLostLegFlush: false, nrRegions, syncCount };
  }

  statusText(): string {
    return '1 core';
  }

  tableText(): string {
    return this.#sync === undefined ? `core 1 ${this.regionSize}` : `core 2 ${this.regionSize} ${this.#sync}`;
  }

  protected cleanBitChanged(): void {}
}
