/**
 * Deals the entries of neighbouring nodes out again, in order, so that each node holds a given number of them. Splits,
 * evening out, merges and dropping the middle of three are all this, with other numbers.
 *
 * Format: docs/format/btree.md, sections 4.1 and 5.2.
 */
import { BLOCK_SIZE, CorruptBlockError, invariant } from '@pdata/device';
import type { Block } from '../block/block.js';
import { keysOffset, maxEntries, nodeFlags, nrEntries, setNrEntries, valueSize, valuesOffset } from './node.js';

/** Three nodes' worth: no change involves more. */
const MAX_NODES = 3;
const scratch = new Uint8Array(MAX_NODES * BLOCK_SIZE);

/** `targets[i]` entries for `nodes[i]`; their sum is the number of entries there are. */
export function redistribute(nodes: readonly Block[], targets: readonly number[]): void {
  if (nodes.every((node, i) => nrEntries(node) === targets[i])) return;
  deal(nodes, targets, keysOffset, () => 8);
  deal(nodes, targets, valuesOffset, valueSize);
  nodes.forEach((node, i) => {
    invariant((targets[i] as number) <= maxEntries(node), 'more entries dealt out than a node holds');
    setNrEntries(node, targets[i] as number);
  });
}

function deal(
  nodes: readonly Block[],
  targets: readonly number[],
  offset: (node: Block) => number,
  entrySize: (node: Block) => number,
): void {
  let length = 0;
  for (const node of nodes) {
    const from = offset(node);
    const bytes = nrEntries(node) * entrySize(node);
    scratch.set(node.bytes.subarray(from, from + bytes), length);
    length += bytes;
  }
  let at = 0;
  nodes.forEach((node, i) => {
    const bytes = (targets[i] as number) * entrySize(node);
    node.bytes.set(scratch.subarray(at, at + bytes), offset(node));
    at += bytes;
  });
  invariant(at === length, 'entries lost while dealing them out again');
}

/** Entries can move between siblings only if they have one shape; on a damaged device they may not. */
export function refuseUnlikeSiblings(first: Block, second: Block): void {
  for (const [field, of] of [
    ['flags', nodeFlags],
    ['maxEntries', maxEntries],
    ['valueSize', valueSize],
  ] as const) {
    if (of(first) !== of(second)) {
      throw new CorruptBlockError({
        structure: 'btree node',
        blockNr: second.nr,
        field,
        found: of(second),
        expected: `${of(first)}, as in its sibling, block ${first.nr}`,
      });
    }
  }
}
