/**
 * Our contender: one btree on a file. `node dist/core/pdata-core.js WORKLOAD-AS-JSON` prints a CoreResult as JSON.
 *
 * Measured: insertion of all keys in one transaction with its commit, lookup of all, a walk over all, then commits of one
 * key each. Lookups and the walk run once unmeasured before. The tree fits the cache (64 MiB, the default).
 *
 * Non-goals: a tree larger than the cache, values of other sizes, several readers.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { MetadataDevice } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import {
  type BlockValidator,
  BTree,
  checkHomeAndChecksum,
  createTransactionManager,
  sealHomeAndChecksum,
  setU64At,
  type TransactionManager,
  u64At,
  type ValueType,
  writeSpaceMapRoot,
} from '@pdata/persistent-data';
import { median } from '../statistics.js';
import { type CoreResult, type CoreWorkload, mix, randomKeys, resultHash, secondsOf, strideOf } from './workload.js';

const placeType: ValueType<number> = { size: 8, decode: u64At, encode: setU64At };

/** The smallest superblock: space map and root of the tree. */
const CHECKSUM_XOR = 2026;
const AT = { blockNr: 8, spaceMap: 16, root: 144 } as const;
const superblockValidator: BlockValidator = {
  structure: 'benchmark superblock',
  check: (block) => checkHomeAndChecksum(block, 'benchmark superblock', AT.blockNr, CHECKSUM_XOR),
  prepare: (block) => sealHomeAndChecksum(block, AT.blockNr, CHECKSUM_XOR),
};

export function measurePdata(workload: CoreWorkload): CoreResult {
  const { nrKeys, nrCommits, directory } = workload;
  const keys = randomKeys(workload);
  // Half-full leaves would fit twice over.
  const nrBlocks = Math.ceil((nrKeys + nrCommits) / 60) + 1024;
  const device = new CountingDevice(
    openFileMetadataDevice(join(directory, 'pdata.img'), { mode: 'write', create: { nrBlocks } }),
  );
  try {
    const tm = createTransactionManager(device);
    const tree = BTree.create(tm, placeType);
    commit(tm, tree, true);

    let insertCommit = 0;
    const insert = secondsOf(() => {
      for (let place = 0; place < nrKeys; place++) tree.insert(keys[place] as number, place);
      insertCommit = secondsOf(() => commit(tm, tree, false));
    });

    const stride = strideOf(nrKeys);
    let found = 0;
    const lookUpAll = (): void => {
      found = 0;
      for (let nr = 0, place = 0; nr < nrKeys; nr++, place = (place + stride) % nrKeys) {
        found = mix(found, tree.lookup(keys[place] as number) ?? -1);
      }
    };
    lookUpAll();
    const lookup = secondsOf(lookUpAll);

    let walked = 0;
    let nrWalked = 0;
    const walkAll = (): void => {
      walked = 0;
      nrWalked = 0;
      tree.walk((key, view, at) => {
        walked = mix(mix(walked, key), view.getUint32(at, true));
        nrWalked++;
      });
    };
    walkAll();
    const walk = secondsOf(walkAll);
    const hash = resultHash({ found, walked, nrWalked });

    const commits: number[] = [];
    const written: { blocks: number; superblocks: number; flushes: number }[] = [];
    for (let nr = 0; nr < nrCommits; nr++) {
      device.reset();
      const place = nrKeys + nr;
      commits.push(
        secondsOf(() => {
          tree.insert(keys[place] as number, place);
          commit(tm, tree, false);
        }),
      );
      written.push({ ...device.counts });
    }
    return {
      insert,
      insertCommit,
      lookup,
      walk,
      commits,
      hash,
      written: {
        medianBlocks: median(written.map(({ blocks }) => blocks)),
        maxBlocks: Math.max(...written.map(({ blocks }) => blocks)),
        maxSuperblocks: Math.max(...written.map(({ superblocks }) => superblocks)),
        maxFlushes: Math.max(...written.map(({ flushes }) => flushes)),
      },
    };
  } finally {
    device.close();
  }
}

function commit(tm: TransactionManager, tree: BTree<number>, formatting: boolean): void {
  tm.preCommit();
  tm.commit(
    superblockValidator,
    ({ view }) => {
      writeSpaceMapRoot(view, AT.spaceMap, tm.spaceMap.root);
      setU64At(view, AT.root, tree.root);
    },
    { formatting },
  );
}

/** Counts what reaches a device. */
class CountingDevice implements MetadataDevice {
  readonly #device: MetadataDevice;
  readonly counts = { blocks: 0, superblocks: 0, flushes: 0 };

  constructor(device: MetadataDevice) {
    this.#device = device;
  }

  get name(): string {
    return this.#device.name;
  }

  get nrBlocks(): number {
    return this.#device.nrBlocks;
  }

  get readOnly(): boolean {
    return this.#device.readOnly;
  }

  reset(): void {
    Object.assign(this.counts, { blocks: 0, superblocks: 0, flushes: 0 });
  }

  read(firstBlockNr: number, into: Uint8Array): void {
    this.#device.read(firstBlockNr, into);
  }

  write(firstBlockNr: number, from: Uint8Array): void {
    this.counts.blocks += from.length / 4096;
    if (firstBlockNr === 0) this.counts.superblocks++;
    this.#device.write(firstBlockNr, from);
  }

  flush(): void {
    this.counts.flushes++;
    this.#device.flush();
  }

  flushAsync(): Promise<void> {
    this.counts.flushes++;
    return this.#device.flushAsync();
  }

  grow(nrBlocks: number): void {
    this.#device.grow(nrBlocks);
  }

  close(): void {
    this.#device.close();
  }
}

const [, program, argument] = process.argv;
if (program !== undefined && argument !== undefined && import.meta.url === pathToFileURL(program).href) {
  console.log(JSON.stringify(measurePdata(JSON.parse(argument) as CoreWorkload)));
}
