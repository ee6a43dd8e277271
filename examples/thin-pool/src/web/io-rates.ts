/**
 * From I/O counters that only grow to requests and bytes a second, with the last two minutes kept for a page that comes later.
 *
 * A volume that is new starts at 0; one whose counters fell (removed and made again under its name, or reverted) starts anew.
 * Memory is bounded: {@link HISTORY_LENGTH} samples, each with the {@link MAX_VOLUMES_KEPT} busiest volumes.
 */
import type { IoCounters, VolumeReport } from '../pool-host.js';
import type { Rates, RatesFrame } from './page-protocol.js';

export const HISTORY_LENGTH = 120;
const MAX_VOLUMES_KEPT = 32;
const COUNTERS = ['reads', 'writes', 'bytesRead', 'bytesWritten'] as const;

export class IoRates {
  #before: { readonly at: number; readonly counters: ReadonlyMap<string, IoCounters> } | undefined;
  readonly #history: RatesFrame[] = [];

  /** Oldest first. */
  get history(): readonly RatesFrame[] {
    return this.#history;
  }

  /** Forgets the last sample, but not the history: after a pause a mean over the pause would mislead. */
  pause(): void {
    this.#before = undefined;
  }

  /** @param at milliseconds since 1970, later than the last one */
  sample(at: number, volumes: readonly Pick<VolumeReport, 'name' | 'io'>[]): RatesFrame {
    const before = this.#before;
    const seconds = before === undefined ? 0 : (at - before.at) / 1000;
    this.#before = { at, counters: new Map(volumes.map(({ name, io }) => [name, { ...io }])) };

    const rates: (readonly [string, Rates])[] = [];
    const total = { reads: 0, writes: 0, bytesRead: 0, bytesWritten: 0 };
    for (const { name, io } of seconds > 0 ? volumes : []) {
      const rate = { reads: 0, writes: 0, bytesRead: 0, bytesWritten: 0 };
      const earlier = before?.counters.get(name);
      for (const counter of COUNTERS) {
        const grown = io[counter] - (earlier?.[counter] ?? 0);
        rate[counter] = (grown >= 0 ? grown : io[counter]) / seconds;
        total[counter] += rate[counter];
      }
      if (COUNTERS.some((counter) => rate[counter] > 0)) rates.push([name, rate]);
    }

    this.#history.push({ at, total, volumes: busiest(rates) });
    if (this.#history.length > HISTORY_LENGTH) this.#history.shift();
    return { at, total, volumes: rates };
  }
}

function busiest(rates: readonly (readonly [string, Rates])[]): readonly (readonly [string, Rates])[] {
  if (rates.length <= MAX_VOLUMES_KEPT) return rates;
  const bytes = ([, { bytesRead, bytesWritten }]: readonly [string, Rates]): number => bytesRead + bytesWritten;
  return [...rates].sort((a, b) => bytes(b) - bytes(a)).slice(0, MAX_VOLUMES_KEPT);
}
