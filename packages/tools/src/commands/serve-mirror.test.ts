import { copyFileSync, existsSync, mkdtempSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openFileDataDevice } from '@pdata/device/node';
import { connectNbd, type NbdDataDevice } from '@pdata/nbd';
import { describe, expect, it, onTestFinished } from 'vitest';
import { runTool, scratchDirectory } from '../../test/run-tool.js';
import { type RunningService, startService } from '../../test/running-service.js';

const MIB = 2 ** 20;
const directory = scratchDirectory();
let nrFiles = 0;
const newPath = (name: string): string => join(directory, `${nrFiles++}-${name}`);

const pattern = (seed: number, length = MIB): Uint8Array =>
  new Uint8Array(length).map((_, at) => seed + ((at >> 9) % 100));

interface MirrorFiles {
  readonly log: string;
  readonly legs: readonly string[];
}

/** Two legs with different content, and no log yet. */
function newFiles(contents: readonly Uint8Array[] = [pattern(1), pattern(100)]): MirrorFiles {
  const legs = contents.map((bytes, nr) => {
    const path = newPath(`leg${nr}.img`);
    writeFileSync(path, bytes);
    return path;
  });
  return { log: newPath('log.img'), legs };
}

const words = ({ log, legs }: MirrorFiles): string[] => [
  ...['serve', 'mirror', '--log', log, '--region-sectors', '64'],
  ...legs.flatMap((leg) => ['--leg', leg]),
];

const serve = (files: MirrorFiles, ...options: string[]): Promise<RunningService> =>
  startService([...words(files), '--socket', newPath('socket'), ...options]);

async function openExport(served: RunningService, exportName = 'mirror'): Promise<NbdDataDevice> {
  const device = await connectNbd(served.uri, { exportName });
  onTestFinished(() => device.close());
  return device;
}

async function content(device: NbdDataDevice): Promise<Uint8Array> {
  const bytes = new Uint8Array(device.size);
  await device.read(0, bytes);
  return bytes;
}

const inSync = (served: RunningService): Promise<unknown> =>
  expect.poll(() => served.stdout(), { timeout: 10_000 }).toMatch(/regions are in sync|"in-sync"/);

/** The clean bits of a log, as a string of regions. */
const cleanBits = ({ log }: MirrorFiles): string =>
  Array.from({ length: 32 }, (_, nr) => ((readFileSync(log)[1024 + (nr >> 3)] as number) >> (nr & 7)) & 1).join('');

describe('a mirror that is served', () => {
  it('makes its log, copies the first leg to the others, and leaves everything clean', async () => {
    const files = newFiles();
    const served = await serve(files);
    expect(served.stdout()).toMatch(/^nbd\+unix:\/\/\/mirror\?socket=\S+ has 1048576 bytes \(1024KiB\)\nlistening on /);
    await inSync(served);
    const device = await openExport(served);
    expect(Buffer.compare(await content(device), pattern(1))).toBe(0);
    await device.write(100 * 512, new Uint8Array(1024).fill(255));
    await device.close(); // without a flush
    const { exitCode, stdout, stderr } = await served.end();
    const [first, second] = files.legs as [string, string];
    expect(exitCode).toBe(0);
    expect(stderr).toBe(`warning: 32 of 32 regions may differ: they are copied from leg 0 (${first}) to the others\n`);
    expect(stdout).toContain('\nall 32 regions are in sync\n');
    expect(stdout.endsWith(`\nmirror: 2 ${first} ${second} 32/32 1 AA 3 disk ${files.log} A\n`)).toBe(true);
    expect(Buffer.compare(readFileSync(first), readFileSync(second))).toBe(0);
    expect(readFileSync(second)[101 * 512]).toBe(255);
    expect(readFileSync(files.log).subarray(0, 16).toString('hex')).toBe('7252694d020000002000000000000000');
    expect(cleanBits(files)).toBe('1'.repeat(32));
  });

  it('copies nothing when its log calls everything clean, and only what it does not', async () => {
    const files = newFiles([pattern(1), pattern(1)]);
    await (await serve(files, '--nosync')).end();
    expect(cleanBits(files)).toBe('1'.repeat(32));
    const [first, second] = files.legs as [string, string];
    writeFileSync(second, pattern(100)); // as nobody should
    const log = readFileSync(files.log);
    log[1024] = 0b11110111;
    writeFileSync(files.log, log);
    const served = await serve(files);
    await inSync(served);
    expect((await served.end()).stderr).toContain('warning: 1 of 32 regions may differ');
    const region = (nr: number): Uint8Array => readFileSync(second).subarray(nr * 32_768, (nr + 1) * 32_768);
    expect(Buffer.compare(region(3), readFileSync(first).subarray(3 * 32_768, 4 * 32_768))).toBe(0);
    expect(Buffer.compare(region(4), pattern(100).subarray(4 * 32_768, 5 * 32_768))).toBe(0);
  });

  it('copies from the leg that is called the good one, of legs of different sizes what all have', async () => {
    const files = newFiles([pattern(1, MIB + 8192), pattern(100)]);
    const served = await serve(files, '--good-leg', '1', '--balance-reads', '--resync-rate', '1g');
    await inSync(served);
    const { stderr } = await served.end();
    const [first, second] = files.legs as [string, string];
    expect(stderr).toBe(
      `warning: '${first}' is larger than the mirror: its end is not used\n` +
        `warning: 32 of 32 regions may differ: they are copied from leg 1 (${second}) to the others\n`,
    );
    expect(Buffer.compare(readFileSync(first).subarray(0, MIB), pattern(100))).toBe(0);
    expect(Buffer.compare(readFileSync(first).subarray(MIB), pattern(1, MIB + 8192).subarray(MIB))).toBe(0);
  });

  it('copies at the rate that it is given, and goes on where it was', async () => {
    const files = newFiles();
    const served = await serve(files, '--resync-rate', '64k'); // two regions a second
    await (await openExport(served)).write(MIB - 512, new Uint8Array(512).fill(7)); // in a region not yet copied
    const { exitCode, stderr } = await served.end();
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(
      /(2\d|3\d) of 32 regions are not in sync: leg 0 \(\S+\) is right there, and the next start copies them\n$/,
    );
    expect(cleanBits(files).endsWith('0')).toBe(true);
    const again = await serve(files);
    await inSync(again);
    await again.end();
    expect(Buffer.compare(readFileSync(files.legs[0] as string), readFileSync(files.legs[1] as string))).toBe(0);
    expect(readFileSync(files.legs[1] as string).at(-1)).toBe(7);
  });

  it('tells its status line when it is asked, and with --json everything as an object a line', async () => {
    const served = await serve(newFiles(), '--json');
    await inSync(served);
    served.askForStatus();
    const { exitCode, stdout } = await served.end();
    expect(exitCode).toBe(0);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const status = { event: 'status', statusLine: expect.stringMatching(/^2 \S+ \S+ 32\/32 1 AA 3 disk \S+ A$/) };
    const others = lines.filter(({ event }) => event !== 'warning');
    expect(others).toEqual([
      {
        event: 'listening',
        uri: served.uri,
        exports: [{ name: 'mirror', size: MIB, uri: expect.stringContaining('/mirror?') }],
      },
      { event: 'in-sync', nrRegions: 32 },
      status,
      status,
      { event: 'end', tool: 'pdata serve mirror', ok: true, exitCode: 0, errors: [] },
    ]);
  });

  it('can do without a log', async () => {
    const files = newFiles();
    const legs = files.legs.flatMap((leg) => ['--leg', leg]);
    const line = ['serve', 'mirror', '--core-log', '--region-sectors', '64', ...legs, '--socket', newPath('socket')];
    const served = await startService(line);
    await inSync(served);
    expect((await served.end()).stdout).toMatch(/ 32\/32 1 AA 1 core\n$/);
    expect(existsSync(files.log)).toBe(false);
  });
});

describe('what cannot be served is refused, and nothing is written', () => {
  async function refused(files: MirrorFiles, ...options: string[]): Promise<{ exitCode: number; stderr: string }> {
    const all = [files.log, ...files.legs];
    const look = (): (number | undefined)[] => all.map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs);
    const before = look();
    const { exitCode, stdout, stderr } = await runTool([...words(files), '--socket', newPath('socket'), ...options]);
    expect(look()).toEqual(before);
    expect(stdout).toBe('');
    expect(stderr).not.toContain('bug');
    return { exitCode, stderr };
  }

  const cases: [string, (files: MirrorFiles) => MirrorFiles, string][] = [
    [
      'an empty file for the log',
      (files) => {
        writeFileSync(files.log, '');
        return files;
      },
      'less than a sector\n  next step: remove it, and a log is made there\n',
    ],
    [
      'a missing leg',
      (files) => ({ ...files, legs: [files.legs[0] as string, '/nowhere.img'] }),
      "Couldn't find input file '/nowhere.img'",
    ],
    [
      'one file as two legs',
      ({ log, legs: [leg] }) => ({ log, legs: [leg as string, leg as string] }),
      'leg 0 and leg 1 are the same file',
    ],
    ['a leg as the log', ({ legs }) => ({ log: legs[1] as string, legs }), 'leg 1 and log are the same file'],
    [
      'a directory as a leg',
      ({ log, legs }) => ({ log, legs: [legs[0] as string, mkdtempSync(join(directory, 'a-directory-'))] }),
      'Not a block device or regular file',
    ],
    [
      'a log that is something else',
      (files) => {
        writeFileSync(files.log, pattern(50, 4096));
        return files;
      },
      'holds no mirror log, but something else\n  next step: check that this is the log',
    ],
    [
      'a log of an unknown version',
      (files) => {
        writeFileSync(files.log, new Uint8Array(4096));
        writeFileSync(files.log, Buffer.concat([Buffer.from('7252694d03000000', 'hex'), Buffer.alloc(4088)]));
        return files;
      },
      'has version 3; only 1 and 2 are known',
    ],
    [
      'a log that is too small',
      (files) => {
        writeFileSync(files.log, new Uint8Array(1024));
        return files;
      },
      'is too small: 32 regions need 1536 bytes, and it has 1024\n  next step: give a larger log device, or larger regions',
    ],
    [
      'a leg with no room for a region',
      (files) => {
        truncateSync(files.legs[1] as string, 16_384);
        return files;
      },
      'a mirror of 32 sectors has no region of 64 sectors',
    ],
  ];
  it.each(cases)('%s', async (_, change, says) => {
    const { exitCode, stderr } = await refused(change(newFiles()));
    expect(exitCode).toBe(64);
    expect(stderr).toContain(says);
  });

  it.each([
    [
      ['--region-sectors', '48'],
      2,
      "invalid value '48' for '--region-sectors <N>': a region has a power of two of sectors",
    ],
    [['--good-leg', '2'], 2, 'there is no leg 2: they are 0 to 1'],
    [['--keep-log'], 2, 'there is a --keep-log without --handle-errors'],
    [['--core-log'], 2, "'--core-log' cannot be used with '--log <FILE>'"],
    [['--resync-rate', '0'], 2, 'nothing would ever be copied'],
    [
      ['--region-sectors', '4096'],
      64,
      'a mirror of 2048 sectors has no region of 4096 sectors\n  next step: give a smaller',
    ],
    [['--size', '2M'], 64, '1048576 bytes, not 2097152\n  next step: give a smaller --size, or a larger leg'],
  ] as const)('options: %s', async (options, code, says) => {
    const files = newFiles();
    const line =
      options[0] === '--region-sectors'
        ? words(files).filter((word) => word !== '--region-sectors' && word !== '64')
        : words(files);
    const { exitCode, stderr } = await runTool([...line, '--socket', newPath('socket'), ...options]);
    expect([exitCode, stderr]).toEqual([code, expect.stringContaining(says)]);
    expect(existsSync(files.log)).toBe(false);
  });

  it('one leg, ten legs, and no log', async () => {
    const { log, legs } = newFiles();
    const [first] = legs as [string];
    for (const some of [[first], Array.from({ length: 10 }, () => first)]) {
      const { exitCode, stderr } = await runTool([...words({ log, legs: some }), '--socket', newPath('socket')]);
      expect([exitCode, stderr]).toEqual([2, expect.stringContaining(`a mirror has 2 to 9 legs, not ${some.length}`)]);
    }
    const { exitCode, stderr } = await runTool([
      ...words({ log, legs }).filter((word) => word !== '--log' && word !== log),
      '--port',
      '0',
    ]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('there is no --log')]);
  });

  it('a log of other regions, unless the mirror has been resized', async () => {
    const files = newFiles();
    const first = await serve(files);
    await inSync(first);
    await first.end();
    for (const leg of files.legs) truncateSync(leg, 2 * MIB);
    const { exitCode, stderr } = await refused(files);
    expect(exitCode).toBe(64);
    expect(stderr).toContain(
      `the log on '${files.log}' is for 32 regions, and a mirror of this size and region size has 64`,
    );
    const served = await serve(files, '--resized');
    await inSync(served);
    expect((await served.end()).stderr).toContain('warning: 32 of 64 regions may differ');
  });

  it('a device that holds something else is begun as a log with --new-log', async () => {
    const files = newFiles();
    writeFileSync(files.log, pattern(50, 4096));
    const served = await serve(files, '--new-log');
    await inSync(served);
    expect((await served.end()).exitCode).toBe(0);
    expect(cleanBits(files)).toBe('1'.repeat(32));
  });

  it('legs that somebody else uses', async () => {
    const files = newFiles();
    const leg = await openFileDataDevice(files.legs[1] as string, { mode: 'write' });
    const { exitCode, stderr } = await refused(files);
    await leg.close();
    expect(exitCode).toBe(64);
    expect(stderr).toContain('next step: end what uses it first: deactivate the mirror');
    copyFileSync(files.legs[0] as string, files.legs[1] as string);
  });
});
