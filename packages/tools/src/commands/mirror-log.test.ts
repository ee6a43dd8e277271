/** mirror_check and mirror_dump. */
import { chmodSync, readFileSync, truncateSync } from 'node:fs';
import { openFileDataDevice } from '@pdata/device/node';
import { describe, expect, it } from 'vitest';
import { runTool, scratchDirectory, writeImage } from '../../test/run-tool.js';

const directory = scratchDirectory();
let nrImages = 0;

/** The log of a mirror that was 38 regions into its first copy: the bytes that a kernel wrote. */
function image(change: (bytes: Uint8Array) => void = () => undefined, size = 2048): string {
  const bytes = new Uint8Array(2048);
  bytes.set([0x72, 0x52, 0x69, 0x4d, 2, 0, 0, 0, 0, 2]);
  bytes.set([0xff, 0xff, 0xff, 0xff, 0x3f], 1024);
  change(bytes);
  return writeImage(directory, `${nrImages++}.log`, bytes.subarray(0, size));
}

describe('mirror_check', () => {
  it('tells what is in sync, and what a restart copies', async () => {
    expect(await runTool(`mirror_check ${image()}`)).toEqual({
      exitCode: 0,
      stdout: 'NR_REGIONS=512\nIN_SYNC=38\nTO_COPY=474\n',
      stderr: 'a restart copies 474 of 512 regions\n',
    });
    const synced = image((bytes) => bytes.fill(0xff, 1024, 1088));
    expect((await runTool(`mirror_check ${synced}`)).stderr).toBe(
      'all 512 regions are in sync: a restart copies nothing\n',
    );
  });

  it.each(['--region-size 64 --length 32768', '--region-size=32k --length 16m'])(
    'tells it in sectors with %s',
    async (options) => {
      const { exitCode, stdout } = await runTool(`mirror_check ${options} ${image()}`);
      expect([exitCode, stdout.split('\n')[3]]).toEqual([0, `SECTORS_TO_COPY=${474 * 64}`]);
    },
  );

  it('says what becomes of a mirror that has grown', async () => {
    const { exitCode, stdout, stderr } = await runTool(`mirror_check --region-size 64 --length 64000 ${image()}`);
    expect([exitCode, stdout]).toEqual([0, 'NR_REGIONS=512\nIN_SYNC=38\nTO_COPY=962\nSECTORS_TO_COPY=61568\n']);
    expect(stderr).toBe(
      'note: log header: The log describes 512 regions, and the mirror as given has 1000.\n' +
        '  effect: The 488 regions from 512 on are copied when the mirror is activated.\n' +
        '  next step: Nothing needs to be done if the mirror has been resized; otherwise check its length and its region size.\n' +
        'a restart copies 962 of 1000 regions\n',
    );
  });

  it('prints nothing when it is to be quiet, and one document when it is asked for JSON', async () => {
    expect(await runTool(`mirror_check -q ${image()}`)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    const { stdout } = await runTool(`mirror_check --json --region-size 64 ${image()}`);
    expect(JSON.parse(stdout)).toEqual({
      tool: 'mirror_check',
      ok: true,
      exitCode: 0,
      clean: true,
      fatal: 0,
      shape: 0,
      notices: [],
      version: 2,
      nrRegions: 512,
      nrInSync: 38,
      nrToCopy: 474,
      sectorsToCopy: 474 * 64,
      findings: [],
      errors: [],
    });
  });

  it.each([
    ['another magic', image((bytes) => bytes.set([1, 2, 3, 4])), 'The magic is 0x04030201, expected 0x4d695272.'],
    ['another version', image((bytes) => bytes.set([3], 4)), 'The version is 3, expected 2, or 1.'],
    [
      'no end',
      image(undefined, 1024),
      'The log has lost its end: 512 regions need 1536 bytes, and the device has 1024.',
    ],
  ])('finds a log with %s, in one sentence with its effect and what to do', async (_, path, message) => {
    const { exitCode, stdout, stderr } = await runTool(`mirror_check ${path}`);
    expect([exitCode, stdout]).toEqual([64, '']);
    const [fault, effect, nextStep, verdict, ...rest] = stderr.split('\n');
    expect(fault).toMatch(/^fatal: (log header|clean bits): /);
    expect(fault).toContain(message);
    expect(effect).toMatch(/^ {2}effect: .+\.$/);
    expect(nextStep).toMatch(/^ {2}next step: .+\.$/);
    expect([verdict, ...rest]).toEqual(['the log cannot be used', '']);
    expect(await runTool(`mirror_check -q ${path}`)).toEqual({ exitCode: 64, stdout: '', stderr: '' });
  });

  it('finds a log too small for the mirror', async () => {
    const { exitCode, stderr } = await runTool(`mirror_check --region-size 2 --length 1g ${image()}`);
    expect(exitCode).toBe(64);
    expect(stderr).toContain(
      'The log is too small for the mirror: 1048576 regions need 132096 bytes, and the device has 2048.',
    );
  });

  it('finds bits behind the last region', async () => {
    const path = image((bytes) => {
      bytes.set([100, 0], 8);
      bytes.set([0x10], 1024 + 12);
    });
    const { exitCode, stdout, stderr } = await runTool(`mirror_check ${path}`);
    expect([exitCode, stdout]).toEqual([64, 'NR_REGIONS=100\nIN_SYNC=38\nTO_COPY=62\n']);
    expect(stderr).toMatch(/^shape: clean bits: Bits are set behind the last region/);
  });
});

describe.each(['mirror_check', 'mirror_dump'])('%s', (tool) => {
  it.each([
    [
      '--region-size 96 --length 960',
      'region size of 96 sectors: expected a power of two from 2 to 2147483648 sectors',
    ],
    ['--region-size 1', 'region size of 1 sectors: expected a power of two from 2 to 2147483648 sectors'],
    ['--length 960', 'the length of a mirror says nothing without its region size'],
    [
      '--region-size 64 --length 32',
      'mirror of 32 sectors: expected a whole number, at least the region size of 64 sectors',
    ],
  ])('refuses %s', async (options, message) => {
    const { exitCode, stdout, stderr } = await runTool(`${tool} ${options} ${image()}`);
    expect([exitCode, stdout]).toEqual([64, '']);
    expect(stderr).toBe(
      `${message}\n  next step: give the size and the length of the table line: \`dmsetup table\` shows it\n`,
    );
  });

  it('refuses sizes that are none as a mistake on the command line', async () => {
    const { exitCode, stderr } = await runTool(`${tool} --region-size 1000b ${image()}`);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('not a multiple of 512 bytes');
  });

  it.each([
    ['nothing', () => `${directory}/missing`, "Couldn't find input file"],
    ['a directory', () => directory, 'Not a block device or regular file'],
    ['a file without a sector', () => image(undefined, 100), 'is too small for a mirror log'],
  ])('refuses %s', async (_, path, message) => {
    const { exitCode, stderr } = await runTool(`${tool} ${path()}`);
    expect(exitCode).toBe(64);
    expect(stderr).toContain(message);
    expect(stderr).toContain('next step: ');
  });

  it('refuses a log that somebody else writes to', async () => {
    const path = image();
    const other = await openFileDataDevice(path, { mode: 'write' });
    const { exitCode, stderr } = await runTool(`${tool} ${path}`);
    await other.close();
    expect([exitCode, stderr.includes('deactivate the mirror first')]).toEqual([64, true]);
  });

  it('writes nothing to its input', async () => {
    const path = image();
    const before = readFileSync(path);
    chmodSync(path, 0o444);
    expect((await runTool(`${tool} ${path}`)).exitCode).toBe(0);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it('says which version it is, and helps', async () => {
    expect((await runTool(`${tool} -V`)).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const { stdout } = await runTool(`${tool} --help`);
    for (const text of ['--region-size <SIZE>', '--length <SIZE>', '--json', 'Exit codes: ', 'Examples:']) {
      expect(stdout).toContain(text);
    }
  });
});

describe('mirror_dump', () => {
  it('prints XML, text or JSON', async () => {
    const path = image();
    expect(await runTool(`mirror_dump ${path}`)).toEqual({
      exitCode: 0,
      stdout: `<mirror_log version="2" nr_regions="512">
  <regions state="clean" begin="0" length="38"/>
  <regions state="dirty" begin="38" length="474"/>
</mirror_log>
`,
      stderr: '',
    });
    expect((await runTool(`mirror_dump -f human_readable --region-size 64 ${path}`)).stdout).toBe(
      'mirror log: version 2, 512 regions\nregions 0..37 (sectors 0..2431): clean\n' +
        'regions 38..511 (sectors 2432..32767): to be copied\n',
    );
    expect(JSON.parse((await runTool(`mirror_dump --json ${path}`)).stdout)).toEqual({
      tool: 'mirror_dump',
      dump: {
        log: { version: 2, nrRegions: 512 },
        regions: [
          [0, 38, 'clean'],
          [38, 474, 'dirty'],
        ],
      },
      ok: true,
      exitCode: 0,
      errors: [],
    });
  });

  it('writes to a file, and not over its input', async () => {
    const path = image();
    expect(await runTool(`mirror_dump -o ${path}.xml ${path}`)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    expect(readFileSync(`${path}.xml`, 'utf8')).toMatch(/^<mirror_log .*<\/mirror_log>\n$/s);
    const over = await runTool(`mirror_dump -o ${path} ${path}`);
    expect([over.exitCode, over.stderr]).toEqual([
      64,
      `output error: '${path}' is the input itself\n  next step: give another output\n`,
    ]);
  });

  it('refuses what its check finds fatal, before it opens an output', async () => {
    const path = image();
    truncateSync(path, 1024);
    const { exitCode, stdout, stderr } = await runTool(`mirror_dump -o ${path}.xml ${path}`);
    expect([exitCode, stdout]).toEqual([64, '']);
    expect(stderr).toBe(
      `${path}: clean bits: The log has lost its end: 512 regions need 1536 bytes, and the device has 1024\n` +
        '  effect: The kernel does not activate a mirror with such a log\n' +
        "  next step: Check that this is the log's device: it is the first device in the mirror line of `dmsetup table`\n",
    );
    expect(() => readFileSync(`${path}.xml`)).toThrow('ENOENT');
    const asJson = JSON.parse((await runTool(`mirror_dump --json ${path}`)).stdout);
    expect(asJson).toMatchObject({
      tool: 'mirror_dump',
      ok: false,
      exitCode: 64,
      errors: [{ code: 'ERR_LOG_DAMAGE' }],
    });
  });
});
