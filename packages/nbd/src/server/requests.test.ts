import { ClosedError, DeviceError, MemoryDataDevice, ReadOnlyError, StoreError } from '@pdata/device';
import { FaultyDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { assembled, RawClient, type RequestFields } from '../../test/raw-client.js';
import { expectBytes, MIB, patternBytes, serve } from '../../test/served.js';
import { CHUNK, COMMAND, COMMAND_FLAG, NBD_ERROR, REPLY_FLAG_DONE } from '../protocol/constants.js';

const { READ, WRITE, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS, RESIZE } = COMMAND;
const { EPERM, EIO, EINVAL, ENOSPC, ENOTSUP, ESHUTDOWN } = NBD_ERROR;
const { FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN } = COMMAND_FLAG;
const WAYS = [{ way: 'simple' }, { way: 'structured', structured: true }, { way: 'extended', extended: true }] as const;
const bytes = (length: number, value = 0xaa): Uint8Array => new Uint8Array(length).fill(value);

describe.each(WAYS)('over $way replies', ({ way, ...mode }) => {
  /** Sends each request and, right after it, a good one whose answer shows that the stream is in step. */
  async function expectErrors(client: RawClient, rows: readonly (readonly [RequestFields, number])[]): Promise<void> {
    for (const [request, error] of rows) {
      expect.soft(await client.tried(request), `${JSON.stringify(request, shortened)}`).toBe(error);
      expect(await client.readData(512, 16)).toHaveLength(16);
    }
  }
  const shortened = (_: string, value: unknown): unknown =>
    typeof value === 'bigint' ? String(value) : value instanceof Uint8Array ? `${value.length} bytes` : value;

  it('reads what was written, zeroed and trimmed', async () => {
    const model = patternBytes(MIB);
    const device = new MemoryDataDevice({ bytes: patternBytes(MIB) });
    const client = await RawClient.transmitting((await serve({ device })).server, mode);
    expectBytes(await client.readData(0, MIB), Buffer.from(model));
    expect(await client.tried({ command: WRITE, offset: 8192, payload: bytes(4096) })).toBe(0);
    model.fill(0xaa, 8192, 12_288);
    expect(await client.tried({ command: WRITE_ZEROES, offset: 65_536, length: 131_072 })).toBe(0);
    model.fill(0, 65_536, 196_608);
    expect(await client.tried({ command: WRITE_ZEROES, flags: NO_HOLE, offset: 512, length: 512 })).toBe(0);
    model.fill(0, 512, 1024);
    expect(await client.tried({ command: CACHE, offset: 0, length: MIB })).toBe(0);
    expectBytes(await client.readData(0, MIB), Buffer.from(model));
    expect(await client.tried({ command: TRIM, offset: 0, length: 4096 })).toBe(0);
    expectBytes(await client.readData(4096, MIB - 4096), Buffer.from(model.subarray(4096)));
  });

  it('serves any range of bytes, and changes nothing beside it', async () => {
    const model = patternBytes(MIB);
    const device = new MemoryDataDevice({ bytes: patternBytes(MIB) });
    const client = await RawClient.transmitting((await serve({ device })).server, mode);
    const ranges = [
      [0, 1],
      [511, 1],
      [511, 2],
      [513, 100],
      [1000, 1048],
      [1, 1023],
      [4095, 8194],
      [70_001, 70_001],
      [MIB - 1, 1],
      [MIB - 700, 700],
    ] as const;
    for (const [offset, length] of ranges) {
      expectBytes(await client.readData(offset, length), Buffer.from(model.subarray(offset, offset + length)));
      const payload = patternBytes(length, offset + length);
      expect(await client.tried({ command: WRITE, offset, payload })).toBe(0);
      model.set(payload, offset);
      expectBytes(device.bytes, model);
      const zeroed = Math.floor(length / 3);
      expect(await client.tried({ command: WRITE_ZEROES, offset: offset + zeroed, length: zeroed })).toBe(0);
      model.fill(0, offset + zeroed, offset + 2 * zeroed);
      expectBytes(device.bytes, model);
    }
  });

  it('trims whole sectors only', async () => {
    const device = new MemoryDataDevice({ bytes: patternBytes(MIB) });
    const client = await RawClient.transmitting((await serve({ device })).server, mode);
    expect(await client.tried({ command: TRIM, offset: 100, length: 900 })).toBe(0);
    expect(await client.tried({ command: TRIM, offset: 1100, length: 100 })).toBe(0);
    const model = patternBytes(MIB);
    expectBytes(device.bytes?.subarray(0, 512), model.subarray(0, 512));
    expectBytes(device.bytes?.subarray(512, 1024), model.subarray(512, 1024)); // 1000 is inside this sector
    expect(await client.tried({ command: TRIM, offset: 2000, length: 1000 })).toBe(0);
    model.fill(0, 2048, 2560);
    expectBytes(device.bytes, model);
  });

  it('answers requests of length 0 with success', async () => {
    const client = await RawClient.transmitting((await serve()).server, mode);
    const empty = way === 'extended' ? { flags: PAYLOAD_LEN } : {};
    await expectErrors(client, [
      [{ command: READ, offset: 5 }, 0],
      [{ command: READ, offset: MIB }, 0],
      [{ command: WRITE, offset: 5, length: 0, ...empty }, 0],
      [{ command: TRIM, offset: 5 }, 0],
      [{ command: WRITE_ZEROES, offset: 5 }, 0],
      [{ command: CACHE, offset: 5 }, 0],
      [{ command: READ, offset: MIB + 1 }, EINVAL],
      [{ command: BLOCK_STATUS, offset: 5 }, EINVAL],
    ]);
  });

  it('refuses what leaves the export, by the table, without overflow, and stays in step', async () => {
    const device = new MemoryDataDevice({ bytes: patternBytes(MIB) });
    const client = await RawClient.transmitting((await serve({ device })).server, mode);
    const far = 2n ** 64n - 1n;
    await expectErrors(client, [
      [{ command: READ, offset: MIB - 512, length: 1024 }, EINVAL],
      [{ command: READ, offset: MIB, length: 1 }, EINVAL],
      [{ command: READ, offset: far, length: 1 }, EINVAL],
      [{ command: READ, offset: far, length: 4096 }, EINVAL],
      [{ command: READ, offset: 2 ** 53, length: 512 }, EINVAL],
      [{ command: WRITE, offset: MIB - 512, payload: bytes(1024) }, ENOSPC],
      [{ command: WRITE, offset: MIB, payload: bytes(1) }, ENOSPC],
      [{ command: WRITE, offset: far, payload: bytes(4096) }, ENOSPC],
      [{ command: WRITE, offset: far - 4095n, payload: bytes(4096) }, ENOSPC],
      [{ command: WRITE_ZEROES, offset: MIB - 512, length: 513 }, ENOSPC],
      [{ command: WRITE_ZEROES, offset: 0, length: 0xffff_ffff }, ENOSPC],
      [{ command: WRITE_ZEROES, offset: far, length: 0xffff_ffff }, ENOSPC],
      [{ command: TRIM, offset: MIB - 512, length: 513 }, EINVAL],
      [{ command: TRIM, offset: 0, length: 0xffff_ffff }, EINVAL],
      [{ command: TRIM, offset: far, length: 2 }, EINVAL],
      [{ command: CACHE, offset: 1, length: MIB }, EINVAL],
      [{ command: CACHE, offset: far, length: 0xffff_ffff }, EINVAL],
    ]);
    expectBytes(device.bytes, patternBytes(MIB));
  });

  it('refuses flags on the wrong command, unknown flags and unknown commands, and stays in step', async () => {
    const device = new MemoryDataDevice({ bytes: patternBytes(MIB) });
    const client = await RawClient.transmitting((await serve({ device })).server, mode);
    const write = way === 'extended' ? PAYLOAD_LEN : 0;
    const rows: [RequestFields, number][] = [
      [{ command: READ, flags: NO_HOLE, length: 512 }, EINVAL],
      [{ command: READ, flags: REQ_ONE, length: 512 }, EINVAL],
      [{ command: READ, flags: FAST_ZERO, length: 512 }, EINVAL],
      [{ command: READ, flags: 1 << 6, length: 512 }, EINVAL],
      [{ command: READ, flags: 1 << 15, length: 512 }, EINVAL],
      [{ command: WRITE, flags: write | NO_HOLE, payload: bytes(512) }, EINVAL],
      [{ command: WRITE, flags: write | DF, payload: bytes(700) }, EINVAL],
      [{ command: WRITE, flags: write | FAST_ZERO, payload: bytes(70_000) }, EINVAL],
      [{ command: WRITE_ZEROES, flags: DF, length: 512 }, EINVAL],
      [{ command: TRIM, flags: NO_HOLE, length: 512 }, EINVAL],
      [{ command: FLUSH, flags: REQ_ONE }, EINVAL],
      [{ command: FLUSH, offset: 512 }, EINVAL],
      [{ command: FLUSH, length: 512 }, EINVAL],
      [{ command: CACHE, flags: FAST_ZERO, length: 512 }, EINVAL],
      [{ command: RESIZE, offset: 2 * MIB }, EINVAL],
      [{ command: BLOCK_STATUS, length: 512 }, EINVAL],
      [{ command: 9, length: 512 }, EINVAL],
      [{ command: 0xffff, offset: 1, length: 0xffff_ffff }, EINVAL],
    ];
    if (way === 'simple') rows.push([{ command: READ, flags: DF, length: 512 }, EINVAL]);
    if (way !== 'extended') rows.push([{ command: WRITE, flags: PAYLOAD_LEN, payload: bytes(512) }, EINVAL]);
    await expectErrors(client, rows);
    expectBytes(device.bytes, patternBytes(MIB));
  });

  it('takes FUA on every command, and passes it on where something is written', async () => {
    const recorded: string[] = [];
    const device = new MemoryDataDevice({ size: 256 * MIB });
    const spied = new Proxy(device, {
      get(target, name) {
        const value = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...given: unknown[]) => {
          const options = given.find((one) => typeof one === 'object' && one !== null && !ArrayBuffer.isView(one));
          recorded.push(`${String(name)} ${(options as { fua?: boolean } | undefined)?.fua ?? false}`);
          return Reflect.apply(value, target, given);
        };
      },
    });
    const client = await RawClient.transmitting((await serve({ device: spied })).server, mode);
    const write = way === 'extended' ? PAYLOAD_LEN : 0;
    const calls = async (request: RequestFields): Promise<string[]> => {
      recorded.length = 0;
      expect(await client.tried(request)).toBe(0);
      return [...recorded];
    };
    expect(await calls({ command: WRITE, flags: write | FUA, payload: bytes(512) })).toEqual(['write true']);
    expect(await calls({ command: WRITE, flags: write, payload: bytes(512) })).toEqual(['write false']);
    expect(await calls({ command: WRITE, flags: write | FUA, offset: 7, payload: bytes(9) })).toEqual([
      'read false',
      'write true',
    ]);
    expect(await calls({ command: TRIM, flags: FUA, length: 512 })).toEqual(['discard true']);
    expect(await calls({ command: WRITE_ZEROES, flags: FUA, length: 512 })).toEqual(['writeZeroes true']);
    // In pieces: durable as a whole, by one flush at the end.
    const longZeroes = await calls({ command: WRITE_ZEROES, flags: FUA, offset: 5, length: 200 * MIB });
    expect(longZeroes.at(-1)).toBe('flush false');
    expect(longZeroes.filter((call) => call === 'writeZeroes false')).toHaveLength(4);
    const longTrim = await calls({ command: TRIM, flags: FUA, length: 200 * MIB });
    expect(longTrim).toEqual([...new Array<string>(4).fill('discard false'), 'flush false']);
    expect(await calls({ command: FLUSH, flags: FUA })).toEqual(['flush false']);
    expect(await calls({ command: CACHE, flags: FUA, length: 512 })).toEqual([]);
    recorded.length = 0;
    client.request({ command: READ, flags: FUA, length: 512 });
    if (way === 'simple') await client.read(16 + 512);
    else expect(assembled(await client.chunks(), 0, 512)).toHaveLength(512);
    expect(recorded).toEqual(['read false']);
  });

  it('fails FAST_ZERO with ENOTSUP, and changes nothing, unless zeros are fast', async () => {
    const device = new MemoryDataDevice({ bytes: patternBytes(MIB) });
    const slow = new Proxy(device, {
      get(target, name) {
        if (name === 'hints') return { ...target.hints, fastZeroes: false };
        const value = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const client = await RawClient.transmitting((await serve({ device: slow })).server, mode);
    expect(await client.tried({ command: WRITE_ZEROES, flags: FAST_ZERO, length: 4096 })).toBe(ENOTSUP);
    expect(await client.tried({ command: WRITE_ZEROES, flags: FAST_ZERO, offset: 3, length: 4096 })).toBe(ENOTSUP);
    expectBytes(device.bytes, patternBytes(MIB));
    expect(await client.tried({ command: WRITE_ZEROES, length: 4096 })).toBe(0);
    const sparse = new MemoryDataDevice({ size: MIB });
    const other = await RawClient.transmitting((await serve({ device: sparse })).server, mode);
    expect(await other.tried({ command: WRITE_ZEROES, flags: FAST_ZERO, length: 4096 })).toBe(0);
    expect(await other.tried({ command: WRITE_ZEROES, flags: FAST_ZERO | NO_HOLE, length: 4096 })).toBe(ENOTSUP);
  });

  it('refuses to write to an export that is read-only, after taking the payload', async () => {
    const device = new MemoryDataDevice({ bytes: patternBytes(MIB), readOnly: true });
    const client = await RawClient.transmitting((await serve({ device })).server, mode);
    await expectErrors(client, [
      [{ command: WRITE, payload: bytes(512) }, EPERM],
      [{ command: WRITE, payload: bytes(300_000) }, EPERM],
      [{ command: WRITE, offset: 2 ** 40, payload: bytes(3) }, EPERM],
      [{ command: WRITE_ZEROES, length: 512 }, EPERM],
      [{ command: TRIM, length: 512 }, EPERM],
      [{ command: FLUSH }, 0],
      [{ command: CACHE, length: 512 }, 0],
    ]);
    expectBytes(device.bytes, patternBytes(MIB));
  });

  it('refuses READ and WRITE beyond the largest payload, and goes on', async () => {
    const device = new MemoryDataDevice({ size: 256 * MIB });
    const client = await RawClient.transmitting((await serve({ device, limits: { payload: MIB } })).server, mode);
    const rows: [RequestFields, number][] = [
      [{ command: READ, length: MIB + 1 }, EINVAL],
      [{ command: READ, length: 0xffff_ffff }, EINVAL],
      [{ command: WRITE, payload: bytes(MIB) }, 0],
      [{ command: WRITE_ZEROES, length: 100 * MIB }, 0],
      [{ command: TRIM, length: 256 * MIB }, 0],
    ];
    if (way !== 'extended') rows.push([{ command: WRITE, payload: bytes(MIB + 1) }, EINVAL]);
    if (way !== 'extended') rows.push([{ command: WRITE, payload: bytes(4 * MIB) }, EINVAL]);
    await expectErrors(client, rows);
    const tooLong = way === 'extended' ? MIB + 1 : 4 * MIB + 1;
    client.request({ command: WRITE, flags: way === 'extended' ? PAYLOAD_LEN : 0, length: tooLong });
    expect(await client.readToEnd()).toHaveLength(0);
  });

  it('repeats the cookie of each request, all 64 bits of it', async () => {
    const client = await RawClient.transmitting((await serve()).server, mode);
    client.request({ command: FLUSH, cookie: 0x8765_4321 });
    const header = await client.read(way === 'extended' ? 32 : 16);
    expect(header.subarray(8, 16).toString('hex')).toBe('feedface87654321');
  });

  it('ends the connection for a request without its magic', async () => {
    const client = await RawClient.transmitting((await serve()).server, mode);
    client.send(Buffer.alloc(32, 0x25));
    expect(await client.readToEnd()).toHaveLength(0);
  });

  it('finishes what is in flight after DISC, answers it, and ends', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: MIB }));
    const client = await RawClient.transmitting((await serve({ device })).server, mode);
    const held = device.hold('write');
    client.request({ command: WRITE, payload: bytes(512), cookie: 5 });
    await held.untilHeld();
    client.request({ command: COMMAND.DISC });
    client.request({ command: FLUSH, cookie: 6 }); // after DISC nothing counts
    held.release();
    expect(await client.error()).toBe(0);
    expect(await client.readToEnd()).toHaveLength(0);
  });

  it('finishes what is in flight when the client has closed its side', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: MIB }));
    const client = await RawClient.transmitting((await serve({ device })).server, mode);
    const held = device.hold('flush');
    client.request({ command: FLUSH });
    await held.untilHeld();
    client.socket.end();
    held.release();
    expect(await client.error()).toBe(0);
    expect(await client.readToEnd()).toHaveLength(0);
  });

  it('answers in the order in which things are done', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: MIB }));
    const client = await RawClient.transmitting((await serve({ device })).server, mode);
    const held = device.hold('write');
    client.request({ command: WRITE, payload: bytes(512), cookie: 1 });
    client.request({ command: FLUSH, cookie: 2 });
    const cookieOfNext = async (): Promise<number> =>
      (await client.read(way === 'extended' ? 32 : 16)).readUInt32BE(12);
    expect(await cookieOfNext()).toBe(2);
    held.release();
    expect(await cookieOfNext()).toBe(1);
  });

  class NoSpace extends StoreError {
    override readonly name = 'NoSpace';
    readonly code = 'ERR_NO_SPACE';
  }
  const caused = (code: string): Error =>
    new DeviceError('cannot write', { cause: Object.assign(new Error(code), { code }) });
  it.each([
    { error: new RangeError('not a sector'), nr: EINVAL },
    { error: new ReadOnlyError('the pool has failed'), nr: EPERM },
    { error: new NoSpace('the pool is full'), nr: ENOSPC },
    { error: caused('ENOSPC'), nr: ENOSPC },
    { error: caused('EDQUOT'), nr: ENOSPC },
    { error: caused('EFBIG'), nr: ENOSPC },
    { error: caused('EIO'), nr: EIO },
    { error: new ClosedError('the volume is closed'), nr: ESHUTDOWN },
    { error: new Error('anything'), nr: EIO },
    { error: 'not even an error', nr: EIO },
  ])('tells a client of "$error" by error $nr, for each command, and goes on', async ({ error, nr }) => {
    const failing = new Proxy(new MemoryDataDevice({ size: MIB }), {
      get(target, name) {
        const value = Reflect.get(target, name, target);
        return typeof value === 'function' ? () => Promise.reject(error) : value;
      },
    });
    const { server, logged } = await serve({ device: failing });
    const client = await RawClient.transmitting(server, mode);
    const requests: RequestFields[] = [
      { command: READ, length: 512 },
      { command: READ, length: 131_072 },
      { command: READ, offset: 1, length: 5 },
      { command: WRITE, payload: bytes(512) },
      { command: WRITE, offset: 3, payload: bytes(5) },
      { command: WRITE_ZEROES, length: 512 },
      { command: TRIM, length: 512 },
      { command: FLUSH },
    ];
    for (const request of requests) expect(await client.tried(request), `command ${request.command}`).toBe(nr);
    expect(logged).toHaveLength(requests.length);
    expect(await client.tried({ command: CACHE, length: 512 })).toBe(0);
  });

  it('outlives a device that throws instead of rejecting', async () => {
    const throwing = new Proxy(new MemoryDataDevice({ size: MIB }), {
      get(target, name) {
        const value = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return () => {
          throw new Error('thrown');
        };
      },
    });
    const client = await RawClient.transmitting((await serve({ device: throwing })).server, mode);
    expect(await client.tried({ command: READ, length: 512 })).toBe(EIO);
    expect(await client.tried({ command: WRITE, payload: bytes(512) })).toBe(EIO);
    expect(await client.tried({ command: FLUSH })).toBe(EIO);
    expect(await client.tried({ command: CACHE, length: 512 })).toBe(0);
  });
});

describe('structured replies', () => {
  it('answer READ in chunks and other successes simply', async () => {
    const client = await RawClient.transmitting((await serve()).server, { structured: true });
    client.request({ command: READ, offset: 1024, length: 512, cookie: 11 });
    const chunks = await client.chunks();
    expect(chunks).toHaveLength(1);
    expect(chunks[0]).toMatchObject({ flags: REPLY_FLAG_DONE, type: CHUNK.OFFSET_DATA, cookie: 11 });
    expectBytes(assembled(chunks, 1024, 512), Buffer.from(patternBytes(MIB).subarray(1024, 1536)));
    client.request({ command: FLUSH, cookie: 12 });
    expect(await client.simpleReply()).toEqual({ error: 0, cookie: 12 });
  });

  it('answer READ of nothing by NONE', async () => {
    const client = await RawClient.transmitting((await serve()).server, { structured: true });
    client.request({ command: READ, offset: 1024, length: 0 });
    expect(await client.chunks()).toMatchObject([{ flags: REPLY_FLAG_DONE, type: CHUNK.NONE }]);
  });

  it('carry an error with its text', async () => {
    const client = await RawClient.transmitting((await serve()).server, { structured: true });
    client.request({ command: READ, offset: MIB, length: 1, cookie: 4 });
    const [chunk] = await client.chunks();
    expect(chunk).toMatchObject({ flags: REPLY_FLAG_DONE, type: CHUNK.ERROR, cookie: 4 });
    const text = chunk?.payload.subarray(6).toString();
    expect(chunk?.payload.readUInt16BE(4)).toBe(text?.length);
    expect(text).toBe('READ of 1 bytes at 1048576 leaves the export of 1048576 bytes');
  });

  it('hide the text of an error that is not ours', async () => {
    const device = new FaultyDataDevice(new MemoryDataDevice({ size: MIB }));
    device.read = async () => {
      throw new Error('/secret/path');
    };
    const client = await RawClient.transmitting((await serve({ device })).server, { structured: true });
    client.request({ command: READ, length: 512 });
    expect((await client.chunks())[0]?.payload.toString()).not.toContain('secret');
  });

  it('spare the zeros of a large READ, and none with DF or of a small one', async () => {
    const device = new MemoryDataDevice({ size: 4 * MIB });
    await device.write(MIB, patternBytes(65_536));
    const client = await RawClient.transmitting((await serve({ device })).server, { structured: true });
    client.request({ command: READ, offset: 512 * 1024, length: MIB });
    const sparse = await client.chunks();
    expect(sparse.map(({ type, flags }) => [type, flags])).toEqual([
      [CHUNK.OFFSET_HOLE, 0],
      [CHUNK.OFFSET_DATA, 0],
      [CHUNK.OFFSET_HOLE, 0],
      [CHUNK.NONE, REPLY_FLAG_DONE],
    ]);
    const expected = Buffer.alloc(MIB);
    expected.set(patternBytes(65_536), MIB / 2);
    expectBytes(assembled(sparse, 512 * 1024, MIB), expected);
    client.request({ command: READ, flags: DF, offset: 512 * 1024, length: MIB });
    const whole = await client.chunks();
    expect(whole.map(({ type }) => type)).toEqual([CHUNK.OFFSET_DATA]);
    expectBytes(assembled(whole, 512 * 1024, MIB), expected);
    client.request({ command: READ, offset: 0, length: 4096 });
    expect((await client.chunks()).map(({ type }) => type)).toEqual([CHUNK.OFFSET_DATA]);
  });

  it('send no data before an error that a later part of the READ meets', async () => {
    const inner = new MemoryDataDevice({ size: 4 * MIB });
    for (const at of [0, MIB, 2 * MIB]) await inner.write(at, patternBytes(65_536));
    const device = new FaultyDataDevice(inner, [{ operation: 'read', badByte: 2 * MIB + 5 }]);
    const client = await RawClient.transmitting((await serve({ device })).server, { structured: true });
    client.request({ command: READ, length: 4 * MIB });
    expect((await client.chunks()).map(({ type }) => type)).toEqual([CHUNK.ERROR]);
    expect(await client.readData(0, 2 * MIB)).toHaveLength(2 * MIB);
  });

  it('read as data what lies in too many crumbs', async () => {
    const device = new MemoryDataDevice({ size: MIB, name: 'crumbs' });
    const bytesOfDevice = new Uint8Array(MIB);
    for (let at = 0; at < MIB; at += 8192) bytesOfDevice.fill(9, at, at + 4096);
    await device.write(0, bytesOfDevice);
    const client = await RawClient.transmitting((await serve({ device })).server, { structured: true });
    client.request({ command: READ, length: MIB });
    const chunks = await client.chunks();
    expect(chunks.map(({ type }) => type)).toEqual([CHUNK.OFFSET_DATA]);
    expectBytes(assembled(chunks, 0, MIB), Buffer.from(bytesOfDevice));
  });
});

it('follows a device that grows', async () => {
  const device = new MemoryDataDevice({ size: MIB });
  const client = await RawClient.transmitting((await serve({ device })).server);
  expect(await client.tried({ command: WRITE, offset: MIB, payload: bytes(512) })).toBe(ENOSPC);
  await device.grow(2 * MIB);
  expect(await client.tried({ command: WRITE, offset: MIB, payload: bytes(512) })).toBe(0);
});
