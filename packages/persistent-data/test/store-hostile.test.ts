/**
 * Damage under good checksums: one field of one block says something else. Whatever it is, opening, reading everything, comparing and
 * checking end, with an error of the store's or without; and nothing is written.
 */
import { CorruptBlockError, MemoryMetadataDevice, StoreError } from '@pdata/device';
import {
  arrayBlockValidator,
  Block,
  type BlockValidator,
  bitmapValidator,
  indexBlockValidator,
  nodeValidator,
} from '@pdata/persistent-data';
import { MetadataStore, type ReadableCollections } from '@pdata/persistent-data/store';
import { seededRandom } from '@pdata/testing';
import { expect, it } from 'vitest';
import { overflowValidator } from '../src/store/overflow.js';
import { pageValidator } from '../src/store/page-node.js';
import { stateValidator } from '../src/store/state-block.js';
import { storeSuperblockValidator } from '../src/store/superblock.js';
import { modelSchema, StoreUnderModel } from './store-model.js';

const VALIDATORS: readonly BlockValidator[] = [
  storeSuperblockValidator,
  stateValidator,
  pageValidator,
  overflowValidator,
  nodeValidator,
  arrayBlockValidator,
  bitmapValidator,
  indexBlockValidator,
];
/** Everything, both ways; of what claims to be longer than it can be, the beginning. */
function readAll(c: ReadableCollections<(typeof modelSchema)['collections']>): void {
  for (const tree of [c.numbers, c.records, c.owners]) {
    const nr = [...tree.entries()].length;
    expect([...tree.entries({ reverse: true })].length).toBe(nr);
  }
  for (const _ of c.slots.values(0, 5000));
  c.bits.nextSet();
  for (const tree of c.trees.trees()) for (const _ of c.trees.entries(tree));
}

const NR_ROUNDS = process.env.PDATA_LONG === '1' ? 6000 : 500;

it('ends in an error of the store, or in none, and leaves the device as it was (seed 1)', async () => {
  const random = seededRandom(1);
  const below = (end: number): number => Math.floor(random() * end);
  const run = new StoreUnderModel(new MemoryMetadataDevice({ nrBlocks: 256 }), random, { history: 2 });
  for (let step = 0; step < 25; step++) {
    run.transaction(4);
    await run.store.commit();
  }
  await run.store.close();
  const whole = (run.device as MemoryMetadataDevice).bytes;
  const kinds = new Map<number, BlockValidator>();
  for (let nr = 0; nr < whole.length / 4096; nr++) {
    const block = new Block(whole.subarray(nr * 4096, (nr + 1) * 4096), nr);
    const kind = VALIDATORS.find((validator) => {
      try {
        validator.check(block);
        return true;
      } catch {
        return false;
      }
    });
    if (kind !== undefined) kinds.set(nr, kind);
  }
  expect(new Set(kinds.values()).size).toBe(VALIDATORS.length);

  let nrRefused = 0;
  let nrFound = 0;
  const blocks = [...kinds];
  for (let round = 0; round < NR_ROUNDS; round++) {
    const bytes = whole.slice();
    // Some blocks of each kind, the superblock often: it is the one with most to say.
    const [nr, kind] = blocks[random() < 0.1 ? 0 : below(blocks.length)] as [number, BlockValidator];
    const block = new Block(bytes.subarray(nr * 4096, (nr + 1) * 4096), nr);
    const at = 4 + 4 * below(random() < 0.7 ? 60 : 1022);
    const value = [0, 1, 2, 3, 0xff, nr, below(300), 0xffff, 0xffffffff, below(2 ** 32)][below(10)] as number;
    block.view.setUint32(at, value, true);
    kind.prepare(block);
    const before = bytes.slice();
    const where = `round ${round}: ${kind.structure} in block ${nr}, bytes ${at}..${at + 3} are ${value}`;
    try {
      // Open for reading: what a damaged store leads to can then only be read.
      const device = new MemoryMetadataDevice({ bytes, readOnly: true });
      const store = MetadataStore.open(device, modelSchema, { cacheBlocks: 64 });
      const { findings } = await store.check();
      if (findings.length > 0) nrFound++;
      for (const name of [undefined, ...store.names().map(({ name: known }) => known)]) {
        using view = store.view(name);
        readAll(view.collections);
      }
      for (const { name } of store.names()) for (const _ of store.diff(name, undefined).records);
      await store.close();
    } catch (error) {
      if (!(error instanceof StoreError)) throw new Error(where, { cause: error });
      if (error instanceof CorruptBlockError) nrRefused++;
    }
    expect(Buffer.compare(bytes, before), where).toBe(0);
  }
  expect(nrRefused).toBeGreaterThan(NR_ROUNDS / 20);
  expect(nrFound).toBeGreaterThan(NR_ROUNDS / 20);
}, 60_000);
