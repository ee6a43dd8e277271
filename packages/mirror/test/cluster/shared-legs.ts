/**
 * Two legs that all nodes reach, with volatile caches, slow and unreliable; and the bookkeeping that tells when a rule has been broken.
 *
 * A region has a few cells, each written as a whole. Leg 0 is the default leg and never fails a request; leg 1 does. A request of a
 * node that has crashed may still land, until the node is fenced.
 */
import type { VirtualClock } from './virtual-clock.js';

export const CELLS = 3;

export interface Chance {
  /** A whole number from 0 to below `limit`. */
  below(limit: number): number;
  happens(probability: number): boolean;
}

/** One run of a node: a node that starts again is another. */
export interface Incarnation {
  readonly name: string;
  isAlive: boolean;
  isFenced: boolean;
}

/** What a region has in flight: writes or a copy, each until it can land no more. */
export interface InFlight {
  readonly kind: 'write' | 'copy';
  readonly by: Incarnation;
  readonly regionNr: number;
  nrRequests: number;
}

export class SharedLegs {
  /** By leg, region, cell. */
  readonly cached: number[][][];
  readonly durable: number[][][];
  readonly inFlight = new Set<InFlight>();
  /** Probability that leg 1 fails a write or a flush. */
  failure = 0;
  readonly #clock: VirtualClock;
  readonly #chance: Chance;

  constructor(nrRegions: number, clock: VirtualClock, chance: Chance) {
    const cells = (leg: number): number[][] =>
      Array.from({ length: nrRegions }, () => new Array<number>(CELLS).fill(-1 - leg)); // different everywhere
    this.cached = [0, 1].map(cells);
    this.durable = [0, 1].map(cells);
    this.#clock = clock;
    this.#chance = chance;
  }

  /** @returns whether it was done. Never answers a node that is dead. */
  async write(leg: number, regionNr: number, cell: number, value: number, of: InFlight): Promise<boolean> {
    of.nrRequests++;
    const isBad = leg === 1 && this.#chance.happens(this.failure);
    // Most are quick; some hang in a path that is about to fail.
    await this.#clock.sleep(1 + this.#chance.below(this.#chance.happens(0.03) ? 500 : 25));
    of.nrRequests--;
    const isDone = !isBad && !of.by.isFenced;
    if (isDone && this.inFlight.has(of)) this.cached[leg]![regionNr]![cell] = value; // unless all power has gone
    this.settle(of);
    await this.#answer(of.by);
    return isDone;
  }

  async read(leg: number, regionNr: number, cell: number, by: Incarnation): Promise<number> {
    await this.#clock.sleep(1 + this.#chance.below(10));
    const value = this.cached[leg]![regionNr]![cell]!;
    await this.#answer(by);
    return value;
  }

  /** @returns the legs that failed */
  async flush(by: Incarnation): Promise<number[]> {
    await this.#clock.sleep(1 + this.#chance.below(15));
    const failed = this.#chance.happens(this.failure / 20) ? [1] : [];
    if (!by.isFenced) {
      for (const leg of [0, 1].filter((nr) => !failed.includes(nr))) {
        this.durable[leg] = this.cached[leg]!.map((region) => [...region]);
      }
    }
    await this.#answer(by);
    return failed;
  }

  /** The node reaches no leg any more: what it had under way can land no more. */
  fence(node: Incarnation): void {
    node.isFenced = true;
    for (const each of this.inFlight) if (each.by === node) this.inFlight.delete(each);
  }

  /** Of a dead node's request nothing is left when its last transfer has landed. */
  settle(of: InFlight): void {
    if (of.nrRequests === 0 && !of.by.isAlive) this.inFlight.delete(of);
  }

  /** All power is lost: of what was not flushed, each cell may have landed or not. */
  losePower(): void {
    this.inFlight.clear();
    for (const leg of [0, 1]) {
      const [cached, durable] = [this.cached[leg]!, this.durable[leg]!];
      cached.forEach((region, regionNr) => {
        region.forEach((value, cell) => {
          if (this.#chance.happens(0.5)) durable[regionNr]![cell] = value;
        });
        cached[regionNr] = [...durable[regionNr]!];
      });
    }
  }

  differ(regionNr: number): boolean {
    for (const leg of [this.cached, this.durable]) {
      const [first, second] = [leg[0]![regionNr]!, leg[1]![regionNr]!];
      for (let cell = 0; cell < CELLS; cell++) if (first[cell] !== second[cell]) return true;
    }
    return false;
  }

  async #answer(node: Incarnation): Promise<void> {
    await this.#clock.sleep(1 + this.#chance.below(5));
    if (!node.isAlive) await NEVER;
  }
}

const NEVER = new Promise<never>(() => undefined);
