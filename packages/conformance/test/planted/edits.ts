/** Bugs that more than one list plants. */
import type { SourceEdit } from './planted-source.js';

const SPACE_MAP = 'packages/persistent-data/src/space-map';

/** Count changes worked off last first (cebc2de4). In that order the queue may go on for ever: each change brings another. */
export const REVERSED_QUEUE: readonly SourceEdit[] = [
  {
    file: `${SPACE_MAP}/pending-counts.ts`,
    replace: 'return this.#entries[this.#first] as PendingCount;',
    by: 'return this.#entries[this.#entries.length - 1] as PendingCount;',
  },
  {
    file: `${SPACE_MAP}/pending-counts.ts`,
    replace: 'this.#first++;\n    if (this.#first === this.#entries.length) this.clear();',
    by: 'this.#entries.pop();\n    if (this.#first === this.#entries.length) this.clear();',
  },
  {
    file: `${SPACE_MAP}/pending-counts.ts`,
    replace: '    this.#entries.push({ delta, begin, end });',
    by: '    if (this.#entries.length > 2000) throw new Error("the queue does not end");\n    this.#entries.push({ delta, begin, end });',
  },
];

/** What is free now is handed out, though the last commit uses it (4feaef83). */
export const FREED_BLOCKS_REUSED: readonly SourceEdit[] = [
  {
    file: `${SPACE_MAP}/bitmap-counts.ts`,
    replace: 'const committedFrom = first < committedNrBlocks ? state.committedBlockNr : 0;',
    by: 'const committedFrom = first < committedNrBlocks ? 0 : 0;',
  },
];

/** A metadata snapshot of what has not been committed (49e99fc7, 0d200aef). */
export const SNAPSHOT_WITHOUT_COMMIT: readonly SourceEdit[] = [
  {
    file: 'packages/thin/src/metadata/thin-metadata.ts',
    replace: '    this.commit();\n    this.#transaction.change(',
    by: '    this.#transaction.change(',
  },
];
