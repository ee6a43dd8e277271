/** A pool while `serve` has it open: NBD clients, other commands, the end. */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { relative } from 'node:path';
import { connectNbd, listNbdExports } from '@pdata/nbd';
import { seededRandom } from '@pdata/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { listenForCommands } from '../src/control/control-server.js';
import { connectToHost } from '../src/control/remote-host.js';
import { LocalPoolHost } from '../src/pool/local-host.js';
import type { PoolEvent } from '../src/pool-host.js';
import { PoolExports } from '../src/serve/pool-exports.js';
import { servePool } from '../src/serve/serve-pool.js';
import { PoolError } from '../src/words/pool-error.js';
import { BLOCK, MiB, names, noise, read, testPools, write } from './pools.js';
import { buildProgram, openScratch, PROGRAM, startServing, thinPool } from './program.js';
import { runCommand } from './run-command.js';

async function ok(...argv: string[]): Promise<string> {
  const { exitCode, out, err } = await runCommand(argv);
  expect({ exitCode, argv, err }).toMatchObject({ exitCode: 0 });
  return out;
}

describe('a pool that is served', () => {
  it('obeys every other command meanwhile, and shows it to its NBD clients', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make('pool', { size: 64 * MiB }));
    const other = (await closed(pools.make('other', { size: 64 * MiB }))).directory;
    await using served = await serving(directory);
    await ok('volume', 'create', directory, 'disk', '8M');
    expect((await listNbdExports(served.target)).map(({ name }) => name)).toEqual(['disk']);
    const disk = await connectNbd(served.target, { exportName: 'disk' });
    await disk.write(0, noise(MiB, 1));
    await ok('snapshot', directory, 'disk', 'monday');
    await disk.write(MiB, noise(BLOCK, 2));
    expect(await ok('diff', directory, 'monday', 'disk')).toContain(`${MiB}   ${BLOCK}  64 KiB`);
    expect(await ok('volume', 'list', directory)).toMatch(/^disk .* yes$/m);
    expect(await ok('status', directory)).toContain(`by process ${process.pid}, 1 client`);
    expect((await runCommand(['volume', 'remove', directory, 'disk'])).err).toContain('"disk" is in use');
    expect((await runCommand(['revert', directory, 'disk', 'monday'])).err).toContain('"disk" is in use');
    expect((await runCommand(['export-pool', directory, '--metadata', 'x', '--data', 'y'])).err).toContain(
      'being served',
    );
    await disk.flush();
    await disk.close();
    await ok('volume', 'rename', directory, 'disk', 'root');
    await ok('export', directory, 'monday', pools.scratch.path('monday'));
    expect(readFileSync(pools.scratch.path('monday')).subarray(0, MiB).equals(noise(MiB, 1))).toBe(true);
    writeFileSync(pools.scratch.path('image'), noise(3 * MiB, 3));
    await ok('import', directory, pools.scratch.path('image'), 'image');
    const { outBytes } = await runCommand(['send', directory, 'monday']);
    expect((await runCommand(['receive', other], { input: outBytes })).exitCode).toBe(0);
    expect((await runCommand(['send', other, 'monday'])).outBytes.equals(outBytes)).toBe(true);
    await ok('grow', directory, '128M');
    await ok('revert', directory, 'root', 'monday');
    expect(await ok('check', directory)).toContain('All is well');
    await served[Symbol.asyncDispose]();
    expect(await ok('check', directory)).toContain('All is well: 3 volumes and snapshots');
    expect(await ok('volume', 'list', directory)).toMatch(/^image .*\nmonday .*\nroot /m);
  });

  it('takes in a stream by way of its socket, and resumes it there', async () => {
    await using pools = testPools();
    const from = await pools.make('from');
    await from.createVolume({ name: 'disk', size: 4 * MiB });
    const device = await from.openVolume({ name: 'disk', mode: 'write' });
    await device.write(0, noise(3 * MiB, 1));
    await device.close();
    await from.snapshot({ origin: 'disk', name: 'monday' });
    await from.close();
    const { outBytes: stream } = await runCommand(['send', from.directory, 'monday']);
    const { directory } = await closed(pools.make('to'));
    await using _served = await serving(directory);
    const cut = await runCommand(['receive', directory], { input: stream.subarray(0, 2 * MiB) });
    expect(cut).toMatchObject({ exitCode: 1 });
    expect(await ok('volume', 'list', directory)).toBe('The pool has no volumes yet.\n');
    expect(await runCommand(['receive', directory, '--resume'], { input: stream })).toMatchObject({ exitCode: 0 });
    const remote = (await connectToHost(directory))!;
    expect((await read(remote, 'monday')).subarray(0, 3 * MiB).equals(noise(3 * MiB, 1))).toBe(true);
    expect((await remote.check()).clean).toBe(true);
    await remote.close();
  });

  it('tells NBD clients what changed since each snapshot', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make('pool'));
    await using served = await serving(directory);
    const remote = (await connectToHost(directory))!;
    await remote.createVolume({ name: 'disk', size: 8 * MiB });
    await remote.snapshot({ origin: 'disk', name: 'since-monday' });
    const disk = await connectNbd(served.target, { exportName: 'disk' });
    await disk.write(BLOCK, noise(2 * BLOCK, 1));
    await disk.write(7 * MiB, noise(512, 2));
    await disk.flush();
    await disk.close();
    await remote.close();
    if (spawnSync('nbdinfo', ['--version']).status !== 0)
      return console.log('not looked at with nbdinfo: it is not installed');
    const uri = `nbd+unix:///disk?socket=${served.target.socketPath}`;
    const { stdout } = await runTool('nbdinfo', '--json', '--map=qemu:dirty-bitmap:since-monday', uri);
    expect(
      JSON.parse(stdout).map(({ offset, length, type }: Record<string, number>) => [offset, length, type]),
    ).toEqual([
      [0, BLOCK, 0],
      [BLOCK, 2 * BLOCK, 1],
      [3 * BLOCK, 7 * MiB - 3 * BLOCK, 0],
      [7 * MiB, BLOCK, 1],
      [7 * MiB + BLOCK, MiB - BLOCK, 0],
    ]);
    const list = await runTool('nbdinfo', '--json', '--list', `nbd+unix:///?socket=${served.target.socketPath}`);
    expect(JSON.parse(list.stdout).exports).toMatchObject([
      { 'export-name': 'disk', contexts: ['base:allocation', 'qemu:dirty-bitmap:since-monday'] },
      { 'export-name': 'since-monday', is_read_only: true, contexts: ['base:allocation'] },
    ]);
  });

  it('knows an export and its snapshots when they are renamed, and their names given to others', async () => {
    await using pools = testPools();
    const host = await pools.make();
    await host.createVolume({ name: 'disk', size: MiB });
    await host.snapshot({ origin: 'disk', name: 'before' });
    await write(host, 'disk', BLOCK, noise(BLOCK, 1));
    const served = (await new PoolExports(host).open('disk'))!;
    const [changed] = served.contexts!;
    const expected = [
      { length: BLOCK, flags: 0 },
      { length: BLOCK, flags: 1 },
      { length: MiB - 2 * BLOCK, flags: 0 },
    ];
    expect(await changed!.extents(0, MiB)).toEqual(expected);
    await host.renameVolume({ name: 'before', to: 'older' });
    await host.snapshot({ origin: 'disk', name: 'before' });
    await host.renameVolume({ name: 'disk', to: 'root' });
    expect(await changed!.extents(0, MiB)).toEqual(expected);
    expect(await changed!.extents(BLOCK + 512, BLOCK)).toEqual([
      { length: BLOCK - 512, flags: 1 },
      { length: 512, flags: 0 },
    ]);
    await host.removeVolume({ name: 'older' });
    await expect(changed!.extents(0, MiB)).rejects.toThrow('"before" has been removed meanwhile');
    await served.release!();
  });

  it('lets nobody but its owner connect', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make('pool'));
    await using _served = await serving(directory);
    for (const name of ['nbd.sock', 'control.sock']) expect(statSync(`${directory}/${name}`).mode & 0o777).toBe(0o600);
  });

  it('sends its events to remote hosts, and lets go of what they leave open', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make('pool'));
    await using _served = await serving(directory);
    const one = (await connectToHost(directory))!;
    const two = (await connectToHost(directory))!;
    const events: PoolEvent[] = [];
    one.onEvent((event) => events.push(event));
    await one.status(); // the request for events was before it
    await two.createVolume({ name: 'disk', size: MiB });
    await one.status();
    expect(events).toMatchObject([{ kind: 'volume', volume: 'disk' }]);
    await two.openVolume({ name: 'disk', mode: 'write' });
    expect((await one.volume({ name: 'disk' })).users).toBe(1);
    await two.close();
    for (let left = 100; (await one.volume({ name: 'disk' })).users > 0; left--) expect(left).toBeGreaterThan(0);
    await one.removeVolume({ name: 'disk' });
    await one.close();
    await expect(one.status()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });

  it('says clearly when somebody listens there already, and lets go of the pool', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make('pool'));
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    const { port } = blocker.address() as { port: number };
    const refused = await runCommand(['serve', directory, '--no-page', '--port', String(port)]);
    expect(refused).toMatchObject({ exitCode: 1, out: '' });
    expect(refused.err).toMatch(
      /^thin-pool: cannot listen on 127\.0\.0\.1:\d+: another program is listening there[^\n]*\n$/,
    );
    blocker.close();
    const nowhere = await runCommand([
      'serve',
      directory,
      '--no-page',
      '--socket',
      pools.scratch.path('no', 'nbd.sock'),
    ]);
    expect(nowhere.err).toMatch(/^thin-pool: cannot listen on [^\n]*no directory[^\n]*\n$/);
    expect(await ok('check', directory)).toContain('All is well');
    await using _served = await serving(directory);
    expect((await runCommand(['serve', directory])).err).toContain(
      `is being served already, by process ${process.pid}`,
    );
  });

  it('names its socket so that it is found from every directory', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make('pool'));
    const served = await servePool(directory, {
      page: false,
      listen: { socketPath: relative('.', pools.scratch.path('nbd.sock')) },
    });
    expect(served.uri('disk')).toBe(`nbd+unix:///disk?socket=${pools.scratch.path('nbd.sock')}`);
    expect((await served.host.status()).serving?.nbd).toBe(served.uri());
    await served.close();
  });

  it('in a directory with a very long path still listens for commands', async () => {
    await using pools = testPools();
    const name = 'd'.repeat(120);
    const host = await pools.make(name);
    const control = await listenForCommands(host);
    const remote = (await connectToHost(host.directory))!;
    expect((await remote.status()).directory).toBe(host.directory);
    await remote.close();
    await control.close();
  });
});

describe('serve on a port', () => {
  const openssl = spawnSync('openssl', ['version']).status === 0;
  if (!openssl) console.log('serve is not tested with TLS: openssl is not installed to make a certificate');

  it.runIf(openssl)(
    'with a certificate admits nobody without TLS, and with --tls-ca nobody without a certificate',
    async () => {
      await using pools = testPools();
      const host = await pools.make();
      await host.createVolume({ name: 'disk', size: MiB });
      await host.close();
      const [cert, key] = [pools.scratch.path('cert.pem'), pools.scratch.path('key.pem')];
      const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
      const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
      await runTool('openssl', 'req', '-x509', ...curve, ...names, '-keyout', key, '-out', cert);
      const ca = readFileSync(cert);
      const own = { cert: ca, key: readFileSync(key) };
      for (const flags of [[], ['--tls-ca', cert]]) {
        const tls = ['--tls-cert', cert, '--tls-key', key, ...flags];
        const served = await serveInside(['serve', host.directory, '--no-page', '--port', '0', ...tls]);
        const target = { host: '127.0.0.1', port: served.port };
        await expect(connectNbd(target, { exportName: 'disk' })).rejects.toThrow(/TLS/);
        const bare = connectNbd(target, { exportName: 'disk', tls: { ca } });
        if (flags.length > 0) await expect(bare).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_/) });
        else await (await bare).close();
        const known = await connectNbd(target, { exportName: 'disk', tls: { ca, ...own } });
        await known.write(0, noise(512, 1));
        await known.close();
        expect(await served.end()).toMatchObject({ exitCode: 0, err: expect.not.stringContaining('Whoever') });
      }
      const nobody = pools.scratch.path('nobody.pem');
      writeFileSync(nobody, '');
      const withNobody = ['--tls-cert', cert, '--tls-key', key, '--tls-ca', nobody];
      const unlocked = await runCommand(['serve', host.directory, '--port', '0', ...withNobody]);
      expect(unlocked).toMatchObject({ exitCode: 1, out: '' });
      expect(unlocked.err).toMatch(/^thin-pool: what shall vouch for clients holds no certificate[^\n]+\n$/);
      writeFileSync(key, 'not a key');
      const refused = await runCommand(['serve', host.directory, '--port', '0', '--tls-cert', cert, '--tls-key', key]);
      expect(refused).toMatchObject({ exitCode: 1, out: '' });
      expect(refused.err).toMatch(/^thin-pool: TLS cannot be served with [^\n]+\n$/);
    },
  );

  it('tells on its terminal when space runs low, and in status', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { size: 4 * MiB });
    await host.createVolume({ name: 'disk', size: 8 * MiB });
    await host.close();
    const served = await serveInside(['serve', host.directory, '--no-page', '--port', '0']);
    const disk = await connectNbd({ host: '127.0.0.1', port: served.port }, { exportName: 'disk' });
    await disk.write(0, noise(4 * MiB - BLOCK, 1));
    await disk.close();
    expect(await ok('status', host.directory)).toContain('State     in order, but only 64 KiB of data are free');
    expect((await served.end()).err).toMatch(/^Only \S+ KiB of data are free: remove something, or grow the pool\.\n$/);
  });

  it('ends also while writes wait for space, of an NBD client and of a command', async () => {
    await using pools = testPools();
    const host = await pools.make('pool', { size: MiB });
    for (const name of ['disk', 'other']) await host.createVolume({ name, size: 8 * MiB });
    await host.close();
    const lines: string[] = [];
    const served = await servePool(host.directory, { page: false, graceMs: 300, log: (line) => lines.push(line) });
    const disk = await connectNbd({ socketPath: `${host.directory}/nbd.sock` }, { exportName: 'disk' });
    await disk.write(0, noise(MiB, 1));
    await disk.flush();
    const remote = (await connectToHost(host.directory))!;
    const other = await remote.openVolume({ name: 'other', mode: 'write' });
    const waiting = [disk.write(2 * MiB, noise(BLOCK, 2)), other.write(0, noise(BLOCK, 3))].map((write) =>
      write.catch((error: unknown) => error),
    );
    while ((await served.host.status()).mode !== 'out_of_data_space') await new Promise(setImmediate);
    await served.close();
    for (const outcome of await Promise.all(waiting)) expect(outcome).toBeInstanceOf(Error);
    expect(lines).toEqual([]);
    await disk.close().catch(() => undefined);
    await remote.close();
    await using again = await LocalPoolHost.open(host.directory).then((opened) => ({
      host: opened,
      [Symbol.asyncDispose]: () => opened.close(),
    }));
    expect((await read(again.host, 'disk')).subarray(0, MiB).equals(noise(MiB, 1))).toBe(true);
    expect((await again.host.check()).clean).toBe(true);
  });

  it('lets an import go that is interrupted while it waits for space, and keeps nothing of it', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make('pool', { size: MiB }));
    await using served = await serving(directory);
    writeFileSync(pools.scratch.path('image'), noise(2 * MiB, 1));
    const stop = new AbortController();
    const ended = runCommand(['import', directory, pools.scratch.path('image'), 'disk'], { signal: stop.signal });
    while ((await served.host.status()).mode !== 'out_of_data_space') await new Promise(setImmediate);
    stop.abort(new PoolError('ERR_INTERRUPTED', 'interrupted'));
    expect(await ended).toMatchObject({ exitCode: 1, err: 'thin-pool: interrupted\n' });
    expect((await served.host.status()).data.used).toBe(0);
    expect(await served.host.receiving.list()).toEqual([]);
    expect((await served.host.check()).notes).toEqual([]);
  });

  it('waits for a command that has the pool for a moment, also when it is restarted in that moment', async () => {
    await using pools = testPools();
    const host = await pools.make('pool');
    setTimeout(() => void host.close(), 300);
    const served = await serveInside(['serve', host.directory, '--no-page', '--port', '0']);
    expect(await served.end()).toMatchObject({ exitCode: 0 });
  });

  it('warns when others can reach it, and is told to go ahead', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make());
    const served = await serveInside([
      'serve',
      directory,
      '--no-page',
      '--port',
      '0',
      '--host',
      '0.0.0.0',
      '--insecure',
    ]);
    expect((await served.end()).err).toContain('Whoever reaches this address can read and write the volumes');
    const local = await serveInside(['serve', directory, '--no-page', '--port', '0', '--read-only']);
    const remote = (await connectToHost(directory))!;
    await remote.createVolume({ name: 'disk', size: MiB });
    await remote.close();
    const disk = await connectNbd({ host: '127.0.0.1', port: local.port }, { exportName: 'disk' });
    expect(disk.readOnly).toBe(true);
    await disk.close();
    expect((await local.end()).err).toBe('');
  });
});

describe('the control socket', () => {
  it('that is not answered does not keep a command waiting for ever', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make('pool'));
    const silent = createServer(() => {}).listen(`${directory}/control.sock`);
    await new Promise((resolve) => silent.once('listening', resolve));
    await expect(connectToHost(directory, 50)).rejects.toMatchObject({
      code: 'ERR_CONNECTION_LOST',
      message: expect.stringContaining('does not answer: it is stopped or hangs'),
    });
    silent.close();
  });

  it('that cannot be made is told in a sentence', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make('pool'));
    mkdirSync(`${directory}/control.sock`);
    const { exitCode, err } = await runCommand(['serve', directory, '--no-page']);
    expect(err).toMatch(/^thin-pool: cannot listen for commands on [^\n]*control\.sock[^\n]*\n$/);
    expect(exitCode).toBe(1);
  });

  it('survives whatever is thrown at it', async () => {
    await using pools = testPools();
    const { directory } = await closed(pools.make('pool'));
    await using _served = await serving(directory);
    const random = seededRandom(20_261_120);
    const throwAt = (bytes: Uint8Array): Promise<void> =>
      new Promise((resolve) => {
        const socket = connect(`${directory}/control.sock`, () => socket.end(bytes));
        socket.on('close', () => resolve()).on('error', () => resolve());
        socket.resume();
      });
    const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
    for (const bytes of [
      Buffer.alloc(0),
      u32(0xffff_ffff),
      Buffer.concat([u32(0), u32(0), u32(0)]),
      Buffer.concat([u32(3), Buffer.from([0x93, 1, 2])]),
      Buffer.concat([u32(1000), Buffer.alloc(10)]),
      ...Array.from({ length: 50 }, () => Buffer.concat([u32(20), noise(20, random() * 2 ** 32)])),
    ]) {
      await throwAt(bytes);
    }
    const remote = (await connectToHost(directory))!;
    const ask = remote as unknown as Record<string, (request: unknown) => Promise<unknown>>;
    for (const method of [
      'createVolume',
      'snapshot',
      'renameVolume',
      'resizeVolume',
      'diff',
      'openVolume',
      'growPool',
      'volume',
    ]) {
      for (const request of [{}, { name: 7, size: 'x', origin: null, to: [], from: -1 }, { name: { toString: 1 } }]) {
        await expect(ask[method]!(request), method).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_/) });
      }
    }
    expect(await names(remote)).toEqual([]);
    expect((await remote.check()).clean).toBe(true);
    await remote.close();
  });
});

describe('the program', () => {
  beforeAll(buildProgram);

  it.runIf(existsSync('/dev/full'))('says so when its output cannot be written', () => {
    const full = openSync('/dev/full', 'w');
    const { status, stderr } = spawnSync(process.execPath, [PROGRAM, '--help'], { stdio: ['ignore', full, 'pipe'] });
    closeSync(full);
    expect(stderr.toString()).toBe('thin-pool: cannot write the output: no space left on device\n');
    expect(status).toBe(1);
  });

  it('serves until SIGTERM, lets go of its clients, and has everything committed', async () => {
    using scratch = openScratch();
    const pool = scratch.path('pool');
    expect(thinPool(['create', pool, '--size', '32M'])).toMatchObject({ exitCode: 0, err: '' });
    expect(thinPool(['volume', 'create', pool, 'disk', '8M'])).toMatchObject({ exitCode: 0 });
    const { child, ready, ended, output } = startServing(pool);
    await ready;
    const disk = await connectNbd({ socketPath: `${pool}/nbd.sock` }, { exportName: 'disk' });
    const content = noise(MiB, 1);
    await disk.write(0, content);
    expect(thinPool(['snapshot', pool, 'disk', 'monday'])).toMatchObject({
      exitCode: 0,
      out: 'Took the snapshot "monday" of "disk".\n',
    });
    await disk.write(4 * MiB, content); // never flushed
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(output()).toContain('Ended: everything is committed.');
    await disk.close().catch(() => undefined);
    expect(existsSync(`${pool}/nbd.sock`)).toBe(false);
    expect(existsSync(`${pool}/control.sock`)).toBe(false);
    expect(thinPool(['check', pool])).toMatchObject({ exitCode: 0 });
    const host = await LocalPoolHost.open(pool);
    expect((await read(host, 'disk', 4 * MiB, MiB)).equals(content)).toBe(true);
    await host.close();
  });

  it('ends well when its terminal is closed, also in the moment after Ctrl-C', async () => {
    using scratch = openScratch();
    const pool = scratch.path('pool');
    expect(thinPool(['create', pool, '--size', '32M'])).toMatchObject({ exitCode: 0 });
    for (const signals of [['SIGHUP'], ['SIGINT', 'SIGHUP']] as const) {
      const { child, ready, ended, output } = startServing(pool);
      await ready;
      for (const signal of signals) child.kill(signal);
      expect(await ended).toBe(0);
      expect(output()).toContain('Ended: everything is committed.');
      expect(existsSync(`${pool}/control.sock`)).toBe(false);
    }
  });

  it('waits for a command that has the pool, and says so when it takes too long', async () => {
    using scratch = openScratch();
    const pool = scratch.path('pool');
    await LocalPoolHost.create(pool, { size: MiB, blockSize: BLOCK, format: 'lmdb' });
    const host = await LocalPoolHost.open(pool);
    const busy = thinPool(['check', pool]);
    expect(busy).toMatchObject({ exitCode: 1, out: '' });
    expect(busy.err).toMatch(/^thin-pool: the pool ".*" is in use by another process: wait until it is done\n$/);
    await host.close();
    expect(thinPool(['check', pool])).toMatchObject({ exitCode: 0 });
  });

  // Root may write anywhere, and gives up its rights for this; others take theirs away from the directory.
  it('says what it may not write or open', () => {
    using scratch = openScratch();
    const pool = scratch.path('pool');
    thinPool(['create', pool, '--size', '1M', '--raw']);
    const as = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
    chmodSync(scratch.path(), 0o555);
    chmodSync(pool, 0o555);
    for (const name of ['data', 'metadata', 'catalogue']) chmodSync(`${pool}/${name}`, 0o444);
    try {
      for (const [args, sentence] of [
        [['create', scratch.path('new')], 'cannot make the directory'],
        [['status', pool], 'permission denied'],
        [['serve', pool, '--no-page'], 'permission denied'],
        [['volume', 'create', pool, 'x', '1M'], 'permission denied'],
      ] as const) {
        const refused = thinPool(args, as);
        expect({ args, ...refused }).toMatchObject({ exitCode: 1, out: '' });
        expect(refused.err).toMatch(/^thin-pool: [^\n]+\n$/);
        expect(refused.err).toContain(sentence);
      }
      expect(thinPool(['check', pool], as)).toMatchObject({ exitCode: 0, err: '' }); // it only reads
    } finally {
      chmodSync(scratch.path(), 0o755);
      chmodSync(pool, 0o755);
    }
  });

  it('ends quietly when nobody reads on', () => {
    const { status } = spawnSync('sh', ['-c', `"${process.execPath}" "${PROGRAM}" --help | head -c 10 > /dev/null`]);
    expect(status).toBe(0);
  });
});

async function closed(making: Promise<LocalPoolHost>): Promise<LocalPoolHost> {
  const host = await making;
  await host.close();
  return host;
}

async function serving(directory: string) {
  const served = await servePool(directory, { page: false });
  let isOver = false;
  return {
    host: served.host,
    target: { socketPath: `${directory}/nbd.sock` },
    async [Symbol.asyncDispose]() {
      if (!isOver) await served.close();
      isOver = true;
    },
  };
}

/** `serve` in this process, with a signal of its own. */
async function serveInside(argv: readonly string[]) {
  const stop = new AbortController();
  let begun: (port: number) => void = () => {};
  const port = new Promise<number>((resolve) => {
    begun = resolve;
  });
  const ended = runCommand(argv, {
    signal: stop.signal,
    onOut: (text) => {
      const found = /^NBD .*:(\d+)/m.exec(text);
      if (found !== null) begun(Number(found[1]));
    },
  });
  const early = ended.then(({ err }) => Promise.reject(new Error(`serve ended: ${err}`)));
  early.catch(() => undefined); // at the end it does, as it should
  return {
    port: await Promise.race([port, early]),
    end: () => {
      stop.abort(new Error('the end'));
      return ended;
    },
  };
}

async function runTool(name: string, ...args: string[]): Promise<{ stdout: string }> {
  return await new Promise((resolve, reject) => {
    const child = spawn(name, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child
      .on('error', reject)
      .on('close', (code) => (code === 0 ? resolve({ stdout }) : reject(new Error(`${name} ended with ${code}`))));
  });
}
