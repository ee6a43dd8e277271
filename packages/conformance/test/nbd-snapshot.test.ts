/**
 * Snapshots of thin volumes that somebody is writing to over NBD: fio and our own client, and a virtual machine whose disk the volume is.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectNbd } from '@pdata/nbd';
import { seededRandom } from '@pdata/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  openScratch,
  outputOf,
  requireKernel,
  requireNbdTools,
  runAside,
  runGuest,
  runProgram,
  runsLong,
  type Scratch,
  serveExports,
} from '../src/index.js';
import { expectClean, fileSum, PoolInFiles } from './pool-in-files.js';

const MIB = 2 ** 20;
/** A guest boots in six seconds on an idle machine; a busy one may take its time. */
vi.setConfig({ testTimeout: 600_000, hookTimeout: 120_000 });

let scratch: Scratch;
beforeEach(() => {
  scratch = openScratch();
});
afterEach(() => scratch[Symbol.dispose]());

describe.runIf(requireNbdTools())('a snapshot of a volume that is being written to over NBD', () => {
  it('holds what was acknowledged before it, nothing that began after it, and no sector of fio torn', async () => {
    const [meta, data] = [scratch.path('meta'), scratch.path('data')];
    const half = 16 * MIB;
    {
      await using opened = await PoolInFiles.make(meta, data, 160 * MIB);
      const { pool } = opened;
      await pool.createThin(0);
      const volume = await pool.openVolume(0, { size: 2 * half });
      await using service = await serveExports({ '0': { device: volume } });
      // We write to the second half: 4 KiB of one number each, counting up for each place.
      const disk = await connectNbd(service.uri('0'), { connections: 4 });
      const isOurs = new Set(service.server.clients.map(({ id }) => id));
      // fio writes to the first half, and verifies it at its end, when the snapshot has long been taken.
      const fio = outputOf('fio', [
        '--name=x',
        '--ioengine=nbd',
        '--verify_state_save=0',
        `--uri=${service.uri('0')}`,
        '--rw=randwrite',
        '--bs=4k',
        '--iodepth=8',
        `--size=${half}`,
        `--io_size=${runsLong() ? 64 * half : 2 * half}`,
        '--fsync=32',
        '--verify=crc32c',
        '--verify_fatal=1',
        '--do_verify=1',
        '--norandommap',
        '--randseed=5',
      ]);
      const nrPlaces = half / 4096;
      const [begun, ended] = [new Uint32Array(nrPlaces), new Uint32Array(nrPlaces)];
      const random = seededRandom(9);
      let stop = false;
      const writer = async (lane: number): Promise<void> => {
        while (!stop) {
          const place = Math.floor((random() * nrPlaces) / 8) * 8 + lane; // a place has one writer
          const stamp = ++begun[place]!;
          await disk.write(half + place * 4096, stampedPlace(place, stamp));
          ended[place] = stamp;
        }
      };
      const writers = Array.from({ length: 8 }, (_, lane) => writer(lane));
      while (!service.server.clients.some(({ id, nrRequests }) => !isOurs.has(id) && nrRequests > 300)) await sleep(10);
      const moments: { thinId: number; endedBefore: Uint32Array; begunUntil: Uint32Array }[] = [];
      for (let thinId = 1; thinId <= 3; thinId++) {
        await sleep(200);
        const endedBefore = ended.slice();
        await pool.createSnapshot(thinId, 0);
        moments.push({ thinId, endedBefore, begunUntil: begun.slice() });
      }
      await sleep(200);
      stop = true;
      await Promise.all(writers);
      await fio;
      await disk.close();

      for (const { thinId, endedBefore, begunUntil } of moments) {
        const snapshot = await pool.openVolume(thinId, { size: 2 * half, readOnly: true });
        await using served = await serveExports({ [thinId]: { device: snapshot } });
        const copy = scratch.path(`snapshot-${thinId}`);
        await outputOf('nbdcopy', [served.uri(String(thinId)), copy]);
        const bytes = readFileSync(copy);
        let nrWritten = 0;
        for (let place = 0; place < nrPlaces; place++) {
          const found = bytes.subarray(half + place * 4096, half + (place + 1) * 4096);
          const stamp = found.readUInt32LE(0);
          const torn = Array.from({ length: 8 }, (_, nr) => found.readUInt32LE(nr * 512)).some(
            (each) => each !== stamp,
          );
          expect(torn, `snapshot ${thinId}, place ${place} is made of two writes`).toBe(false);
          expect(stamp, `snapshot ${thinId}, place ${place} has what was acknowledged`).toBeGreaterThanOrEqual(
            endedBefore[place]!,
          );
          expect(stamp, `snapshot ${thinId}, place ${place} has nothing of later`).toBeLessThanOrEqual(
            begunUntil[place]!,
          );
          if (stamp > 0) nrWritten++;
        }
        expect(nrWritten).toBeGreaterThan(20);
        expectFioBlocks(bytes.subarray(0, half));
        await snapshot.close();
      }
      await volume.close();
    }
    await expectClean(meta);
  });
});

/** 4 KiB that tell where they belong, and which write to that place they are. */
function stampedPlace(place: number, stamp: number): Uint8Array {
  const words = new Uint32Array(1024).map((_, nr) => (nr % 2 === 0 ? stamp : place));
  return new Uint8Array(words.buffer);
}

/** Each 4 KiB is what fio wrote there, whole, or was never written. fio's header: u16 0xacca, …, u64 offset at 16. */
function expectFioBlocks(bytes: Buffer): void {
  let nrWritten = 0;
  for (let at = 0; at < bytes.length; at += 4096) {
    const block = bytes.subarray(at, at + 4096);
    if (block.every((byte) => byte === 0)) continue;
    nrWritten++;
    expect(block.readUInt16LE(0), `the header of fio's block at ${at}`).toBe(0xacca);
    expect(block.readBigUInt64LE(16), `the place that fio's block at ${at} was meant for`).toBe(BigInt(at));
  }
  expect(nrWritten).toBeGreaterThan(20);
}

describe.runIf(requireNbdTools() && requireKernel())('a virtual machine', () => {
  it('fills a file system on a volume that is its disk; fsck is clean on it, and on a snapshot taken meanwhile', async () => {
    const [meta, data] = [scratch.path('meta'), scratch.path('data')];
    const [origin, snapshot] = [scratch.path('origin.img'), scratch.path('snapshot.img')];
    const nrFiles = runsLong() ? 60 : 14;
    const size = (runsLong() ? 384 : 96) * MIB;
    const synced = new Map<string, string>();
    const removed = new Set<string>();
    let inSnapshot: Map<string, string> | undefined;
    {
      await using opened = await PoolInFiles.make(meta, data, 2 * size);
      const { pool } = opened;
      await pool.createThin(0);
      const volume = await pool.openVolume(0, { size });
      await using service = await serveExports({ '0': { device: volume } });
      let taking: Promise<void> | undefined;
      const found = await runGuest({
        guest: 'filesystem',
        disks: [service.uri('0')],
        programs: ['mke2fs'],
        env: { FILES: nrFiles, FILE_SIZE: 2 * MIB },
        onFinding: (key, value) => {
          const [name = '', sum = ''] = value.split(' ');
          if (key === 'synced') synced.set(name, sum);
          if (key === 'removed') removed.add(name);
          if (synced.size < nrFiles / 2 || taking !== undefined) return;
          inSnapshot = new Map(synced);
          taking = pool.createSnapshot(1, 0);
        },
      });
      await taking;
      expect(found.all('unmounted')).toEqual(['']);
      expect(synced.size).toBe(nrFiles);
      await outputOf('nbdcopy', [service.uri('0'), origin]);
      const frozen = await pool.openVolume(1, { size, readOnly: true });
      await using served = await serveExports({ '1': { device: frozen } });
      await outputOf('nbdcopy', [served.uri('1'), snapshot]);
    }
    await expectClean(meta);

    await expectFileSystem(origin, synced, removed);
    // As after a loss of power, the journal is to be replayed first; then nothing may be wrong.
    expect(await outputOf('debugfs', ['-R', 'features', snapshot]), 'it was mounted').toMatch(/needs_recovery/);
    const replay = await runAside('e2fsck', ['-y', '-E', 'journal_only', snapshot]);
    expect(replay.status, replay.stdout + replay.stderr).toBeLessThanOrEqual(1);
    expect(await outputOf('debugfs', ['-R', 'features', snapshot])).not.toMatch(/needs_recovery/);
    await expectFileSystem(snapshot, inSnapshot!, removed);
    expect(inSnapshot!.size).toBeLessThan(nrFiles);
  });
});

/** fsck has nothing to say, and the files that were synced, and never removed, have their contents. */
async function expectFileSystem(
  image: string,
  files: ReadonlyMap<string, string>,
  removed: ReadonlySet<string>,
): Promise<void> {
  const fsck = await runAside('e2fsck', ['-f', '-n', image]);
  expect(fsck.status, fsck.stdout + fsck.stderr).toBe(0);
  const tree = `${image}.tree`;
  mkdirSync(tree);
  const dumped = runProgram('debugfs', ['-R', `rdump / ${tree}`, image]);
  expect(dumped.status, dumped.stderr).toBe(0);
  const kept = [...files].filter(([name]) => !removed.has(name));
  expect(kept.length).toBeGreaterThan(files.size / 2);
  for (const [name, sum] of kept) expect(fileSum(join(tree, name)), name).toBe(sum);
}
