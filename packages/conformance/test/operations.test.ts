/**
 * Long random lives of a pool under our metadata operations, judged by both real checkers, and dumped by us and by 1.1.0 with
 * every choice of devices: leaves end up shared by all kinds of groups of devices, which no kept image has.
 */
import { openFileMetadataDevice } from '@pdata/device/node';
import { ThinMetadata } from '@pdata/thin';
import { describe, expect, it } from 'vitest';
import {
  openScratch,
  ourCheckComplaint,
  realCheckComplaint,
  realDump,
  requireTools,
  runOurTool,
} from '../src/index.js';
import { firstDifference } from './first-difference.js';

const NR_DATA_BLOCKS = 60_000;

/** mulberry32: the same seed gives the same life. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** Lives for `nrSteps` steps on a new device at `path`; ends committed and closed. @returns the thin ids that are left */
function live(path: string, seed: number, nrSteps: number): number[] {
  const random = randomOf(seed);
  const device = openFileMetadataDevice(path, { mode: 'write', create: { nrBlocks: 4096 } });
  const metadata = ThinMetadata.format(device, { dataBlockSize: 128, nrDataBlocks: NR_DATA_BLOCKS / 2 });
  let committed: number[] = [];
  let ids: number[] = [];
  const anyId = (): number => ids[random(ids.length)]!;
  const newId = (): number => {
    for (;;) {
      const id = random(1000);
      if (!ids.includes(id)) return id;
    }
  };
  const write = (id: number, begin: number, end: number, step: number): void => {
    for (let block = begin; block < end && metadata.nrFreeDataBlocks > 100; block += step) {
      const old = metadata.find(id, block);
      if (old === undefined || old.shared) metadata.insert(id, block, metadata.allocateDataBlock());
    }
  };
  const steps: (() => void)[] = [
    () => {
      const id = newId();
      metadata.createThin(id);
      ids.push(id);
      write(id, 0, 500 + random(4000), 1 + random(2));
    },
    ...Array.from({ length: 3 }, () => () => {
      const id = newId();
      metadata.createSnapshot(id, anyId());
      ids.push(id);
    }),
    ...Array.from({ length: 4 }, () => () => {
      const begin = random(5000);
      write(anyId(), begin, begin + 1 + random(300), 1);
    }),
    () => write(anyId(), random(1000), 5000, 200 + random(700)),
    () => {
      const begin = random(5000);
      metadata.removeRange(anyId(), begin, begin + random(1200));
    },
    () => {
      if (ids.length < 4) return;
      const id = anyId();
      metadata.deleteDevice(id);
      ids = ids.filter((other) => other !== id);
    },
    () =>
      metadata.heldRoot === undefined ? void metadata.reserveMetadataSnapshot() : metadata.releaseMetadataSnapshot(),
    () => metadata.resizeData(Math.min(NR_DATA_BLOCKS, metadata.nrDataBlocks + random(3000))),
    () => metadata.setTransactionId(metadata.transactionId, metadata.transactionId + 1n),
    () => {
      if (random(4) > 0 || committed.length === 0) return;
      metadata.abort();
      ids = [...committed];
    },
  ];
  steps[0]!();
  for (let step = 0; step < nrSteps; step++) {
    steps[random(steps.length)]!();
    // A metadata snapshot commits by itself; then the list of devices must be remembered too.
    if (metadata.heldRoot !== undefined || random(3) === 0) {
      metadata.commit();
      committed = [...ids];
    }
  }
  metadata.commit();
  const left = Array.from(metadata.devices(), ({ thinId }) => thinId);
  expect(left).toEqual([...ids].sort((a, b) => a - b));
  metadata.close();
  device.close();
  return left;
}

describe.runIf(requireTools())('a pool after a random life', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    '(seed %i) is clean for both real checkers and dumps as 1.1.0 dumps it',
    async (seed) => {
      using scratch = openScratch();
      const image = scratch.path('meta.img');
      const ids = live(image, seed, 60);
      expect(await realDump(image), 'devices share leaves').toContain('<def ');
      expect(await ourCheckComplaint(image)).toBeUndefined();
      expect(await realCheckComplaint('1.1.0', image)).toBeUndefined();
      expect(await realCheckComplaint('0.9.0', image)).toBeUndefined();

      const random = randomOf(seed + 1000);
      const choices = Array.from({ length: 4 }, () =>
        ids.filter(() => random(2) === 0).flatMap((id) => ['--dev-id', String(id)]),
      );
      for (const options of [[], ['-f', 'human_readable'], ['-r'], ...choices]) {
        const ours = await runOurTool('thin_dump', [...options, image]);
        expect({ options, status: ours.status, stderr: ours.stderr }).toEqual({ options, status: 0, stderr: '' });
        expect({ options, difference: firstDifference(ours.stdout, await realDump(image, options)) }).toEqual({
          options,
          difference: undefined,
        });
      }
    },
  );
});
