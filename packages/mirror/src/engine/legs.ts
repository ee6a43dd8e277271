/**
 * The legs of a mirror, what has failed on each, and which of them is the default: the one that is read, and that is right
 * wherever the legs may differ.
 *
 * A leg may be away: taken out of the mirror, to be brought back or replaced. It shows as one that failed to be written to, which
 * is what it is for every region written meanwhile.
 *
 * Format: docs/format/mirror-log.md, sections 8 and 9.
 */
import type { DataDevice } from '@pdata/device';

/** What failed: a flush, a write, being copied to or from, a read. */
export type LegErrorKind = 'flush' | 'write' | 'sync' | 'read';

/** The kernel's letters: alive; a flush, a write, the resync, a read failed. */
export type LegLetter = 'A' | 'F' | 'D' | 'S' | 'R';

/** The worst first: a leg that has several shows the first of them. */
const LETTERS: readonly (readonly [LegErrorKind, LegLetter])[] = [
  ['flush', 'F'],
  ['write', 'D'],
  ['sync', 'S'],
  ['read', 'R'],
];

export class Leg {
  readonly nr: number;
  /** Where the mirror begins on the device, in bytes. */
  readonly offset: number;
  device: DataDevice;
  isAway = false;
  nrErrors = 0;
  /** Reads that are under way. */
  nrReads = 0;
  readonly #kinds = new Set<LegErrorKind>();

  constructor(nr: number, device: DataDevice, offset: number) {
    this.nr = nr;
    this.device = device;
    this.offset = offset;
  }

  /** Present, and nothing has failed on it since the mirror was last in sync. */
  get isGood(): boolean {
    return !this.isAway && this.nrErrors === 0;
  }

  get letter(): LegLetter {
    if (this.isAway) return 'D';
    return LETTERS.find(([kind]) => this.#kinds.has(kind))?.[1] ?? 'A';
  }

  get kinds(): readonly LegErrorKind[] {
    return LETTERS.map(([kind]) => kind).filter((kind) => this.#kinds.has(kind));
  }

  has(kind: LegErrorKind): boolean {
    return this.#kinds.has(kind);
  }

  /** Counts an error; true when it is the first of its kind. */
  fail(kind: LegErrorKind): boolean {
    this.nrErrors++;
    const isNew = !this.#kinds.has(kind);
    this.#kinds.add(kind);
    return isNew;
  }

  forgive(): void {
    this.nrErrors = 0;
    this.#kinds.clear();
  }
}

export class Legs {
  readonly all: readonly Leg[];
  defaultNr: number;

  constructor(all: readonly Leg[], defaultNr: number) {
    this.all = all;
    this.defaultNr = defaultNr;
  }

  get default(): Leg {
    return this.at(this.defaultNr);
  }

  /** Those that are not away. */
  get present(): readonly Leg[] {
    return this.all.filter(({ isAway }) => !isAway);
  }

  get isComplete(): boolean {
    return this.all.every(({ isAway }) => !isAway);
  }

  /** One letter a leg. */
  get letters(): string {
    return this.all.map(({ letter }) => letter).join('');
  }

  at(legNr: number): Leg {
    const leg = this.all[legNr];
    if (leg === undefined) throw new RangeError(`there is no leg ${legNr}: they are 0 to ${this.all.length - 1}`);
    return leg;
  }

  /** What becomes the default leg when the default leg is no good: the first that is. */
  get firstGood(): Leg | undefined {
    return this.all.find(({ isGood }) => isGood);
  }

  /** The kernel's choice for a region in sync: the default leg, else those before it, around the end, until one is good. */
  get forReading(): Leg | undefined {
    const { length } = this.all;
    for (let back = 0; back < length; back++) {
      const leg = this.at((this.defaultNr - back + length) % length);
      if (leg.isGood) return leg;
    }
    return undefined;
  }
}
