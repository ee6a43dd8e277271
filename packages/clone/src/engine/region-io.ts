/**
 * What requests do with regions: read from where their data is, write where it will be, hydrate in between.
 *
 *   request                      region hydrated            not hydrated
 *   read                         from the destination       from the source
 *   write of a part of it        to the destination         waits for its copy, then to the destination
 *   write of all of it           to the destination         to the destination, then marked: nothing is copied
 *   discard                      passed down                marked, then passed down
 *
 * A write to a region that is being hydrated waits until that is over, then looks again. The last region, if it is shorter than
 * the others, is always copied first, as the kernel does.
 *
 * Format: docs/format/clone.md, section 5.
 */
import type { DataDevice } from '@pdata/device';
import { AbortedChangesError, allEnded, BlockBuffers } from '@pdata/device/engine';
import type { CloneCore } from './clone-core.js';
import { HydrationError } from './errors.js';
import { copyInWords, copyRegions, LARGEST_PIECE } from './region-copy.js';

/** Bytes in buffers for copies that writes wait for, at most. */
const BUFFERED = 16 * 2 ** 20;
/** Regions that one write hydrates as one. */
const MOST_AT_ONCE = 1024;

/** A change of a range: bytes, or zeros. Parts of it are done apart. */
export interface Change {
  /** Does bytes `begin`..`end` (exclusive) of it on the destination. */
  write(begin: number, end: number): Promise<void>;
}

export class RegionIo {
  readonly #core: CloneCore;
  readonly #buffers: BlockBuffers;

  constructor(core: CloneCore) {
    this.#core = core;
    const size = Math.min(core.regionBytes, LARGEST_PIECE);
    this.#buffers = new BlockBuffers(size, BUFFERED / size);
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    const core = this.#core;
    core.refuseFailed();
    if (into.byteLength === 0) return;
    const end = offset + into.byteLength;
    const first = this.run(offset, end);
    if (first.end === end) {
      await first.device.read(offset, into);
      return;
    }
    const parts: Promise<void>[] = [];
    for (let run = first; ; run = this.run(run.end, end)) {
      parts.push(run.device.read(run.begin, into.subarray(run.begin - offset, run.end - offset)));
      if (run.end === end) break;
    }
    await allEnded(parts);
  }

  /** The longest part of bytes `begin`..`end` (exclusive), from `begin` on, that is all hydrated, or all not: and where it is read from. */
  run(begin: number, end: number): { readonly begin: number; readonly end: number; readonly device: DataDevice } {
    const core = this.#core;
    if (core.isDone) return { begin, end, device: core.destination };
    let region = Math.floor(begin / core.regionBytes);
    const isHydrated = core.isHydrated(region);
    while (core.endOf(region) < end && core.isHydrated(region + 1) === isHydrated) region++;
    return { begin, end: Math.min(end, core.endOf(region)), device: isHydrated ? core.destination : core.source };
  }

  /** Does the change of bytes `begin`..`end` (exclusive); its parts go on at once. */
  async write(begin: number, end: number, change: Change): Promise<void> {
    this.#core.refuseFailed();
    if (this.#core.isDone) {
      await change.write(begin, end);
      return;
    }
    const parts: Promise<void>[] = [];
    for (let at = begin; at < end; ) {
      const part = this.#writePart(at, end, change);
      parts.push(part.done);
      at = part.end;
    }
    await allEnded(parts);
  }

  /** Begins with the longest part, from `begin` on, that can be done as one. */
  #writePart(begin: number, end: number, change: Change): { readonly end: number; readonly done: Promise<void> } {
    const core = this.#core;
    const first = Math.floor(begin / core.regionBytes);
    if (core.isHydrated(first)) {
      let last = first;
      while (core.endOf(last) < end && core.isHydrated(last + 1)) last++;
      const partEnd = Math.min(end, core.endOf(last));
      return { end: partEnd, done: this.#writeHydrated(begin, partEnd, change) };
    }
    let next = first;
    while (next - first < MOST_AT_ONCE && this.#canBeOverwritten(next, begin, end)) next++;
    if (next > first) return { end: next * core.regionBytes, done: this.#overwrite(first, next, change) };
    const partEnd = Math.min(end, core.endOf(first));
    return { end: partEnd, done: this.#writeAfterHydration(first, begin, partEnd, change) };
  }

  /** Whether a change of bytes `begin`..`end` replaces all of the region, and nobody else is at it. */
  #canBeOverwritten(region: number, begin: number, end: number): boolean {
    const core = this.#core;
    return (
      region * core.regionBytes >= begin &&
      (region + 1) * core.regionBytes <= end && // never true of a short last region
      !core.isHydrated(region) &&
      core.hydrations.of(region) === undefined
    );
  }

  async #writeHydrated(begin: number, end: number, change: Change): Promise<void> {
    const core = this.#core;
    const { nrAborts } = core;
    await change.write(begin, end);
    if (nrAborts === core.nrAborts) return;
    core.refuseFailed();
    for (let region = Math.floor(begin / core.regionBytes); region * core.regionBytes < end; region++) {
      if (!core.isHydrated(region)) {
        throw new AbortedChangesError(
          `${core.name} has lost the write of bytes ${begin} to ${end - 1} with a commit that failed meanwhile`,
        );
      }
    }
  }

  async #overwrite(begin: number, end: number, change: Change): Promise<void> {
    const core = this.#core;
    core.refuseUnhydratable();
    await core.hydrations.run(begin, end, async () => {
      await change.write(begin * core.regionBytes, end * core.regionBytes);
      core.markHydrated(begin, end);
    });
  }

  async #writeAfterHydration(region: number, begin: number, end: number, change: Change): Promise<void> {
    while (!this.#core.isHydrated(region)) await this.#hydrate(region);
    await this.#writeHydrated(begin, end, change);
  }

  /** Waits for the hydration of the region that is going on, or copies it. */
  async #hydrate(region: number): Promise<void> {
    const core = this.#core;
    core.refuseUnhydratable();
    let hydration = core.hydrations.of(region);
    if (hydration === undefined) {
      core.hydrations
        .run(region, region + 1, () => copyRegions(core, region, region + 1, this.#buffers))
        .catch(() => {}); // told by its outcome
      hydration = core.hydrations.of(region);
    }
    const failure = await hydration?.outcome;
    if (failure === undefined) return;
    throw new HydrationError(`${core.name}: ${copyInWords(region, region + 1, failure)}`, { cause: failure });
  }

  /**
   * Marks the whole regions of bytes `begin`..`end` (exclusive) hydrated, whatever the destination holds there, and passes the
   * discard of them down.
   */
  async discard(begin: number, end: number, fua: boolean): Promise<void> {
    const core = this.#core;
    core.refuseFailed();
    const first = Math.ceil(begin / core.regionBytes);
    const next = Math.floor(end / core.regionBytes);
    if (first >= next) return;
    if (!core.isDone && !core.metadata.isRangeHydrated(first, next)) {
      if (core.mode !== 'write') return; // completed without effect, as in the kernel
      if (!(await this.#markDiscarded(first, next))) return;
    }
    if (!core.passesDiscards) return;
    await core.destination.discard(first * core.regionBytes, (next - first) * core.regionBytes, { fua });
  }

  /** @returns false when the mode does not allow it any more */
  async #markDiscarded(begin: number, end: number): Promise<boolean> {
    const core = this.#core;
    // What is on its way to a region must not land when it is somebody else's to write to.
    for (;;) {
      const inFlight = core.hydrations.within(begin, end);
      if (inFlight.size === 0) break;
      for (const { outcome } of inFlight) await outcome;
      core.refuseFailed();
      if (core.mode !== 'write') return false;
    }
    core.markHydrated(begin, end);
    return true;
  }
}
