import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join, parse } from 'node:path';
import { MemoryDataDevice } from '@pdata/device';
import { connectNbd, type NbdDataDevice, NbdServer } from '@pdata/nbd';
import { describe, expect, it, onTestFinished } from 'vitest';
import { runTool, scratchDirectory } from '../../test/run-tool.js';
import { type RunningService, startService } from '../../test/running-service.js';

const KIB = 1024;
const directory = scratchDirectory();
let nrFiles = 0;
const newPath = (name: string): string => join(directory, `${nrFiles++}-${name}`);

const IMAGE = new Uint8Array(1024 * KIB).map((_, at) => 1 + ((at >> 9) % 250));

interface CloneFiles {
  readonly metadata: string;
  readonly source: string;
  readonly destination: string;
}

function files(image = IMAGE): CloneFiles {
  const source = newPath('source.img');
  writeFileSync(source, image);
  return { metadata: newPath('metadata.img'), source, destination: newPath('destination.img') };
}

const words = ({ metadata, source, destination }: CloneFiles): string[] => [
  ...['serve', 'clone', '--metadata', metadata, '--source', source, '--destination', destination],
];
const serve = (clone: CloneFiles, ...options: string[]): Promise<RunningService> =>
  startService([...words(clone), '--socket', newPath('socket'), ...options]);

/** Runs a command that is expected to be refused. */
const refusal = async (clone: CloneFiles, ...options: string[]): Promise<string> => {
  const { exitCode, stderr, stdout } = await runTool([...words(clone), '--socket', newPath('socket'), ...options]);
  expect([exitCode, stdout]).toEqual([64, '']);
  return stderr;
};

async function openExport(served: RunningService, exportName = 'clone'): Promise<NbdDataDevice> {
  const device = await connectNbd(served.uri, { exportName });
  onTestFinished(() => device.close());
  return device;
}

async function content(device: NbdDataDevice): Promise<Uint8Array> {
  const bytes = new Uint8Array(device.size);
  await device.read(0, bytes);
  return bytes;
}

const complete = (served: RunningService): Promise<unknown> =>
  expect.poll(() => served.stdout(), { timeout: 10_000 }).toContain('complete');

describe('a clone that is served', () => {
  it('is made of nothing, is read at once, arrives, and is the destination then', async () => {
    const clone = files();
    const served = await serve(clone);
    expect(served.stdout()).toMatch(
      / has 1048576 bytes \(1024KiB\); \d+ of 16 regions of 128 sectors are there\nlistening on nbd\+unix/,
    );
    const device = await openExport(served);
    expect(Buffer.compare(await content(device), IMAGE)).toBe(0);
    await complete(served);
    await device.write(512, new Uint8Array(512).fill(255));
    const { exitCode, stdout, stderr } = await served.end();
    expect([exitCode, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/\nclone: 8 6\/1024 128 16\/16 0 0 4 hydration_threshold 48 hydration_batch_size 16 rw\n$/);
    const expected = IMAGE.slice();
    expected.fill(255, 512, 1024);
    expect(Buffer.compare(readFileSync(clone.destination), expected)).toBe(0);
    expect(Buffer.compare(readFileSync(clone.source), IMAGE)).toBe(0);
  });

  it('is gone on with after a restart, with what had been written to it', async () => {
    const clone = files();
    const first = await serve(clone, '--no-hydration', '--region-sectors', '8');
    const device = await openExport(first, '');
    await device.write(100 * KIB + 512, new Uint8Array(512).fill(255));
    expect((await first.end()).stdout).toContain(' 8 1/256 0 1 no_hydration ');
    const again = await serve(clone, '--no-hydration');
    expect(again.stdout()).toContain('; 1 of 256 regions of 8 sectors are there');
    const expected = IMAGE.slice();
    expected.fill(255, 100 * KIB + 512, 100 * KIB + 1024);
    expect(Buffer.compare(await content(await openExport(again)), expected)).toBe(0);
    await again.end();
    const last = await serve(clone);
    await complete(last);
    await last.end();
    expect(Buffer.compare(readFileSync(clone.destination), expected)).toBe(0);
  });

  it('needs no source when it is complete, and says that it is', async () => {
    const clone = files();
    const served = await serve(clone);
    await complete(served);
    await served.end();
    const again = await serve({ ...clone, source: newPath('gone.img') });
    expect(again.stdout()).toContain(`complete: '${clone.destination}' holds everything`);
    expect(Buffer.compare(await content(await openExport(again)), IMAGE)).toBe(0);
    expect((await again.end()).exitCode).toBe(0);
  });

  it('tells its status when it is asked, and each event with --json', async () => {
    const served = await serve(
      files(),
      '--json',
      '--hydration-threshold',
      '3',
      '--hydration-batch-size',
      '2',
      '--no-discard-passdown',
    );
    served.askForStatus();
    await complete(served);
    const { stdout } = await served.end();
    const events = stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events.map(({ event }) => event)).toEqual(
      expect.arrayContaining(['listening', 'status', 'complete', 'end']),
    );
    expect(events[0]).toMatchObject({
      event: 'listening',
      isNew: true,
      nrRegions: 16,
      exports: [{ name: 'clone', size: 1048576 }],
    });
    expect(events.at(-2)).toMatchObject({
      event: 'status',
      statusLine: '8 6/1024 128 16/16 0 1 no_discard_passdown 4 hydration_threshold 3 hydration_batch_size 2 rw',
    });
    expect(events.at(-1)).toMatchObject({ event: 'end', ok: true, tool: 'pdata serve clone' });
  });

  it('keeps the holes of a sparse source', async () => {
    const clone = files(new Uint8Array(0));
    truncateSync(clone.source, 256 * 1024 * KIB);
    const served = await serve(clone);
    await complete(served);
    await served.end();
    expect([statSync(clone.destination).size, statSync(clone.destination).blocks]).toEqual([256 * 1024 * KIB, 0]);
  });

  it('leaves out a part of a sector at the end of its source, and says so', async () => {
    const clone = files(IMAGE.subarray(0, 65_536 + 100));
    const served = await serve(clone);
    await complete(served);
    const { stderr } = await served.end();
    expect(stderr).toBe(`warning: '${clone.source}' has 65636 bytes: the last 100, less than a sector, are left out\n`);
    expect(statSync(clone.destination).size).toBe(65_536);
  });
});

describe('a source from afar', () => {
  async function httpServer(
    image: () => Uint8Array,
    headers: Record<string, string> = { ETag: '"1"' },
  ): Promise<{ url: string; server: Server }> {
    const server = createServer((request, response) => {
      const [, begin, end] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
      if (begin === undefined) return void response.writeHead(200).end();
      const body = image().subarray(Number(begin), Number(end) + 1);
      response.writeHead(206, {
        ...headers,
        'Content-Range': `bytes ${begin}-${Number(begin) + body.length - 1}/${image().length}`,
      });
      response.end(body);
    });
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    onTestFinished(() => void server.close());
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk.img`, server };
  }

  it('may be an image behind a URL', async () => {
    const { url } = await httpServer(() => IMAGE);
    const clone = { ...files(), source: url };
    const served = await serve(clone);
    expect(Buffer.compare(await content(await openExport(served)), IMAGE)).toBe(0);
    await complete(served);
    expect(await served.end()).toMatchObject({ exitCode: 0, stderr: '' });
    expect(Buffer.compare(readFileSync(clone.destination), IMAGE)).toBe(0);
  });

  it('that cannot tell whether it has changed is warned of', async () => {
    const { url } = await httpServer(() => IMAGE, {});
    const served = await serve({ ...files(), source: url }, '--no-hydration');
    expect((await served.end()).stderr).toBe(
      `warning: the server tells neither ETag nor Last-Modified of ${url}: a change that keeps its length goes unnoticed\n`,
    );
  });

  it('that changes is told of once, however much of it fails, with what not to do', async () => {
    let nrRequests = 0;
    const headers = {
      get ETag() {
        return nrRequests++ === 0 ? '"1"' : '"2"';
      },
    };
    const { url } = await httpServer(() => IMAGE, headers);
    const served = await serve({ ...files(), source: url }, '--json', '--region-sectors', '8');
    await expect.poll(() => nrRequests).toBeGreaterThan(4);
    await expect.poll(() => served.stdout()).toContain('"warning"');
    const { stderr } = await served.end();
    expect(stderr.match(/background hydration failed/g)).toHaveLength(1);
    expect(stderr).toMatch(/has changed since it was opened: .*; do not start this clone again with the other image/);
  });

  it('that goes away fails what needs it, and the end does not wait for it', async () => {
    const { url, server } = await httpServer(() => IMAGE);
    const served = await serve({ ...files(), source: url }, '--hydration-threshold', '0');
    const device = await openExport(served);
    await device.write(0, new Uint8Array(65_536).fill(1));
    server.closeAllConnections();
    server.close();
    expect((await served.end()).stdout).toContain(' 128 1/16 ');
  });

  it('may be an export of an NBD server', async () => {
    const device = new MemoryDataDevice({ bytes: IMAGE, readOnly: true });
    const socketPath = newPath('socket');
    const server = await NbdServer.listen({
      listen: { socketPath },
      exports: { list: async () => [], open: async () => ({ device }) },
    });
    onTestFinished(() => server.close());
    const clone = { ...files(), source: `nbd+unix:///disk?socket=${socketPath}` };
    const served = await serve(clone);
    await complete(served);
    expect((await served.end()).exitCode).toBe(0);
    expect(Buffer.compare(readFileSync(clone.destination), IMAGE)).toBe(0);
  });

  it.each([
    ['http://127.0.0.1:1/disk.img', 'check the URL'],
    ['nbd://127.0.0.1:1/disk', 'check the URI'],
    ['http://127.0.0.1:99999/disk.img', 'it names the port 99999, which is not from 0 to 65535'],
    ['ftp://127.0.0.1/disk.img', 'there is no reading of ftp:// URLs\n  next step: fetch the image, and give the file'],
  ])('that does not answer (%s) is refused with advice, and nothing is made', async (source, advice) => {
    const clone = { ...files(), source };
    expect(await refusal(clone)).toContain(advice);
    expect([existsSync(clone.metadata), existsSync(clone.destination)]).toEqual([false, false]);
  });
});

describe('a clone is refused', () => {
  it('when its destination holds something, unless it may be overwritten', async () => {
    for (const at of [0, IMAGE.length - 512]) {
      const clone = files();
      const there = new Uint8Array(IMAGE.length);
      there[at] = 1;
      writeFileSync(clone.destination, there);
      expect(await refusal(clone)).toMatch(
        /the destination '.*' is not blank[\s\S]*nothing has been written[\s\S]*--overwrite/,
      );
      expect([existsSync(clone.metadata), Buffer.compare(readFileSync(clone.destination), there)]).toEqual([false, 0]);
      const served = await serve(clone, '--overwrite');
      await complete(served);
      await served.end();
      expect(Buffer.compare(readFileSync(clone.destination), IMAGE)).toBe(0);
    }
  });

  it('when its destination is gone', async () => {
    const clone = files();
    await (await serve(clone, '--no-hydration')).end();
    expect(await refusal({ ...clone, destination: newPath('gone.img') })).toMatch(
      /the destination '.*' does not exist\n {2}effect: by the metadata it holds 0 of 16 regions[\s\S]*to clone anew/,
    );
  });

  it('when it is complete, and its destination is too small or gone', async () => {
    const clone = files();
    const served = await serve(clone);
    await complete(served);
    await served.end();
    const small = newPath('small.img');
    writeFileSync(small, new Uint8Array(512 * KIB));
    expect(await refusal({ ...clone, destination: small })).toMatch(
      /the destination '.*' has 524288 bytes, and the clone 1048576\n.*\n {2}next step: give the destination that this clone was made with\n$/,
    );
    expect(await refusal({ ...clone, destination: newPath('gone.img') })).toContain('it holds 16 of 16 regions');
  });

  it('when the destination is smaller than the source', async () => {
    const clone = files();
    writeFileSync(clone.destination, new Uint8Array(512 * KIB));
    expect(await refusal(clone)).toMatch(/has 524288 bytes, and the source 1048576[\s\S]*truncate -s 1048576/);
    writeFileSync(clone.destination, '');
    expect(await refusal(clone)).toMatch(/has 0 bytes, and the source 1048576[\s\S]*truncate -s 1048576/);
    expect(existsSync(clone.metadata)).toBe(false);
  });

  it('when the source, or the region size, is not that of the metadata', async () => {
    const clone = files();
    await (await serve(clone, '--no-hydration')).end();
    expect(await refusal(clone, '--region-sectors', '8')).toContain('in regions of 128');
    expect(await refusal({ ...clone, source: files(IMAGE.subarray(0, 512 * KIB)).source })).toContain(
      'was made for a clone of 2048 sectors',
    );
  });

  it('when one file is to be two', async () => {
    const clone = files();
    expect(await refusal({ ...clone, destination: clone.source })).toContain(
      'source and destination are the same file',
    );
    expect(await refusal({ ...clone, metadata: clone.destination })).toContain(
      'metadata and destination are the same file',
    );
    const { base, dir } = parse(clone.destination);
    expect(await refusal({ ...clone, metadata: `${dir}/../${basename(dir)}/${base}` })).toContain(
      'metadata and destination are the same file',
    );
    expect(existsSync(clone.destination)).toBe(false);
  });

  it('when the metadata is something else', async () => {
    const clone = files();
    writeFileSync(clone.metadata, new Uint8Array(64 * KIB).fill(7));
    writeFileSync(clone.destination, new Uint8Array(IMAGE.length));
    expect(await refusal(clone)).toContain('superblock');
    expect(readFileSync(clone.metadata).every((byte) => byte === 7)).toBe(true);
  });

  it('when its metadata has lost its superblock, which a new clone would lose the rest of', async () => {
    const clone = files();
    const served = await serve(clone);
    await complete(served);
    await served.end();
    const wiped = readFileSync(clone.metadata).fill(0, 0, 4096);
    writeFileSync(clone.metadata, wiped);
    expect(await refusal(clone)).toMatch(
      /is metadata without its superblock, which is all zeros[\s\S]*clone_repair -i DAMAGED -o NEW/,
    );
    expect(readFileSync(clone.metadata).equals(wiped)).toBe(true);
    writeFileSync(clone.destination, new Uint8Array(IMAGE.length)); // nothing to lose: the making of a clone may have been interrupted
    await (await serve(clone)).end();
  });

  it('when its metadata is an empty file, which is not told of XML', async () => {
    const clone = files();
    writeFileSync(clone.metadata, '');
    expect(await refusal(clone)).toMatch(
      /next step: give the metadata device, .* for a new clone remove it, and it is made/,
    );
    expect([readFileSync(clone.metadata).length, existsSync(clone.destination)]).toEqual([0, false]);
  });

  it('when its metadata has no room, and the destination that was made for it is gone again', async () => {
    const clone = files();
    writeFileSync(clone.metadata, new Uint8Array(4 * 4096));
    expect(await refusal(clone)).toMatch(
      /^the metadata device '.*' is too small for this clone: it has 4 blocks of 4096 bytes\n {2}effect: no clone has been made\n {2}next step: /,
    );
    expect([readFileSync(clone.metadata).subarray(0, 4096).some(Boolean), existsSync(clone.destination)]).toEqual([
      false,
      false,
    ]);
  });

  it('when it cannot listen where it is to, and nothing is made', async () => {
    const server = createServer();
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    onTestFinished(() => void server.close());
    const clone = files();
    for (const [address, says] of [
      [['--port', `${(server.address() as AddressInfo).port}`], 'another program is listening there'],
      [['--socket', clone.source], 'a file that is not a socket is there'],
      [['--socket', newPath('missing/socket')], 'there is no directory'],
    ] as const) {
      const { exitCode, stderr } = await runTool([...words(clone), ...address]);
      expect([exitCode, stderr]).toEqual([64, expect.stringContaining(says)]);
    }
    expect([existsSync(clone.metadata), existsSync(clone.destination)]).toEqual([false, false]);
  });

  it.each(['7', '12', '4194304', 'x'])('with --region-sectors %s', async (size) => {
    const { exitCode, stderr } = await runTool([...words(files()), '--region-sectors', size]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("'--region-sectors <N>'")]);
  });
});
