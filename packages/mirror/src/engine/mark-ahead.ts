/**
 * Which regions to mark before anybody writes to them: those in front of a stream of writes that goes through the mirror in order.
 *
 * The first write to a region waits for its mark to be durable, a write and a flush of the log. Marked 64 MiB ahead, half of it at a time, a
 * stream hardly ever waits: 256 MiB in regions of 2 MiB take 10 flushes of the log, instead of 128 that each hold up whoever
 * writes there. The price is paid after a crash: so much more is copied.
 *
 * A stream that is so slow that regions are cleared again before it gets there is left alone.
 */

/** Bytes. */
const AHEAD = 64 * 2 ** 20;
/** Streams that are told apart. */
const MOST_STREAMS = 4;
/** Regions that a stream has gone through, without a clear, before it is believed. */
const RUN = 2;

interface Stream {
  regionNr: number;
  /** Regions since the last clear. */
  nrRun: number;
  markedTo: number;
  /** Of clears, when it was last seen. */
  clearNr: number;
}

export interface RegionRange {
  readonly begin: number;
  readonly end: number;
}

export class MarkAhead {
  readonly #nrAhead: number;
  readonly #streams: Stream[] = [];

  /** @param regionBytes bytes of a region */
  constructor(regionBytes: number) {
    this.#nrAhead = Math.max(2, Math.ceil(AHEAD / regionBytes));
  }

  /**
   * A write begins that touches the regions `first` to `last`.
   * @param clearNr grows with every clear of regions at rest
   * @returns the regions to be marked now, if any
   */
  wrote(first: number, last: number, clearNr: number): RegionRange | undefined {
    const stream = this.#streams.find(({ regionNr }) => first >= regionNr - 1 && first <= regionNr + 1);
    if (stream === undefined) {
      // The one that was begun first makes room.
      if (this.#streams.length === MOST_STREAMS) this.#streams.shift();
      this.#streams.push({ regionNr: last, nrRun: 0, markedTo: last + 1, clearNr });
      return undefined;
    }
    if (stream.clearNr !== clearNr) Object.assign(stream, { nrRun: 0, markedTo: last + 1, clearNr });
    if (last <= stream.regionNr) return undefined;
    stream.nrRun += last - stream.regionNr;
    stream.regionNr = last;
    if (stream.nrRun < RUN || stream.markedTo - last > this.#nrAhead / 2) return undefined;
    const begin = Math.max(stream.markedTo, last + 1);
    stream.markedTo = last + 1 + this.#nrAhead;
    return { begin, end: stream.markedTo };
  }
}
