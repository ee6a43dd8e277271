import { MemoryDataDevice } from '@pdata/device';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Chunk, RawClient } from '../../test/raw-client.js';
import { MIB, patternBytes, serve } from '../../test/served.js';
import { CHUNK, COMMAND, COMMAND_FLAG, NBD_ERROR, REPLY_FLAG_DONE } from '../protocol/constants.js';
import { u64At } from '../protocol/integers.js';
import type { MetaContext, MetaExtent } from './export.js';
import { collectExtents } from './extents.js';

const { BLOCK_STATUS } = COMMAND;
const WAYS = [
  { way: 'structured', structured: true },
  { way: 'extended', extended: true },
] as const;

/** The context id and the extents of a BLOCK_STATUS chunk. */
function statusOf({ type, payload }: Chunk): { id: number; extents: MetaExtent[] } {
  const extents: MetaExtent[] = [];
  if (type === CHUNK.BLOCK_STATUS_EXT) {
    expect(payload.readUInt32BE(4)).toBe((payload.length - 8) / 16);
    for (let at = 8; at < payload.length; at += 16)
      extents.push({ length: u64At(payload, at), flags: u64At(payload, at + 8) });
  } else {
    expect(type).toBe(CHUNK.BLOCK_STATUS);
    for (let at = 4; at < payload.length; at += 8) {
      extents.push({ length: payload.readUInt32BE(at), flags: payload.readUInt32BE(at + 4) });
    }
  }
  return { id: payload.readUInt32BE(0), extents };
}

/** A context whose extents are listed once and for all, from byte 0 on. */
const listed = (name: string, extents: readonly MetaExtent[]): MetaContext => ({
  name,
  async extents(offset) {
    let at = 0;
    const answer: MetaExtent[] = [];
    for (const { length, flags } of extents) {
      if (at + length > offset) answer.push({ length: at + length - Math.max(at, offset), flags });
      at += length;
    }
    return answer;
  },
});

/** 16 MiB: data at 1 MiB, 128 KiB of it; zeros with their space at 2 MiB, 64 KiB; the rest are holes. */
async function patchwork(): Promise<MemoryDataDevice> {
  const device = new MemoryDataDevice({ size: 16 * MIB });
  await device.write(MIB, patternBytes(131_072));
  await device.writeZeroes(2 * MIB, 65_536, { keepAllocated: true });
  return device;
}
const PATCHES = [
  { length: MIB, flags: 3 },
  { length: 131_072, flags: 0 },
  { length: MIB - 131_072, flags: 3 },
  { length: 65_536, flags: 2 },
  { length: 14 * MIB - 65_536, flags: 3 },
];

describe.each(WAYS)('BLOCK_STATUS over $way replies', ({ way, ...mode }) => {
  const transmitting = async (device: MemoryDataDevice, contexts: readonly MetaContext[] = [], selected?: string[]) => {
    const { server } = await serve({ exports: { disk: { device, contexts } } });
    return RawClient.transmitting(server, { ...mode, contexts: selected ?? ['base:allocation'] });
  };
  const status = async (client: RawClient, offset: number, length: number, flags = 0): Promise<MetaExtent[]> => {
    client.request({ command: BLOCK_STATUS, offset, length, flags });
    const chunks = await client.chunks();
    expect(chunks.at(-1)).toMatchObject({ type: CHUNK.NONE, flags: REPLY_FLAG_DONE });
    expect(chunks).toHaveLength(2);
    return statusOf(chunks[0] as Chunk).extents;
  };

  it('tells holes, zeros and data of base:allocation apart', async () => {
    const client = await transmitting(await patchwork());
    expect(await status(client, 0, 16 * MIB)).toEqual(PATCHES);
  });

  it('gives one extent, not longer than the request, for REQ_ONE', async () => {
    const client = await transmitting(await patchwork());
    const { REQ_ONE } = COMMAND_FLAG;
    expect(await status(client, 0, 16 * MIB, REQ_ONE)).toEqual([{ length: MIB, flags: 3 }]);
    expect(await status(client, 0, 4096, REQ_ONE)).toEqual([{ length: 4096, flags: 3 }]);
    expect(await status(client, MIB + 65_536, 15 * MIB - 65_536, REQ_ONE)).toEqual([{ length: 65_536, flags: 0 }]);
  });

  it('answers ranges that are not whole sectors exactly', async () => {
    const client = await transmitting(await patchwork());
    expect(await status(client, MIB - 100, 131_072 + 250)).toEqual([
      { length: 100, flags: 3 },
      { length: 131_072, flags: 0 },
      { length: 150, flags: 3 },
    ]);
    expect(await status(client, MIB + 7, 1)).toEqual([{ length: 1, flags: 0 }]);
  });

  it('answers every selected context, each under its id', async () => {
    const device = await patchwork();
    const bitmap = listed('qemu:dirty-bitmap:monday', [
      { length: 2 * MIB, flags: 0 },
      { length: MIB, flags: 1 },
      { length: 13 * MIB, flags: 0 },
    ]);
    const { server } = await serve({ exports: { disk: { device, contexts: [bitmap] } } });
    const client = await RawClient.haggling(server);
    await client.agree(way === 'extended' ? 11 : 8);
    const ids = await client.setContexts('disk', ['qemu:dirty-bitmap:monday', 'base:allocation']);
    await client.go();
    client.extended = way === 'extended';
    client.request({ command: BLOCK_STATUS, offset: 0, length: 16 * MIB });
    const chunks = (await client.chunks()).slice(0, -1).map(statusOf);
    const idOf = (name: string): number | undefined => ids.find((context) => context.name === name)?.id;
    expect(chunks).toContainEqual({ id: idOf('base:allocation'), extents: PATCHES });
    expect(chunks).toContainEqual({
      id: idOf('qemu:dirty-bitmap:monday'),
      extents: [
        { length: 2 * MIB, flags: 0 },
        { length: MIB, flags: 1 },
        { length: 13 * MIB, flags: 0 },
      ],
    });
    expect(chunks).toHaveLength(2);
  });

  it('is refused beyond the end, and for no bytes', async () => {
    const client = await transmitting(await patchwork());
    for (const [offset, length] of [
      [16 * MIB - 512, 1024],
      [16 * MIB, 1],
      [2n ** 64n - 1n, 0xffff_ffff],
      [0, 0],
    ] as const) {
      expect(await client.tried({ command: BLOCK_STATUS, offset, length })).toBe(NBD_ERROR.EINVAL);
    }
    expect(await client.tried({ command: BLOCK_STATUS, length: 512 })).toBe(0);
  });

  it('fails when its context fails, makes no progress, or answers nothing, and the connection goes on', async () => {
    const device = await patchwork();
    const contexts = [
      { name: 'x:throws', extents: () => Promise.reject(new Error('no')) },
      listed('x:empty', [{ length: 0, flags: 0 }]),
      { name: 'x:nothing', extents: async () => [] },
      listed('x:nan', [{ length: Number.NaN, flags: 0 }]),
    ];
    for (const { name } of contexts) {
      const client = await transmitting(device, contexts, [name]);
      expect(await client.tried({ command: BLOCK_STATUS, length: MIB }), name).toBe(NBD_ERROR.EIO);
      expect(await client.readData(0, 512)).toHaveLength(512);
    }
  });

  it('cuts off what a context says beyond the request', async () => {
    const endless = { name: 'x:endless', extents: async () => [{ length: 2 ** 52, flags: 1 }] };
    const client = await transmitting(await patchwork(), [endless], ['x:endless']);
    expect(await status(client, 512, 1024)).toEqual([{ length: 1024, flags: 1 }]);
  });

  it('obeys its rules for any range, and agrees with what a reader finds', { timeout: 30_000 }, async () => {
    const device = new MemoryDataDevice({ size: 2 * MIB });
    const range = fc.tuple(fc.nat(2 * MIB - 1), fc.integer({ min: 1, max: 300_000 }));
    const change = fc.tuple(fc.constantFrom('write', 'zero', 'trim'), range);
    const client = await transmitting(device);
    const writeFlags = way === 'extended' ? COMMAND_FLAG.PAYLOAD_LEN : 0;
    const question = fc.tuple(range, fc.boolean());
    await fc.assert(
      fc.asyncProperty(change, fc.array(question, { maxLength: 4 }), async ([kind, [at, size]], questions) => {
        const length = Math.min(size, 2 * MIB - at);
        if (kind === 'write') {
          const payload = patternBytes(length, size);
          expect(await client.tried({ command: COMMAND.WRITE, flags: writeFlags, offset: at, payload })).toBe(0);
        } else {
          const command = kind === 'zero' ? COMMAND.WRITE_ZEROES : COMMAND.TRIM;
          expect(await client.tried({ command, offset: at, length })).toBe(0);
        }
        for (const [[offset, wanted], isOne] of questions) {
          const asked = Math.min(wanted, 2 * MIB - offset);
          const extents = await status(client, offset, asked, isOne ? COMMAND_FLAG.REQ_ONE : 0);
          expect(extents.length).toBeGreaterThan(0);
          if (isOne) expect(extents).toHaveLength(1);
          const total = extents.reduce((sum, extent) => sum + extent.length, 0);
          expect(total).toBeLessThanOrEqual(asked);
          const content = await client.readData(offset, asked);
          let from = 0;
          for (const [nr, extent] of extents.entries()) {
            expect(extent.length).toBeGreaterThan(0);
            if (nr > 0) expect(extent.flags).not.toBe(extents[nr - 1]?.flags);
            const part = content.subarray(from, from + extent.length);
            if ((extent.flags & 2) !== 0) expect(part.every((byte) => byte === 0)).toBe(true);
            from += extent.length;
          }
        }
      }),
      { seed: 20261120, numRuns: 60 },
    );
  });
});

describe('with a payload, over extended replies', () => {
  const { PAYLOAD_LEN } = COMMAND_FLAG;
  const payloadOf = (length: number, ...ids: number[]): Buffer => {
    const payload = Buffer.alloc(8 + 4 * ids.length);
    payload.writeBigUInt64BE(BigInt(length), 0);
    for (const [nr, id] of ids.entries()) payload.writeUInt32BE(id, 8 + 4 * nr);
    return payload;
  };

  it('answers the contexts it names, and no others', async () => {
    const device = await patchwork();
    const bitmap = listed('qemu:dirty-bitmap:monday', [{ length: 16 * MIB, flags: 1 }]);
    const { server } = await serve({ exports: { disk: { device, contexts: [bitmap] } } });
    const client = await RawClient.haggling(server);
    await client.agree(11);
    const ids = await client.setContexts('disk', ['qemu:dirty-bitmap:monday', 'base:allocation']);
    expect((await client.go()).flags & (1 << 12)).not.toBe(0);
    client.extended = true;
    const [base, dirty] = ['base:allocation', 'qemu:dirty-bitmap:monday'].map(
      (name) => ids.find((context) => context.name === name)?.id ?? 0,
    ) as [number, number];
    const ask = async (offset: number, payload: Buffer) => {
      client.request({ command: BLOCK_STATUS, flags: PAYLOAD_LEN, offset, payload });
      return (await client.chunks()).slice(0, -1).map(statusOf);
    };
    expect(await ask(MIB, payloadOf(4096, dirty))).toEqual([{ id: dirty, extents: [{ length: 4096, flags: 1 }] }]);
    expect(await ask(MIB, payloadOf(4096, base, dirty))).toHaveLength(2);
    for (const wrong of [
      payloadOf(4096, base, base),
      payloadOf(4096, 77),
      payloadOf(4096),
      payloadOf(0, base),
      payloadOf(16 * MIB, base),
      payloadOf(2 ** 52, base),
      Buffer.alloc(3),
      Buffer.alloc(13),
      Buffer.alloc(100_000, 1),
    ]) {
      expect(await client.tried({ command: BLOCK_STATUS, flags: PAYLOAD_LEN, offset: MIB, payload: wrong })).toBe(22);
      expect(await client.readData(0, 8)).toHaveLength(8);
    }
  });
});

describe('collecting extents', () => {
  it('asks again where an answer ended, and merges equal neighbours', async () => {
    const asked: number[] = [];
    const context: MetaContext = {
      name: 'x:slow',
      async extents(offset) {
        asked.push(offset);
        return [{ length: 512, flags: offset < 2048 ? 1 : 0 }];
      },
    };
    expect(await collectExtents(context, 0, 4096, 100)).toEqual([
      { length: 2048, flags: 1 },
      { length: 2048, flags: 0 },
    ]);
    expect(asked).toEqual([0, 512, 1024, 1536, 2048, 2560, 3072, 3584]);
  });

  it('stops after so many extents, and after so many questions', async () => {
    const striped: MetaContext = {
      name: 'x:stripes',
      extents: async (offset) => [{ length: 512, flags: (offset / 512) % 2 }],
    };
    expect(await collectExtents(striped, 0, 2 ** 30, 3)).toHaveLength(3);
    const some = await collectExtents(striped, 0, 2 ** 30, 8192);
    expect(some.length).toBeGreaterThan(3);
    expect(some.length).toBeLessThan(100);
  });

  it('counts extents of more than 2^32 bytes right', async () => {
    const large = listed('x:large', [
      { length: 2 ** 32 + 512, flags: 1 },
      { length: 2 ** 40, flags: 0 },
    ]);
    expect(await collectExtents(large, 0, 2 ** 33, 10)).toEqual([
      { length: 2 ** 32 + 512, flags: 1 },
      { length: 2 ** 32 - 512, flags: 0 },
    ]);
  });
});
