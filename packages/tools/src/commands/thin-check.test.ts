import { chmodSync, readFileSync } from 'node:fs';
import { openFileMetadataDevice } from '@pdata/device/node';
import { describe, expect, it } from 'vitest';
import { editSuperblock, flipBit, forgetDataBlock, leak, setNeedsCheck } from '../../test/damage.js';
import { kernelImage, runTool, scratchDirectory, writeImage } from '../../test/run-tool.js';
import { COMMANDS } from './registry.js';

const directory = scratchDirectory();
let nrImages = 0;

/** A file with the kernel's image, changed. */
function image(
  change: (bytes: Buffer) => void = () => {},
  name: Parameters<typeof kernelImage>[0] = 'thin-basic',
): string {
  const bytes = kernelImage(name);
  change(bytes);
  return writeImage(directory, `${nrImages++}.img`, bytes);
}
const sameBytes = (path: string, before: Buffer): boolean => readFileSync(path).equals(before);

const FIGURES = 'TRANSACTION_ID=5\nMETADATA_FREE_BLOCKS=1010\n';
const TITLES = 'Checking thin metadata\ndevice details tree\nmapping tree\ndata space map\nmetadata space map\n';

describe('thin_check of sound metadata prints what 1.1.0 prints', () => {
  const basic = image();
  const metasnap = image(undefined, 'thin-metasnap');
  it.each([
    ['', basic, FIGURES, TITLES],
    ['--', basic, FIGURES, TITLES],
    ['-v --io-engine sync', basic, FIGURES, TITLES],
    ['', metasnap, 'TRANSACTION_ID=5\nMETADATA_FREE_BLOCKS=1005\n', TITLES],
    ['--super-block-only', basic, FIGURES, ''],
    ['--override-mapping-root 116 --override-details-root=114', basic, FIGURES, TITLES],
    ['-q', basic, '', ''],
    ['-q --clear-needs-check-flag', basic, '', ''],
    ['-qm', metasnap, '', ''],
  ])('%s %s', async (options, path, stdout, stderr) => {
    const argv = ['thin_check', ...options.split(' ').filter(Boolean), path];
    expect(await runTool(argv)).toEqual({ exitCode: 0, stdout, stderr });
  });

  it('of a metadata snapshot, with the figures of the pool', async () => {
    const path = image(
      (bytes) => editSuperblock(bytes, (pool) => Object.assign(pool, { transactionId: 77n })),
      'thin-metasnap',
    );
    const { exitCode, stdout } = await runTool(`thin_check -m ${path}`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'TRANSACTION_ID=77\nMETADATA_FREE_BLOCKS=1005\n' });
  });

  it('even where the superblock counts more blocks than there are', async () => {
    const path = image((bytes) =>
      editSuperblock(bytes, (pool) => Object.assign(pool.metadataSpaceMap, { nrAllocated: 5000 })),
    );
    expect((await runTool(`thin_check ${path}`)).stdout).toContain('METADATA_FREE_BLOCKS=18446744073709547640\n');
  });
});

it('thin_check tells what to do about a note', async () => {
  const path = image((bytes) => editSuperblock(bytes, (pool) => Object.assign(pool, { version: 9 })));
  const { exitCode, stderr } = await runTool(`thin_check ${path}`);
  expect(exitCode).toBe(0);
  expect(stderr).toMatch(/\nnote: thin superblock: the version is 9.*\n {2}effect: .*\n {2}next step: Nothing needs/);
});

it('thin_check shows a number of 64 bits as it is on the disk', async () => {
  const path = image((bytes) => bytes.fill(0xff, 0, 4096));
  const { stderr } = await runTool(`thin_check ${path}`);
  expect(stderr).toContain('blockNr is 18446744073709551615, expected 0');
});

describe('thin_check blames the option for a root that the device does not have', () => {
  it.each([
    ['override-mapping-root', '1024', 'the device has only 1024 blocks'],
    ['override-details-root', '9007199254740993', 'the device has only 1024 blocks'],
    ['override-mapping-root', '18446744073709551615', 'the device has only 1024 blocks'],
    ['override-details-root', '0', 'block 0 is the superblock'],
  ])('--%s=%s', async (option, blockNr, why) => {
    const ran = await runTool(`thin_check --${option}=${blockNr} ${image()}`);
    expect(ran).toEqual({
      exitCode: 64,
      stdout: FIGURES,
      stderr:
        `--${option}=${blockNr}: ${why}\n` +
        '  effect: nothing was checked; this says nothing about the pool\n' +
        `  next step: give the block of a root node, or leave --${option} out\n`,
    });
  });
});

describe('thin_check refuses what 1.1.0 refuses', () => {
  const nothing = `${directory}/nothing`;
  const conflicts = [
    ['--auto-repair', '--super-block-only'],
    ['--auto-repair', '--skip-mappings'],
    ['--auto-repair', '--ignore-non-fatal-errors'],
    ['--auto-repair', '--metadata-snap'],
    ['--auto-repair', '--override-mapping-root', '<BLOCKNR>'],
    ['--auto-repair', '--override-details-root', '<BLOCKNR>'],
    ['--clear-needs-check-flag', '--metadata-snap'],
    ['--clear-needs-check-flag', '--override-mapping-root', '<BLOCKNR>'],
    ['--clear-needs-check-flag', '--override-details-root', '<BLOCKNR>'],
  ] as const;
  const excludes = (one: string, other: string): boolean => conflicts.some(([a, b]) => a === one && b === other);
  const spelled = (option: string): string => (option.includes('override') ? `${option}=1` : option);
  it.each(conflicts)('%s with %s', async (option, other, placeholder?: string) => {
    const name = placeholder === undefined ? other : `${other} ${placeholder}`;
    for (const line of [`${option} ${spelled(other)}`, `${spelled(other)} ${option}`]) {
      const ran = await runTool(`thin_check ${line} ${nothing}`);
      expect(ran).toMatchObject({ exitCode: 2, stdout: '' });
      expect(ran.stderr.split('\n')[0]).toBe(`error: the argument '${option}' cannot be used with '${name}'`);
    }
  });

  it('no other pair of options', async () => {
    const options = [
      '--super-block-only',
      '--skip-mappings',
      '--metadata-snap',
      '--ignore-non-fatal-errors',
      '--auto-repair',
      '--clear-needs-check-flag',
      '--override-mapping-root',
      '--override-details-root',
    ];
    for (const one of options) {
      for (const other of options) {
        if (one === other || excludes(one, other) || excludes(other, one)) continue;
        const { exitCode, stderr } = await runTool(`thin_check ${spelled(one)} ${spelled(other)} ${nothing}`);
        expect({ exitCode, first: stderr.split('\n')[0] }).toEqual({
          exitCode: 64,
          first: `Couldn't find input file '${nothing}'`,
        });
      }
    }
  });

  it.each([
    [['-q', nothing], ''],
    [[directory], `Not a block device or regular file '${directory}'.`],
    [['/dev/null'], "Not a block device or regular file '/dev/null'."],
    [[writeImage(directory, 'small', Buffer.alloc(4095))], 'Metadata device/file too small.  Is this binary metadata?'],
    [
      [writeImage(directory, 'xml', Buffer.alloc(5000, '<superblock '))],
      'This looks like XML.  This tool only supports the binary metadata format.',
    ],
    [['-m', image()], 'no current metadata snap'],
  ])('%j', async (argv, message) => {
    const ran = await runTool(['thin_check', ...argv]);
    expect(ran).toMatchObject({ exitCode: 64, stdout: '' });
    expect(ran.stderr.split('\n')[0]).toBe(message);
  });

  it('a superblock with a wrong checksum, saying what it is', async () => {
    const path = image((bytes) => flipBit(bytes, 0));
    const { exitCode, stdout, stderr } = await runTool(`thin_check ${path}`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: '' });
    expect(stderr).toMatch(/^bad checksum in superblock: thin superblock in block 0: checksum is 0x.*, expected 0x/);
  });

  it('a metadata snapshot whose superblock is damaged', async () => {
    const path = image(
      (bytes) => editSuperblock(bytes, (pool) => Object.assign(pool, { heldRoot: 1 })),
      'thin-metasnap',
    );
    const { exitCode, stdout, stderr } = await runTool(`thin_check -m ${path}`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: '' });
    expect(stderr).toMatch(/^metadata snap: bad checksum in superblock: thin superblock in block 1: magic is 0/);
  });

  it('a device that somebody else holds', async () => {
    const path = image();
    const held = openFileMetadataDevice(path, { mode: 'write' });
    try {
      const { exitCode, stdout, stderr } = await runTool(`thin_check ${path}`);
      expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: '' });
      expect(stderr).toMatch(
        /^cannot open .* for reading: it is open for writing.*\n {2}next step: deactivate the pool/,
      );
    } finally {
      held.close();
    }
  });
});

/** The damage table of docs/format/tools.md, section 2: exit codes of 1.1.0. */
const DAMAGES = {
  'a leaked data block': { class: 'leak', change: (bytes: Buffer) => void leak(bytes, 'data') },
  'a leaked metadata block': { class: 'leak', change: (bytes: Buffer) => void leak(bytes, 'metadata') },
  'leaks in both maps': {
    class: 'leak',
    change: (bytes: Buffer) => {
      leak(bytes, 'data');
      leak(bytes, 'metadata');
    },
  },
  'a data block that is in use and counted as free': {
    class: 'fatal',
    change: (bytes: Buffer) => forgetDataBlock(bytes, 0),
  },
  'a damaged mapping leaf': { class: 'fatal', change: (bytes: Buffer) => flipBit(bytes, 77) },
  'a damaged details tree': { class: 'fatal', change: (bytes: Buffer) => flipBit(bytes, 114) },
} as const;

describe.each(Object.entries(DAMAGES))('%s', (_, { class: severity, change }) => {
  const isLeak = severity === 'leak';

  it('is found, told with its effect and what to do, and not touched', async () => {
    const path = image(change);
    const before = readFileSync(path);
    chmodSync(path, 0o444);
    const { exitCode, stdout, stderr } = await runTool(`thin_check ${path}`);
    expect(exitCode).toBe(64);
    expect(stdout).toMatch(/^TRANSACTION_ID=5\nMETADATA_FREE_BLOCKS=10(10|09)\n$/);
    expect(stderr).toMatch(new RegExp(`^${severity}: .+\n {2}effect: .+\n {2}next step: .+$`, 'm'));
    // Advice that anybody can follow: no program that is not here.
    for (const [program] of stderr.matchAll(/\bthin_\w+/g)) expect(COMMANDS.map(({ name }) => name)).toContain(program);
    expect(await runTool(`thin_check -q ${path}`)).toEqual({ exitCode: 64, stdout: '', stderr: '' });
    expect(sameBytes(path, before)).toBe(true);
  });

  it(`${isLeak ? 'passes' : 'does not pass'} with --ignore-non-fatal-errors`, async () => {
    const { exitCode } = await runTool(`thin_check --ignore-non-fatal-errors ${image(change)}`);
    expect(exitCode).toBe(isLeak ? 0 : 64);
  });

  it.each([
    '--auto-repair',
    '--clear-needs-check-flag',
    '-q --clear-needs-check-flag',
    '--auto-repair --clear-needs-check-flag',
  ])(
    `${isLeak ? 'is repaired' : 'stays, byte for byte,'} with %s, and so does the needs_check flag`,
    async (options) => {
      const path = image((bytes) => {
        change(bytes);
        setNeedsCheck(bytes);
      });
      const before = readFileSync(path);
      const { exitCode, stderr } = await runTool(`thin_check ${options} ${path}`);
      expect(exitCode).toBe(isLeak ? 0 : 64);
      expect(stderr.includes('Cleared needs_check flag')).toBe(isLeak && !options.includes('-q'));
      if (!isLeak) {
        expect(sameBytes(path, before)).toBe(true);
        return;
      }
      expect(readFileSync(path).readUInt32LE(4)).toBe(0);
      expect(await runTool(`thin_check ${path}`)).toMatchObject({ exitCode: 0, stderr: TITLES });
    },
  );

  it('is told in JSON', async () => {
    const { stdout } = await runTool(`thin_check --json ${image(change)}`);
    const document = JSON.parse(stdout);
    expect(document).toMatchObject({
      tool: 'thin_check',
      ok: false,
      exitCode: 64,
      transactionId: 5,
      clean: false,
      needsCheck: false,
      errors: [],
    });
    expect(document.findings.length).toBeGreaterThan(0);
    for (const finding of document.findings) {
      expect(finding).toMatchObject({
        severity,
        structure: expect.any(String),
        message: expect.any(String),
        effect: expect.any(String),
        nextStep: expect.any(String),
      });
    }
    expect(document.fatal > 0).toBe(!isLeak);
    expect(document.leaks.data + document.leaks.metadata > 0).toBe(isLeak);
  });
});

describe('the needs_check flag', () => {
  it('is mentioned, and neither cleared nor a reason to fail, without being asked', async () => {
    const path = image(setNeedsCheck);
    const before = readFileSync(path);
    const { exitCode, stdout, stderr } = await runTool(`thin_check ${path}`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: FIGURES });
    expect(stderr).toMatch(/\nnote: the needs_check flag is set: .*--clear-needs-check-flag/);
    expect(sameBytes(path, before)).toBe(true);
  });

  it.each([
    '--clear-needs-check-flag',
    '--auto-repair',
    '--clear-needs-check-flag --super-block-only',
    '--clear-needs-check-flag --skip-mappings',
  ])('is cleared by %s, and nothing else is changed', async (options) => {
    const path = image(setNeedsCheck);
    const { exitCode, stderr } = await runTool(`thin_check ${options} ${path}`);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/Cleared needs_check flag\n$/);
    expect(sameBytes(path, kernelImage('thin-basic'))).toBe(true);
  });
});
