import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openFileDataDevice } from '@pdata/device/node';
import { DiskLog } from '@pdata/mirror';
import { describe, expect, it } from 'vitest';
import { runTool, scratchDirectory } from '../../test/run-tool.js';

const directory = scratchDirectory();
const SIZE = 64 * 1024;
let nrFiles = 0;

function legs(change: (bytes: Uint8Array) => void = () => {}): [string, string] {
  return [0, 1].map((nr) => {
    const bytes = new Uint8Array(SIZE).map((_, at) => at >> 9);
    if (nr === 1) change(bytes);
    const path = join(directory, `leg-${nrFiles++}.img`);
    writeFileSync(path, bytes);
    return path;
  }) as [string, string];
}

const verify = (paths: readonly string[], ...options: string[]) =>
  runTool(['mirror_verify', '--region-sectors', '16', ...paths.flatMap((path) => ['--leg', path]), ...options]);

describe('mirror_verify', () => {
  it('says that legs are the same, and writes nothing', async () => {
    const paths = legs();
    const before = paths.map((path) => statSync(path).mtimeMs);
    expect(await verify(paths)).toEqual({
      exitCode: 0,
      stdout: 'NR_REGIONS=8\nDIFFERING=0\nUNEXPECTED=0\nREPAIRED=0\n',
      stderr: 'all 8 regions are the same\n',
    });
    expect(paths.map((path) => statSync(path).mtimeMs)).toEqual(before);
  });

  it('says where they differ, and ends with 64; repaired from one, they are the same', async () => {
    const paths = legs((bytes) => bytes.fill(255, 3 * 8192, 3 * 8192 + 1024));
    const found = await verify(paths);
    expect(found.exitCode).toBe(64);
    expect(found.stdout).toContain('DIFFERING=1\nUNEXPECTED=1\nREPAIRED=0\n');
    expect(found.stderr).toBe(
      'differs: region 3: leg 1 differs in 2 sectors, the first of them 48\n' +
        '1 of 8 regions differ where they should not\n  effect: what is read there depends on the leg that is asked\n' +
        '  next step: find out which leg is right, and copy from it: --repair-from NR\n',
    );
    const repaired = await verify(paths, '--repair-from', '1', '--json');
    expect(repaired.exitCode).toBe(0);
    expect(JSON.parse(repaired.stdout)).toMatchObject({
      tool: 'mirror_verify',
      ok: true,
      nrRepaired: 1,
      differences: [{ regionNr: 3, firstSector: 48, nrSectors: 2, legs: [0], isExpected: false, isRepaired: true }],
      differencesLeftOut: 0,
    });
    expect(readFileSync(paths[0])[3 * 8192]).toBe(255);
    expect((await verify(paths, '-q')).stderr).toBe('');
  });

  it('tells apart, by the log, where they may differ', async () => {
    const paths = legs((bytes) => bytes.fill(255, 2 * 8192, 2 * 8192 + 512));
    const log = join(directory, 'log.img');
    const device = await openFileDataDevice(log, { mode: 'write', create: { size: 4096 } });
    const disk = new DiskLog(device, { length: SIZE / 512, regionSize: 16, sync: 'nosync' });
    await disk.resume(async () => []);
    disk.mark(2);
    await disk.flush();
    await device.close();
    const { exitCode, stdout, stderr } = await verify(paths, '--log', log);
    expect([exitCode, stdout]).toEqual([0, 'NR_REGIONS=8\nDIFFERING=1\nUNEXPECTED=0\nREPAIRED=0\n']);
    expect(stderr).toContain('may differ: region 2: leg 1 differs in 1 sectors, the first of them 32\n');
    expect(stderr).toContain('the next start of the mirror copies them');
  });

  it('compares what the smallest leg has, and says what it did not look at, unless it was told the size', async () => {
    const [first, second] = legs();
    writeFileSync(first, new Uint8Array([...readFileSync(first), ...new Uint8Array(1024).fill(9)]));
    const { exitCode, stderr } = await verify([first, second]);
    expect([exitCode, stderr]).toEqual([
      0,
      `all 8 regions are the same\nwarning: '${first}' is larger than the smallest leg: its last 1024 bytes were not looked at\n`,
    ]);
    expect((await verify([first, second], '--size', '64k')).stderr).toBe('all 8 regions are the same\n');
    expect(await verify([first, second], '--size', '1g')).toMatchObject({
      exitCode: 64,
      stderr: `a leg is too small: '${second}' has 65536 bytes, not 1073741824\n  next step: give a smaller --size, or a larger leg\n`,
    });
  });

  it('finds a region size for small legs by itself, and refuses one that makes no sense', async () => {
    const [first, second] = legs((bytes) => bytes.fill(255, 0, 512));
    const small = await runTool(['mirror_verify', '--leg', first, '--leg', second]);
    expect([small.exitCode, small.stdout]).toEqual([64, 'NR_REGIONS=1\nDIFFERING=1\nUNEXPECTED=1\nREPAIRED=0\n']);
    const [huge, hugeToo] = legs();
    for (const leg of [huge, hugeToo]) truncateSync(leg, 5 * 2 ** 40);
    for (const [files, size, says] of [
      [[first, second], '1024', 'a mirror of 128 sectors has no region of 1024 sectors\n  next step: give a smaller'],
      [[huge, hugeToo], '2', '4294967295 are the most\n  next step: give a larger --region-sectors'],
    ] as const) {
      const line = ['mirror_verify', ...files.flatMap((file) => ['--leg', file]), '--region-sectors', size];
      const { exitCode, stderr } = await runTool(line);
      expect([exitCode, stderr]).toEqual([64, expect.stringContaining(says)]);
    }
  });

  it('says in its usage line that it wants two legs', async () => {
    expect((await runTool('mirror_verify --help')).stdout).toContain(
      '\nUsage: mirror_verify [OPTIONS] --leg <FILE> --leg <FILE>\n',
    );
  });

  it('refuses what makes no sense', async () => {
    const paths = legs();
    for (const [options, code, says] of [
      [[paths[0]], 2, 'a mirror has 2 to 9 legs, not 1'],
      [[paths[0], paths[0]], 64, 'leg 0 and leg 1 are the same file'],
      [[paths[0], '/nowhere'], 64, "Couldn't find input file '/nowhere'"],
    ] as const) {
      const { exitCode, stderr } = await verify(options);
      expect([exitCode, stderr]).toEqual([code, expect.stringContaining(says)]);
    }
    writeFileSync(join(directory, 'empty'), '');
    expect(await verify([paths[0], join(directory, 'empty')])).toMatchObject({
      exitCode: 64,
      stderr: `'${join(directory, 'empty')}' is too small: it holds 0 bytes, less than a sector\n  next step: give the leg, or an image of it\n`,
    });
    const line = ['mirror_verify', '--leg', paths[0], '--leg', paths[1]];
    expect((await runTool([...line, '--log', paths[1]])).stderr).toContain('there is a --log without --region-sectors');
    expect((await runTool([...line, '--repair-from', '2'])).stderr).toContain('there is no leg 2: they are 0 to 1');
  });
});
