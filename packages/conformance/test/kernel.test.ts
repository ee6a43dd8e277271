/**
 * The real kernel activates pools that we wrote, reads the volumes as they must be, works on them, and leaves metadata that we
 * understand; and the same in turns. Contents are compared through {@link volumeSum}, which shares no code with either.
 */
import { truncateSync, writeFileSync } from 'node:fs';
import { openFileMetadataDevice } from '@pdata/device/node';
import { ThinMetadata } from '@pdata/thin';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  fixture,
  type GuestFindings,
  type GuestRun,
  openScratch,
  ourCheckComplaint,
  readDump,
  realCheckComplaint,
  requireKernel,
  requireTools,
  runGuest,
  runGuests,
  runOurTool,
  runsLong,
  type Scratch,
  volumeSum,
} from '../src/index.js';
import { openPoolWorker } from './pool-worker.js';

const MIB = 1 << 20;
const POOL = { POOL_SECTORS: 131_072, BLOCK_SECTORS: 128 };
/** In the second round the kernel meets what we left of what it left. PDATA_LONG=1 goes on. */
const ROUNDS = runsLong() ? [1, 2, 3, 4, 5, 6] : [1, 2];
const isJudged = requireTools() && requireKernel();

/** A guest boots in six seconds on an idle machine; a busy one may take its time. */
vi.setConfig({ testTimeout: 600_000 });

let scratch: Scratch | undefined;
afterEach(() => {
  scratch?.[Symbol.dispose]();
  scratch = undefined;
});

function emptyFile(path: string, size: number): string {
  writeFileSync(path, '');
  truncateSync(path, size);
  return path;
}

async function expectClean(image: string, after: string): Promise<void> {
  expect(await ourCheckComplaint(image), after).toBeUndefined();
  expect(await realCheckComplaint('1.1.0', image), after).toBeUndefined();
  expect(await realCheckComplaint('0.9.0', image), after).toBeUndefined();
}

/** sha256 of volumes by our own dump. @param volumes "ID:SECTORS …" */
async function sumsByOurDump(image: string, data: string, volumes: string): Promise<Map<number, string>> {
  const { status, stdout, stderr } = await runOurTool('thin_dump', [image]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const pool = readDump(stdout);
  const pairs = volumes.split(' ').map((pair) => pair.split(':').map(Number) as [number, number]);
  return new Map(pairs.map(([thinId, sectors]) => [thinId, volumeSum(pool, thinId, sectors, data)]));
}

interface JudgedPool {
  readonly title: string;
  readonly run: GuestRun;
  /** What the kernel must read, before it works on the pool. */
  readonly before: ReadonlyMap<number, string>;
  readonly volumesAfter: string;
}

/** A kernel-made pool that went through our thin_dump and thin_restore. */
async function restored(name: 'thin-basic' | 'thin-metasnap'): Promise<JudgedPool> {
  const volumes = '0:65536 1:65536 2:65536 4:65536';
  const data = fixture(name).writeData(scratch!.path(`${name}-data.img`));
  const image = emptyFile(scratch!.path(`${name}-meta.img`), 4 * MIB);
  const origin = fixture(name).writeMetadata(scratch!.path(`${name}-origin.img`));
  const xml = scratch!.path(`${name}.xml`);
  expect((await runOurTool('thin_dump', ['-o', xml, origin])).status).toBe(0);
  expect(await runOurTool('thin_restore', ['-i', xml, '-o', image])).toMatchObject({ status: 0, stderr: '' });
  expect(await sumsByOurDump(image, data, volumes)).toEqual(fixture(name).sums);
  const WORK =
    'write:0 snapshot:20:0 write:0 write:20 discard:1 delete:2 create:30:65536 write:30 transaction:5:6 reserve write:0 release write:1';
  const run = { guest: 'judge', disks: [image, data], env: { ...POOL, VOLUMES: volumes, SEED: 7, WORK } };
  return { title: name, run, before: fixture(name).sums, volumesAfter: '0:65536 1:65536 4:65536 20:65536 30:65536' };
}

/** A pool that never met another hand. */
async function madeByUs(): Promise<JudgedPool> {
  const image = emptyFile(scratch!.path('meta.img'), 2 * MIB);
  const data = emptyFile(scratch!.path('data.img'), 64 * MIB);
  {
    using worker = openPoolWorker(image, data, { dataBlockSize: 128, nrDataBlocks: 240 });
    const { metadata } = worker;
    metadata.createThin(1);
    metadata.createThin(16_777_215);
    worker.write(1, 0, 128, 1);
    for (let block = 0; block < 128; block += 2) worker.write(16_777_215, block, block + 1, 2);
    worker.commit();
    metadata.createSnapshot(2, 1);
    metadata.createSnapshot(3, 2);
    worker.write(1, 10, 40, 3);
    for (let block = 0; block < 128; block += 9) worker.patch(2, block, 4);
    metadata.removeRange(1, 50, 90);
    metadata.removeRange(16_777_215, 0, 50);
    worker.commit();
    metadata.resizeData(1024);
    metadata.resizeMetadata(1024); // the file grows with it
    metadata.createSnapshot(4, 1);
    metadata.deleteDevice(3);
    metadata.setTransactionId(0n, 42n);
    worker.commit();
    worker.write(4, 80, 128, 5); // reaches into the blocks that the pool grew by
    worker.commit();
  }
  await expectClean(image, 'after our operations');
  const volumes = '1:16384 2:16384 4:16384 16777215:16384';
  const before = await sumsByOurDump(image, data, volumes);
  const WORK = 'write:1 write:2 snapshot:9:4 write:9 write:4 discard:2 discard:16777215 delete:1 transaction:42:43';
  const run = { guest: 'judge', disks: [image, data], env: { ...POOL, VOLUMES: volumes, SEED: 3, WORK } };
  return { title: 'made by us', run, before, volumesAfter: '2:16384 4:16384 9:16384 16777215:16384' };
}

const asLines = (sums: ReadonlyMap<number, string>): string[] =>
  Array.from(sums, ([thinId, sum]) => `${thinId} ${sum}`);

/** The kernel read exactly what the pool holds, found nothing to complain of, and refused nothing. */
function expectRead(found: GuestFindings, before: ReadonlyMap<number, string>): void {
  expect(found.all('before').sort()).toEqual(asLines(before).sort());
  expect(found.all('complaint')).toEqual([]);
  expect(found.all('refused')).toEqual([]);
}

describe.runIf(isJudged)('the kernel', () => {
  it('activates, reads and changes pools after our thin_restore, and one that our operations formatted, filled, snapshotted, trimmed and resized', async () => {
    scratch = openScratch();
    const pools = [await restored('thin-basic'), await restored('thin-metasnap'), await madeByUs()];
    const found = await runGuests(pools.map(({ run }) => run));
    for (const [nr, { title, run, before, volumesAfter }] of pools.entries()) {
      expectRead(found[nr]!, before);
      const [image, data] = run.disks as [string, string];
      await expectClean(image, `${title}, after the kernel changed it`);
      expect(found[nr]!.sums, title).toEqual(await sumsByOurDump(image, data, volumesAfter));
    }
    expect(found[2]!.all('status')[0]).toContain('thin-pool 42 ');
  });

  it('and our operations take turns on deep trees that seventeen devices share', async () => {
    scratch = openScratch();
    const image = emptyFile(scratch.path('meta.img'), 32 * MIB);
    const origin = fixture('thin-large').writeMetadata(scratch.path('origin.img'));
    expect((await runOurTool('thin_dump', ['-o', scratch.path('pool.xml'), origin])).status).toBe(0);
    const restored = await runOurTool('thin_restore', ['-i', scratch.path('pool.xml'), '-o', image]);
    expect(restored).toMatchObject({ status: 0, stderr: '' });
    const inTurn = [
      { VOLUMES: '0 1 24', DELETE: '10 20', NEW: 100, SEED: 31 },
      { VOLUMES: '2 200 101', DELETE: '13 22', NEW: 110, SEED: 32 },
    ];
    for (const env of inTurn) {
      const found = await runGuest({ guest: 'deep', disks: [image], env });
      expect([...found.all('complaint'), ...found.all('refused')]).toEqual([]);
      await expectClean(image, `after the kernel worked on ${env.VOLUMES}`);

      const device = openFileMetadataDevice(image, { mode: 'write' });
      const metadata = ThinMetadata.open(device);
      metadata.createSnapshot(env.NEW + 100, 1);
      metadata.removeRange(1, 0, 2 ** 22); // half of the device: its tree loses a layer's worth of leaves
      for (let block = 1; block < 60_000; block += 97)
        metadata.insert(env.NEW + 100, block, metadata.allocateDataBlock());
      metadata.commit();
      metadata.deleteDevice(env.NEW);
      metadata.createSnapshot(env.NEW + 101, 0);
      metadata.removeRange(0, 1000, 20_000);
      metadata.commit();
      metadata.close();
      device.close();
      await expectClean(image, `after our operations that followed ${env.VOLUMES}`);
    }
  });

  it('and our operations take turns on one pool', async () => {
    scratch = openScratch();
    const image = emptyFile(scratch.path('meta.img'), 4 * MIB); // all zero: the kernel formats it
    const data = emptyFile(scratch.path('data.img'), 64 * MIB);
    const volumes = (ids: readonly number[]): string => ids.map((id) => `${id}:8192`).join(' ');
    let present: number[] = [];
    let before = new Map<number, string>();
    for (const round of ROUNDS) {
      const born = 100 * round;
      const eldest = present[0];
      const kernelWork = [
        `create:${born}:8192 write:${born}`,
        ...present.map((id) => `write:${id}`),
        ...(eldest === undefined
          ? []
          : [`snapshot:${born + 1}:${eldest} write:${eldest} discard:${born + 1} delete:${eldest}`]),
        `snapshot:${born + 2}:${born} write:${born + 2}`,
      ].join(' ');
      const env = { ...POOL, VOLUMES: volumes(present), SEED: 50 + round, WORK: kernelWork };
      const found = await runGuest({ guest: 'judge', disks: [image, data], env });
      expectRead(found, before);
      present = present
        .filter((id) => id !== eldest)
        .concat(born, ...(eldest === undefined ? [] : [born + 1]), born + 2);
      await expectClean(image, `round ${round}, after the kernel`);
      expect(found.sums).toEqual(await sumsByOurDump(image, data, volumes(present)));

      {
        using worker = openPoolWorker(image, data);
        const { metadata } = worker;
        metadata.createSnapshot(born + 10, born);
        metadata.createThin(born + 11);
        worker.write(born + 11, 5, 40, round);
        worker.commit();
        for (const id of present) {
          for (let block = round; block < 64; block += 9) worker.patch(id, block, round);
          metadata.removeRange(id, 20 + round, 30);
        }
        if (round % 2 === 1) metadata.reserveMetadataSnapshot();
        worker.write(born, 0, 20, round);
        worker.commit();
        if (round % 2 === 0 && metadata.heldRoot !== undefined) metadata.releaseMetadataSnapshot();
        metadata.deleteDevice(born + 2);
        worker.commit();
      }
      present = present.filter((id) => id !== born + 2).concat(born + 10, born + 11);
      await expectClean(image, `round ${round}, after our operations`);
      before = await sumsByOurDump(image, data, volumes(present));
    }
  });
});
