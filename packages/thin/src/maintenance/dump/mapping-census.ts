/**
 * Reads mapping trees whole, to know before a repairing dump what of them can be read and how much that is.
 *
 * A block is bad for all trees when it is bad for one: a leaf may fit into one parent's range of keys and not into another's,
 * and a part that several devices share is printed once or not at all. So all trees are visited first, and counted then.
 */
import { CorruptBlockError } from '@pdata/device';
import { type Block, keyAt, nrEntries } from '@pdata/persistent-data';
import { dataBlockAt, timeAt } from '../../format/block-time.js';
import { LeafWalk, type OnDamage } from './leaf-walk.js';
import { mappingValuesOffset, type NodeReader } from './node-reader.js';

interface Census {
  /** Those to data blocks outside the data device not counted. */
  nrMappings: number;
  nrOutside: number;
  /** False when something of the tree was damaged. */
  isWhole: boolean;
}

/** Told of each mapping to a data block that the data device does not have. */
export type OnOutside = (virtualBlock: number, dataBlock: number, leafNr: number) => void;

export class MappingCensus {
  readonly #reader: NodeReader;
  readonly #signal: AbortSignal | undefined;
  readonly #endOfData: number;
  readonly #bad = new Map<number, CorruptBlockError>();
  readonly #visited = new Map<number, Census>();
  /** The highest data block that a mapping was seen to name, and the latest time; -1 and 0 at the beginning. */
  highestDataBlock = -1;
  latestTime = 0;

  /** @param endOfData the number of blocks of the data device, where it is known */
  constructor(reader: NodeReader, signal: AbortSignal | undefined, endOfData = Number.POSITIVE_INFINITY) {
    this.#reader = reader;
    this.#signal = signal;
    this.#endOfData = endOfData;
  }

  /** Blocks to pass over. */
  get bad(): ReadonlySet<number> {
    return new Set(this.#bad.keys());
  }

  /** Whether a mapping outside the data device was met. */
  get hasOutside(): boolean {
    return [...this.#visited.values()].some(({ nrOutside }) => nrOutside > 0);
  }

  /** Reads the tree at `rootNr`. @returns whether all of it can be read */
  visit(rootNr: number): boolean {
    const census = { nrMappings: 0, nrOutside: 0, isWhole: true };
    const damaged: OnDamage = (error, blockNr) => {
      census.isWhole = false;
      this.#bad.set(blockNr, error);
    };
    this.#read(rootNr, census, damaged);
    this.#visited.set(rootNr, census);
    return census.isWhole;
  }

  /**
   * Mappings of the tree at `rootNr`, visited before, that can be printed; `onLost` hears of those that cannot be read,
   * `onOutside` of those outside the data device.
   */
  count(rootNr: number, onLost: OnDamage, onOutside?: OnOutside): number {
    const visited = this.#visited.get(rootNr);
    // Without bad blocks anywhere there is nothing to find out.
    if (visited && this.#bad.size === 0 && visited.nrOutside === 0) return visited.nrMappings;
    const census = { nrMappings: 0, nrOutside: 0, isWhole: true };
    this.#read(rootNr, census, onLost, onOutside);
    return census.nrMappings;
  }

  #read(rootNr: number, census: Census, onDamage: OnDamage, onOutside?: OnOutside): void {
    for (const batch of new LeafWalk(this.#reader, onDamage).batches(rootNr)) {
      this.#signal?.throwIfAborted();
      this.#reader.readLeaves(batch.blockNrs, batch.nr);
      for (let i = 0; i < batch.nr; i++) {
        const [blockNr, low, high] = [batch.blockNrs[i]!, batch.lows[i]!, batch.highs[i]!];
        const known = this.#bad.get(blockNr);
        if (known) {
          onDamage(known, blockNr, low, high);
          continue;
        }
        try {
          this.#readLeaf(this.#reader.leaf(i, low, high), census, onOutside);
        } catch (error) {
          if (!(error instanceof CorruptBlockError)) throw error;
          onDamage(error, blockNr, low, high);
        }
      }
    }
  }

  #readLeaf(leaf: Block, census: Census, onOutside: OnOutside | undefined): void {
    const { view } = leaf;
    const nr = nrEntries(leaf);
    const values = mappingValuesOffset(leaf);
    let nrOutside = 0;
    for (let at = values; at < values + 8 * nr; at += 8) {
      const dataBlock = dataBlockAt(view, at);
      const time = timeAt(view, at);
      if (dataBlock > this.highestDataBlock) this.highestDataBlock = dataBlock;
      if (time > this.latestTime) this.latestTime = time;
      if (dataBlock < this.#endOfData) continue;
      nrOutside++;
      onOutside?.(keyAt(leaf, (at - values) / 8), dataBlock, leaf.nr);
    }
    census.nrMappings += nr - nrOutside;
    census.nrOutside += nrOutside;
  }
}
