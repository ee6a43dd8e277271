/**
 * What an array's index tree stores: numbers of array blocks. Copying a shared leaf counts each block once more; the last
 * reference to a block takes the references its elements hold down with it.
 *
 * Format: docs/format/array-and-bitset.md, section 2.
 */
import { corrupt, setU64At, u64At } from '../block/block.js';
import type { ValueType } from '../btree/value-type.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import {
  ARRAY_STRUCTURE,
  ARRAY_VALUES_AT,
  arrayBlockValidator,
  arrayValueSize,
  nrArrayEntries,
} from './array-block.js';

const SIZE = 8;

export function arrayIndexType<V>(tm: TransactionManager, element: ValueType<V>): ValueType<number> {
  const each = (view: DataView, at: number, count: number, change: (begin: number, end: number) => void): void => {
    for (let i = 0; i < count; ) {
      const begin = u64At(view, at + SIZE * i);
      let end = begin + 1;
      for (i++; i < count && u64At(view, at + SIZE * i) === end; i++) end++;
      refuseOutside(tm, end - 1);
      change(begin, end);
    }
  };
  const releaseElements = (nr: number): void => {
    if (tm.spaceMap.isShared(nr)) return;
    const block = tm.read(nr, arrayBlockValidator);
    const size = arrayValueSize(block);
    if (size !== element.size) corrupt(block, ARRAY_STRUCTURE, 'valueSize', size, element.size);
    if (nrArrayEntries(block) > 0) element.dec?.(block.view, ARRAY_VALUES_AT, nrArrayEntries(block));
  };
  return {
    size: SIZE,
    decode: u64At,
    encode: setU64At,
    inc: (view, at, count) => each(view, at, count, (begin, end) => tm.inc(begin, end)),
    dec: (view, at, count) =>
      each(view, at, count, (begin, end) => {
        if (element.dec !== undefined) for (let nr = begin; nr < end; nr++) releaseElements(nr);
        tm.dec(begin, end);
      }),
    equal: (a, atA, b, atB) => u64At(a, atA) === u64At(b, atB),
  };
}

/** A number that a damaged index may hold, and that would be no one's mistake but the disk's. */
function refuseOutside(tm: TransactionManager, nr: number): void {
  const { nrBlocks } = tm.spaceMap;
  if (nr >= nrBlocks) corrupt({ nr }, ARRAY_STRUCTURE, 'block number', nr, `below ${nrBlocks}, the size of the device`);
}
