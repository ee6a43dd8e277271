/** What a reading that goes on after damage has lost: the first errors in words, and all regions in doubt, as few ranges. */
import type { CorruptBlockError } from '@pdata/device';
import type { BitRun } from '@pdata/persistent-data';
import { CloneDamageError, regionsInWords } from './damage.js';

/** Errors told; a hostile image may hold one for each of its blocks. */
const MAX_TOLD = 1000;

export const OVERWRITTEN =
  'what was written to them since the clone was made is out of sight, and hydration overwrites it from the source';
const COMPARE =
  'if such data exists, do not activate the clone with hydration enabled: first copy these regions from the destination';

export class Losses {
  readonly told: CloneDamageError[] = [];
  leftOut = 0;
  readonly #inDoubt: BitRun[] = [];

  /** Of these regions nothing is known: they count as not hydrated. */
  addRegions(error: CorruptBlockError, regions: BitRun): void {
    if (regions.begin >= regions.end) return;
    this.#inDoubt.push(regions);
    this.#tell(
      error,
      regions,
      `whether ${regionsInWords(regions)} are hydrated is not known, and they count as not hydrated: ${OVERWRITTEN}`,
      COMPARE,
    );
  }

  /** Something else is lost. */
  add(error: CorruptBlockError, effect: string, nextStep: string): void {
    this.#tell(error, undefined, effect, nextStep);
  }

  /** In order, not touching. */
  get inDoubt(): BitRun[] {
    const merged: { begin: number; end: number }[] = [];
    for (const { begin, end } of [...this.#inDoubt].sort((a, b) => a.begin - b.begin)) {
      const last = merged.at(-1);
      if (last !== undefined && begin <= last.end) last.end = Math.max(last.end, end);
      else merged.push({ begin, end });
    }
    return merged;
  }

  #tell({ detail, cause }: CorruptBlockError, regions: BitRun | undefined, effect: string, nextStep: string): void {
    if (this.told.length >= MAX_TOLD) {
      this.leftOut++;
      return;
    }
    const error = new CloneDamageError(detail, { regions, effect, nextStep });
    error.cause = cause;
    this.told.push(error);
  }
}
