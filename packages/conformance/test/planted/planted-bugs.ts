/**
 * Bugs that storage engines have had, put into ours one at a time: each has to be found by the crash explorer. A new bug is an entry.
 *
 * Most are a line of source that is replaced; what a program can also do wrong by what it does to its devices is done by devices
 * that lie.
 */
import { type Disguise, FlushlessDataDevice, FlushlessMetadataDevice, SuperblockFirstDevice } from '@pdata/testing';
import { FREED_BLOCKS_REUSED, REVERSED_QUEUE, SNAPSHOT_WITHOUT_COMMIT } from './edits.js';
import type { SourceEdit } from './planted-source.js';

export interface PlantedBug {
  readonly name: string;
  /** The subject that has to find it. */
  readonly subject: string;
  readonly edits?: readonly SourceEdit[];
  readonly disguise?: Disguise;
}

const CORE = 'packages/persistent-data/src';
const THIN = 'packages/thin/src';

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'a queue of count changes that is worked off in reverse order',
    subject: 'core',
    edits: REVERSED_QUEUE,
  },
  {
    name: 'no flush before the superblock is written',
    subject: 'core',
    edits: [
      {
        file: `${CORE}/transaction/transaction-manager.ts`,
        replace: 'if (this.#needsFirstFlush) this.blocks.flush();',
        by: '',
      },
    ],
  },
  {
    name: 'no flush after the superblock was written: a device that lies',
    subject: 'thin-metadata',
    disguise: { metadata: (device) => new FlushlessMetadataDevice(device, (nr) => nr % 2 === 0) },
  },
  {
    name: 'the superblock written first',
    subject: 'core',
    disguise: { metadata: (device) => new SuperblockFirstDevice(device) },
  },
  {
    name: 'a commit before the data is durable: no flush of the data device',
    subject: 'thin-pool',
    edits: [{ file: `${THIN}/engine/pool-core.ts`, replace: '      await this.data.flush();\n', by: '' }],
  },
  {
    name: 'a data device whose flushes do nothing',
    subject: 'thin-pool',
    disguise: { data: (device) => new FlushlessDataDevice(device) },
  },
  {
    name: 'reuse of a block that was freed in the same transaction',
    subject: 'core',
    edits: FREED_BLOCKS_REUSED,
  },
  {
    name: 'reuse of a data block that was freed in the same transaction',
    subject: 'thin-pool',
    edits: [
      {
        file: `${CORE}/space-map/bitmap-counts.ts`,
        replace: 'const committedFrom = first < committedNrBlocks ? state.committedBlockNr : 0;',
        by: 'const committedFrom = this.tm.spaceMap.nrBlocks !== this.nrBlocks || first >= committedNrBlocks ? 0 : state.committedBlockNr;',
      },
    ],
  },
  {
    name: 'a block overwritten in place although the last commit reads it',
    subject: 'core',
    edits: [
      {
        file: `${CORE}/transaction/transaction-manager.ts`,
        replace: 'if (!shared && this.#isShadow(nr)) {',
        by: 'if (!shared) {',
      },
    ],
  },
  {
    name: 'children of a shared node not counted when it is copied',
    subject: 'core',
    edits: [
      { file: `${CORE}/transaction/transaction-manager.ts`, replace: 'if (shared) incChildren?.(copy);', by: '' },
    ],
  },
  {
    name: 'grandchildren not counted when a root takes the place of a shared child (09a65ad)',
    subject: 'core',
    edits: [{ file: `${CORE}/btree/remove.ts`, replace: 'if (shared) tree.incChildren(node);', by: '' }],
  },
  {
    name: 'a merged child that is not given back',
    subject: 'core',
    edits: [
      {
        file: `${CORE}/btree/remove.ts`,
        replace: '  closeEntry(node, index);\n  tree.tm.dec(childNr);',
        by: '  closeEntry(node, index);',
      },
    ],
  },
  {
    name: 'a metadata snapshot taken without a commit (49e99fc7)',
    subject: 'thin-metadata',
    edits: SNAPSHOT_WITHOUT_COMMIT,
  },
  {
    name: 'a pool whose superblock is written first',
    subject: 'thin-metadata',
    disguise: { metadata: (device) => new SuperblockFirstDevice(device) },
  },
  {
    name: 'a snapshot that shares its root without counting it',
    subject: 'thin-metadata',
    edits: [
      {
        file: `${THIN}/metadata/devices.ts`,
        replace: '    tm.inc(root);\n    top.insert(thinId, root);',
        by: '    top.insert(thinId, root);',
      },
    ],
  },
  {
    name: 'a mapping taken for unshared one snapshot too long',
    subject: 'thin-pool',
    edits: [
      {
        file: `${THIN}/metadata/mappings.ts`,
        replace: 'return value === undefined ? undefined : { ...value, shared: snapshottedTime > value.time };',
        by: 'return value === undefined ? undefined : { ...value, shared: snapshottedTime > value.time + 1 };',
      },
    ],
  },
  {
    name: 'a fresh block that is not zeroed around what was written',
    subject: 'thin-pool',
    edits: [
      {
        file: `${THIN}/engine/provisioning.ts`,
        replace: '    await data.writeZeroes(begin, blockSize);\n    await data.write(begin + at, from);',
        by: '    await data.write(begin + at, from);',
      },
    ],
  },
  {
    name: 'a clone that commits before its destination is durable (8b3fd1f5)',
    subject: 'clone',
    edits: [
      {
        file: 'packages/clone/src/engine/clone-core.ts',
        replace: "      operation = 'flush the destination device';\n      await this.destination.flush();\n",
        by: '',
      },
    ],
  },
  {
    name: 'a clone whose destination does not flush',
    subject: 'clone',
    disguise: { data: (device) => new FlushlessDataDevice(device) },
  },
  {
    name: 'a clone whose metadata is not flushed before its superblock',
    subject: 'clone',
    disguise: { metadata: (device) => new FlushlessMetadataDevice(device, (nr) => nr % 2 === 1) },
  },
  {
    name: 'a clone whose superblock is written first',
    subject: 'clone',
    disguise: { metadata: (device) => new SuperblockFirstDevice(device) },
  },
  {
    name: 'a region that is not in sync made clean after a write (930d332a)',
    subject: 'mirror',
    edits: [
      {
        file: 'packages/mirror/src/log/bitmap-log.ts',
        replace: 'if (this.mayBecomeClean && this.isInSync(regionNr)) this.#setClean(regionNr, true);',
        by: 'if (this.mayBecomeClean) this.#setClean(regionNr, true);',
      },
    ],
  },
  {
    name: 'a region called clean before the legs are flushed',
    subject: 'mirror',
    edits: [
      {
        file: 'packages/mirror/src/log/disk-log.ts',
        replace: 'const failedLegs = await this.#flushLegs();',
        by: 'const failedLegs: readonly number[] = [];',
      },
    ],
  },
  {
    name: 'a write sent to the legs before its mark is durable',
    subject: 'mirror',
    disguise: { data: (device, name) => (name === 'log' ? new FlushlessDataDevice(device) : device) },
  },
  {
    name: 'a mirror whose legs do not flush',
    subject: 'mirror',
    disguise: { data: (device, name) => (name === 'log' ? device : new FlushlessDataDevice(device)) },
  },
  {
    name: 'a store that promises a commit whose last flush is missing',
    subject: 'store',
    disguise: { metadata: (device) => new FlushlessMetadataDevice(device, (nr) => nr % 2 === 0) },
  },
  {
    name: 'a store whose superblock is written first',
    subject: 'store',
    disguise: { metadata: (device) => new SuperblockFirstDevice(device) },
  },
  {
    name: 'a unit handed out again while a commit on its way could still be lost',
    subject: 'store',
    edits: [{ file: `${CORE}/space-map/data-space-map.ts`, replace: 'this.older.length === 0', by: 'true' }],
  },
  {
    name: 'a unit handed out again in the transaction that freed it',
    subject: 'store',
    edits: [
      {
        file: `${CORE}/space-map/data-space-map.ts`,
        replace: 'state.committedBlockNr = state.blockNr;',
        by: 'state.committedBlockNr = 0;',
      },
    ],
  },
  {
    name: 'a state let go of when its commit is sealed, not when a later one is durable',
    subject: 'store',
    edits: [
      {
        file: `${CORE}/transaction/commit-pipeline.ts`,
        replace: 'const waiters = this.#waiting.splice(0);',
        by: 'const waiters = this.#waiting.splice(0); this.#durable.release();',
      },
    ],
  },
  {
    name: 'a superblock that shares a flush with the blocks it reaches',
    subject: 'store',
    edits: [{ file: `${CORE}/transaction/commit-pipeline.ts`, replace: 'if (isAtomic) [', by: 'if (true) [' }],
  },
  {
    name: 'a commit promised when its superblock is written, before that is durable',
    subject: 'store',
    edits: [
      {
        file: `${CORE}/transaction/commit-pipeline.ts`,
        replace: 'this.#source.fill(blocks.write(0, superblockValidator), state);',
        by: 'this.#source.fill(blocks.write(0, superblockValidator), state); for (const waiter of arguments[0].waiters) waiter.resolve();',
      },
    ],
  },
  {
    name: 'a snapshot that is not counted',
    subject: 'store',
    edits: [{ file: `${CORE}/store/head.ts`, replace: 'this.tm.inc(this.stateNr);', by: '' }],
  },
];
