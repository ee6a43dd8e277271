/**
 * Whether the next request is done in place, by a system call that returns when it is done, or handed to libuv's threads.
 *
 * Handing it over costs more than a page cache takes to answer. Microseconds a request, ext4, Node 20.20, 2 cores, 2026-11:
 *
 *              in place   16 at once by 4 threads       the loop's own share of that
 *     4 KiB read     1.3         6.5                          5.9
 *    64 KiB read     9.0        17.1                         12.3
 *   128 KiB read    22.7        33.7                         14.5     from here on handing over leaves the loop more time
 *     1 MiB read   196         113                           54
 *     4 KiB write   11.6        16.4                          4.1
 *    64 KiB write   48          58                           11.6
 *
 * But what has to come from a disk takes 60 µs on a good one and 10 ms on a slow one, and the event loop stands still for
 * it, while threads would wait for four at once. Nobody can tell beforehand, so it is tried: small requests are done in
 * place while the medium answers like a cache, and after two slow ones among the last 16 the next 32 are handed over. Then
 * one is tried again: if it is slow, the next 64 are handed over, and so on up to 1024. Two, because one request in 200
 * is slow for reasons of the machine's own (of 100 000 reads of 4 KiB from the cache 0.6 % took more than 50 µs); but one that
 * takes milliseconds is enough.
 *
 * So a slow disk holds the loop up for two requests first, then for one in a thousand. Random reads of 4 KiB, 16 at once, that
 * nothing was cached of: 67 µs each in place, 25 µs by threads, 32 µs by this policy; cached, 3 µs by this policy. Reads and
 * writes want a policy each, for a write goes to the page cache whatever the disk does.
 *
 * Whoever awaits one request after the other, and all of them are done in place, never lets the event loop turn: a promise
 * that is resolved already is gone on from at once. So one request in each millisecond spent in place is handed over.
 */

/** Past this, handing over costs the event loop less than doing it. See the table. */
export const LARGEST_IN_PLACE = 64 * 1024;

const RECENT = 16;
const FIRST_HANDOVER = 32;
const LONGEST_HANDOVER = 1024;
/** Spent in place before one request is handed over, for the event loop's sake. */
const LONGEST_TURN_MICROS = 1000;

export interface InPlaceLimits {
  /** A request is slow when it takes longer than this… */
  readonly slowMicros: number;
  /** …and this for each KiB besides. */
  readonly microsPerKib: number;
  /** One that takes longer than this is not given a second chance. */
  readonly verySlowMicros: number;
}

/** From the cache a read takes 1.3 µs and 0.12 µs for each KiB; from a good disk 60 µs at least. */
export const READ_LIMITS: InPlaceLimits = { slowMicros: 30, microsPerKib: 0.4, verySlowMicros: 2000 };
/** Writes wait for the disk only when the system holds back who writes too fast; then for milliseconds. */
export const WRITE_LIMITS: InPlaceLimits = { slowMicros: 300, microsPerKib: 1, verySlowMicros: 4000 };

export class InPlacePolicy {
  readonly #limits: InPlaceLimits;
  #nrToHandOver = 0;
  #nextHandover = FIRST_HANDOVER;
  /** Whether the request being done is the first one after a handover. */
  #isTrial = false;
  #nrSinceSlow = RECENT;
  #microsInPlace = 0;

  constructor(limits: InPlaceLimits) {
    this.#limits = limits;
  }

  /** Whether a request of `length` bytes is to be done in place. If so, {@link took} must be told how long it took. */
  admits(length: number): boolean {
    if (length > LARGEST_IN_PLACE) return false;
    if (this.#nrToHandOver === 0) {
      if (this.#microsInPlace < LONGEST_TURN_MICROS) return true;
      this.#microsInPlace = 0;
      return false;
    }
    this.#nrToHandOver--;
    if (this.#nrToHandOver === 0) this.#isTrial = true;
    return false;
  }

  /** @param millis that the request of `length` bytes took, as a difference of `performance.now()` */
  took(millis: number, length: number): void {
    const micros = millis * 1000;
    this.#microsInPlace += micros;
    if (micros <= this.#limits.slowMicros + (length / 1024) * this.#limits.microsPerKib) {
      if (this.#nrSinceSlow < RECENT) this.#nrSinceSlow++;
      if (this.#isTrial) this.#nextHandover = FIRST_HANDOVER;
      this.#isTrial = false;
      return;
    }
    const isOneTooMany = this.#isTrial || this.#nrSinceSlow < RECENT || micros > this.#limits.verySlowMicros;
    this.#nrSinceSlow = 0;
    if (!isOneTooMany) return;
    if (!this.#isTrial) this.#nextHandover = FIRST_HANDOVER;
    this.#nrToHandOver = this.#nextHandover;
    this.#microsInPlace = 0;
    this.#nextHandover = Math.min(2 * this.#nextHandover, LONGEST_HANDOVER);
    this.#isTrial = false;
  }
}
