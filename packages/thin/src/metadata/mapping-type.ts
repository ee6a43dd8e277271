/**
 * A mapping: which data block a virtual block has, and since which pool time. Its tree gives data blocks their references:
 * a leaf that was copied while shared counts each of its data blocks once more, a mapping that is gone counts it once less.
 *
 * Format: docs/format/thin.md, section 2; docs/format/btree.md, section 2.1.
 */
import type { SpaceMap, ValueType } from '@pdata/persistent-data';
import { dataBlockAt, setBlockTimeAt, timeAt } from '../format/block-time.js';

export interface MappingValue {
  readonly dataBlock: number;
  /** Pool time at which the mapping was made. */
  readonly time: number;
}

const SIZE = 8;

export function mappingType(dataSpaceMap: SpaceMap): ValueType<MappingValue> {
  return {
    size: SIZE,
    decode: (view, at) => ({ dataBlock: dataBlockAt(view, at), time: timeAt(view, at) }),
    encode: (view, at, { dataBlock, time }) => setBlockTimeAt(view, at, dataBlock, time),
    inc: (view, at, count) => eachRun(view, at, count, (begin, end) => dataSpaceMap.inc(begin, end)),
    dec: (view, at, count) => eachRun(view, at, count, (begin, end) => dataSpaceMap.dec(begin, end)),
    // The time may differ: it is the same data block with the same reference.
    equal: (a, atA, b, atB) => dataBlockAt(a, atA) === dataBlockAt(b, atB),
  };
}

/** Volumes written in order have neighbouring data blocks. */
function eachRun(view: DataView, at: number, count: number, change: (begin: number, end: number) => void): void {
  for (let i = 0; i < count; ) {
    const begin = dataBlockAt(view, at + SIZE * i);
    let end = begin + 1;
    for (i++; i < count && dataBlockAt(view, at + SIZE * i) === end; i++) end++;
    change(begin, end);
  }
}
