/**
 * Finds a clone's bitset when nothing leads to it any more.
 *
 * Every block of the device is looked at; nodes and array blocks give themselves away by their checksums. Blocks are not wiped
 * when they are freed, so bitsets of several past commits turn up. Each that is whole (an array block of the right length at every
 * place) is a candidate. Nothing in them tells their age; but regions are only ever hydrated, never the reverse, so of one clone
 * the newest has the most bits, and that is taken.
 *
 * Blocks are reused, so an old index may by now lead to array blocks of other places. That shows where another candidate has bits
 * that the one taken lacks: such a place is *disputed*.
 *
 * A clone of one array block (up to 32 576 regions) has a candidate in every such block, should its index be lost, too.
 */
import { BLOCK_SIZE, CorruptBlockError, DeviceError } from '@pdata/device';
import {
  ARRAY_VALUES_AT,
  arrayBlockValidator,
  arrayValueSize,
  type Block,
  CHILD_SIZE,
  keyAt,
  nodeValidator,
  nrArrayEntries,
  nrEntries,
  popCount,
  valueSize,
  wordType,
} from '@pdata/persistent-data';
import { type BlockReader, NumberList } from '@pdata/persistent-data/maintenance';
import { nrPlacesFor, readWords, wordsDue } from './blocks.js';
import { readIndexTree } from './index-tree.js';

/** A bitset that was found whole. */
export interface Candidate {
  /** Root of its index; for an array block without one, that block. */
  readonly rootNr: number;
  readonly nrHydrated: number;
  readonly blockNrs: Float64Array;
}

export interface FoundBitset extends Candidate {
  /** Places that other candidates contradict. */
  readonly disputed: readonly number[];
  /** Up to {@link MAX_TOLD} others, with the most bits first. */
  readonly alternatives: readonly Pick<Candidate, 'rootNr' | 'nrHydrated'>[];
}

/** Bounds the work on an image with very many old trees. */
const MAX_CANDIDATES = 1000;
const MAX_PLACES_COMPARED = 100_000;
const MAX_TOLD = 5;

/** @returns undefined when no bitset is whole */
export function findLostBitset(reader: BlockReader, nrRegions: number, signal?: AbortSignal): FoundBitset | undefined {
  const survey = new Survey(reader.device.nrBlocks);
  survey.look(reader, signal);
  const candidates = [...survey.candidates(reader, nrRegions, signal)];
  candidates.sort((a, b) => b.nrHydrated - a.nrHydrated || b.rootNr - a.rootNr);
  const [best, ...others] = candidates;
  if (best === undefined) return undefined;
  return {
    ...best,
    disputed: disputedPlaces(reader, best, others, nrRegions),
    alternatives: others.slice(0, MAX_TOLD).map(({ rootNr, nrHydrated }) => ({ rootNr, nrHydrated })),
  };
}

/** What each block of the device looks like. */
class Survey {
  /** Words in use of an array block of words, plus 1; 0 for every other block. */
  readonly #nrWords: Uint16Array;
  /** Bits set in it, words in use alone. */
  readonly #nrBits: Uint16Array;
  /** Nodes that may be roots of an index: those that begin with place 0. */
  readonly #roots = new NumberList();

  constructor(nrBlocks: number) {
    this.#nrWords = new Uint16Array(nrBlocks);
    this.#nrBits = new Uint16Array(nrBlocks);
  }

  look(reader: BlockReader, signal: AbortSignal | undefined): void {
    const numbers = Uint32Array.from({ length: Math.max(0, reader.device.nrBlocks - 1) }, (_, i) => i + 1);
    for (const { from, to } of reader.runs(numbers)) {
      signal?.throwIfAborted();
      for (let i = from; i < to; i++) {
        const block = reader.block(numbers[i] as number);
        if (!(block instanceof DeviceError)) this.#classify(block);
      }
    }
  }

  *candidates(reader: BlockReader, nrRegions: number, signal: AbortSignal | undefined): Generator<Candidate> {
    const nrPlaces = nrPlacesFor(nrRegions);
    const indexed = new Set<number>();
    for (let i = this.#roots.length - 1, nr = 0; i >= 0 && nr < MAX_CANDIDATES; i--) {
      signal?.throwIfAborted();
      const rootNr = this.#roots.at(i);
      let isWhole = true;
      const blockNrs = readIndexTree(reader, rootNr, nrPlaces, () => {
        isWhole = false;
      });
      if (!isWhole || !this.#fits(blockNrs, nrRegions)) continue;
      nr++;
      if (nrPlaces === 1) indexed.add(blockNrs[0] as number);
      yield { rootNr, blockNrs, nrHydrated: blockNrs.reduce((sum, blockNr) => sum + (this.#nrBits[blockNr] ?? 0), 0) };
    }
    if (nrPlaces !== 1) return;
    for (let blockNr = this.#nrWords.length - 1, nr = 0; blockNr > 0 && nr < MAX_CANDIDATES; blockNr--) {
      const blockNrs = Float64Array.of(blockNr);
      if (indexed.has(blockNr) || !this.#fits(blockNrs, nrRegions)) continue;
      nr++;
      yield { rootNr: blockNr, blockNrs, nrHydrated: this.#nrBits[blockNr] as number };
    }
  }

  #fits(blockNrs: Float64Array, nrRegions: number): boolean {
    return blockNrs.every((blockNr, place) => this.#nrWords[blockNr] === wordsDue(nrRegions, place) + 1);
  }

  #classify(block: Block): void {
    if (passes(arrayBlockValidator, block) && arrayValueSize(block) === wordType.size) {
      const nrWords = nrArrayEntries(block);
      this.#nrWords[block.nr] = nrWords + 1;
      this.#nrBits[block.nr] = bitsIn(block, nrWords);
    } else if (passes(nodeValidator, block) && valueSize(block) === CHILD_SIZE) {
      if (nrEntries(block) > 0 && keyAt(block, 0) === 0) this.#roots.push(block.nr);
    }
  }
}

function passes(validator: { check(block: Block): void }, block: Block): boolean {
  try {
    validator.check(block);
    return true;
  } catch (error) {
    if (error instanceof CorruptBlockError) return false;
    throw error;
  }
}

function bitsIn({ view }: Block, nrWords: number): number {
  let nr = 0;
  for (let at = ARRAY_VALUES_AT; at < ARRAY_VALUES_AT + 8 * nrWords; at += 4) nr += popCount(view.getUint32(at, true));
  return nr;
}

/** Places at which another candidate has bits that `best` lacks. */
function disputedPlaces(
  reader: BlockReader,
  best: Candidate,
  others: readonly Candidate[],
  nrRegions: number,
): number[] {
  const disputed = new Set<number>();
  const compared = new Set<string>();
  const words = new Uint8Array(BLOCK_SIZE);
  for (let place = 0; place < best.blockNrs.length; place++) {
    const bestNr = best.blockNrs[place] as number;
    let isLoaded = false;
    for (const { blockNrs } of others) {
      const otherNr = blockNrs[place] as number;
      const pair = `${place} ${otherNr}`;
      if (otherNr === bestNr || compared.has(pair)) continue;
      if (compared.size >= MAX_PLACES_COMPARED) return [...disputed];
      compared.add(pair);
      if (!isLoaded) words.set(readWords(reader, bestNr).bytes);
      isLoaded = true;
      const other = readWords(reader, otherNr).bytes;
      const end = ARRAY_VALUES_AT + 8 * wordsDue(nrRegions, place);
      for (let at = ARRAY_VALUES_AT; at < end; at++) {
        if (((other[at] as number) & ~(words[at] as number)) === 0) continue;
        disputed.add(place);
        break;
      }
    }
  }
  return [...disputed];
}
