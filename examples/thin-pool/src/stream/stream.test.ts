import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { collect, MiB, names, noise, read, testPools, write } from '../../test/pools.js';
import type { LocalPoolHost } from '../pool/local-host.js';
import { receiveStream } from './receive.js';
import { formatToken, parseToken } from './resume-token.js';
import { type SendRequest, sendStream } from './send.js';
import { encodeFrame, MAGIC, readStream } from './stream-format.js';

const SEED = 20_261_120;

/** A volume of 6 MiB with data here and there, a snapshot "one", more writes, holes and zeros, a snapshot "two". */
async function fill(host: LocalPoolHost): Promise<void> {
  await host.createVolume({ name: 'disk', size: 6 * MiB + 512 });
  await write(host, 'disk', 0, noise(100_352, 1));
  await write(host, 'disk', 2 * MiB - 4096, noise(8192, 2));
  await write(host, 'disk', 5 * MiB, noise(MiB + 512, 3));
  await host.snapshot({ origin: 'disk', name: 'one' });
  await write(host, 'disk', 4096, noise(4096, 4));
  await write(host, 'disk', 3 * MiB, noise(200_704, 5));
  await write(host, 'disk', 5 * MiB, new Uint8Array(131_072));
  const device = await host.openVolume({ name: 'disk', mode: 'write' });
  await device.discard(2 * MiB - 65_536, 131_072);
  await device.close();
  await host.snapshot({ origin: 'disk', name: 'two' });
}

const send = (host: LocalPoolHost, request: SendRequest): Promise<Buffer> => collect(sendStream(host, request));

async function* pieces(bytes: Uint8Array, size = 10_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Where each frame of a stream ends. */
async function frameEnds(stream: Buffer): Promise<number[]> {
  const ends: number[] = [];
  let at = MAGIC.length;
  for await (const { size } of readStream(pieces(stream))) {
    at += size;
    ends.push(at);
  }
  return ends;
}

const receive = (host: LocalPoolHost, stream: Uint8Array, options = {}) => receiveStream(host, pieces(stream), options);

async function expectClean(host: LocalPoolHost): Promise<void> {
  const report = await host.check();
  expect(report.findings).toEqual([]);
}

describe('a stream', () => {
  it.each(['lmdb', 'raw'] as const)('brings a snapshot and what changed since into a %s pool', async (format) => {
    await using pools = testPools();
    const from = await pools.make('from');
    const to = await pools.make('to', { format, blockSize: 128 * 1024 });
    await fill(from);
    const full = await receive(to, await send(from, { snapshot: 'one' }));
    expect(full).toMatchObject({ name: 'one', kind: 'snapshot', size: 6 * MiB + 512 });
    const incremental = await send(from, { snapshot: 'two', base: 'one' });
    expect(incremental.length).toBeLessThan(MiB);
    expect(await receive(to, incremental, { name: 'second' })).toMatchObject({ name: 'second', origin: 'one' });
    for (const [there, here] of [
      ['one', 'one'],
      ['two', 'second'],
    ] as const) {
      expect((await read(from, there)).equals(await read(to, here))).toBe(true);
      expect((await to.volume({ name: here })).identity).toBe((await from.volume({ name: there })).identity);
    }
    await expectClean(to);
  });

  it('of an empty snapshot, and of one that did not change, is small and arrives', async () => {
    await using pools = testPools();
    const [from, to] = [await pools.make('from'), await pools.make('to')];
    await from.createVolume({ name: 'disk', size: 8 * 1024 * MiB });
    await from.snapshot({ origin: 'disk', name: 'empty' });
    await from.snapshot({ origin: 'disk', name: 'same' });
    const full = await send(from, { snapshot: 'empty' });
    expect(full.length).toBeLessThan(400);
    await receive(to, full);
    await receive(to, await send(from, { snapshot: 'same', base: 'empty' }));
    expect(await to.volumes()).toMatchObject([
      { name: 'empty', mapped: 0 },
      { name: 'same', mapped: 0 },
    ]);
  });

  it('of a snapshot that is smaller or larger than its base arrives with its size and content', async () => {
    await using pools = testPools();
    const [from, to] = [await pools.make('from'), await pools.make('to')];
    await from.createVolume({ name: 'disk', size: 2 * MiB });
    await write(from, 'disk', 0, noise(2 * MiB, 1));
    await from.snapshot({ origin: 'disk', name: 'middle' });
    await from.resizeVolume({ name: 'disk', size: MiB - 512, shrink: true });
    await from.snapshot({ origin: 'disk', name: 'small' });
    await from.resizeVolume({ name: 'disk', size: 3 * MiB });
    await from.snapshot({ origin: 'disk', name: 'large' });
    await receive(to, await send(from, { snapshot: 'middle' }));
    await receive(to, await send(from, { snapshot: 'small', base: 'middle' }));
    await receive(to, await send(from, { snapshot: 'large', base: 'middle' }));
    for (const name of ['middle', 'small', 'large']) {
      expect((await read(from, name)).equals(await read(to, name)), name).toBe(true);
    }
    // What the base held behind the end of the smaller one must not come back in a larger copy of it.
    await to.snapshot({ origin: 'small', name: 'copy', writable: true });
    await to.resizeVolume({ name: 'copy', size: 2 * MiB });
    expect((await read(to, 'copy', MiB - 512)).every((byte) => byte === 0)).toBe(true);
    await expectClean(to);
  });

  it('that breaks off at any frame is resumed there, by its rest and from its beginning', async () => {
    await using pools = testPools();
    const from = await pools.make('from');
    let to = await pools.make('to');
    await fill(from);
    for (const request of [{ snapshot: 'one' }, { snapshot: 'two', base: 'one' }]) {
      const stream = await send(from, request);
      const ends = await frameEnds(stream);
      expect(ends.at(-1)).toBe(stream.length);
      if (request.base !== undefined) await receive(to, await send(from, { snapshot: request.base }));
      const before = await names(to);
      for (const [nr, end] of ends.slice(0, -1).entries()) {
        for (const how of ['rest', 'whole'] as const) {
          await expect(receive(to, stream.subarray(0, end))).rejects.toMatchObject({ code: 'ERR_STREAM_TRUNCATED' });
          expect(await names(to)).toEqual(before);
          // The first frame is the head: nothing has arrived yet, and nothing is kept.
          expect((await to.receiving.list()).length).toBe(nr === 0 ? 0 : 1);
          if (nr === 1) to = await pools.reopen(to);
          const [pending] = await to.receiving.list();
          const isRest = how === 'rest' && pending !== undefined;
          const rest = isRest ? await send(from, { ...request, resume: parseToken(formatToken(pending)) }) : stream;
          if (isRest && nr > 1) expect(rest.length).toBeLessThan(stream.length);
          await receive(to, rest, { resume: true });
          expect((await read(from, request.snapshot)).equals(await read(to, request.snapshot))).toBe(true);
          expect(await to.receiving.list()).toEqual([]);
          await expectClean(to);
          await to.removeVolume({ name: request.snapshot });
        }
      }
    }
  });

  it('that breaks off anywhere is refused, and nothing of it is visible', async () => {
    await using pools = testPools();
    const [from, to] = [await pools.make('from'), await pools.make('to')];
    await fill(from);
    const stream = await send(from, { snapshot: 'one' });
    const random = seededRandom(SEED);
    const cuts = [
      0,
      1,
      15,
      16,
      17,
      24,
      stream.length - 1,
      ...Array.from({ length: 12 }, () => Math.floor(random() * stream.length)),
    ];
    for (const cut of cuts) {
      await expect(receive(to, stream.subarray(0, cut)), `cut at ${cut}`).rejects.toMatchObject({
        code: cut > 0 && cut < 16 ? 'ERR_STREAM' : 'ERR_STREAM_TRUNCATED',
      });
      expect(await names(to)).toEqual([]);
      for (const { identity } of await to.receiving.list()) await to.receiving.abandon({ identity });
    }
    expect((await to.status()).data.used).toBe(0);
    await expectClean(to);
  });

  it('with any byte changed is refused, and nothing of it is visible', async () => {
    await using pools = testPools();
    const [from, to] = [await pools.make('from'), await pools.make('to')];
    await fill(from);
    const stream = await send(from, { snapshot: 'two', base: 'one' });
    await receive(to, await send(from, { snapshot: 'one' }));
    const { used } = (await to.status()).data;
    const random = seededRandom(SEED + 1);
    const places = [
      ...Array.from({ length: 260 }, (_, index) => index),
      ...Array.from({ length: 40 }, () => Math.floor(random() * stream.length)),
    ];
    for (const place of places) {
      const changed = Buffer.from(stream);
      changed[place] = changed[place]! ^ (1 << Math.floor(random() * 8));
      const refused = expect(receive(to, changed), `seed ${SEED + 1}, byte ${place}`).rejects;
      await refused.toMatchObject({ code: expect.stringMatching(/^ERR_STREAM/) });
      expect(await names(to)).toEqual(['one']);
      for (const { identity } of await to.receiving.list()) await to.receiving.abandon({ identity });
    }
    expect((await to.status()).data.used).toBe(used);
  });

  it('that lost, repeated or exchanged whole frames is refused, and nothing of it is kept', async () => {
    await using pools = testPools();
    const [from, to] = [await pools.make('from'), await pools.make('to')];
    await fill(from);
    const stream = await send(from, { snapshot: 'one' });
    const ends = await frameEnds(stream);
    const frames = [MAGIC.length, ...ends.slice(0, -1)].map((begin, index) => stream.subarray(begin, ends[index]));
    const [head, a, b, ...rest] = frames as [Buffer, Buffer, Buffer, ...Buffer[]];
    const end = rest.at(-1)!;
    for (const [what, wrong] of [
      ['lost', [head, a, ...rest]],
      ['repeated', [head, a, a, b, ...rest]],
      ['exchanged', [head, b, a, ...rest]],
      ['followed by more', [...frames, Buffer.from('more')]],
      ['two heads', [head, head, a, b, ...rest]],
      ['no head', [a, b, ...rest]],
      ['only head and end', [head, end]],
    ] as const) {
      await expect(receive(to, Buffer.concat([MAGIC, ...wrong])), what).rejects.toMatchObject({ code: 'ERR_STREAM' });
      expect(await names(to), what).toEqual([]);
      for (const { identity } of await to.receiving.list()) await to.receiving.abandon({ identity });
      expect((await to.status()).data.used, what).toBe(0);
    }
  });

  it('whose frames lie outside the snapshot is refused', async () => {
    await using pools = testPools();
    const to = await pools.make('to');
    const head = {
      identity: 'a'.repeat(32),
      name: 'x',
      size: 4096,
      created: 0,
      from: { offset: 0, checksum: 0, position: 0 },
    };
    const begin = encodeFrame({ kind: 'begin', head });
    for (const frame of [
      { kind: 'data', position: 4096, bytes: new Uint8Array(512) },
      { kind: 'data', position: 0, bytes: new Uint8Array(8192) },
      { kind: 'zero', position: 512, length: 4096 },
      { kind: 'zero', position: Number.MAX_SAFE_INTEGER - 1023, length: 512 },
    ] as const) {
      await expect(receive(to, Buffer.concat([MAGIC, begin, encodeFrame(frame)]))).rejects.toThrow(
        'behind the end of the snapshot',
      );
    }
    expect(await to.receiving.list()).toEqual([]);
  });

  it.each([
    ['nothing', Buffer.alloc(0), 'the stream is empty'],
    ['a few bytes', Buffer.from('hello'), 'shorter than the first 16 bytes'],
    ['something else', Buffer.alloc(100_000, 7), 'it does not begin as one'],
    ['another version', Buffer.from('PDATA-STREAM 9\r\n'), 'of another version'],
    ['line ends changed', Buffer.from('PDATA-STREAM 1\n\n\n'), 'its line ends were changed'],
    ['a frame of 4 GiB', Buffer.concat([MAGIC, Buffer.alloc(8, 0xff)]), 'its length is 4294967295'],
  ])('that is %s is refused in one sentence', async (_, bytes, sentence) => {
    await using pools = testPools();
    const to = await pools.make('to');
    await expect(receive(to, bytes)).rejects.toThrow(sentence);
    expect(await names(to)).toEqual([]);
  });
});

describe('the base of an incremental stream', () => {
  it('must be in the pool: by identity, whatever it is called', async () => {
    await using pools = testPools();
    const [from, to] = [await pools.make('from'), await pools.make('to')];
    await fill(from);
    const incremental = await send(from, { snapshot: 'two', base: 'one' });
    await expect(receive(to, incremental)).rejects.toMatchObject({
      code: 'ERR_WRONG_BASE',
      message: expect.stringContaining('which this pool does not have'),
    });
    await to.createVolume({ name: 'disk', size: MiB });
    await to.snapshot({ origin: 'disk', name: 'one' });
    await expect(receive(to, incremental)).rejects.toMatchObject({
      code: 'ERR_WRONG_BASE',
      message: expect.stringContaining('is another one, although it has the same name'),
    });
    await to.renameVolume({ name: 'one', to: 'mine' });
    await receive(to, await send(from, { snapshot: 'one' }), { name: 'theirs' });
    await receive(to, incremental);
    expect((await read(from, 'two')).equals(await read(to, 'two'))).toBe(true);
  });

  it('cannot be a volume, nor the snapshot itself, nor what is not there', async () => {
    await using pools = testPools();
    const from = await pools.make('from');
    await fill(from);
    await expect(send(from, { snapshot: 'disk' })).rejects.toMatchObject({ code: 'ERR_NOT_A_SNAPSHOT' });
    await expect(send(from, { snapshot: 'one', base: 'disk' })).rejects.toMatchObject({ code: 'ERR_NOT_A_SNAPSHOT' });
    await expect(send(from, { snapshot: 'one', base: 'one' })).rejects.toMatchObject({ code: 'ERR_WRONG_BASE' });
    await expect(send(from, { snapshot: 'ones' })).rejects.toThrow('did you mean "one"?');
  });
});

describe('receiving', () => {
  it('the same snapshot twice, or under a taken name, is refused before anything is read', async () => {
    await using pools = testPools();
    const [from, to] = [await pools.make('from'), await pools.make('to')];
    await fill(from);
    await to.createVolume({ name: 'one', size: MiB });
    const stream = await send(from, { snapshot: 'one' });
    await expect(receive(to, stream)).rejects.toMatchObject({ code: 'ERR_NAME_TAKEN' });
    await receive(to, stream, { name: 'first' });
    await expect(receive(to, stream, { name: 'again' })).rejects.toThrow('is in the pool already, as "first"');
    expect(await names(to)).toEqual(['first', 'one']);
  });

  it('into a pool that is too small fails, keeps its space, and goes on after it has grown', async () => {
    await using pools = testPools();
    const [from, to] = [await pools.make('from'), await pools.make('to', { size: MiB })];
    await fill(from);
    const stream = await send(from, { snapshot: 'one' });
    await expect(receive(to, stream, { checkpointBytes: 100_000 })).rejects.toMatchObject({ code: 'ERR_NO_SPACE' });
    expect(await names(to)).toEqual([]);
    const [pending] = await to.receiving.list();
    expect(pending?.offset).toBeGreaterThan(0);
    await expect(receive(to, stream)).rejects.toMatchObject({ code: 'ERR_RESUME' });
    await to.growPool({ size: 16 * MiB });
    await receive(to, stream, { resume: true });
    expect((await read(from, 'one')).equals(await read(to, 'one'))).toBe(true);
    await expectClean(to);
  });

  it('refuses a rest without a beginning, and one that leaves a gap', async () => {
    await using pools = testPools();
    const [from, to] = [await pools.make('from'), await pools.make('to')];
    await fill(from);
    const stream = await send(from, { snapshot: 'one' });
    const { identity } = await from.volume({ name: 'one' });
    const [, first = 0, second = 0] = await frameEnds(stream);
    const rest = await send(from, {
      snapshot: 'one',
      resume: { identity, offset: second, checksum: 1, position: MiB },
    });
    await expect(receive(to, rest, { resume: true })).rejects.toThrow('this pool has nothing of its beginning');
    await expect(receive(to, stream.subarray(0, first))).rejects.toMatchObject({ code: 'ERR_STREAM_TRUNCATED' });
    await expect(receive(to, rest, { resume: true })).rejects.toThrow('the stream goes on at byte');
    await expect(send(from, { snapshot: 'two', resume: parseToken(`${identity}:1:00000000:0`) })).rejects.toThrow(
      'the resume token is of another snapshot',
    );
    expect(() => parseToken('42')).toThrow('is no resume token');
    expect(() => parseToken(`${identity}:1:00000000:1`)).toThrow('is no resume token (a digit is wrong)');
    expect(() => parseToken(`${identity}:9999999999999999:00000000:0`)).toThrow('a digit is wrong');
    const beyond = parseToken(`${identity}:1:00000000:${64 * MiB}`);
    await expect(send(from, { snapshot: 'one', resume: beyond })).rejects.toThrow('points behind the end of "one"');
  });
});
