/** How the collections of a state lie on the device. */
import { Block, u64At } from '../block/block.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import type { BlockKind, Visitor } from './block-kinds.js';
import type { Definition } from './definitions.js';
import { readState, stateValidator } from './state-block.js';

export interface CollectionStatistics {
  /** Entries, elements, bits or trees. */
  readonly length: number;
  /** Blocks from the root to the farthest one; records and array blocks count. */
  readonly depth: number;
  readonly nrBlocks: number;
  /** Of those, blocks that other states reach too. */
  readonly nrShared: number;
}

/** Of every collection of the state in `stateNr`. O(n): reads every block. */
export function statisticsOf(
  tm: TransactionManager,
  definitions: readonly Definition[],
  stateNr: number,
): Record<string, CollectionStatistics> {
  const entries = readState(tm.read(stateNr, stateValidator));
  const isTableShared = tm.spaceMap.isShared(stateNr);
  const found: Record<string, CollectionStatistics> = {};
  for (const { id, name, kind } of definitions) {
    const entry = entries.find(({ collectionId }) => collectionId === id);
    if (entry !== undefined && kind !== undefined)
      found[name] = { length: entry.length, ...statisticsBelow(tm, entry.root, kind.blocks, isTableShared) };
  }
  return found;
}

function statisticsBelow(
  tm: TransactionManager,
  root: number,
  kind: BlockKind,
  isShared: boolean,
): Pick<CollectionStatistics, 'depth' | 'nrBlocks' | 'nrShared'> {
  const seen = new Set<number>();
  const pending = [{ nr: root, kind, depth: 1, isShared }];
  let [depth, nrShared] = [0, 0];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { nr, kind: of, depth: at } = next;
    if (seen.has(nr)) continue;
    seen.add(nr);
    // What a shared block reaches is shared too, though it has one reference.
    const shared = next.isShared || tm.spaceMap.isShared(nr);
    if (shared) nrShared++;
    depth = Math.max(depth, at);
    const block = new Block(tm.read(nr, of.validator).bytes.slice(), nr);
    const visitor: Visitor = {
      block: (place, child) =>
        pending.push({ nr: u64At(block.view, place), kind: child, depth: at + 1, isShared: shared }),
      unit: () => {},
    };
    of.visit(block, visitor);
  }
  return { depth, nrBlocks: seen.size, nrShared };
}
