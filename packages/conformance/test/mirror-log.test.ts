/** Logs that the real kernel wrote, read by mirror_dump, mirror_check and our disk log. */
import { writeFileSync } from 'node:fs';
import { MemoryDataDevice } from '@pdata/device';
import { DiskLog } from '@pdata/mirror';
import { afterAll, describe, expect, it } from 'vitest';
import { mirrorFixture, openScratch, runOurTool } from '../src/index.js';

const scratch = openScratch();
afterAll(() => scratch[Symbol.dispose]());

/** In sync and all, as the kernel's status line says. */
function countsOf(status: string): [inSync: number, all: number] {
  const [, inSync, all] = / (\d+)\/(\d+) 1 AA 3 disk \S+ A$/.exec(status)!;
  return [Number(inSync), Number(all)];
}

async function dumped(
  name: 'mirror-partial' | 'mirror-synced',
): Promise<[begin: number, length: number, state: string][]> {
  const path = scratch.path(`${name}.log`);
  writeFileSync(path, mirrorFixture(name).log());
  const { status, stdout } = await runOurTool('mirror_dump', ['--json', path]);
  expect(status).toBe(0);
  return JSON.parse(stdout).dump.regions;
}

describe('a log that the kernel wrote', () => {
  it('of a mirror in sync has all regions clean, as its status line says', async () => {
    const [inSync, all] = countsOf(mirrorFixture('mirror-synced').status);
    expect(await dumped('mirror-synced')).toEqual([[0, all, 'clean']]);
    expect([inSync, all]).toEqual([512, 512]);
  });

  it('of a mirror that was taken down while it was copied has clean what was copied, which went on after its status line', async () => {
    const { status, log, leg, regionSize, length } = mirrorFixture('mirror-partial');
    const [inSync, all] = countsOf(status);
    const [first, ...rest] = await dumped('mirror-partial');
    const [begin, nrClean, state] = first!;
    expect([begin, state, rest]).toEqual([0, 'clean', [[nrClean, all - nrClean, 'dirty']]]);
    expect(nrClean).toBeGreaterThanOrEqual(inSync);
    expect(nrClean).toBe(38);
    expect(
      log()
        .subarray(1024, 1088)
        .reduce((ones, byte) => ones + byte.toString(2).replaceAll('0', '').length, 0),
    ).toBe(nrClean);

    // What it calls clean is the same on both legs, and the rest has to be copied indeed.
    const [a, b] = [leg(0), leg(1)];
    const regionBytes = regionSize * 512;
    const differing = Array.from({ length: all }, (_, nr) => nr).filter((nr) => {
      const [from, to] = [nr * regionBytes, (nr + 1) * regionBytes];
      return !Buffer.from(a.subarray(from, to)).equals(b.subarray(from, to));
    });
    expect(a.length).toBe(length * 512);
    expect(Math.min(...differing)).toBe(nrClean);
    expect(differing.length).toBe(all - nrClean);
  });

  it.each(['mirror-partial', 'mirror-synced'] as const)(
    '(%s) is sound, and a restart copies what is not clean',
    async (name) => {
      const path = scratch.path(`${name}-check.log`);
      const { log, regionSize, length } = mirrorFixture(name);
      writeFileSync(path, log());
      const options = ['--region-size', `${regionSize}`, '--length', `${length}`];
      const { status, stdout } = await runOurTool('mirror_check', [...options, path]);
      const [nrClean, toCopy] = name === 'mirror-partial' ? [38, 474] : [512, 0];
      expect({ status, stdout }).toEqual({
        status: 0,
        stdout: `NR_REGIONS=512\nIN_SYNC=${nrClean}\nTO_COPY=${toCopy}\nSECTORS_TO_COPY=${toCopy * regionSize}\n`,
      });
    },
  );

  it.each(['mirror-partial', 'mirror-synced'] as const)(
    '(%s) is taken over by ours, which changes no byte of it',
    async (name) => {
      const { log: content, regionSize, length } = mirrorFixture(name);
      const bytes = content();
      const log = new DiskLog(new MemoryDataDevice({ name: 'log', bytes }), { length, regionSize });
      await log.resume(async () => []);
      expect(log.syncCount).toBe(name === 'mirror-partial' ? 38 : 512);
      expect(await log.nextResyncWork()).toBe(name === 'mirror-partial' ? 38 : undefined);
      expect(Buffer.from(bytes.buffer).equals(content())).toBe(true);
    },
  );
});
