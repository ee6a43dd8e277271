/** The state of a new store: a table of empty collections. */
import type { TransactionManager } from '../transaction/transaction-manager.js';
import type { Definition } from './definitions.js';
import { type StateEntry, stateValidator, writeState } from './state-block.js';

/** Returns the table, with one reference. */
export function initState(tm: TransactionManager, definitions: readonly Definition[]): number {
  const entries: StateEntry[] = [];
  for (const { id, kind } of definitions) {
    if (kind !== undefined) entries.push({ collectionId: id, root: kind.create(tm), length: 0 });
  }
  return tm.blocks.hold(() => {
    const block = tm.newBlock(stateValidator);
    writeState(block, entries);
    return block.nr;
  });
}
