/**
 * The regions of a clone, in order, as the longest ranges that are alike: what a dump prints and a repair builds from. Ranges that are
 * not hydrated are not told.
 */
import { DeviceError } from '@pdata/device';
import { ARRAY_VALUES_AT, type Block, lowestBit, nrArrayEntries } from '@pdata/persistent-data';
import { asDamage, REGIONS_PER_BLOCK, readWords, WORDS_PER_BLOCK, wordsDue } from './blocks.js';
import { corruptNode, unreadableRegions } from './damage.js';
import type { CloneOutline } from './outline.js';

export interface RegionRun {
  readonly kind: 'hydrated' | 'inDoubt';
  readonly begin: number;
  /** Exclusive. */
  readonly end: number;
}

/**
 * Reads the array blocks, each once. In a reading that forgives damage, regions whose bits cannot be read are in doubt, and told in
 * `outline.losses`.
 *
 * @param onBlock called before each array block is read
 * @throws {@link CloneDamageError}, {@link DeviceError} in a strict reading
 */
export function* regionRuns(outline: CloneOutline, onBlock: () => void): Generator<RegionRun, void> {
  const { blockNrs, nrRegions } = outline;
  let open: { kind: RegionRun['kind']; begin: number; end: number } | undefined;
  for (let place = 0; place < blockNrs.length; place++) {
    onBlock();
    for (const run of runsOfBlock(outline, place)) {
      if (run.begin >= nrRegions) continue; // bits behind the last region mean nothing
      const end = Math.min(run.end, nrRegions);
      if (open !== undefined && open.kind === run.kind && open.end === run.begin) {
        open.end = end;
        continue;
      }
      if (open !== undefined) yield open;
      open = { kind: run.kind, begin: run.begin, end };
    }
  }
  if (open !== undefined) yield open;
}

function* runsOfBlock(outline: CloneOutline, place: number): Generator<RegionRun, void> {
  const { reader, blockNrs, nrRegions, losses } = outline;
  const begin = place * REGIONS_PER_BLOCK;
  const end = Math.min(begin + REGIONS_PER_BLOCK, nrRegions);
  const blockNr = blockNrs[place] as number;
  if (blockNr === 0) {
    // Told with the index.
    yield { kind: 'inDoubt', begin, end };
    return;
  }
  const due = wordsDue(nrRegions, place);
  let block: Block;
  try {
    block = readWords(reader, blockNr);
  } catch (error) {
    if (!outline.repair && error instanceof DeviceError) throw error;
    const damage = asDamage(error, blockNr);
    if (!outline.repair) throw unreadableRegions(damage, { begin, end });
    losses.addRegions(damage, { begin, end });
    yield { kind: 'inDoubt', begin, end };
    return;
  }
  const nrWords = Math.min(nrArrayEntries(block), due);
  yield* runsOfWords(block, begin, nrWords);
  if (nrWords === due) return;
  const damage = corruptNode(blockNr, 'nrEntries', nrWords, due);
  const lost = { begin: begin + 64 * nrWords, end };
  if (!outline.repair) throw unreadableRegions(damage, lost);
  losses.addRegions(damage, lost);
  yield { kind: 'inDoubt', ...lost };
}

function* runsOfWords({ view }: Block, first: number, nrWords: number): Generator<RegionRun, void> {
  const nrHalves = 2 * Math.min(nrWords, WORDS_PER_BLOCK);
  let begin = -1;
  for (let half = 0; half < nrHalves; half++) {
    const bits = view.getUint32(ARRAY_VALUES_AT + 4 * half, true);
    if (bits === (begin < 0 ? 0 : 0xffffffff)) continue; // nothing begins or ends here
    for (let bit = 0; bit < 32; ) {
      // The next bit that is not as those before it.
      const others = (begin < 0 ? bits : ~bits) & (-1 << bit);
      if (others === 0) break;
      bit = lowestBit(others);
      const regionNr = first + 32 * half + bit;
      if (begin < 0) begin = regionNr;
      else {
        yield { kind: 'hydrated', begin, end: regionNr };
        begin = -1;
      }
    }
  }
  if (begin >= 0) yield { kind: 'hydrated', begin, end: first + 32 * nrHalves };
}
