/** Runs the workload on a contender. Look-ups and scans run once unmeasured before. */
import { mix, resultHash, strideOf } from '../core/workload.js';
import { batchKeys, keysOf, type StoreContender, type StoreResult, type StoreWorkload } from './store-workload.js';

export async function measureStore(contender: StoreContender, workload: StoreWorkload): Promise<StoreResult> {
  const { nrKeys, nrBatches, batchSize, nrSingles, nrAwaiting } = workload;
  const keys = keysOf(workload);
  const fill = await secondsOf(() => contender.fill(keys.subarray(0, nrKeys)));

  const stride = strideOf(nrKeys);
  let found = 0;
  const getAll = (): void => {
    found = 0;
    for (let nr = 0, place = 0; nr < nrKeys; nr++, place = (place + stride) % nrKeys) {
      const record = contender.get(keys[place] as number);
      found = mix(found, record === undefined ? -1 : record.size ^ record.mtime);
    }
  };
  getAll();
  const get = await secondsOf(getAll);

  const scanned = [0, 0];
  const scanAll = (down: boolean): Promise<void> | void => {
    let hash = 0;
    const done = contender.scan((key, record) => {
      hash = mix(mix(hash, key), record.size ^ record.mtime);
      scanned[down ? 1 : 0] = hash;
    }, down);
    return done;
  };
  await scanAll(false);
  const scan = await secondsOf(() => scanAll(false));
  await scanAll(true);
  const scanDown = await secondsOf(() => scanAll(true));

  const changed = batchKeys(keys, workload);
  const batches = await secondsOf(async () => {
    for (let nr = 0; nr < nrBatches; nr++)
      await contender.putAll(changed, nr * batchSize, (nr + 1) * batchSize, nr + 1);
  });

  let next = nrKeys;
  const singles = await secondsOf(async () => {
    const worker = async (): Promise<void> => {
      while (next < nrKeys + nrSingles) await contender.putOne(keys[next++] as number, 1);
    };
    await Promise.all(Array.from({ length: nrAwaiting }, worker));
  });
  getAll();
  let hash = 0;
  let nr = 0;
  await contender.scan((key, record) => {
    hash = mix(mix(hash, key), record.size ^ record.mtime);
    nr++;
  }, false);
  return {
    fill,
    get,
    scan,
    scanDown,
    batches,
    singles,
    hash: resultHash({ found, up: scanned[0] ?? 0, down: scanned[1] ?? 0, hash, nr }),
  };
}

export async function secondsOf(work: () => Promise<void> | void): Promise<number> {
  const begin = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - begin) / 1e9;
}
