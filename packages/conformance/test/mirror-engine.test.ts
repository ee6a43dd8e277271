/** Our mirror goes on with mirrors that the real kernel made. */
import { createHash } from 'node:crypto';
import { MemoryDataDevice } from '@pdata/device';
import { DiskLog, MirrorDevice } from '@pdata/mirror';
import { RecordingDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { mirrorFixture } from '../src/index.js';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function openFixture(name: 'mirror-partial' | 'mirror-synced') {
  const { length, regionSize, ...fixture } = mirrorFixture(name);
  const bytes = { log: fixture.log(), legs: [fixture.leg(0), fixture.leg(1)] as const };
  const legs = bytes.legs.map(
    (each, nr) => new RecordingDataDevice(new MemoryDataDevice({ name: `254:${16 * (nr + 1)}`, bytes: each })),
  );
  const log = new DiskLog(new MemoryDataDevice({ name: '254:0', bytes: bytes.log }), { length, regionSize });
  const mirror = await MirrorDevice.open({
    log,
    legs: legs.map((device) => ({ device })),
    goodLeg: 0,
    handleErrors: true,
  });
  return { fixture, bytes, legs, mirror };
}

describe("the kernel's mirror", () => {
  it('whose resync was interrupted is copied to its end: the regions that are not clean, and no others', async () => {
    const { fixture, bytes, legs, mirror } = await openFixture('mirror-partial');
    const [, nrCopied] = /(\d+)\/512/.exec(fixture.status) as RegExpExecArray;
    expect(await mirror.untilResynced()).toBe(true);
    const nrClean = 512 - (legs[1] as RecordingDataDevice).nrOf('write');
    expect(nrClean).toBeGreaterThanOrEqual(Number(nrCopied)); // it went on until it was taken down
    expect(nrClean).toBeLessThan(512);
    expect((legs[0] as RecordingDataDevice).nrOf('write')).toBe(0);
    const content = new Uint8Array(mirror.size);
    await mirror.read(0, content);
    await mirror.close();
    expect([sha256(content), ...bytes.legs.map(sha256)]).toEqual(Array(3).fill(fixture.sum));
    expect(Buffer.from(bytes.log.subarray(1024, 1088)).toString('hex')).toBe('ff'.repeat(64));
  });

  it('that was in sync is so at once, says so in the same words, and is not written to', async () => {
    const { fixture, bytes, legs, mirror } = await openFixture('mirror-synced');
    expect(mirror.statusLine()).toBe(fixture.status);
    expect(mirror.tableLine()).toBe('disk 2 254:0 64 2 254:16 0 254:32 0 1 handle_errors');
    const content = new Uint8Array(mirror.size);
    await mirror.read(0, content);
    expect(sha256(content)).toBe(fixture.sum);
    await mirror.close();
    expect(legs.map(({ operations }) => operations)).toEqual([[], []]);
    expect(Buffer.compare(bytes.log, mirrorFixture('mirror-synced').log())).toBe(0);
  });
});
