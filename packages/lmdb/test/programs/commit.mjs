/**
 * Commits thin metadata and its catalogue for ever, each thin device with a record, and says after each commit what it made
 * durable, one line of JSON each. To be killed.
 *
 *   node commit.mjs ENVIRONMENT POOL SEED
 */
import { LmdbEnvironment } from '@pdata/lmdb';
import { seededRandom } from '@pdata/testing';
import { ThinMetadata } from '@pdata/thin';

const [path, poolName, seed] = process.argv.slice(2);
const random = seededRandom(Number(seed));
const environment = LmdbEnvironment.open(path);
// So small a stage that many transactions spill.
const device = environment.openPool(poolName, { maxStagedBytes: 24 * 4096 });
const catalogue = environment.catalogue(poolName);
const metadata = ThinMetadata.open(device, { cacheBlocks: 40 });

const thinIds = [...metadata.devices()].map(({ thinId }) => thinId);
let nextId = Math.max(-1, ...thinIds) + 1;
process.stdout.write('ready\n');
for (;;) {
  for (let change = 0; change <= random() * 3; change++) {
    const origin = thinIds[Math.floor(random() * thinIds.length)];
    if (thinIds.length > 12) {
      const [thinId] = thinIds.splice(Math.floor(random() * thinIds.length), 1);
      metadata.deleteDevice(thinId);
      catalogue.remove(`thin ${thinId}`);
    }
    const thinId = nextId++;
    if (origin === undefined || random() < 0.3 || !thinIds.includes(origin)) metadata.createThin(thinId);
    else metadata.createSnapshot(thinId, origin);
    thinIds.push(thinId);
    catalogue.put(`thin ${thinId}`, { thinId, made: new Date(0), tags: ['x'.repeat(Math.floor(random() * 5000))] });
    for (let nr = 0; nr < 80 && metadata.nrFreeDataBlocks > 0; nr++) {
      metadata.insert(thinId, Math.floor(random() * 20_000), metadata.allocateDataBlock());
    }
  }
  if (random() < 0.5) metadata.commit();
  else await metadata.commitAsync();
  process.stdout.write(`${JSON.stringify([...thinIds].sort((a, b) => a - b))}\n`);
}
