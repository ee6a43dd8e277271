/**
 * The blocks of a server whose smallest request is more than a sector.
 *
 * A write that covers a block only in part is completed with what the block holds already (read, changed, written back), and
 * meanwhile nobody else writes to the block. With blocks of at most a sector all of this is nothing.
 */
import { SECTOR_SIZE } from '@pdata/device';
import { ExclusiveRanges } from './exclusive-ranges.js';

export interface ByteRange {
  readonly begin: number;
  readonly end: number;
}

export class ServerBlocks {
  /** Bytes of a block: a power of two. */
  readonly size: number;
  readonly #writers: ExclusiveRanges | undefined;

  constructor(size: number) {
    this.size = size;
    this.#writers = size > SECTOR_SIZE ? new ExclusiveRanges() : undefined;
  }

  /** The blocks that touch a range. */
  outwards({ begin, end }: ByteRange): ByteRange {
    return { begin: begin - (begin % this.size), end: Math.ceil(end / this.size) * this.size };
  }

  /** The whole blocks inside a range; undefined when there are none. */
  inwards({ begin, end }: ByteRange): ByteRange | undefined {
    const whole = { begin: Math.ceil(begin / this.size) * this.size, end: end - (end % this.size) };
    return whole.end > whole.begin ? whole : undefined;
  }

  /** The blocks that a range covers only in part: none, one or two. */
  partial(range: ByteRange): ByteRange[] {
    const { begin, end } = this.outwards(range);
    const edges = new Set<number>();
    if (begin < range.begin) edges.add(begin);
    if (end > range.end) edges.add(end - this.size);
    return Array.from(edges, (edge) => ({ begin: edge, end: edge + this.size }));
  }

  /** Runs `work` while nobody else who asks here writes to a block of the range. */
  exclusively<Result>(range: ByteRange, work: () => Promise<Result>): Promise<Result> {
    if (this.#writers === undefined) return work();
    const { begin, end } = this.outwards(range);
    return this.#writers.run(begin, end, work);
  }
}
