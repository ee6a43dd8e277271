/**
 * What every operation on a tree needs to know: whose blocks it lies in, what its values are, where its root is. `BTree` is
 * this with the operations as methods.
 *
 * Format: docs/format/btree.md.
 */
import { CorruptBlockError } from '@pdata/device';
import type { Block } from '../block/block.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { childAt, isLeaf, MAX_DEPTH, nrEntries, valueSize, valuesOffset } from './node.js';
import type { ValueType } from './value-type.js';

export class TreeHandle<V> {
  readonly tm: TransactionManager;
  readonly type: ValueType<V>;
  root: number;
  /** @internal Set by a descent: the entry it ended at. */
  index = 0;
  /** @internal Counts what a copied node points at once more; made once, so that a descent allocates nothing. */
  readonly incChildren: (copy: Block) => void;

  constructor(tm: TransactionManager, type: ValueType<V>, root: number) {
    this.tm = tm;
    this.type = type;
    this.root = root;
    this.incChildren = (copy) => {
      const nr = nrEntries(copy);
      if (isLeaf(copy)) {
        if (nr > 0) type.inc?.(copy.view, valuesOffset(copy), nr);
      } else incRuns(tm, copy, nr);
    };
  }

  /** @internal Trusting a leaf of another value size would read its values at the wrong places. */
  refuseLeaf(leaf: Block): never {
    throw new CorruptBlockError({
      structure: 'btree node',
      blockNr: leaf.nr,
      field: 'valueSize',
      found: valueSize(leaf),
      expected: this.type.size,
    });
  }

  /** @internal */
  refuseDepth(): never {
    throw new CorruptBlockError({
      structure: 'btree',
      blockNr: this.root,
      field: 'depth',
      found: `${MAX_DEPTH} or more (a cycle?)`,
      expected: 'less',
    });
  }
}

/** Children of one parent often lie side by side: counting them as runs touches each bitmap once. */
function incRuns(tm: TransactionManager, node: Block, nr: number): void {
  for (let i = 0; i < nr; ) {
    const begin = childAt(node, i);
    let end = begin + 1;
    for (i++; i < nr && childAt(node, i) === end; i++) end++;
    tm.inc(begin, end);
  }
}
