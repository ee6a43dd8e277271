/**
 * The real kernel activates mirrors on logs that we wrote, and takes them for what they are; and what it makes of a log that is new, old,
 * too long or too short is byte for byte what ours does.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { MemoryDataDevice } from '@pdata/device';
import { DiskLog, RegionHash } from '@pdata/mirror';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type GuestFindings, openScratch, requireKernel, runGuest, runOurTool } from '../src/index.js';

/** A guest boots in six seconds on an idle machine; a busy one may take its time. */
vi.setConfig({ testTimeout: 600_000, hookTimeout: 600_000 });

const LENGTH = 32_768;
const REGION_SIZE = 64;
const REGION_BYTES = REGION_SIZE * 512;
const LOG_BYTES = 64 * 1024;

/** A log of ours in memory, on bytes. */
async function ourLog(bytes: Uint8Array, length = LENGTH): Promise<DiskLog> {
  const log = new DiskLog(new MemoryDataDevice({ name: 'log', bytes }), { length, regionSize: REGION_SIZE });
  await log.resume(async () => []);
  return log;
}

/** As a mirror would: every region copied, reported and cleared. */
async function logWithCopied(nrRegions: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(LOG_BYTES);
  const log = await ourLog(bytes);
  const hash = new RegionHash<number>(log, { regionOf: (regionNr) => regionNr });
  for (let nr = 0; nr < nrRegions; nr++) {
    await hash.prepareRecovery();
    hash.recoveryDone(hash.takeQuiesced()!, true);
    await hash.update({ keepIdle: nr % 100 !== 99 });
  }
  await hash.update();
  await log.presuspend();
  await log.postsuspend();
  return bytes;
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a.buffer).equals(b);
const inSync = (status: string): string => / (\d+\/\d+) 1 /.exec(status)![1]!;

describe.runIf(requireKernel())('the kernel', () => {
  const scratch = openScratch();
  afterAll(() => scratch[Symbol.dispose]());
  const logs = new Map<string, Uint8Array>();
  let legs: [Uint8Array, Uint8Array];
  let found: GuestFindings;
  const read = (name: string): Uint8Array => new Uint8Array(readFileSync(scratch.path(name)));

  beforeAll(async () => {
    const whole = new Uint8Array(LENGTH * 512);
    for (let at = 0; at < whole.length; at++) whole[at] = (at * 31 + (at >> 9)) & 0xff;
    const other = whole.slice();
    other.fill(0xee, 5 * REGION_BYTES, 5 * REGION_BYTES + 4096); // in a region that our log calls clean
    other.fill(0xee, 300 * REGION_BYTES, 300 * REGION_BYTES + 4096); // in one that it does not
    legs = [whole, other];
    const full = await logWithCopied(512);
    const old = full.slice();
    old[4] = 1; // version
    const marked = full.slice();
    marked.fill(0xa5, 16, 1024);
    marked.fill(0x5a, 1088);
    logs
      .set('full', full)
      .set('partial', await logWithCopied(200))
      .set('shrunk', marked)
      .set('old', old);
    logs.set('fresh', new Uint8Array(LOG_BYTES)).set('short', full.slice(0, 1024));
    const disks = ['leg0', 'leg1', ...logs.keys()];
    legs.forEach((bytes, nr) => {
      writeFileSync(scratch.path(`leg${nr}`), bytes);
    });
    for (const [name, bytes] of logs) writeFileSync(scratch.path(name), bytes);
    const device = (name: string): string => `vd${'abcdefgh'[disks.indexOf(name)]}`;
    const tables = [
      `${device('full')} ${LENGTH} ${REGION_SIZE} once`,
      `${device('old')} ${LENGTH} ${REGION_SIZE} once`,
      `${device('shrunk')} ${100 * REGION_SIZE} ${REGION_SIZE} once`,
      `${device('short')} ${LENGTH} ${REGION_SIZE} once`,
      `${device('partial')} ${LENGTH} ${REGION_SIZE} sync`,
      `${device('fresh')} ${LENGTH} ${REGION_SIZE} sync`,
    ];
    found = await runGuest({
      guest: 'mirror-log',
      disks: disks.map((name) => scratch.path(name)),
      env: { TABLES: tables.join('\n') },
    });
  });

  it('takes a log of ours with all regions clean for a mirror in sync, at once', () => {
    expect(inSync(found.all('at-once')[0]!)).toBe('512/512');
    expect(isSame(read('full'), logs.get('full')!)).toBe(true);
  });

  it('makes of version 1 what ours makes of it', async () => {
    expect(inSync(found.all('at-once')[1]!)).toBe('512/512');
    const ours = logs.get('old')!.slice();
    await ourLog(ours);
    expect(isSame(read('old'), ours)).toBe(true);
  });

  it('makes of a log that is longer than the mirror what ours makes of it: stale bits, unused bytes and padding', async () => {
    expect(inSync(found.all('at-once')[2]!)).toBe('100/100');
    const ours = logs.get('shrunk')!.slice();
    await ourLog(ours, 100 * REGION_SIZE);
    expect(isSame(read('shrunk'), ours)).toBe(true);
    expect(Buffer.from(ours.subarray(1024, 1088)).toString('hex')).toBe(`${'ff'.repeat(12)}0f000000${'ff'.repeat(48)}`);
    expect((await ourLog(ours)).syncCount).toBe(100);
  });

  it('refuses a log that is too small, as ours does', () => {
    expect(found.all('refused')).toHaveLength(1);
    expect(
      () =>
        new DiskLog(new MemoryDataDevice({ bytes: new Uint8Array(1024) }), { length: LENGTH, regionSize: REGION_SIZE }),
    ).toThrow('512 regions need 1536 bytes');
  });

  it('copies what a log of ours does not call clean, and nothing else', () => {
    expect(Number(inSync(found.all('at-once')[3]!).split('/')[0])).toBeGreaterThanOrEqual(200);
    expect(inSync(found.all('at-end')[3]!)).toBe('512/512');
    expect(Buffer.from(read('partial').subarray(1024, 1088)).toString('hex')).toBe('ff'.repeat(64));
    // The legs differed in region 5, which the log calls clean, and in region 300, which it does not.
    const differing = legs[0].subarray(5 * REGION_BYTES, 5 * REGION_BYTES + 4096).filter((byte) => byte !== 0xee);
    expect(found.all('differing-bytes')[3]).toBe(`${differing.length}`);
    expect(found.all('differing-bytes')[4]).toBe('0'); // after a log that called nothing clean
  });

  it('leaves a new log as ours is, header and bits', async () => {
    expect(inSync(found.all('at-end')[4]!)).toBe('512/512');
    expect(isSame(read('fresh'), logs.get('full')!)).toBe(true);
    for (const name of ['fresh', 'partial']) {
      const { status, stdout } = await runOurTool('mirror_check', [scratch.path(name)]);
      expect({ status, stdout }).toEqual({ status: 0, stdout: 'NR_REGIONS=512\nIN_SYNC=512\nTO_COPY=0\n' });
    }
  });
});
