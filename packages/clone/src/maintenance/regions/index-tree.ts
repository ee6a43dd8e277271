/**
 * Reads the index of a bitset's array blocks from a device that may be damaged or hostile: each node once, however the pointers
 * run.
 *
 * Damage is handed to the caller, with the places (numbers of array blocks) that nobody knows of because of it; who wants to stop
 * there throws.
 */
import type { CorruptBlockError } from '@pdata/device';
import { type Block, childAt, isLeaf, keyAt, MAX_DEPTH, nrEntries } from '@pdata/persistent-data';
import type { BlockReader } from '@pdata/persistent-data/maintenance';
import { asDamage, readIndexNode } from './blocks.js';
import { corruptNode } from './damage.js';

/** `begin` to `end` (exclusive) are the places concerned. */
export type OnIndexDamage = (error: CorruptBlockError, begin: number, end: number) => void;

interface Subtree {
  readonly blockNr: number;
  /** The places it is to hold. */
  readonly begin: number;
  readonly end: number;
  readonly depth: number;
}

/** @returns the array block at each place; 0 where there is none (told as damage) */
export function readIndexTree(
  reader: BlockReader,
  root: number,
  nrPlaces: number,
  onDamage: OnIndexDamage,
): Float64Array {
  const blockNrs = new Float64Array(nrPlaces);
  const seen = new Set<number>();
  const wanted: Subtree[] = [{ blockNr: root, begin: 0, end: nrPlaces, depth: 0 }];
  for (let subtree = wanted.pop(); subtree !== undefined; subtree = wanted.pop()) {
    const { blockNr, begin, end, depth } = subtree;
    try {
      if (seen.has(blockNr)) throw corruptNode(blockNr, 'pointers to it', 'several', 1);
      if (depth >= MAX_DEPTH) throw corruptNode(blockNr, 'depth', depth, `less than ${MAX_DEPTH}`);
      seen.add(blockNr);
      const node = readIndexNode(reader, blockNr);
      refuseMisplaced(node, begin, end, nrPlaces);
      if (isLeaf(node)) takeLeaf(node, subtree, blockNrs, seen, onDamage);
      else pushChildren(node, subtree, wanted, onDamage);
    } catch (error) {
      onDamage(asDamage(error, blockNr), begin, end);
    }
  }
  return blockNrs;
}

/** What lies behind the last place nobody looks for, and it is let pass. */
function refuseMisplaced(node: Block, begin: number, end: number, nrPlaces: number): void {
  const nr = nrEntries(node);
  if (nr === 0) return;
  if (keyAt(node, 0) < begin) throw corruptNode(node.nr, 'key 0', keyAt(node, 0), `at least ${begin}`);
  const last = keyAt(node, nr - 1);
  if (last >= end && end < nrPlaces) throw corruptNode(node.nr, `key ${nr - 1}`, last, `below ${end}`);
}

function pushChildren(node: Block, { begin, end, depth }: Subtree, wanted: Subtree[], onDamage: OnIndexDamage): void {
  const nr = nrEntries(node);
  const first = Math.min(keyAt(node, 0), end);
  if (first > begin) onDamage(corruptNode(node.nr, 'key 0', first, begin), begin, first);
  // The first on top: places are met in order, and of two pointers to one block the earlier one counts.
  for (let i = nr - 1; i >= 0; i--) {
    const from = keyAt(node, i);
    const to = Math.min(i + 1 < nr ? keyAt(node, i + 1) : end, end);
    if (from < to) wanted.push({ blockNr: childAt(node, i), begin: from, end: to, depth: depth + 1 });
  }
}

function takeLeaf(
  leaf: Block,
  { begin, end }: Subtree,
  blockNrs: Float64Array,
  seen: Set<number>,
  onDamage: OnIndexDamage,
): void {
  const nr = nrEntries(leaf);
  let due = begin;
  for (let i = 0; i < nr; i++) {
    const place = keyAt(leaf, i);
    if (place >= end) break;
    if (place > due) onDamage(corruptNode(leaf.nr, `array block ${due}`, 'missing', 'present'), due, place);
    due = place + 1;
    const blockNr = childAt(leaf, i);
    if (seen.has(blockNr)) onDamage(corruptNode(blockNr, 'pointers to it', 'several', 1), place, due);
    else blockNrs[place] = blockNr;
    seen.add(blockNr);
  }
  if (due < end) onDamage(corruptNode(leaf.nr, `array block ${due}`, 'missing', 'present'), due, end);
}
