/**
 * The peer: lmdb-js on the same workload. `node dist/core/lmdb-core.js WORKLOAD-AS-JSON` prints a CoreResult as JSON.
 *
 * It gets its best side: binary keys made beforehand (big-endian, so that bytes sort as numbers), binary values, `putSync`
 * within one `transactionSync`, `getBinaryFast`, and `getRange` over everything. `overlappingSync` is off, so that a commit
 * has reached the disk when it returns, as ours has.
 *
 * Non-goals: lmdb's asynchronous writes, its batching of several writers, its use from several processes.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { open } from 'lmdb';
import { type CoreResult, type CoreWorkload, mix, randomKeys, resultHash, secondsOf, strideOf } from './workload.js';

export async function measureLmdb(workload: CoreWorkload): Promise<CoreResult> {
  const { nrKeys, nrCommits, directory } = workload;
  const keys = Array.from(randomKeys(workload), keyBytes);
  const db = open<Buffer, Buffer>({
    path: join(directory, 'lmdb'),
    encoding: 'binary',
    keyEncoding: 'binary',
    overlappingSync: false,
    mapSize: 2 ** 32,
  });
  try {
    const value = Buffer.alloc(8);
    const put = (place: number): void => {
      value.writeUInt32LE(place, 0);
      db.putSync(keys[place] as Buffer, value);
    };
    let inserting = 0;
    const insert = secondsOf(() => {
      db.transactionSync(() => {
        inserting = secondsOf(() => {
          for (let place = 0; place < nrKeys; place++) put(place);
        });
      });
    });

    const stride = strideOf(nrKeys);
    let found = 0;
    const lookUpAll = (): void => {
      found = 0;
      for (let nr = 0, place = 0; nr < nrKeys; nr++, place = (place + stride) % nrKeys) {
        found = mix(found, db.getBinaryFast(keys[place] as Buffer)?.readUInt32LE(0) ?? -1);
      }
    };
    lookUpAll();
    const lookup = secondsOf(lookUpAll);

    let walked = 0;
    let nrWalked = 0;
    const walkAll = (): void => {
      walked = 0;
      nrWalked = 0;
      for (const entry of db.getRange({})) {
        walked = mix(mix(walked, entry.key.readUInt32BE(4)), entry.value.readUInt32LE(0));
        nrWalked++;
      }
    };
    walkAll();
    const walk = secondsOf(walkAll);
    const hash = resultHash({ found, walked, nrWalked });

    const commits: number[] = [];
    for (let nr = 0; nr < nrCommits; nr++) commits.push(secondsOf(() => db.transactionSync(() => put(nrKeys + nr))));
    return { insert, insertCommit: insert - inserting, lookup, walk, commits, hash };
  } finally {
    await db.close();
  }
}

function keyBytes(key: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(8);
  bytes.writeBigUInt64BE(BigInt(key), 0);
  return bytes;
}

const [, program, argument] = process.argv;
if (program !== undefined && argument !== undefined && import.meta.url === pathToFileURL(program).href) {
  console.log(JSON.stringify(await measureLmdb(JSON.parse(argument) as CoreWorkload)));
}
