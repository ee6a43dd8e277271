/**
 * Which leg is right in a region that is not in sync.
 *
 * Where nothing else is known it is the default leg. Two things make it another: a write to a region in sync that the default leg
 * did not take, and a change of the default leg while regions are not in sync. The kernel forgets both, and then answers from, and
 * copies from, a leg that has missed writes; here such a region stays with the leg that has them, and is not to be had while that leg is away.
 *
 * In memory only: the log has no room for it. A mirror that is opened is told which leg is right (`goodLeg`).
 */
export class RegionSources {
  /** Where it is not the default leg. */
  readonly #noted = new Map<number, number>();

  legOf(regionNr: number, defaultNr: number): number {
    return this.#noted.size === 0 ? defaultNr : (this.#noted.get(regionNr) ?? defaultNr);
  }

  note(regionNr: number, legNr: number, defaultNr: number): void {
    if (legNr === defaultNr) this.#noted.delete(regionNr);
    else this.#noted.set(regionNr, legNr);
  }

  /** The region is in sync: all legs are right. */
  forget(regionNr: number): void {
    this.#noted.delete(regionNr);
  }

  forgetAll(): void {
    this.#noted.clear();
  }

  /** The default leg is about to change: what is not in sync stays where it is. */
  defaultMoves(from: number, to: number, regionsNotInSync: Iterable<number>): void {
    for (const regionNr of regionsNotInSync) this.note(regionNr, this.legOf(regionNr, from), to);
  }

  /** Legs besides the default one that alone are right somewhere. */
  get others(): ReadonlySet<number> {
    return new Set(this.#noted.values());
  }

  /** Regions in which this leg, which is not the default one, is right. */
  nrOf(legNr: number): number {
    let nr = 0;
    for (const noted of this.#noted.values()) if (noted === legNr) nr++;
    return nr;
  }
}
