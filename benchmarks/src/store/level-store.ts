/**
 * The peer: classic-level (LevelDB) on the same workload. `node dist/store/level-store.js WORKLOAD-AS-JSON` prints a StoreResult as JSON.
 *
 * Keys and values in binary, `getSync` for look-ups, `nextv` for scans, `sync: true` for what is to be durable. Its block cache has the
 * size of ours.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ClassicLevel } from 'classic-level';
import { measureStore } from './measure.js';
import {
  decodeRecord,
  encodeKey,
  encodeRecord,
  keyIn,
  type StoreResult,
  type StoreWorkload,
} from './store-workload.js';

const ENTRIES_A_STEP = 1000;

export async function measureLevelStore(workload: StoreWorkload): Promise<StoreResult> {
  const db = new ClassicLevel<Uint8Array, Uint8Array>(join(workload.directory, 'level'), {
    keyEncoding: 'view',
    valueEncoding: 'view',
    cacheSize: 256 * 1024 * 1024,
  });
  await db.open();
  const putAll = async (keys: Float64Array, from: number, to: number, version: number): Promise<void> => {
    const batch = db.batch();
    for (let place = from; place < to; place++)
      batch.put(encodeKey(keys[place] as number, Buffer.alloc(8)), encodeRecord(place, version, Buffer.alloc(16)));
    await batch.write({ sync: true });
  };
  const keyBuffer = Buffer.alloc(8);
  try {
    return await measureStore(
      {
        fill: (keys) => putAll(keys, 0, keys.length, 0),
        get(key) {
          const value = db.getSync(encodeKey(key, keyBuffer));
          return value === undefined ? undefined : decodeRecord(value);
        },
        async scan(visit, down) {
          const iterator = db.iterator({ reverse: down });
          try {
            for (;;) {
              const entries = await iterator.nextv(ENTRIES_A_STEP);
              if (entries.length === 0) return;
              for (const [key, value] of entries) visit(keyIn(key), decodeRecord(value));
            }
          } finally {
            await iterator.close();
          }
        },
        putAll,
        putOne: (key, version) =>
          db.put(encodeKey(key, Buffer.alloc(8)), encodeRecord(key % 1e6, version, Buffer.alloc(16)), { sync: true }),
      },
      workload,
    );
  } finally {
    await db.close();
  }
}

const [, program, argument] = process.argv;
if (program !== undefined && argument !== undefined && import.meta.url === pathToFileURL(program).href) {
  console.log(JSON.stringify(await measureLevelStore(JSON.parse(argument) as StoreWorkload)));
}
