/**
 * Reads mapping trees whole, to know before a repairing dump what of them can be read and how much that is.
 *
 * A block is bad for all trees when it is bad for one: a leaf may fit into one parent's range of keys and not into another's,
 * and a part that several devices share is printed once or not at all. So all trees are visited first, and counted then.
 */
import { CorruptBlockError } from '@pdata/device';
import { dataBlockAt, timeAt } from '../../format/block-time.js';
import { LeafWalk, type OnDamage } from './leaf-walk.js';
import type { NodeReader } from './node-reader.js';

interface Census {
  nrMappings: number;
  /** False when something of the tree was damaged. */
  isWhole: boolean;
}

export class MappingCensus {
  readonly #reader: NodeReader;
  readonly #signal: AbortSignal | undefined;
  readonly #bad = new Map<number, CorruptBlockError>();
  readonly #visited = new Map<number, Census>();
  /** The highest data block that a mapping was seen to name, and the latest time; -1 and 0 at the beginning. */
  highestDataBlock = -1;
  latestTime = 0;

  constructor(reader: NodeReader, signal: AbortSignal | undefined) {
    this.#reader = reader;
    this.#signal = signal;
  }

  /** Blocks to pass over. */
  get bad(): ReadonlySet<number> {
    return new Set(this.#bad.keys());
  }

  /** Reads the tree at `rootNr`. @returns whether all of it can be read */
  visit(rootNr: number): boolean {
    const census = { nrMappings: 0, isWhole: true };
    const damaged: OnDamage = (error, blockNr) => {
      census.isWhole = false;
      this.#bad.set(blockNr, error);
    };
    this.#read(rootNr, census, damaged);
    this.#visited.set(rootNr, census);
    return census.isWhole;
  }

  /** Mappings of the tree at `rootNr`, visited before, that can be printed; `onLost` hears of the others. */
  count(rootNr: number, onLost: OnDamage): number {
    const visited = this.#visited.get(rootNr);
    // Without bad blocks anywhere there is nothing to find out.
    if (visited && this.#bad.size === 0) return visited.nrMappings;
    const census = { nrMappings: 0, isWhole: true };
    this.#read(rootNr, census, onLost);
    return census.nrMappings;
  }

  #read(rootNr: number, census: Census, onDamage: OnDamage): void {
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
          census.nrMappings += this.#readLeaf(i, low, high);
        } catch (error) {
          if (!(error instanceof CorruptBlockError)) throw error;
          onDamage(error, blockNr, low, high);
        }
      }
    }
  }

  #readLeaf(i: number, low: number, high: number): number {
    const { view } = this.#reader.leaf(i, low, high);
    const nr = view.getUint32(16, true);
    const values = 32 + 8 * view.getUint32(20, true);
    for (let at = values; at < values + 8 * nr; at += 8) {
      const dataBlock = dataBlockAt(view, at);
      const time = timeAt(view, at);
      if (dataBlock > this.highestDataBlock) this.highestDataBlock = dataBlock;
      if (time > this.latestTime) this.latestTime = time;
    }
    return nr;
  }
}
