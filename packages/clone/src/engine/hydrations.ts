/**
 * The regions that are being hydrated right now, by a copy or by a write of all of them, and who waits for that.
 *
 * A region is here from before the first byte of it is written until it is marked hydrated, or it is known that it will not be.
 * Nobody else writes to it meanwhile: a copy that is on its way would land over what came later.
 */
export class Hydration {
  /** Regions `begin`..`end` (exclusive). */
  readonly begin: number;
  readonly end: number;
  /** Resolves when it is over: to undefined, or to what it failed with. Those who wait go on in the order in which they came. */
  readonly outcome: Promise<unknown>;
  /** @internal */
  readonly settle: (error: unknown) => void;

  constructor(begin: number, end: number) {
    this.begin = begin;
    this.end = end;
    let settle: (error: unknown) => void = () => {};
    this.outcome = new Promise((resolve) => {
      settle = resolve;
    });
    this.settle = settle;
  }
}

export class Hydrations {
  readonly #byRegion = new Map<number, Hydration>();
  #whenIdle: (() => void)[] = [];

  /** Regions being hydrated. */
  get nrRegions(): number {
    return this.#byRegion.size;
  }

  of(region: number): Hydration | undefined {
    return this.#byRegion.get(region);
  }

  /** Those that touch regions `begin`..`end` (exclusive), each once. */
  within(begin: number, end: number): Set<Hydration> {
    const found = new Set<Hydration>();
    // Whichever is less: the regions of the range, or those in flight.
    if (end - begin <= this.#byRegion.size) {
      for (let region = begin; region < end; region++) {
        const hydration = this.#byRegion.get(region);
        if (hydration !== undefined) found.add(hydration);
      }
    } else {
      for (const [region, hydration] of this.#byRegion) if (region >= begin && region < end) found.add(hydration);
    }
    return found;
  }

  /**
   * Does `work`, which hydrates regions `begin`..`end` (exclusive) and marks them. None of them may be in flight already.
   * Rejects as `work` does; those who wait hear of it first.
   */
  async run(begin: number, end: number, work: () => Promise<void>): Promise<void> {
    const hydration = new Hydration(begin, end);
    for (let region = begin; region < end; region++) this.#byRegion.set(region, hydration);
    let failure: unknown;
    try {
      await work();
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      for (let region = begin; region < end; region++) this.#byRegion.delete(region);
      hydration.settle(failure);
      if (this.#byRegion.size === 0) for (const told of this.#whenIdle.splice(0)) told();
    }
  }

  /** Resolves when nothing is in flight. */
  idle(): Promise<void> {
    if (this.#byRegion.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle.push(resolve);
    });
  }
}
