/** Random runs of the whole interface against plain maps, each ending in an audit of all reference counts. */
import { MemoryMetadataDevice } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { expect, it } from 'vitest';
import { StoreUnderModel, wholePlainText, wholeStoreText } from './store-model.js';

const seeds = Array.from({ length: process.env.PDATA_LONG === '1' ? 60 : 6 }, (_, i) => i + 1);

it.each(seeds)('does what plain maps do, and counts every reference (seed %i)', async (seed) => {
  const random = seededRandom(seed);
  const options = { cacheBlocks: seed % 2 === 0 ? 64 : 4096, history: seed % 3 === 0 ? 3 : 0 };
  const run = new StoreUnderModel(new MemoryMetadataDevice({ nrBlocks: 128 }), random, options);
  for (let step = 0; step < 60; step++) {
    run.transaction(1 + Math.floor(random() * 12));
    const what = random();
    if (what < 0.25) await run.store.commit();
    else if (what < 0.35) run.store.commitSync();
    else if (what < 0.5) void run.store.commit({ durable: false });
    else if (what < 0.56) await run.reopen();
    if (step % 6 === 0) expect(wholeStoreText(run.store)).toBe(wholePlainText(run.model));
    if (step % 20 === 10) await audit(run);
  }
  await run.reopen();
  expect(wholeStoreText(run.store)).toBe(wholePlainText(run.model));
  await audit(run);

  // Every name dropped, in any order: what is left is what an empty store takes, and what the current state holds.
  for (const { name } of run.store.names().sort(() => random() - 0.5)) run.store.drop(name);
  run.store.forget(Number.MAX_SAFE_INTEGER);
  run.store.transaction(({ numbers, records, owners, bits, slots, trees }) => {
    numbers.deleteRange({});
    records.deleteRange({});
    owners.deleteRange({});
    bits.resize(0);
    slots.resize(0, 0);
    for (const tree of [...trees.trees()]) trees.dropTree(tree);
  });
  await run.store.commit();
  const { findings, nrBlocks } = await run.store.check();
  expect(findings).toEqual([]);
  expect(run.store.collections.units.nrAllocated).toBe(0);
  // Superblock, directory, names, history, maps: 5; the table and its collections: 7; the two space maps: 7 and one more for a bitmap.
  expect(nrBlocks).toBeLessThanOrEqual(options.history > 0 ? 60 : 24);
  await run.store.close();
});

/** All counts, of blocks and of units. Between transactions the units have no references but those of values. */
async function audit({ store }: StoreUnderModel): Promise<void> {
  const { findings, units } = await store.check();
  expect(findings).toEqual([]);
  const { units: map } = store.collections;
  const counts = Array.from({ length: map.length }, (_, nr) => map.count(nr));
  expect(counts).toEqual(counts.map((_, nr) => units.get('units')?.get(nr) ?? 0));
}
