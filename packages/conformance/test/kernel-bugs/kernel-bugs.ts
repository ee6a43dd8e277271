/**
 * Bugs that dm-persistent-data and its users had in kernels, and the test of ours that is named for each. docs/reliability.md prints
 * this list; a test holds the two together. Where the bug can be put into our code by a line or two, `planted` does, and the named
 * test has to fail then.
 */
import { FREED_BLOCKS_REUSED, REVERSED_QUEUE, SNAPSHOT_WITHOUT_COMMIT } from '../planted/edits.js';
import type { SourceEdit } from '../planted/planted-source.js';

export interface KernelBug {
  /** The kernel's commit, or what else it is known by. */
  readonly id: string;
  readonly what: string;
  /** From the root of the workspace. */
  readonly file: string;
  /** As vitest prints it, without what comes from a table: a part of the full name. */
  readonly test: string;
  readonly planted?: readonly SourceEdit[];
}

const CORE = 'packages/persistent-data/src';
const THIN = 'packages/thin/src';
const THIN_REGRESSIONS = 'packages/thin/test/regressions.test.ts';

export const KERNEL_BUGS: readonly KernelBug[] = [
  {
    id: '09a65ad',
    what: 'a one-entry root takes the place of a shared child, and the grandchildren are not counted (2011 to 2026)',
    file: `${CORE}/btree/remove.test.ts`,
    test: 'counts what a shared only child points at when its parent takes its place: nodes',
    planted: [{ file: `${CORE}/btree/remove.ts`, replace: 'if (shared) tree.incChildren(node);', by: '' }],
  },
  {
    id: '5bcd4d30',
    what: 'a commit of a metadata snapshot fails, and the abort leaves it in the superblock (CVE-2026-72108)',
    file: THIN_REGRESSIONS,
    test: '5bcd4d30 (CVE-2026-72108): a failed commit must not leave its metadata snapshot behind',
    planted: [
      {
        file: `${THIN}/metadata/pool-transaction.ts`,
        replace: 'this.#state = PoolState.openAt(this.#blocks, this.#committed);',
        by: 'this.#state = PoolState.openAt(this.#blocks, { ...this.#committed, heldRoot: this.#state.superblock.heldRoot });',
      },
    ],
  },
  {
    id: 'superblock refcount leak on snapshot shadow failure',
    what: 'a metadata snapshot that finds no block leaks a reference (2026)',
    file: THIN_REGRESSIONS,
    test: 'when no block is left in the middle of reserveMetadataSnapshot, the last commit stays',
    planted: [
      {
        file: `${THIN}/metadata/pool-transaction.ts`,
        replace: "if (!(error instanceof NoSpaceError && error.of === 'data')) this.#halfDone = error;",
        by: '',
      },
      {
        file: `${CORE}/transaction/transaction-manager.ts`,
        replace: 'this.#failure ??= error;',
        by: '',
      },
    ],
  },
  {
    id: 'cebc2de4',
    what: 'queued count changes are worked off last first: a decrement comes before its increment',
    file: `${CORE}/space-map/metadata-space-map.test.ts`,
    test: 'include a block that is counted and given up again, so that no other order would do',
    planted: REVERSED_QUEUE,
  },
  {
    id: '6096d91a',
    what: 'count changes are lost when a metadata device has grown: blocks leak',
    file: `${THIN}/metadata/resize.test.ts`,
    test: 'loses no block at any step, nor when it crosses the border of a bitmap (6096d91a)',
    planted: [
      {
        file: `${CORE}/space-map/metadata-space-map.ts`,
        replace: '        counted = end;',
        by: '        counted = Number.MAX_SAFE_INTEGER;',
      },
    ],
  },
  {
    id: '4feaef83',
    what: 'a block that is free now, but used in the last commit, is handed out',
    file: THIN_REGRESSIONS,
    test: 'data blocks, allocated, freed and allocated in one transaction',
    planted: FREED_BLOCKS_REUSED,
  },
  {
    id: '3ab91828',
    what: 'running out of metadata space costs what was there',
    file: THIN_REGRESSIONS,
    test: 'when no block is left in the middle of deleteDevice, the last commit stays',
    planted: [
      {
        file: `${THIN}/metadata/pool-transaction.ts`,
        replace: "if (!(error instanceof NoSpaceError && error.of === 'data')) this.#halfDone = error;",
        by: '',
      },
      { file: `${CORE}/transaction/transaction-manager.ts`, replace: 'this.#failure ??= error;', by: '' },
    ],
  },
  {
    id: '7991dbf',
    what: 'after a failed commit what it had changed is shown, mixed with what is on the disk',
    file: THIN_REGRESSIONS,
    test: 'whichever write or flush of the commit of deleteDevice fails',
    planted: [
      {
        file: `${THIN}/metadata/pool-transaction.ts`,
        replace: '    try {\n      this.abort();\n    } catch {',
        by: '    try {\n      this.refuseReadOnly;\n    } catch {',
      },
    ],
  },
  {
    id: 'f046f89a',
    what: 'evening out copies leaves that a snapshot shares, without counting their values',
    file: `${CORE}/btree/remove.test.ts`,
    test: 'counts the values of every leaf that evening out copies',
    planted: [
      {
        file: `${CORE}/btree/tree-handle.ts`,
        replace: 'if (nr > 0) type.inc?.(copy.view, valuesOffset(copy), nr);',
        by: '',
      },
    ],
  },
  {
    id: 'b0dc3c8b',
    what: 'leaves of the upper level hold roots, which are not counted when they are copied',
    file: `${CORE}/btree/nested.test.ts`,
    test: 'of the whole count every subtree root once more when the upper leaf is copied',
    planted: [
      {
        file: `${CORE}/btree/nested.ts`,
        replace: '    inc: (view, at, count) => each(view, at, count, (begin, end) => tm.inc(begin, end)),\n',
        by: '',
      },
    ],
  },
  {
    id: '49e99fc7, 0d200aef',
    what: 'a metadata snapshot is taken of what has not been committed',
    file: `${THIN}/metadata/metadata-snapshot.test.ts`,
    test: 'includes what had not been committed when it was taken (49e99fc7, 0d200aef)',
    planted: SNAPSHOT_WITHOUT_COMMIT,
  },
  {
    id: '474e5595',
    what: 'evening out two nodes leaves one less than a third full',
    file: `${CORE}/btree/remove.test.ts`,
    test: 'stays at a third and more after each removal',
    planted: [
      {
        file: `${CORE}/btree/remove.ts`,
        replace: 'if (total < 2 * (leastEntries(left) + 1)) {',
        by: 'if (total < leastEntries(left) + 1) {',
      },
    ],
  },
  {
    id: '490ae017',
    what: 'evening out three nodes needs more locks than there are',
    file: 'packages/persistent-data/test/held-blocks.test.ts',
    test: 'stays small in a tree of depth',
  },
  {
    id: '9b1cc9f2',
    what: 'two metadata objects on one device go their own ways',
    file: `${CORE}/block/claim.test.ts`,
    test: 'lets one writer at a time have a device',
    planted: [
      {
        file: `${CORE}/block/claim.ts`,
        replace: 'if (claimed.has(device)) {',
        by: 'if (claimed.has(device) && device.nrBlocks < 0) {',
      },
    ],
  },
  {
    id: 'CVE-2022-50092',
    what: 'somebody waits for free blocks of metadata that has failed, and is told by what is not there any more',
    file: `${THIN}/metadata/low-water-mark.test.ts`,
    test: 'is not told by metadata that has failed (CVE-2022-50092)',
    planted: [
      {
        file: `${THIN}/metadata/pool-transaction.ts`,
        replace: '    this.metadataLow?.rearm(this.#state.tm.spaceMap.nrFree);',
        by: '    this.metadataLow?.look(this.#state.tm.spaceMap.nrFree);',
      },
    ],
  },
  {
    id: '8b3fd1f5',
    what: 'a clone commits before its destination is durable',
    file: 'packages/clone/test/engine-model.test.ts',
    test: 'has after each loss of power what was flushed (8b3fd1f5)',
    planted: [
      {
        file: 'packages/clone/src/engine/clone-core.ts',
        replace: "      operation = 'flush the destination device';\n      await this.destination.flush();\n",
        by: '',
      },
    ],
  },
  {
    id: '930d332a',
    what: 'a write makes a region clean that was not in sync, and it is never copied',
    file: 'packages/mirror/test/engine-defects.test.ts',
    test: 'leaves it to be copied: interrupted and begun again, the first resync makes all legs equal',
    planted: [
      {
        file: 'packages/mirror/src/log/bitmap-log.ts',
        replace: 'if (this.mayBecomeClean && this.isInSync(regionNr)) this.#setClean(regionNr, true);',
        by: 'if (this.mayBecomeClean) this.#setClean(regionNr, true);',
      },
    ],
  },
  {
    id: 'f44db678',
    what: 'a copy that failed counts as one that did not',
    file: 'packages/mirror/src/engine/failures.test.ts',
    test: 'the region stays not in sync, and is tried again after a suspend',
    planted: [
      {
        file: 'packages/mirror/src/region-hash/region-hash.ts',
        replace: "entry.recovery = copied && !entry.isSpoilt ? 'copied' : 'failed';",
        by: "entry.recovery = copied || !entry.isSpoilt ? 'copied' : 'failed';",
      },
    ],
  },
  {
    id: 'dm-devel 2008',
    what: 'the caller changes its bytes during a write, and the legs differ',
    file: 'packages/mirror/test/engine-defects.test.ts',
    test: 'are written alike on all legs',
  },
];
