/**
 * The peer: lmdb-js on the same workload. `node dist/store/lmdb-store.js WORKLOAD-AS-JSON` prints a StoreResult as JSON.
 *
 * It gets its best side: keys and values in binary (faster than msgpack records), `getBinaryFast`, `putSync` within one
 * `transactionSync` for batches, and its own batching of asynchronous puts for those awaited at once. `overlappingSync` is off, so
 * that what is committed is on the disk, as ours is.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { open } from 'lmdb';
import { measureStore } from './measure.js';
import {
  decodeRecord,
  encodeKey,
  encodeRecord,
  keyIn,
  type StoreResult,
  type StoreWorkload,
} from './store-workload.js';

export async function measureLmdbStore(workload: StoreWorkload): Promise<StoreResult> {
  const db = open<Buffer, Buffer>({
    path: join(workload.directory, 'lmdb'),
    encoding: 'binary',
    keyEncoding: 'binary',
    overlappingSync: false,
    mapSize: 2 ** 32,
  });
  const keyBuffer = Buffer.alloc(8);
  const valueBuffer = Buffer.alloc(16);
  const putAll = (keys: Float64Array, from: number, to: number, version: number): void => {
    db.transactionSync(() => {
      for (let place = from; place < to; place++)
        db.putSync(encodeKey(keys[place] as number, keyBuffer), encodeRecord(place, version, valueBuffer));
    });
  };
  try {
    return await measureStore(
      {
        fill: (keys) => putAll(keys, 0, keys.length, 0),
        get(key) {
          const value = db.getBinaryFast(encodeKey(key, keyBuffer));
          return value === undefined ? undefined : decodeRecord(value);
        },
        scan(visit, down) {
          for (const { key, value } of db.getRange({ reverse: down })) visit(keyIn(key), decodeRecord(value));
        },
        putAll,
        async putOne(key, version) {
          await db.put(encodeKey(key, Buffer.alloc(8)), encodeRecord(key % 1e6, version, Buffer.alloc(16)));
        },
      },
      workload,
    );
  } finally {
    await db.close();
  }
}

const [, program, argument] = process.argv;
if (program !== undefined && argument !== undefined && import.meta.url === pathToFileURL(program).href) {
  console.log(JSON.stringify(await measureLmdbStore(JSON.parse(argument) as StoreWorkload)));
}
