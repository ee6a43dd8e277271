/**
 * A read's way: to one leg, and, when that fails and the region is in sync, to the next. Where it is not, the default leg alone can answer.
 *
 * Where all regions of a request are in sync and the same leg is to read them, it is one request to that leg; else one for each region.
 * Reads keep no order, neither among each other nor with writes that are under way.
 *
 * Spread reads go to regions alone that nothing is being written to: while a write is on its way, one leg has it and another has not, and
 * who reads twice might see the new before the old.
 *
 * Format: docs/format/mirror-log.md, section 8.
 */
import { type AllocationExtent, appendExtent, DeviceError } from '@pdata/device';
import { allEnded, inWords } from '@pdata/device/engine';
import type { Leg } from './legs.js';
import type { MirrorCore } from './mirror-core.js';

/** Extents of an answer to `allocation`, about, and regions looked at for it. */
const MOST_EXTENTS = 4096;
const MOST_REGIONS = 65_536;

export class ReadPath {
  readonly #core: MirrorCore;

  constructor(core: MirrorCore) {
    this.#core = core;
  }

  /** Fills `into` from byte `offset` on. */
  async read(offset: number, into: Uint8Array): Promise<void> {
    const { gate } = this.#core;
    if (!gate.tryEnter()) await gate.enter();
    try {
      const end = offset + into.byteLength;
      const leg = this.#legForAll(offset, end);
      if (leg === undefined || !(await this.#attempt(leg, offset, into))) await this.#readRegions(offset, into);
    } finally {
      gate.leave();
    }
  }

  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    const { gate, regionBytes } = this.#core;
    if (!gate.tryEnter()) await gate.enter();
    try {
      const extents: AllocationExtent[] = [];
      const end = offset + length;
      for (let at = offset, nrRegions = 0; at < end && extents.length < MOST_EXTENTS; ) {
        const leg = await this.#legFor(Math.floor(at / regionBytes));
        let next = at;
        for (; next < end && nrRegions < MOST_REGIONS; nrRegions++) {
          if (next > at && (await this.#legFor(Math.floor(next / regionBytes))) !== leg) break;
          next = Math.min(end, (Math.floor(next / regionBytes) + 1) * regionBytes);
        }
        if (next === at) break;
        at = await appendOf(leg, at, next, extents);
        if (at < next) break;
      }
      return extents;
    } finally {
      gate.leave();
    }
  }

  /** The leg that is to read all of it, if that is one, and known without asking. */
  #legForAll(begin: number, end: number): Leg | undefined {
    const { log, legs, regionBytes, settings, hash } = this.#core;
    const last = Math.floor((end - 1) / regionBytes);
    let isAtRest = settings.balanceReads;
    for (let regionNr = Math.floor(begin / regionBytes); regionNr <= last; regionNr++) {
      if (log.isInSync(regionNr) !== true) return undefined;
      if (isAtRest && hash.nrPending(regionNr) > 0) isAtRest = false;
    }
    return isAtRest ? this.#leastBusy() : legs.forReading;
  }

  #leastBusy(): Leg | undefined {
    let least: Leg | undefined;
    for (const leg of this.#core.legs.all)
      if (leg.isGood && (least === undefined || leg.nrReads < least.nrReads)) least = leg;
    return least;
  }

  /** The leg to be asked of one region. */
  async #legFor(regionNr: number): Promise<Leg> {
    const { legs } = this.#core;
    return (await this.#isInSync(regionNr)) ? (legs.forReading ?? legs.default) : legs.default;
  }

  async #isInSync(regionNr: number): Promise<boolean> {
    return this.#core.log.isInSync(regionNr) ?? (await this.#core.log.queryInSync(regionNr).catch(() => false));
  }

  async #readRegions(offset: number, into: Uint8Array): Promise<void> {
    const { regionBytes } = this.#core;
    const parts: Promise<void>[] = [];
    for (let at = 0; at < into.byteLength; ) {
      const regionNr = Math.floor((offset + at) / regionBytes);
      const next = Math.min(into.byteLength, (regionNr + 1) * regionBytes - offset);
      parts.push(this.#readInRegion(regionNr, offset + at, into.subarray(at, next)));
      at = next;
    }
    await allEnded(parts);
  }

  async #readInRegion(regionNr: number, offset: number, into: Uint8Array): Promise<void> {
    const tried = new Set<Leg>();
    let cause: unknown;
    for (;;) {
      const leg = (await this.#isInSync(regionNr)) ? this.#untried(tried) : this.#core.legs.default;
      if (leg === undefined || tried.has(leg)) break;
      tried.add(leg);
      try {
        return await this.#readFrom(leg, offset, into);
      } catch (error) {
        cause ??= error;
      }
    }
    const { name } = this.#core.settings;
    throw new DeviceError(`cannot read ${into.byteLength} bytes at ${offset} of ${name}: ${inWords(cause)}`, { cause });
  }

  /** In sync: the kernel's choice, then any other that is good, then any that has not lost what it acknowledged. */
  #untried(tried: ReadonlySet<Leg>): Leg | undefined {
    const { forReading, all } = this.#core.legs;
    if (forReading !== undefined && !tried.has(forReading)) return forReading;
    const left = all.filter((leg) => !leg.isAway && !tried.has(leg));
    return left.find(({ isGood }) => isGood) ?? left.find((leg) => !leg.has('flush'));
  }

  async #attempt(leg: Leg, offset: number, into: Uint8Array): Promise<boolean> {
    try {
      await this.#readFrom(leg, offset, into);
      return true;
    } catch {
      return false; // the leg has been told
    }
  }

  async #readFrom(leg: Leg, offset: number, into: Uint8Array): Promise<void> {
    leg.nrReads++;
    try {
      await leg.device.read(leg.offset + offset, into);
    } catch (error) {
      this.#core.legFailed(leg, 'read', error);
      throw error;
    } finally {
      leg.nrReads--;
    }
  }
}

/** @returns how far the leg knows */
async function appendOf(leg: Leg, begin: number, end: number, extents: AllocationExtent[]): Promise<number> {
  let at = begin;
  for (const { offset, length, state } of await leg.device.allocation(leg.offset + begin, end - begin)) {
    appendExtent(extents, offset - leg.offset, length, state);
    at = offset - leg.offset + length;
  }
  return at;
}
