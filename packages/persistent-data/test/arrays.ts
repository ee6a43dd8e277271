/**
 * What the tests of arrays and bitsets stand on: a device whose superblock is a space-map root and nothing else, and the
 * audit of everything on it.
 */
import { MemoryMetadataDevice } from '@pdata/device';
import { arrayBlockValidator } from '../src/array/array-block.js';
import { type BlockValidator, checkHomeAndChecksum, sealHomeAndChecksum, u64At } from '../src/block/block.js';
import { BlockManager } from '../src/block/block-manager.js';
import { createTransactionManager, openTransactionManagerOn } from '../src/space-map/open.js';
import { readSpaceMapRoot, writeSpaceMapRoot } from '../src/space-map/root.js';
import type { TransactionManager } from '../src/transaction/transaction-manager.js';
import { audit, type TreeKind } from './audit.js';

const AT = { blockNr: 8, spaceMap: 16 } as const;
const CHECKSUM_XOR = 4711;

const superblockValidator: BlockValidator = {
  structure: 'test superblock',
  check: (block) => checkHomeAndChecksum(block, 'test superblock', AT.blockNr, CHECKSUM_XOR),
  prepare: (block) => sealHomeAndChecksum(block, AT.blockNr, CHECKSUM_XOR),
};

export class TestStore {
  readonly device: MemoryMetadataDevice;
  tm: TransactionManager;
  readonly #cacheBlocks: number;
  #formatted = false;

  /** @param cacheBlocks small enough, and every operation meets evictions */
  constructor(nrBlocks: number, cacheBlocks = 64) {
    this.device = new MemoryMetadataDevice({ nrBlocks });
    this.#cacheBlocks = cacheBlocks;
    this.tm = createTransactionManager(this.device, { cacheBlocks });
  }

  commit(): void {
    const { tm } = this;
    tm.preCommit();
    tm.commit(superblockValidator, ({ view }) => writeSpaceMapRoot(view, AT.spaceMap, tm.spaceMap.root), {
      formatting: !this.#formatted,
    });
    this.#formatted = true;
  }

  /** Goes back to the last commit, with nothing cached: what an abort and a reopening have in common. */
  reopen(): void {
    const blocks = new BlockManager(this.device, { cacheBlocks: this.#cacheBlocks });
    const { view } = blocks.read(0, superblockValidator);
    this.tm = openTransactionManagerOn(blocks, readSpaceMapRoot(view, AT.spaceMap));
  }

  /** Changes a committed block behind everybody's back; the checksum is made good again. */
  tamper(blockNr: number, at: number, u32: number, validator: BlockValidator): void {
    const block = new BlockManager(this.device).read(blockNr, validator);
    block.view.setUint32(at, u32, true);
    validator.prepare(block);
    this.device.write(blockNr, block.bytes);
  }
}

export interface ArrayAudit {
  /** References found to each metadata block. */
  readonly references: ReadonlyMap<number, number>;
  /** Every array block once, in the order in which indexes hold them. */
  readonly arrayBlocks: readonly number[];
}

/** Recomputes every count of the device by walking. `roots` names each array's root as often as somebody holds it. */
export function auditArrays(tm: TransactionManager, roots: readonly number[]): ArrayAudit {
  const arrayBlocks: number[] = [];
  const kind: TreeKind = {
    valueSize: 8,
    value: (auditor, view, at) => {
      const nr = u64At(view, at);
      if (!auditor.block(nr)) return;
      auditor.read(nr, arrayBlockValidator);
      arrayBlocks.push(nr);
    },
  };
  const { references } = audit(
    tm,
    roots.map((root) => ({ root, kind })),
  );
  return { references, arrayBlocks };
}
