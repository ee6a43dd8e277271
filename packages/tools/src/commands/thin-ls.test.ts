import { describe, expect, it } from 'vitest';
import { flipBit } from '../../test/damage.js';
import { kernelImage, runTool, scratchDirectory, writeImage } from '../../test/run-tool.js';
import { humanSize } from './human-size.js';

const directory = scratchDirectory();
const basic = writeImage(directory, 'basic.img', kernelImage('thin-basic'));
const metasnap = writeImage(directory, 'metasnap.img', kernelImage('thin-metasnap'));

describe('thin_ls prints what 1.1.0 prints', () => {
  it.each([
    {
      line: `thin_ls ${basic}`,
      stdout: `DEV  MAPPED CREATE_TIME SNAP_TIME 
  0 8064KiB           0         4 
  1 7168KiB           1         2 
  2 6464KiB           2         2 
  4 7616KiB           4         4 
  7  960KiB           0         0 
`,
    },
    {
      line: `thin_ls --no-headers ${basic}`,
      stdout: `0 8064KiB 0 4 
1 7168KiB 1 2 
2 6464KiB 2 2 
4 7616KiB 4 4 
7  960KiB 0 0 
`,
    },
    {
      line: `thin_ls --format=DEV,SHARED,EXCLUSIVE,HIGHEST_MAPPED ${basic}`,
      stdout: `DEV  SHARED EXCLUSIVE HIGHEST_MAPPED 
  0 7168KiB    896KiB          32MiB 
  1 5376KiB   1792KiB          32MiB 
  2 4864KiB   1600KiB          32MiB 
  4 7424KiB    192KiB          32MiB 
  7      0b    960KiB         516MiB 
`,
    },
    {
      line: `thin_ls -o MAPPED_BLOCKS,MAPPED_SECTORS,MAPPED_BYTES,HIGHEST_BLOCK,HIGHEST_SECTOR,HIGHEST_BYTE ${basic}`,
      stdout: `MAPPED_BLOCKS MAPPED_SECTORS MAPPED_BYTES HIGHEST_BLOCK HIGHEST_SECTOR HIGHEST_BYTE 
          126          16128      8257536           508          65151     33357823 
          112          14336      7340032           507          65023     33292287 
          101          12928      6619136           509          65279     33423359 
          119          15232      7798784           508          65151     33357823 
           15           1920       983040          8253        1056511    540934143 
`,
    },
    {
      line: `thin_ls -oEXCLUSIVE_BLOCKS,EXCLUSIVE_SECTORS,EXCLUSIVE_BYTES,SHARED_BLOCKS,SHARED_SECTORS,SHARED_BYTES ${basic}`,
      stdout: `EXCLUSIVE_BLOCKS EXCLUSIVE_SECTORS EXCLUSIVE_BYTES SHARED_BLOCKS SHARED_SECTORS SHARED_BYTES 
              14              1792          917504           112          14336      7340032 
              28              3584         1835008            84          10752      5505024 
              25              3200         1638400            76           9728      4980736 
               3               384          196608           116          14848      7602176 
              15              1920          983040             0              0            0 
`,
    },
    {
      line: `thin_ls -o DEV,SHARED,EXCLUSIVE,MAPPED,HIGHEST_MAPPED ${metasnap}`,
      stdout: `DEV  SHARED EXCLUSIVE  MAPPED HIGHEST_MAPPED 
  0 6656KiB   2048KiB    9MiB          32MiB 
  1 4800KiB   1856KiB 6656KiB          32MiB 
  2 4928KiB   1664KiB 6592KiB          32MiB 
  4 7360KiB    192KiB 7552KiB          32MiB 
  7      0b   1216KiB 1216KiB         516MiB 
  9      0b        0b      0b          64KiB 
`,
    },
    {
      line: `thin_ls -m -o DEV,SHARED,EXCLUSIVE,MAPPED,HIGHEST_MAPPED ${metasnap}`,
      stdout: `DEV  SHARED EXCLUSIVE  MAPPED HIGHEST_MAPPED 
  0 6784KiB    832KiB 7616KiB          32MiB 
  1 4800KiB   1856KiB 6656KiB          32MiB 
  2 4928KiB   1664KiB 6592KiB          32MiB 
  4 7488KiB     64KiB 7552KiB          32MiB 
  7      0b   1216KiB 1216KiB         516MiB 
`,
    },
  ])('$line', async ({ line, stdout }) => {
    expect(await runTool(line)).toEqual({ exitCode: 0, stdout, stderr: 'Scanning data mappings\n' });
  });

  it('without reading mappings when no field needs them', async () => {
    const { stdout, stderr } = await runTool(`thin_ls -o DEV,TRANSACTION,CREATE_TIME,SNAP_TIME,DEV ${basic}`);
    expect(stdout).toBe(
      [
        'DEV TRANSACTION CREATE_TIME SNAP_TIME DEV ',
        '  0           0           0         4   0 ',
        '  1           0           1         2   1 ',
        '  2           0           2         2   2 ',
        '  4           0           4         4   4 ',
        '  7           0           0         0   7 ',
        '',
      ].join('\n'),
    );
    expect(stderr).toBe('');
  });
});

describe('thin_ls refuses what 1.1.0 refuses', () => {
  it.each([
    [`-o foo ${basic}`, "invalid value 'foo' for '--format <FIELDS>': Unknown field"],
    [`-o dev ${basic}`, "invalid value 'dev' for '--format <FIELDS>': Unknown field"],
    [`-o DEV, ${basic}`, "invalid value '' for '--format <FIELDS>': Unknown field"],
    [`-o DEV,FOO,BAR ${basic}`, "invalid value 'FOO' for '--format <FIELDS>': Unknown field"],
    [`-o toString ${basic}`, "invalid value 'toString' for '--format <FIELDS>': Unknown field"],
    [`-o DEV -o MAPPED ${basic}`, "the argument '--format <FIELDS>' cannot be used multiple times"],
    [`-q ${basic}`, "unexpected argument '-q' found"],
    [`${basic} x`, "unexpected argument 'x' found"],
  ])('%s', async (options, message) => {
    const ran = await runTool(`thin_ls ${options}`);
    expect(ran).toMatchObject({ exitCode: 2, stdout: '' });
    expect(ran.stderr.split('\n')[0]).toBe(`error: ${message}`);
  });

  it('a metadata snapshot that is not there', async () => {
    const ran = await runTool(`thin_ls -m ${basic}`);
    expect(ran).toMatchObject({ exitCode: 64, stdout: '' });
    expect(ran.stderr).toMatch(/^no current metadata snap\n {2}next step: /);
  });
});

it('names block, device and effect of damage, and prints no table', async () => {
  const damaged = kernelImage('thin-basic');
  flipBit(damaged, 77); // a leaf of thin device 1
  const path = writeImage(directory, 'damaged.img', damaged);
  const ran = await runTool(`thin_ls ${path}`);
  expect(ran).toMatchObject({ exitCode: 64, stdout: '' });
  expect(ran.stderr).toMatch(/btree node in block 77: checksum is 0x[0-9a-f]{8}, expected 0x[0-9a-f]{8}\n/);
  expect(ran.stderr).toContain('effect: all virtual blocks of thin device 1 cannot be read');
  expect(ran.stderr).toContain('next step: run thin_check');
  expect((await runTool(`thin_ls -o DEV ${path}`)).exitCode).toBe(0);
});

it('lists everything in JSON, and null as the highest block of an empty device', async () => {
  const { stdout } = await runTool(`thin_ls --json ${metasnap}`);
  const { devices, ...rest } = JSON.parse(stdout);
  expect(rest).toEqual({ tool: 'thin_ls', ok: true, exitCode: 0, dataBlockSize: 128, errors: [] });
  expect(devices).toHaveLength(6);
  expect(devices[5]).toEqual({
    devId: 9,
    mappedBlocks: 0,
    exclusiveBlocks: 0,
    sharedBlocks: 0,
    highestBlock: null,
    transaction: 5,
    creationTime: 4,
    snapTime: 4,
  });
});

it.each([
  [0n, '0b'],
  [8192n, '8192b'],
  [8704n, '9KiB'], // 8.5, up
  [8703n, '8KiB'],
  [1_048_064n, '1024KiB'], // 1023.5
  [1_049_088n, '1024KiB'], // 1024.5, down
  [8_389_120n, '8192KiB'], // 8192.5
  [8_389_632n, '8MiB'],
  [2_199_023_255_040n, '2047GiB'],
  [9_007_199_252_643_840n, '8191TiB'],
  [9_009_398_275_898_880n, '8PiB'],
  [2n ** 64n - 1n, '16EiB'],
])('says of %d bytes what 1.1.0 says: %s', (bytes, text) => {
  expect(humanSize(bytes)).toBe(text);
});
