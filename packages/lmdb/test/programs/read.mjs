/**
 * Opens a pool for reading and answers each line on its standard input:
 *
 *   refresh   moves to the last commit, then "state …" as below
 *   state     "state COMMIT SAME": the number in block 0, and whether every block and the catalogue have that number too
 *
 *   node read.mjs ENVIRONMENT POOL
 */
import { createInterface } from 'node:readline';
import { LmdbEnvironment } from '@pdata/lmdb';

const [path, poolName] = process.argv.slice(2);
const environment = LmdbEnvironment.open(path, { mode: 'read' });
const device = environment.openPool(poolName);
const catalogue = environment.catalogue(poolName);

function state() {
  const bytes = new Uint8Array(device.nrBlocks * 4096);
  device.read(0, bytes);
  const view = new DataView(bytes.buffer);
  const commit = view.getUint32(0, true);
  let isSame = catalogue.get('commit') === commit && [...catalogue.entries()].length === 1;
  for (let at = 0; at < bytes.byteLength; at += 4) isSame &&= view.getUint32(at, true) === commit;
  return `state ${commit} ${isSame}\n`;
}

process.stdout.write('ready\n');
for await (const line of createInterface(process.stdin)) {
  if (line === 'refresh') device.refresh();
  process.stdout.write(state());
}
await environment.close();
