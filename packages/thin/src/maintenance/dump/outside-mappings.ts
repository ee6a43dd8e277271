/**
 * Mappings to data blocks that the data device does not have: a restore refuses them, and so a repairing dump leaves them out.
 *
 * What a device loses by it is told in one entry, however many they are: the first few ranges by name, the rest as a number.
 */
import { type Block, nrEntries } from '@pdata/persistent-data';
import { dataBlockAt } from '../../format/block-time.js';
import { mappingValuesOffset } from './node-reader.js';

/** Ranges that are named. */
const MAX_NAMED = 8;

/** Takes the mappings to data block `end` and above out of a leaf in memory, whose checksum is not true any more then. */
export function dropOutside(leaf: Block, end: number): void {
  const { view, bytes } = leaf;
  const [keys, values, nr] = [32, mappingValuesOffset(leaf), nrEntries(leaf)];
  let kept = 0;
  for (let i = 0; i < nr; i++) {
    if (dataBlockAt(view, values + 8 * i) >= end) continue;
    if (kept < i) {
      bytes.copyWithin(keys + 8 * kept, keys + 8 * i, keys + 8 * i + 8);
      bytes.copyWithin(values + 8 * kept, values + 8 * i, values + 8 * i + 8);
    }
    kept++;
  }
  view.setUint32(16, kept, true);
}

/** What one device loses. */
export class OutsideMappings {
  /** The first of them, in its leaf; undefined when there is none. */
  first: { readonly virtualBlock: number; readonly dataBlock: number; readonly leafNr: number } | undefined;
  nr = 0;
  #nrNamed = 0;
  readonly #ranges: { first: number; last: number }[] = [];

  /** Told by ascending virtual block. */
  add(virtualBlock: number, dataBlock: number, leafNr: number): void {
    this.first ??= { virtualBlock, dataBlock, leafNr };
    this.nr++;
    const range = this.#ranges.at(-1);
    // Once a block went unnamed, so do all that follow: else the last range might seem to go on.
    if (range?.last === virtualBlock - 1 && this.#nrNamed === this.nr - 1) range.last = virtualBlock;
    else if (this.#ranges.length < MAX_NAMED) this.#ranges.push({ first: virtualBlock, last: virtualBlock });
    else return;
    this.#nrNamed++;
  }

  /** "virtual block 7", "virtual blocks 5, 7 to 9 and 12 more". */
  inWords(): string {
    const ranges = this.#ranges.map(({ first, last }) => (first === last ? `${first}` : `${first} to ${last}`));
    const nrMore = this.nr - this.#nrNamed;
    return `virtual block${this.nr === 1 ? '' : 's'} ${ranges.join(', ')}${nrMore > 0 ? ` and ${nrMore} more` : ''}`;
  }
}
