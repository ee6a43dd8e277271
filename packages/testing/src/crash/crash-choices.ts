/**
 * Which of the changes in doubt land: the crash states of one moment.
 *
 * Of n changes there are 2^n subsets. Up to a bound all of them are tried; beyond it none, all, each alone, all but each, every
 * prefix, and random ones. Besides, each change is torn: it lands to the k-th sector or from it on, for each k, and in random
 * parts, once alone, once after all earlier ones, once with all others. (What a crash earlier in the interval could leave is among
 * the subsets: a part of fewer changes is a part of all of them.)
 */

import type { Landing } from './crash-medium.js';
import type { Change } from './crash-recording.js';

/** One change of a choice, by its place among those in doubt. */
export interface Landed {
  readonly index: number;
  readonly landing: Landing;
}
/** What lands, in the order in which it was written. */
export type Choice = readonly Landed[];

export interface ChoiceBounds {
  /** Changes in doubt of which every subset is tried; random ones beyond. Default 6: 64 subsets. */
  readonly exhaustive?: number;
  /** Random subsets where there are more. Default 24. */
  readonly randomSubsets?: number;
  /** Changes that are torn, of one moment: the last, and random ones. Default 8. */
  readonly torn?: number;
  /** Random ways to tear a change, besides its heads and tails. Default 2. */
  readonly randomTears?: number;
}

/** Of a long request so many heads and tails are tried, at random places. */
const MOST_CUTS = 7;

export function* choicesOf(changes: readonly Change[], random: () => number, bounds: ChoiceBounds): Generator<Choice> {
  const { exhaustive = 6, randomSubsets = 24, torn = 8, randomTears = 2 } = bounds;
  const nr = changes.length;
  if (nr <= exhaustive) yield* allSubsets(nr);
  else yield* someSubsets(nr, random, randomSubsets);
  for (const index of tornOnes(nr, random, torn)) {
    for (const landing of tears((changes[index] as Change).nrSectors, random, randomTears)) {
      yield [{ index, landing }];
      if (index > 0) yield [...wholeOnes(nr, (other) => other < index), { index, landing }];
      if (index < nr - 1)
        yield wholeOnes(nr, () => true).map((each) => (each.index === index ? { index, landing } : each));
    }
  }
}

export function wholeOnes(nr: number, which: (index: number) => boolean): Landed[] {
  const landed: Landed[] = [];
  for (let index = 0; index < nr; index++) if (which(index)) landed.push({ index, landing: 'whole' });
  return landed;
}

function* allSubsets(nr: number): Generator<Choice> {
  for (let subset = 0; subset < 2 ** nr; subset++) yield wholeOnes(nr, (index) => ((subset >>> index) & 1) === 1);
}

function* someSubsets(nr: number, random: () => number, nrRandom: number): Generator<Choice> {
  yield [];
  yield wholeOnes(nr, () => true);
  for (let one = 0; one < nr; one++) {
    yield wholeOnes(nr, (index) => index === one);
    yield wholeOnes(nr, (index) => index !== one);
    if (one > 0) yield wholeOnes(nr, (index) => index <= one);
  }
  for (let i = 0; i < nrRandom; i++) {
    const density = random();
    yield wholeOnes(nr, () => random() < density);
  }
}

/** The last is most often the one that counts (a superblock), so it is always among them. */
function tornOnes(nr: number, random: () => number, most: number): number[] {
  const all = Array.from({ length: nr }, (_, index) => index);
  if (nr <= most) return all;
  const chosen = new Set([nr - 1]);
  while (chosen.size < most) chosen.add(Math.floor(random() * nr));
  return [...chosen].sort((a, b) => a - b);
}

function* tears(nrSectors: number, random: () => number, nrRandom: number): Generator<Uint8Array> {
  if (nrSectors === 1) return;
  const cuts = new Set<number>();
  if (nrSectors <= MOST_CUTS + 1) for (let cut = 1; cut < nrSectors; cut++) cuts.add(cut);
  else while (cuts.size < MOST_CUTS) cuts.add(1 + Math.floor(random() * (nrSectors - 1)));
  for (const cut of cuts) {
    yield new Uint8Array(nrSectors).fill(1, 0, cut);
    yield new Uint8Array(nrSectors).fill(1, cut);
  }
  for (let i = 0; i < nrRandom; i++) yield Uint8Array.from({ length: nrSectors }, () => (random() < 0.5 ? 1 : 0));
}
