/**
 * What a volume, or another device in use, may hold: for each sector the values that its history allows, of requests that overlap in time and of a loss
 * of power.
 *
 * Each request that writes has a value of its own. A value is *superseded* when a request began after it had ended, and has
 * ended well. A read sees a value that is not superseded; a crash leaves one that was not superseded when the last flush
 * that succeeded was called.
 */
const SECTOR = 512;

/** One request's value in one sector. */
export interface WrittenSector {
  readonly value: number;
  readonly began: number;
  ended: number;
  /** Durable, whatever has been flushed since. */
  fua: boolean;
  /** Whether it ended well; a request that failed may have landed, or not, or in part. */
  well: boolean;
}

export interface Writing {
  readonly begin: number;
  readonly end: number;
  readonly value: number;
  readonly entries: readonly WrittenSector[];
}

/** One clock for all: each look at it is later than the last. */
export class Clock {
  #now = 0;
  tick(): number {
    return ++this.#now;
  }
}

const NEVER = Number.POSITIVE_INFINITY;

export class VolumeModel {
  readonly #clock: Clock;
  #sectors: WrittenSector[][] = [];
  /** When the last flush that succeeded was called. */
  #flushed = 0;
  readonly #looking = new Set<number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A request that writes `value` to sectors `begin`..`end` begins. */
  begin(begin: number, end: number, value: number): Writing {
    const began = this.#clock.tick();
    const entries: WrittenSector[] = [];
    for (let sector = begin; sector < end; sector++) {
      const entry: WrittenSector = { value, began, ended: NEVER, fua: false, well: false };
      this.#at(sector).push(entry);
      entries.push(entry);
    }
    return { begin, end, value, entries };
  }

  end({ entries }: Writing, well: boolean): void {
    const ended = this.#clock.tick();
    for (const entry of entries) {
      entry.ended = ended;
      entry.well = well;
    }
  }

  /** A request that has ended well is durable by itself. */
  durable({ entries }: Writing): void {
    for (const entry of entries) entry.fua = true;
  }

  /** A flush that was called at `called` has succeeded. */
  flushed(called: number): void {
    this.#flushed = Math.max(this.#flushed, called);
    const oldest = Math.min(this.#flushed, ...this.#looking);
    this.#sectors = this.#sectors.map((entries) => entries.filter((entry) => !superseded(entry, entries, oldest)));
  }

  /** Something begins that will ask for {@link readable}; the time it is to ask with. */
  look(): number {
    const since = this.#clock.tick();
    this.#looking.add(since);
    return since;
  }

  looked(since: number): void {
    this.#looking.delete(since);
  }

  /** Values that a read which began at `since` and has just ended may have seen. */
  readable(sector: number, since: number): number[] {
    const entries = this.#at(sector);
    return entries.filter((entry) => !superseded(entry, entries, since)).map(({ value }) => value);
  }

  /** Values that a loss of power now may leave. */
  crashable(sector: number): number[] {
    const entries = this.#at(sector);
    return entries
      .filter((entry) => !superseded(entry, entries, this.#flushed))
      .filter((entry) => !entries.some((later) => later.fua && later.began > entry.ended))
      .map(({ value }) => value);
  }

  /** From now on each sector holds, durably, what was seen there. */
  settle(values: readonly number[]): void {
    const now = this.#clock.tick();
    this.#sectors = values.map((value) => [{ value, began: 0, ended: now, fua: false, well: true }]);
    this.#flushed = this.#clock.tick();
  }

  /** Each sector holds, durably, one of the values given for it. */
  settleAmong(candidates: readonly (readonly number[])[]): void {
    const now = this.#clock.tick();
    this.#sectors = candidates.map((values) =>
      values.map((value) => ({ value, began: 0, ended: now, fua: false, well: true })),
    );
    this.#flushed = this.#clock.tick();
  }

  #at(sector: number): WrittenSector[] {
    let entries = this.#sectors[sector];
    if (entries === undefined) {
      for (let nr = this.#sectors.length; nr <= sector; nr++) {
        this.#sectors.push([{ value: 0, began: 0, ended: 0, fua: false, well: true }]);
      }
      entries = this.#sectors[sector] as WrittenSector[];
    }
    return entries;
  }
}

function superseded(entry: WrittenSector, entries: readonly WrittenSector[], by: number): boolean {
  return entries.some((later) => later.well && later.began > entry.ended && later.ended <= by);
}

/** Sectors full of `value`. */
export function sectorsOf(value: number, nr: number): Uint8Array {
  return new Uint8Array(new Uint32Array((nr * SECTOR) / 4).fill(value).buffer);
}

/** The value of each sector. @throws when one is torn */
export function valuesIn(bytes: Uint8Array): number[] {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const values: number[] = [];
  for (let at = 0; at < words.length; at += SECTOR / 4) {
    const value = words[at] as number;
    for (let word = at + 1; word < at + SECTOR / 4; word++) {
      if (words[word] !== value) throw new Error(`sector ${at / (SECTOR / 4)} holds ${value} and ${words[word]}: torn`);
    }
    values.push(value);
  }
  return values;
}
