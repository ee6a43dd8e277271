import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { ThinMetadata } from '@pdata/thin';
import { beforeEach, describe, expect, it } from 'vitest';
import { noise } from '../../test/pools.js';
import { openScratch, PROGRAM, type Scratch } from '../../test/program.js';
import { runCommand } from '../../test/run-command.js';
import { openParts } from '../pool/pool-directory.js';

const MiB = 1024 * 1024;
const fixture = (name: string): Buffer =>
  readFileSync(fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url)));

/** Runs a command that must succeed. */
async function ok(...argv: string[]): Promise<string> {
  const { exitCode, out, err } = await runCommand(argv);
  expect({ exitCode, argv, err }).toMatchObject({ exitCode: 0 });
  return out;
}

/** Runs a command that must fail with one sentence. */
async function refused(exitCode: number, sentence: string | RegExp, ...argv: string[]): Promise<void> {
  const result = await runCommand(argv);
  expect({ argv, ...result }).toMatchObject({ exitCode, out: '' });
  expect(result.err).toMatch(/^thin-pool: [^\n]+\n$/);
  if (typeof sentence === 'string') expect(result.err).toContain(sentence);
  else expect(result.err).toMatch(sentence);
}

const json = async (...argv: string[]) => JSON.parse(await ok(...argv, '--json'));

describe('the commands', () => {
  let scratch: Scratch;
  let pool: string;
  beforeEach(() => {
    scratch = openScratch();
    pool = scratch.path('pool');
    return () => scratch[Symbol.dispose]();
  });

  it('make a pool with volumes and say how it is', async () => {
    expect(await ok('create', pool, '--size', '64M')).toBe(
      `Made the pool ${pool}: 64 MiB of data in blocks of 64 KiB.\n`,
    );
    expect(await ok('volume', 'list', pool)).toBe('The pool has no volumes yet.\n');
    expect(await ok('volume', 'create', pool, 'disk', '1G')).toBe('Made the volume "disk" of 1 GiB.\n');
    expect(await ok('snapshot', pool, 'disk', 'monday')).toBe('Took the snapshot "monday" of "disk".\n');
    expect(await ok('snapshot', pool, 'monday', 'work', '--writable')).toBe('Made the volume "work" of "monday".\n');
    expect(await ok('volume', 'rename', pool, 'work', 'play')).toBe('"work" is called "play" now.\n');
    expect(await ok('volume', 'resize', pool, 'play', '+1G')).toBe('"play" has 2 GiB now.\n');
    expect(await ok('volume', 'resize', pool, 'play', '512M', '--shrink')).toBe('"play" has 512 MiB now.\n');
    expect(await ok('revert', pool, 'disk', 'monday')).toBe('"disk" is as in "monday" again.\n');
    expect(await ok('diff', pool, 'monday', 'disk')).toBe('"disk" and "monday" hold the same.\n');
    expect(await ok('volume', 'remove', pool, 'play')).toBe('Removed "play".\n');
    expect(await ok('grow', pool, '+64M')).toBe('The pool has 128 MiB of data now, 0 B used.\n');
    const status = await ok('status', pool);
    expect(status).toContain('Data      0 B of 128 MiB used (0 %)\n');
    expect(status).toContain('Volumes   1 volume and 1 snapshot; 2 GiB promised, 0 B mapped\n');
    expect(status).toContain('State     in order\n');
    const list = await ok('volume', 'list', pool);
    expect(list.split('\n')[0]).toBe('NAME    KIND       SIZE  MAPPED  FROM    MADE              IN USE');
    expect(list).toMatch(/^disk {4}volume {4}1 GiB {5}0 B {2}monday {2}\d{4}-\d\d-\d\d \d\d:\d\d$/m);
    expect(await ok('check', pool)).toBe('All is well: 2 volumes and snapshots, 0 mappings, nothing leaked.\n');
    expect(await json('volume', 'list', pool)).toMatchObject([
      { name: 'disk', thinId: expect.any(Number) },
      { name: 'monday' },
    ]);
    expect(await json('status', pool)).toMatchObject({ format: 'lmdb', mode: 'write', data: { size: 128 * MiB } });
    expect(await json('check', pool)).toMatchObject({ clean: true, findings: [] });
    expect(statSync(pool).mode & 0o77).toBe(0);
    expect(statSync(`${pool}/data`).mode & 0o77).toBe(0);
  });

  it.each([
    [['stauts', 'x'], 'did you mean "status"?'],
    [['create'], 'DIR is missing'],
    [['create', 'x', '--size', '0'], 'the size is 0'],
    [['volume', 'create', 'x', 'y', '--size', '1G'], 'no option "--size"; thin-pool volume create DIR NAME SIZE'],
    [['create', 'x', '--size', 'big'], '--size "big" is no size'],
    [['send', 'x', 'y', '--resume', '42'], '"42" is no resume token'],
    [['serve', 'x', '--port', '70000'], '--port 70000 is no port'],
    [['serve', 'x', '--host', '0.0.0.0'], '--host goes with --port'],
    [['serve', 'x', '--socket', 'a', '--port', '1'], '--socket and --port exclude each other'],
    [['serve', 'x', '--tls-cert', 'a'], '--tls-cert and --tls-key go together'],
    [['import-pool', 'x', '--data', 'y'], 'both --metadata FILE and --data FILE are needed'],
  ])('refuse %j with exit code 2', async (argv, sentence) => {
    const result = await runCommand(argv);
    expect(result.err).toMatch(/^thin-pool: [^\n]+\n$/);
    expect(result.err).toContain(sentence);
    expect(result.exitCode).toBe(2);
  });

  it.each(['0.0.0.0', '::', '192.168.1.7', 'example.org'])(
    'do not serve other machines (%s) without TLS unless told to',
    async (host) => {
      await ok('create', pool, '--size', '1M');
      await refused(2, `--host ${host} lets other machines in`, 'serve', pool, '--port', '0', '--host', host);
    },
  );

  it('say in one sentence what cannot be', async () => {
    await ok('create', pool, '--size', '1M');
    await ok('volume', 'create', pool, 'disk', '1M');
    const at = scratch.path;
    writeFileSync(at('image'), noise(70_000, 1));
    writeFileSync(at('empty'), '');
    await refused(1, 'holds a pool already', 'create', pool);
    await refused(1, 'is no pool: it does not exist', 'status', at('nowhere'));
    await refused(1, /is no pool: it is not a directory; name the directory of a pool$/m, 'status', PROGRAM);
    await refused(1, 'is no pool: it holds no metadata', 'status', at());
    await refused(
      1,
      /cannot make the directory ".*": (not a directory|file already exists)/,
      'create',
      at('image', 'x'),
    );
    await refused(2, '"a/b" cannot be a name: names hold no "/"', 'volume', 'create', pool, 'a/b', '1M');
    await refused(2, 'cannot be a name: it takes 300 bytes', 'volume', 'create', pool, 'x'.repeat(300), '1M');
    await refused(2, 'the size is 0', 'volume', 'create', pool, 'x', '0');
    await refused(2, 'not whole sectors of 512 bytes; the next that is: 1024', 'volume', 'create', pool, 'x', '1000');
    await refused(2, '"-5G" is no size', 'volume', 'create', pool, 'x', '--', '-5G');
    await refused(1, 'the name "disk" is taken by a volume', 'volume', 'create', pool, 'disk', '1M');
    await refused(1, 'no volume or snapshot "dsik"; did you mean "disk"?', 'volume', 'remove', pool, 'dsik');
    await refused(1, 'say --shrink if that is meant', 'volume', 'resize', pool, 'disk', '512K');
    await refused(1, 'no such file or directory', 'import', pool, at('missing'), 'x');
    await refused(1, 'is a directory, not an image', 'import', pool, at(), 'x');
    await refused(1, 'is empty: there is nothing to import', 'import', pool, at('empty'), 'x');
    await refused(2, 'is less than the image has', 'import', pool, at('image'), 'x', '--size', '4K');
    await refused(1, 'is there already, and is left as it is: say --force', 'export', pool, 'disk', at('image'));
    await refused(1, 'is not a regular file', 'export', pool, 'disk', at());
    await refused(1, 'no such file or directory', 'export', pool, 'disk', at('no', 'such'));
    await refused(1, '"disk" is a volume, and a stream is made from snapshots', 'send', pool, 'disk');
    await refused(1, 'no such file or directory', 'receive', pool, '-i', at('missing'));
    await refused(1, 'the stream is empty', 'receive', pool);
    await refused(1, 'nothing of "x" has been received in part', 'receive', pool, '--abandon', 'x');
    await refused(1, 'cannot be made smaller', 'grow', pool, '64K');
    expect(await json('volume', 'list', pool)).toMatchObject([{ name: 'disk', size: MiB, mapped: 0 }]);
    expect(await ok('check', pool)).toContain('All is well');
  });

  it('bring images in and out, sparse and filled up to whole sectors', async () => {
    await ok('create', pool, '--size', '16M');
    const image = Buffer.alloc(5 * MiB + 100);
    image.set(noise(100_000, 1), MiB);
    image.set(noise(100, 2), 5 * MiB);
    writeFileSync(scratch.path('image'), image);
    expect(await ok('import', pool, scratch.path('image'), 'disk')).toContain(
      'filled up to whole sectors with 412 zeros',
    );
    expect(await json('volume', 'list', pool)).toMatchObject([{ size: 5 * MiB + 512, mapped: 3 * 65_536 }]);
    await ok('export', pool, 'disk', scratch.path('out'));
    const whole = Buffer.concat([image, Buffer.alloc(412)]);
    expect(readFileSync(scratch.path('out')).equals(whole)).toBe(true);
    expect(statSync(scratch.path('out')).blocks * 512).toBeLessThan(MiB);
    expect((await runCommand(['export', pool, 'disk', '-'])).outBytes.equals(whole)).toBe(true);
    await ok('export', pool, 'disk', scratch.path('out'), '--force');
    expect(await ok('import', pool, scratch.path('image'), 'large', '--size', '1G')).toContain('1 GiB');
    expect(readdirSync(scratch.path()).sort()).toEqual(['image', 'out', 'pool']);
  });

  it('leave no trace of an image that does not fit', async () => {
    await ok('create', pool, '--size', '1M');
    writeFileSync(scratch.path('image'), noise(2 * MiB, 1));
    await refused(1, 'data', 'import', pool, scratch.path('image'), 'disk');
    expect(await json('volume', 'list', pool)).toEqual([]);
    expect(await json('status', pool)).toMatchObject({ data: { used: 0 } });
    await ok('volume', 'create', pool, 'disk', '1M');
  });

  it('take a kernel’s pool in and give it back as it was', async () => {
    const [metadata, data] = [scratch.path('metadata'), scratch.path('data')];
    writeFileSync(metadata, gunzipSync(fixture('meta.img.gz')));
    writeFileSync(data, gunzipSync(fixture('data.img.gz')));
    const sums = new Map(
      fixture('sums')
        .toString()
        .trim()
        .split('\n')
        .map((line) => line.split(' ') as [string, string]),
    );
    for (const flags of [[], ['--raw']]) {
      const own = `${pool}${flags.join('')}`;
      await ok('import-pool', own, '--metadata', metadata, '--data', data, ...flags);
      for (const nr of [0, 1, 2, 4]) {
        await ok('volume', 'resize', own, `thin-${nr}`, '32M');
        const { outBytes } = await runCommand(['export', own, `thin-${nr}`, '-']);
        expect(createHash('sha256').update(outBytes).digest('hex')).toBe(sums.get(`v${nr}`));
      }
      expect(await ok('check', own)).toContain('All is well');
      const images = ['--metadata', scratch.path('metadata-out'), '--data', scratch.path('data-out')];
      await ok('export-pool', own, ...images, '--force');
      const again = `${own}-again`;
      await ok('import-pool', again, '--metadata', scratch.path('metadata-out'), '--data', scratch.path('data-out'));
      await ok('volume', 'resize', again, 'thin-4', '32M');
      await ok('export', again, 'thin-4', scratch.path('v4'), '--force');
      expect(
        createHash('sha256')
          .update(readFileSync(scratch.path('v4')))
          .digest('hex'),
      ).toBe(sums.get('v4'));
    }
    expect(readFileSync(metadata).equals(gunzipSync(fixture('meta.img.gz')))).toBe(true);
    expect(readFileSync(data).equals(gunzipSync(fixture('data.img.gz')))).toBe(true);
  });

  it('refuse a kernel’s pool that is damaged or incomplete, and make nothing', async () => {
    const [metadata, data] = [scratch.path('metadata'), scratch.path('data')];
    const good = gunzipSync(fixture('meta.img.gz'));
    const damaged = Buffer.from(good);
    damaged.fill(0xff, 4096);
    writeFileSync(data, gunzipSync(fixture('data.img.gz')).subarray(0, MiB));
    writeFileSync(metadata, damaged);
    await refused(1, 'repair them first', 'import-pool', pool, '--metadata', metadata, '--data', data);
    writeFileSync(metadata, good);
    await refused(1, 'is it the right one?', 'import-pool', pool, '--metadata', metadata, '--data', data);
    await refused(1, 'metadata and data are swapped', 'import-pool', pool, '--metadata', data, '--data', metadata);
    writeFileSync(metadata, Buffer.alloc(MiB));
    await refused(1, 'damaged', 'import-pool', pool, '--metadata', metadata, '--data', data);
    await refused(
      1,
      scratch.path('missing'),
      'import-pool',
      pool,
      '--metadata',
      scratch.path('missing'),
      '--data',
      data,
    );
    expect(existsSync(pool)).toBe(false);
  });

  it('write no image over a pool’s own files nor take one for an image, and write no image without the other', async () => {
    const [m, d, raw] = [scratch.path('m'), scratch.path('d'), scratch.path('raw')];
    await ok('create', pool, '--size', '16M');
    await ok('volume', 'create', pool, 'disk', '8M');
    await ok('create', raw, '--size', '16M', '--raw');
    symlinkSync(pool, scratch.path('link'));
    for (const own of [`${pool}/data`, `${pool}/metadata/data.mdb`, `${raw}/metadata`, scratch.path('link', 'data')]) {
      await refused(1, 'whose own files are there', 'export', pool, 'disk', own, '--force');
      await refused(1, 'whose own files', 'export-pool', pool, '--metadata', m, '--data', own, '--force');
      await refused(1, 'whose own files', 'export-pool', pool, '--metadata', own, '--data', d, '--force');
      await refused(1, 'is no disk image: export one of its volumes', 'import', pool, own, 'other');
    }
    await refused(1, 'named twice', 'export-pool', pool, '--metadata', d, '--data', `${scratch.path()}/./d`, '--force');
    writeFileSync(m, 'precious');
    await refused(1, 'is there already', 'export-pool', pool, '--metadata', m, '--data', d);
    await refused(1, 'cannot write', 'export-pool', pool, '--metadata', scratch.path('missing/m'), '--data', d);
    expect(readFileSync(m, 'utf8')).toBe('precious');
    expect(readdirSync(scratch.path()).sort()).toEqual(['link', 'm', 'pool', 'raw']);
    for (const each of [pool, raw]) expect(await ok('check', each)).toContain('All is well');
  });

  it('tell of a pool whose files are damaged or gone, and take out what there is', async () => {
    await ok('create', pool, '--size', '16M', '--raw');
    await ok('volume', 'create', pool, 'disk', '8M');
    const [metadata, data] = [`${pool}/metadata`, `${pool}/data`];
    const [good, content] = [readFileSync(metadata), readFileSync(data)];
    for (const blockNr of [0, 1]) {
      const damaged = Buffer.from(good);
      damaged.fill(0xff, blockNr * 4096, 30 * 4096);
      writeFileSync(metadata, damaged);
      await refused(1, 'cannot be opened: its metadata are damaged (', 'status', pool);
      await ok('export-pool', pool, '--metadata', scratch.path('m'), '--data', scratch.path('d'), '--force');
      expect(readFileSync(scratch.path('m')).equals(damaged)).toBe(true);
      expect(readFileSync(scratch.path('d')).equals(content)).toBe(true);
    }
    writeFileSync(metadata, good);
    writeFileSync(data, content.subarray(0, MiB));
    await refused(1, 'cut short (pool target (16 blocks) too small: expected 256)', 'status', pool);
    rmSync(data);
    await refused(1, 'has lost its data', 'status', pool);
    rmSync(metadata);
    writeFileSync(data, content);
    await refused(1, 'holds data, but no metadata', 'status', pool);
    await refused(1, 'is not empty', 'create', pool);
    writeFileSync(metadata, good);
    expect(await ok('check', pool)).toContain('All is well');
  });

  it('send and receive by way of files and pipes, and resume what broke off', async () => {
    const other = scratch.path('other');
    await ok('create', pool, '--size', '16M');
    await ok('create', other, '--size', '16M', '--raw');
    writeFileSync(scratch.path('image'), noise(3 * MiB, 1));
    await ok('import', pool, scratch.path('image'), 'disk');
    await ok('snapshot', pool, 'disk', 'monday');
    const { outBytes: stream, err } = await runCommand(['send', pool, 'monday']);
    expect(err).toBe('Sent "monday": 3 MiB, 3 MiB of it data.\n');
    await ok('send', pool, 'monday', '-o', scratch.path('stream'));
    expect(readFileSync(scratch.path('stream')).equals(stream)).toBe(true);
    await refused(1, 'is there already, and is left as it is', 'send', pool, 'monday', '-o', scratch.path('stream'));
    const cut = await runCommand(['receive', other], { input: stream.subarray(0, 2.5 * MiB) });
    expect(cut).toMatchObject({ exitCode: 1, out: '' });
    expect(cut.err).toMatch(
      /^thin-pool: the stream breaks off in frame 3 .*; 2 MiB of the stream are safe here: go on with receive --resume and send --resume \S+\n$/,
    );
    const token = /--resume (\S+)\n$/.exec(cut.err)?.[1] ?? '';
    expect(await ok('receive', other, '--list')).toContain(token);
    await refused(1, 'go on with receive --resume', 'receive', other, '-i', scratch.path('stream'));
    const rest = await runCommand(['send', pool, 'monday', '--resume', token]);
    expect(rest.outBytes.length).toBeLessThan(1.1 * MiB);
    const done = await runCommand(['receive', other, '--resume'], { input: rest.outBytes });
    expect(done).toMatchObject({ exitCode: 0, out: 'Received the snapshot "monday": 3 MiB, 3 MiB in the pool.\n' });
    await ok('export', other, 'monday', scratch.path('out'));
    expect(readFileSync(scratch.path('out')).equals(readFileSync(scratch.path('image')))).toBe(true);
    expect(await ok('receive', other, '--list')).toBe('Nothing has been received in part.\n');
  });

  it.each([[], ['--raw']])('repair a pool %j that is read-only until it has been checked', async (...flags) => {
    await ok('create', pool, '--size', '1M', ...flags);
    await ok('volume', 'create', pool, 'disk', '1M');
    const parts = await openParts(pool, 'write');
    const metadata = ThinMetadata.open(parts.metadata);
    metadata.setNeedsCheck();
    metadata.commit();
    metadata.close();
    await parts.close();
    expect(await ok('status', pool)).toContain('check --repair (needs_check)');
    await refused(1, 'needs_check', 'volume', 'create', pool, 'x', '1M');
    expect(await ok('check', pool)).toContain('note: The pool says of itself that it has to be checked');
    await ok('export-pool', pool, '--metadata', scratch.path('m'), '--data', scratch.path('d'));
    await refused(
      1,
      'run thin_check',
      'import-pool',
      `${pool}2`,
      '--metadata',
      scratch.path('m'),
      '--data',
      scratch.path('d'),
    );
    expect(await ok('check', pool, '--repair')).toMatch(/^Repaired: the pool can be written to again\.\nAll is well: /);
    expect(await ok('check', pool, '--repair')).toMatch(/^Nothing to repair\.\nAll is well: /);
    await ok('volume', 'create', pool, 'x', '1M');
    expect(await ok('status', pool)).toContain('State     in order');
  });

  it('print help that fits, and the version', async () => {
    expect(await ok('--help')).toContain('Usage: thin-pool COMMAND DIR');
    expect(await ok('--version')).toMatch(/^thin-pool \d/);
    expect((await runCommand([])).exitCode).toBe(2);
    expect(await ok('serve', '--help')).toContain('qemu:dirty-bitmap:SNAPSHOT');
  });

  it('work on a pool by way of a link, and on a copy of it', async () => {
    await ok('create', pool, '--size', '1M', '--raw');
    await ok('volume', 'create', pool, 'disk', '1M');
    symlinkSync(pool, scratch.path('link'));
    expect(await ok('volume', 'list', scratch.path('link'))).toContain('disk');
    mkdirSync(scratch.path('copy'));
    for (const name of ['metadata', 'catalogue', 'data']) copyFileSync(`${pool}/${name}`, scratch.path('copy', name));
    expect(await ok('volume', 'list', scratch.path('copy'))).toContain('disk');
  });
});
