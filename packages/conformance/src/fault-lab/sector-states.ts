/** States of a device as the number that each of its sectors is full of; each write has a number of its own. */
import type { CrashMoment } from '@pdata/testing';

/** In a state: nobody knows, and nobody may ask (a discarded sector, for example). */
export const ANYTHING = -1;

export type SectorState = readonly number[];

/** A crash leaves in each sector what was promised, or what was begun since; sectors are independent of each other. */
export function judgeSectors(found: SectorState, { promised, begun }: CrashMoment<SectorState>): string | undefined {
  for (const [sector, value] of found.entries()) {
    const may = new Set([promised, ...begun].map((state) => state[sector] as number));
    if (!may.has(value) && !may.has(ANYTHING))
      return `sector ${sector} holds ${value}; allowed: ${[...may].join(', ')}`;
  }
  return undefined;
}
