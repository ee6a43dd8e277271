import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { editSuperblock, flipBit } from '../../test/damage.js';
import { kernelImage, runTool, scratchDirectory, writeImage } from '../../test/run-tool.js';
import { BrokenPipeError } from '../io/io.js';

const directory = scratchDirectory();
const basic = writeImage(directory, 'basic.img', kernelImage('thin-basic'));
const metasnap = writeImage(directory, 'metasnap.img', kernelImage('thin-metasnap'));

/** What thin_dump 1.1.0 prints for `--skip-mappings thin-basic`. */
const SKIPPED = `<superblock uuid="" time="4" transaction="5" version="2" data_block_size="128" nr_data_blocks="1024">
  <device dev_id="0" mapped_blocks="126" transaction="0" creation_time="0" snap_time="4">
  </device>
  <device dev_id="1" mapped_blocks="112" transaction="0" creation_time="1" snap_time="2">
  </device>
  <device dev_id="2" mapped_blocks="101" transaction="0" creation_time="2" snap_time="2">
  </device>
  <device dev_id="4" mapped_blocks="119" transaction="0" creation_time="4" snap_time="4">
  </device>
  <device dev_id="7" mapped_blocks="15" transaction="0" creation_time="0" snap_time="0">
  </device>
</superblock>`;
const SKIPPED_TEXT = `begin superblock: "", 4, 5, 0, 2, 128, 1024
device: 0
mapped_blocks: 126
transaction: 0
creation time: 0
snap time: 4

device: 1
mapped_blocks: 112
transaction: 0
creation time: 1
snap time: 2

device: 2
mapped_blocks: 101
transaction: 0
creation time: 2
snap time: 2

device: 4
mapped_blocks: 119
transaction: 0
creation time: 4
snap time: 4

device: 7
mapped_blocks: 15
transaction: 0
creation time: 0
snap time: 0

end superblock
`;

describe('thin_dump prints what 1.1.0 prints', () => {
  it.each([
    [`--skip-mappings ${basic}`, SKIPPED],
    [`--dev-id 1 --dev-id 2 --skip-mappings ${basic}`, SKIPPED],
    [`-q -v --io-engine sync -f xml --skip-mappings ${basic}`, SKIPPED],
    [`-f human_readable --skip-mappings ${basic}`, SKIPPED_TEXT],
    [`--transaction-id 4 --nr-data-blocks 5 --skip-mappings ${basic}`, SKIPPED],
    [
      `--transaction-id 18446744073709551615 --nr-data-blocks 1099511627776 --data-block-size 256 --dev-id 99 ${basic}`,
      '<superblock uuid="" time="4" transaction="18446744073709551615" version="2" data_block_size="256" nr_data_blocks="1099511627776">\n</superblock>',
    ],
    [`--repair --skip-mappings ${basic}`, SKIPPED],
  ])('%s', async (options, stdout) => {
    expect(await runTool(`thin_dump ${options}`)).toEqual({ exitCode: 0, stdout, stderr: '' });
  });

  it('of a metadata snapshot, whatever block is said to hold it', async () => {
    const first =
      '<superblock uuid="" time="4" transaction="5" version="2" data_block_size="128" nr_data_blocks="0">\n';
    for (const option of ['-m', '--metadata-snap', '-m=5', '-qm=999']) {
      const { exitCode, stdout } = await runTool(`thin_dump ${option} --skip-mappings ${metasnap}`);
      expect({ exitCode, first: stdout.slice(0, first.length) }).toEqual({ exitCode: 0, first });
    }
  });

  it('on its first line the superblock alone, with the transaction id that LVM looks for', async () => {
    const { stdout } = await runTool(`thin_dump ${basic}`);
    expect(stdout.split('\n')[0]).toMatch(/^<superblock [^<]* transaction="5" [^<]*>$/);
  });
});

describe('thin_dump to a file', () => {
  it('writes there what it would have printed', async () => {
    const path = join(directory, 'out.xml');
    writeFileSync(path, 'longer than the dump'.repeat(1000));
    expect(await runTool(`thin_dump -o ${path} --skip-mappings ${basic}`)).toEqual({
      exitCode: 0,
      stdout: '',
      stderr: '',
    });
    expect(readFileSync(path, 'utf8')).toBe(SKIPPED);
  });

  it('refuses to write over its input, and leaves it as it was', async () => {
    const before = readFileSync(basic);
    for (const output of [basic, `${directory}/../${directory.split('/').pop()}/basic.img`]) {
      const { exitCode, stderr } = await runTool(`thin_dump -o ${output} ${basic}`);
      expect(exitCode).toBe(64);
      expect(stderr).toMatch(/^output error: '.*' is the input itself\n/);
    }
    expect(readFileSync(basic).equals(before)).toBe(true); // toEqual would compare byte by byte, for half a minute
  });

  it('says why it cannot write', async () => {
    const loop = join(directory, 'loop');
    symlinkSync(loop, loop);
    for (const [output, problem] of [
      [join(directory, 'nonexistent', 'x'), 'no such file or directory'],
      [directory, 'illegal operation on a directory'],
      ['', 'no such file or directory'],
      [loop, 'too many symbolic links encountered'],
    ] as const) {
      const { exitCode, stderr } = await runTool(['thin_dump', '-o', output, basic]);
      expect(exitCode).toBe(64);
      expect(stderr.split('\n')[0]).toBe(`output error: cannot write '${output}': ${problem}`);
      expect(stderr).toContain('\n  next step: ');
    }
  });

  it('leaves an existing file alone when the input cannot be read', async () => {
    const path = join(directory, 'kept.xml');
    writeFileSync(path, 'kept');
    const noise = writeImage(directory, 'noise.img', Buffer.alloc(8192, 1));
    expect((await runTool(`thin_dump -o ${path} ${noise}`)).exitCode).toBe(64);
    expect(readFileSync(path, 'utf8')).toBe('kept');
    expect((await runTool(`thin_dump -o ${join(directory, 'new')} ${noise}`)).exitCode).toBe(64);
    expect(existsSync(join(directory, 'new'))).toBe(false);
  });
});

describe('thin_dump --json', () => {
  it('is one document with the same devices, mappings and shared parts as the XML', async () => {
    const { stdout } = await runTool(`thin_dump --json ${basic}`);
    const document = JSON.parse(stdout);
    expect(document).toMatchObject({ tool: 'thin_dump', ok: true, exitCode: 0, lost: [], errors: [] });
    expect(xmlOf(document.dump)).toBe((await runTool(`thin_dump ${basic}`)).stdout);
  });

  it('goes to the file, whole, when there is one', async () => {
    const path = join(directory, 'out.json');
    expect(await runTool(`thin_dump --json -o ${path} ${basic}`)).toMatchObject({ exitCode: 0, stdout: '' });
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ ok: true, dump: { superblock: { time: 4 } } });
  });

  it('tells an error that came before the first mapping', async () => {
    const { exitCode, stdout } = await runTool(`thin_dump --json ${directory}/nothing`);
    expect(exitCode).toBe(64);
    expect(JSON.parse(stdout)).toMatchObject({
      tool: 'thin_dump',
      ok: false,
      exitCode: 64,
      errors: [{ code: 'ERR_NO_INPUT', message: `Couldn't find input file '${directory}/nothing'` }],
    });
  });
});

describe('thin_dump of a damaged pool', () => {
  const image = kernelImage('thin-basic');
  flipBit(image, 77); // the root, and only leaf, of thin device 1
  const damaged = writeImage(directory, 'damaged.img', image);

  it('ends with 64, and says what is wrong, what is lost by it and what to do', async () => {
    const { exitCode, stderr, stdout } = await runTool(`thin_dump ${damaged}`);
    expect(exitCode).toBe(64);
    expect(stdout).not.toContain('</superblock>');
    expect(stderr).toMatch(
      /^btree node in block 77: checksum is 0x[0-9a-f]+, expected 0x[0-9a-f]+\n {2}effect: .*thin device 1.*\n {2}next step: .*--repair.*\n$/,
    );
    expect(await runTool(`thin_dump -q ${damaged}`)).toMatchObject({ exitCode: 64, stderr: '' });
  });

  it('saves the rest with --repair, and tells the loss', async () => {
    const { exitCode, stdout, stderr } = await runTool(`thin_dump --repair ${damaged}`);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/<\/superblock>$/);
    expect(stdout).toContain('<device dev_id="4" mapped_blocks="119"');
    expect(stderr).toMatch(/^lost: btree node in block 77: /);
    const { lost } = JSON.parse((await runTool(`thin_dump --repair --json ${damaged}`)).stdout);
    expect(lost).toEqual([
      expect.objectContaining({ code: 'ERR_CORRUPT_BLOCK', structure: 'btree node', blockNr: 77, thinId: 1 }),
    ]);
  });
});

describe('thin_dump of a pool without a superblock', () => {
  const image = kernelImage('thin-basic');
  flipBit(image, 0);
  const lost = writeImage(directory, 'lost.img', image);

  it('ends with 64, and names the way out', async () => {
    const { exitCode, stdout, stderr } = await runTool(`thin_dump ${lost}`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: '' });
    expect(stderr).toMatch(
      /^bad checksum in superblock: .*\n.*\n {2}next step: .*--repair --data-block-size SECTORS\n$/,
    );
  });

  it('asks for the data block size, as 1.1.0 does, and then finds the trees', async () => {
    const asked = await runTool(`thin_dump --repair ${lost}`);
    expect(asked).toMatchObject({ exitCode: 64, stdout: '' });
    expect(asked.stderr).toMatch(/^data block size needs to be provided due to corruption in the superblock/);
    const { exitCode, stdout, stderr } = await runTool(`thin_dump --repair --data-block-size 128 ${lost}`);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(
      /^the superblock is lost: searching 1024 blocks for the pool's trees\nlost: thin superblock in block 0: /,
    );
    expect((await runTool(`thin_dump --repair --data-block-size 128 ${basic}`)).stderr).toBe('');
    const devices = (xml: string): string => xml.slice(xml.indexOf('\n'));
    expect(devices(stdout)).toBe(devices((await runTool(`thin_dump ${basic}`)).stdout));
  });

  it('is not asked for it when the device is a wrong one', async () => {
    const cache = Buffer.alloc(65_536);
    cache.writeUInt32LE(1623043, 32);
    const path = writeImage(directory, 'cache.img', cache);
    const { exitCode, stderr } = await runTool(`thin_dump --repair ${path}`);
    expect(exitCode).toBe(64);
    expect(stderr).toContain('is dm-cache metadata\n  next step: use cache_check');
  });
});

describe('thin_dump --repair of a pool whose superblock says nonsense', () => {
  const image = kernelImage('thin-basic');
  editSuperblock(image, (superblock) => {
    superblock.dataBlockSize = 17;
    superblock.dataSpaceMap = { ...superblock.dataSpaceMap, nrBlocks: 100 };
  });
  const path = writeImage(directory, 'nonsense.img', image);

  it('asks for the data block size, and then dumps what can be restored', async () => {
    const asked = await runTool(`thin_dump --repair ${path}`);
    expect(asked).toMatchObject({ exitCode: 64, stdout: '' });
    expect(asked.stderr).toMatch(
      /^data block size needs to be provided due to corruption in the superblock .* is 17, .*\n {2}next step: give --data-block-size/,
    );
    const xml = join(directory, 'nonsense.xml');
    const { exitCode, stderr } = await runTool(`thin_dump --repair --data-block-size 128 -o ${xml} ${path}`);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(
      /^lost: btree node in block \d+: data block of virtual block \d+ is \d+, .*\n {2}effect: virtual blocks .* of thin device 0 are lost.*\n {2}next step: .*--nr-data-blocks/,
    );
    const output = writeImage(directory, 'restored.img', Buffer.alloc(1 << 20));
    expect(await runTool(`thin_restore -q -i ${xml} -o ${output}`)).toMatchObject({ exitCode: 0, stderr: '' });
  });
});

describe('thin_dump refuses', () => {
  it.each([
    [[], 2, 'error: the following required arguments were not provided:'],
    [['-r', '-m', basic], 2, "error: the argument '--repair' cannot be used with '--metadata-snap[=<BLOCKNR>]'"],
    [['-m', '5', basic], 2, `error: unexpected argument '${basic}' found`],
    [['--format', 'custom', basic], 2, "error: invalid value 'custom' for '--format <TYPE>'"],
    [
      ['--skip-mappings', '--skip-mappings', basic],
      2,
      "error: the argument '--skip-mappings' cannot be used multiple times",
    ],
    [['--io-engine', 'foo', basic], 64, "unknown io engine type 'foo'"],
    [
      ['--data-block-size', '17', basic],
      64,
      'the data block size is 17 sectors, expected a multiple of 128 sectors from 128 to 2097152',
    ],
    [
      ['--nr-data-blocks', '18446744073709551614', basic],
      64,
      'the number of data blocks is 18446744073709551614, expected a whole number up to 1099511627776',
    ],
    [['nothing'], 64, "Couldn't find input file 'nothing'"],
    [[''], 64, "Couldn't find input file ''"],
    [[join(directory, 'a'.repeat(300))], 64, `cannot read '${directory}/${'a'.repeat(300)}': name too long`],
    [[join(basic, 'x')], 64, `cannot read '${basic}/x': not a directory`],
    [[directory], 64, `Not a block device or regular file '${directory}'.`],
    [['/dev/null'], 64, "Not a block device or regular file '/dev/null'."],
    [['-m', basic], 64, 'no current metadata snap'],
    [
      [writeImage(directory, 'small', Buffer.alloc(4095))],
      64,
      'Metadata device/file too small.  Is this binary metadata?',
    ],
  ])('%j with %i: %s', async (argv, exitCode, message) => {
    const ran = await runTool(['thin_dump', ...argv]);
    expect(ran).toMatchObject({ exitCode, stdout: '' });
    expect(ran.stderr.split('\n')[0]).toBe(message);
  });
});

it('ends in silence when its reader goes away after the first line, as LVM does', async () => {
  let written = '';
  const out = (data: string | Uint8Array): void => {
    if (written !== '') throw new BrokenPipeError('closed');
    written = Buffer.from(data as Uint8Array).toString();
    throw new BrokenPipeError('closed');
  };
  expect(await runTool(`thin_dump ${basic}`, { out })).toEqual({ exitCode: 64, stdout: '', stderr: '' });
  expect(await runTool(`thin_dump --json ${basic}`, { out })).toEqual({ exitCode: 64, stdout: '', stderr: '' });
  expect(written).toMatch(/^<superblock .*transaction="5"/);
});

/** The XML of a dump, made from its JSON form by somebody else than the library. */
function xmlOf({ superblock, defs, devices }: JsonDump): string {
  const contents = (mappings: readonly JsonMapping[]): string =>
    mappings
      .map((item) => {
        if ('ref' in item) return `    <ref name="${item.ref}"/>\n`;
        const [origin, data, length, time] = item;
        return length === 1
          ? `    <single_mapping origin_block="${origin}" data_block="${data}" time="${time}"/>\n`
          : `    <range_mapping origin_begin="${origin}" data_begin="${data}" length="${length}" time="${time}"/>\n`;
      })
      .join('');
  const { time, transaction, version, dataBlockSize, nrDataBlocks } = superblock;
  return [
    `<superblock uuid="" time="${time}" transaction="${transaction}" version="${version}" data_block_size="${dataBlockSize}" nr_data_blocks="${nrDataBlocks}">\n`,
    ...defs.map(({ name, mappings }) => `  <def name="${name}">\n${contents(mappings)}  </def>\n`),
    ...devices.map(
      (thin) =>
        `  <device dev_id="${thin.devId}" mapped_blocks="${thin.mappedBlocks}" transaction="${thin.transaction}" creation_time="${thin.creationTime}" snap_time="${thin.snapTime}">\n` +
        `${contents(thin.mappings)}  </device>\n`,
    ),
    '</superblock>',
  ].join('');
}

type JsonMapping = readonly [number, number, number, number] | { readonly ref: number };
interface JsonDump {
  readonly superblock: Record<string, number | string>;
  readonly defs: readonly { readonly name: number; readonly mappings: readonly JsonMapping[] }[];
  readonly devices: readonly {
    readonly devId: number;
    readonly mappedBlocks: number;
    readonly transaction: number;
    readonly creationTime: number;
    readonly snapTime: number;
    readonly mappings: readonly JsonMapping[];
  }[];
}
