/** The frames: what an open page is told, in which order, and that neither many nor slow pages cost the pool anything. */
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { IoCounters } from '../src/pool-host.js';
import { HISTORY_LENGTH, IoRates } from '../src/web/io-rates.js';
import { LiveFeed, MAX_PAGES, NR_EVENTS_KEPT } from '../src/web/live-feed.js';
import type { PoolFrame } from '../src/web/page-protocol.js';
import { FakePoolHost } from './fake-pool-host.js';
import { type Frame, startTestPage } from './page-client.js';

const hasVolume =
  (name: string) =>
  ({ kind, data }: Frame): boolean =>
    kind === 'pool' && data.volumes.some((volume: { name: string }) => volume.name === name);

describe('an open page', () => {
  it('is told everything anew when it connects: history, the pool, its map, and the events before it came', async () => {
    const page = await startTestPage();
    await page.act('create', { name: 'a', size: 2 ** 20 });
    page.host.write('a', 0, 4);
    const frames: Frame[] = [];
    for await (const frame of page.frames()) {
      frames.push(frame);
      if (frame.kind === 'sharing') break;
    }
    expect(frames[0]?.kind).toBe('hello');
    expect(frames.find(({ kind }) => kind === 'event')?.data).toMatchObject({ id: 1, kind: 'volume', volume: 'a' });
    expect(frames.find(({ kind }) => kind === 'pool')?.data).toMatchObject({
      pool: { directory: '/var/tmp/demo', mode: 'write', data: { used: 4 * 65536 } },
      volumes: [{ name: 'a', size: 2 ** 20, mapped: 4 * 65536 }],
    });
    expect(frames.at(-1)?.data).toMatchObject({ version: 1, exclusive: [['a', 4 * 65536]] });
  });

  it('sees at once what another page did', async () => {
    const page = await startTestPage();
    const seen = page.frame(hasVolume('made elsewhere'));
    await page.frame(({ kind }) => kind === 'pool');
    await page.act('create', { name: 'made elsewhere', size: 512 });
    expect((await seen).data.volumes).toHaveLength(1);
  });

  it('sees how blocks come to be shared, and each volume’s map', async () => {
    const page = await startTestPage();
    await page.host.createVolume({ name: 'a', size: 16 * 65536 });
    page.host.write('a', 0, 4);
    await page.host.snapshot({ origin: 'a', name: 's' });
    page.host.write('a', 0, 1);
    await page.frame(({ kind }) => kind === 'sharing');
    const map = async (name: string) => JSON.parse((await page.ask({ path: `/api/map?volume=${name}` })).text);
    const rest = new Array(12).fill(0);
    expect((await map('a')).row).toEqual({
      blocksPerCell: 1,
      mapped: [255, 255, 255, 255, ...rest],
      shared: [0, 255, 255, 255, ...rest],
    });
    expect((await map('s')).row.shared).toEqual([0, 255, 255, 255, ...rest]);
    expect(await map('nobody')).toEqual({ version: 1, name: 'nobody' });
    expect((await page.ask({ path: '/api/map' })).status).toBe(200);
  });

  it('gets coarser maps of very many volumes, so that all of them take little memory', async () => {
    const page = await startTestPage();
    for (let nr = 0; nr < 5000; nr++) await page.host.createVolume({ name: `v${nr}`, size: 2 ** 30 });
    const { data } = await page.frame(({ kind }) => kind === 'sharing');
    expect(data.exclusive).toHaveLength(5000);
    const { text } = await page.ask({ path: '/api/map?volume=v4999' });
    const nrCells = JSON.parse(text).row.mapped.length;
    expect(nrCells * 5000).toBeLessThanOrEqual(500_000);
    expect(nrCells).toBeGreaterThan(50);
  });

  it('gets events of all kinds in their order', async () => {
    const page = await startTestPage();
    const told: string[] = [];
    for await (const { kind, data } of page.frames()) {
      if (kind === 'hello') {
        page.host.emit({ kind: 'mode', message: 'the pool is read-only now' });
        page.host.emit({ kind: 'client', message: 'a client came\nand wrote: event: bye' });
        page.host.emit({ kind: 'space', message: 'data is low' });
      }
      if (kind === 'event') told.push(`${data.id} ${data.message}`);
      if (told.length === 3) break;
    }
    expect(told).toEqual(['1 the pool is read-only now', '2 a client came\nand wrote: event: bye', '3 data is low']);
  });

  it('is told when the pool cannot be asked, and when it can again', async () => {
    const page = await startTestPage();
    page.host.broken = new Error('the disk is gone');
    let isBroken = true;
    for await (const { kind, data } of page.frames()) {
      if (kind === 'trouble') {
        expect(data.message).toBe('the disk is gone');
        page.host.broken = undefined;
        isBroken = false;
      }
      if (kind === 'pool') break;
    }
    expect(isBroken).toBe(false);
    expect(page.logged).toEqual(['the page cannot ask the pool: the disk is gone']);
  });

  it('is told that the program ends; the page lets go of the pool without closing it', async () => {
    const page = await startTestPage();
    const kinds: string[] = [];
    for await (const { kind } of page.frames()) {
      kinds.push(kind);
      if (kind === 'pool') void page.page.close();
    }
    expect(kinds.at(-1)).toBe('bye');
    await page.page.close();
    expect(page.host.nrListeners).toBe(0);
    expect(page.host.calls).toEqual([]);
    await expect(page.ask({ path: '/' })).rejects.toThrow(/ECONNREFUSED/);
  });

  it(`is refused when ${MAX_PAGES} are open, and let in when one has left`, async () => {
    const page = await startTestPage();
    const open = await Promise.all(Array.from({ length: MAX_PAGES }, () => page.open({ path: '/api/live' })));
    expect(open.map(({ statusCode }) => statusCode)).toEqual(new Array(MAX_PAGES).fill(200));
    const refused = await page.ask({ path: '/api/live' });
    expect([refused.status, refused.headers['retry-after']]).toEqual([503, '5']);
    expect(JSON.parse(refused.text).error.message).toContain('close one of them');

    open[0]?.destroy();
    let status = 503;
    while (status === 503) {
      const response = await page.open({ path: '/api/live' });
      status = response.statusCode ?? 0;
      if (status === 503) await response.resume().toArray();
      else response.destroy();
    }
    expect(status).toBe(200);
    for (const response of open) response.destroy();
  });
});

describe('a page that does not read', () => {
  /** A feed, and a socket that has asked for it and reads nothing. */
  async function stalled() {
    const feed = new LiveFeed();
    const server = createServer((_, response) => feed.join(response, { history: [] }));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    onTestFinished(() => {
      socket.destroy();
      server.close();
    });
    socket.pause();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await new Promise<void>((resolve) => {
      server.on('request', () => resolve());
    });
    const host = new FakePoolHost();
    const pool = await host.status();
    /** About 1 MB, each different. */
    const large = (nr: number): PoolFrame => ({
      pool: { ...pool, statusLine: `${nr} `.padEnd(2 ** 20, '.') },
      volumes: [],
    });
    const rates = (at: number) =>
      feed.rates({ at, total: { reads: 0, writes: 0, bytesRead: 0, bytesWritten: 0 }, volumes: [] });
    return { feed, socket, large, rates };
  }

  it('is owed the newest state and all events, not everything in between', async () => {
    const { feed, socket, large } = await stalled();
    for (let nr = 1; nr <= 300; nr++) {
      feed.state('pool', large(nr));
      if (nr % 3 === 0) feed.event({ at: nr, kind: 'client', message: `event ${nr}` });
      await new Promise((resolve) => setImmediate(resolve));
    }
    let received = '';
    await new Promise<void>((resolve) => {
      socket.on('data', (part: Buffer) => {
        received += part.toString('latin1');
        if (received.includes('event 300"')) resolve();
      });
      socket.resume();
    });
    const states = [...received.matchAll(/"statusLine":"(\d+) /g)].map(([, nr]) => Number(nr));
    expect(states.at(-1)).toBe(300);
    expect(states.length).toBeLessThan(100);
    expect([...received.matchAll(/"message":"event (\d+)"/g)].map(([, nr]) => Number(nr))).toEqual(
      Array.from({ length: 100 }, (_, index) => 3 * (index + 1)),
    );
  });

  it('is dropped after a while', async () => {
    const { feed, socket, large, rates } = await stalled();
    const closed = new Promise((resolve) => socket.on('close', resolve));
    for (let nr = 1; nr <= 50; nr++) {
      feed.state('pool', large(nr));
      await new Promise((resolve) => setImmediate(resolve));
    }
    rates(1_000);
    rates(20_000);
    expect(feed.nrPages).toBe(1);
    rates(30_000);
    socket.resume();
    await closed;
    expect(feed.nrPages).toBe(0);
  });

  it('finds at most the last events when it comes back', async () => {
    const { feed } = await stalled();
    for (let nr = 1; nr <= NR_EVENTS_KEPT + 50; nr++) feed.event({ at: nr, kind: 'client', message: `event ${nr}` });
    let sent = '';
    const response = { writableNeedDrain: false, on() {}, writeHead() {}, write: (text: string) => (sent += text) };
    feed.join(response as never, { history: [] });
    const ids = [...sent.matchAll(/"id":(\d+)/g)].map(([, id]) => Number(id));
    expect([ids.length, ids[0], ids.at(-1)]).toEqual([NR_EVENTS_KEPT, 51, NR_EVENTS_KEPT + 50]);
  });
});

describe('rates', () => {
  const io = (counters: Partial<IoCounters>): IoCounters => ({
    reads: 0,
    writes: 0,
    discards: 0,
    flushes: 0,
    bytesRead: 0,
    bytesWritten: 0,
    ...counters,
  });

  it('are requests and bytes a second, of each volume with I/O and of all', () => {
    const rates = new IoRates();
    rates.sample(10_000, [
      { name: 'a', io: io({ reads: 100, bytesRead: 1000 }) },
      { name: 'idle', io: io({ reads: 5 }) },
    ]);
    const frame = rates.sample(12_000, [
      { name: 'a', io: io({ reads: 300, bytesRead: 5000 }) },
      { name: 'new', io: io({ writes: 4, bytesWritten: 2048 }) },
      { name: 'idle', io: io({ reads: 5 }) },
    ]);
    expect(frame).toEqual({
      at: 12_000,
      total: { reads: 100, writes: 2, bytesRead: 2000, bytesWritten: 1024 },
      volumes: [
        ['a', { reads: 100, writes: 0, bytesRead: 2000, bytesWritten: 0 }],
        ['new', { reads: 0, writes: 2, bytesRead: 0, bytesWritten: 1024 }],
      ],
    });
  });

  it('are never below zero, also when a name stands for another volume now', () => {
    const rates = new IoRates();
    rates.sample(1000, [{ name: 'a', io: io({ writes: 1000 }) }]);
    expect(rates.sample(2000, [{ name: 'a', io: io({ writes: 3 }) }]).total.writes).toBe(3);
  });

  it('begin at zero: what was counted before anybody looked is no rate', () => {
    const rates = new IoRates();
    const all = [{ name: 'a', io: io({ writes: 1000 }) }];
    expect(rates.sample(1000, all).total.writes).toBe(0);
    rates.sample(2000, all);
    rates.pause();
    expect(rates.sample(600_000, [{ name: 'a', io: io({ writes: 99_000 }) }]).total.writes).toBe(0);
  });

  it('are kept for two minutes, of the busiest volumes, whatever their number', () => {
    const rates = new IoRates();
    const volumes = (reads: number) =>
      Array.from({ length: 500 }, (_, nr) => ({
        name: `v${nr}`,
        io: io({ reads: reads * nr, bytesRead: reads * nr }),
      }));
    for (let second = 1; second <= HISTORY_LENGTH + 30; second++) rates.sample(1000 * second, volumes(second));
    expect(rates.history).toHaveLength(HISTORY_LENGTH);
    expect(
      rates.history
        .at(-1)
        ?.volumes.map(([name]) => name)
        .slice(0, 2),
    ).toEqual(['v499', 'v498']);
    expect(rates.history.at(-1)?.volumes).toHaveLength(32);
  });
});
