/**
 * A mapping: which data block a virtual block has, and since which pool time. Its tree gives data blocks their references:
 * a leaf that was copied while shared counts each of its data blocks once more, a mapping that is gone counts it once less.
 *
 * Format: docs/format/thin.md, section 2; docs/format/btree.md, section 2.1.
 */
import { CorruptBlockError } from '@pdata/device';
import { type SpaceMap, u64At, type ValueType } from '@pdata/persistent-data';
import { dataBlockAt, setBlockTimeAt, timeAt } from '../format/block-time.js';

export interface MappingValue {
  readonly dataBlock: number;
  /** Pool time at which the mapping was made. */
  readonly time: number;
}

const SIZE = 8;

/** Where a node keeps its own block number. The tree hands over values where they stand, in their node. */
const HOME_AT = 8;

export function mappingType(dataSpaceMap: SpaceMap): ValueType<MappingValue> {
  return {
    size: SIZE,
    decode: (view, at) => ({ dataBlock: dataBlockAt(view, at), time: timeAt(view, at) }),
    encode: (view, at, { dataBlock, time }) => setBlockTimeAt(view, at, dataBlock, time),
    inc: (view, at, count) => eachRun(dataSpaceMap, view, at, count, (begin, end) => dataSpaceMap.inc(begin, end)),
    dec: (view, at, count) => eachRun(dataSpaceMap, view, at, count, (begin, end) => dataSpaceMap.dec(begin, end)),
    // The time may differ: it is the same data block with the same reference.
    equal: (a, atA, b, atB) => dataBlockAt(a, atA) === dataBlockAt(b, atB),
  };
}

/**
 * Volumes written in order have neighbouring data blocks.
 * @throws {@link CorruptBlockError} for a mapping behind the end of the pool: only damage can have put it there
 */
function eachRun(
  { nrBlocks }: SpaceMap,
  view: DataView,
  at: number,
  count: number,
  change: (begin: number, end: number) => void,
): void {
  for (let i = 0; i < count; ) {
    const begin = dataBlockAt(view, at + SIZE * i);
    let end = begin + 1;
    for (i++; i < count && dataBlockAt(view, at + SIZE * i) === end; i++) end++;
    if (end > nrBlocks) {
      throw new CorruptBlockError({
        structure: 'mapping tree',
        blockNr: u64At(view, HOME_AT),
        field: 'data block',
        found: end - 1,
        expected: `below ${nrBlocks}, the data blocks of the pool`,
      });
    }
    change(begin, end);
  }
}
