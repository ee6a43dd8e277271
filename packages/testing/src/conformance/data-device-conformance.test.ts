/** The suite itself: it passes on a good device, and finds each of these bad ones. */
import { type DataDevice, MemoryDataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { dataDeviceConformance } from './data-device-conformance.js';

const SIZE = 768 * 1024;

describe('a memory device', () => {
  const suite = dataDeviceConformance({
    create: async () => new MemoryDataDevice({ size: SIZE }),
    createReadOnly: async () => new MemoryDataDevice({ size: SIZE, readOnly: true }),
  });
  for (const { name, run } of suite) it(name, run);
});

describe('a device of fixed content', () => {
  const content = new Uint8Array(SIZE).map((_, at) => at % 251);
  const create = async (): Promise<DataDevice> => new MemoryDataDevice({ bytes: content, readOnly: true });
  for (const { name, run } of dataDeviceConformance({ create, fixedContent: content })) it(name, run);

  it('is found out when one byte is wrong', async () => {
    const wrong = content.slice();
    wrong[SIZE - 1] = 1;
    const lies = async (): Promise<DataDevice> => new MemoryDataDevice({ bytes: wrong, readOnly: true });
    expect(await violationsOf(lies, { fixedContent: content })).toEqual([
      `holds what it should, to the last sector: content: byte ${SIZE - 1} is 1, expected ${content[SIZE - 1]}`,
    ]);
  });
});

/** A memory device of which some members are replaced. */
function broken(change: (good: MemoryDataDevice) => Partial<DataDevice>): () => Promise<DataDevice> {
  return async () => {
    const good = new MemoryDataDevice({ size: SIZE });
    const changed = change(good);
    return new Proxy<DataDevice>(good, {
      get(_, key) {
        if (key in changed) return changed[key as keyof DataDevice];
        const member = good[key as keyof DataDevice];
        return typeof member === 'function' ? member.bind(good) : member;
      },
    });
  };
}

async function violationsOf(
  create: () => Promise<DataDevice>,
  options: Partial<Parameters<typeof dataDeviceConformance>[0]> = {},
): Promise<string[]> {
  const violations: string[] = [];
  for (const { name, run } of dataDeviceConformance({ ...options, create, nrRandomWorkloads: 3 })) {
    await run().catch((error: Error) => violations.push(`${name}: ${error.message}`));
  }
  return violations;
}

describe('a device that breaks the contract is found out when it', () => {
  const later = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));
  it.each<{ sin: string; says: RegExp; change: (good: MemoryDataDevice) => Partial<DataDevice> }>([
    {
      sin: 'throws instead of rejecting',
      says: /thrown instead of rejected/,
      change: (good) => ({
        read: (offset, into) => {
          if (offset + into.byteLength > good.size) throw new RangeError('outside');
          return good.read(offset, into);
        },
      }),
    },
    {
      sin: 'writes past its end without a word',
      says: /expected a rejection with a RangeError, but it succeeded/,
      change: (good) => ({
        write: async (at, from) => (at < good.size ? good.write(at, from).catch(() => {}) : undefined),
      }),
    },
    {
      sin: 'reads short',
      says: /byte \d+ is 165/,
      change: (good) => ({ read: (at, into) => good.read(at, into.subarray(0, Math.min(into.byteLength, 65536))) }),
    },
    {
      sin: 'keeps the array of a write',
      says: /changed after a write/,
      change: (good) => {
        let kept: [number, Uint8Array] | undefined;
        return {
          write: async (at, from) => {
            if (kept) await good.write(...kept);
            kept = [at, from];
            await good.write(at, from);
          },
          read: async (at, into) => {
            if (kept) await good.write(...kept);
            kept = undefined;
            await good.read(at, into);
          },
        };
      },
    },
    {
      sin: 'mixes overlapping writes within a sector',
      says: /mixture|after burst|no write put there|byte/,
      change: (good) => ({
        write: async (at, from) => {
          await good.write(at, from);
          await later();
          const halves = new Uint8Array(from.byteLength);
          await good.read(at, halves);
          for (let nr = 0; nr < halves.byteLength; nr += 512) halves.set(from.subarray(nr, nr + 256), nr);
          await good.write(at, halves);
        },
      }),
    },
    {
      sin: 'zeroes one sector too many',
      says: /after 512 zeros at 0/,
      change: (good) => ({
        writeZeroes: (at, length, options) =>
          good.writeZeroes(at, length > 0 && at + length < good.size ? length + 512 : length, options),
      }),
    },
    {
      sin: 'discards more than it was asked to',
      says: /after discarding/,
      change: (good) => ({
        discard: (at, length) => good.discard(Math.floor(at / 65536) * 65536, Math.ceil(length / 65536) * 65536),
      }),
    },
    {
      sin: 'calls data a hole',
      says: /allocation calls byte \d+ hole, but it is/,
      change: (good) => ({
        allocation: async (offset, length) => {
          await good.allocation(offset, length);
          return length === 0 ? [] : [{ offset, length, state: 'hole' }];
        },
      }),
    },
    {
      sin: 'leaves gaps between extents',
      says: /expected one at/,
      change: (good) => ({
        allocation: async (offset, length) =>
          (await good.allocation(offset, length)).map((extent) => ({ ...extent, offset: extent.offset + 512 })),
      }),
    },
    {
      sin: 'gives space away that was to be kept',
      says: /space was to be kept/,
      change: (good) => ({ writeZeroes: (at, length) => good.writeZeroes(at, length) }),
    },
    {
      sin: 'closes while requests are in flight',
      says: /close resolved with \d+ requests in flight/,
      change: (good) => ({ write: (at, from) => good.write(at, from).then(later) }),
    },
    {
      sin: 'can be read after close',
      says: /read after close: expected a rejection with a ClosedError, but it succeeded/,
      change: (good) => {
        let isClosed = false;
        return {
          close: async () => {
            isClosed = true;
            await good.close();
          },
          read: async (at, into) => (isClosed ? undefined : good.read(at, into)),
        };
      },
    },
    {
      sin: 'has hints that cannot be',
      says: /preferredSize is 1000/,
      change: (good) => ({ hints: { ...good.hints, preferredSize: 1000 } }),
    },
  ])('$sin', async ({ says, change }) => {
    const violations = await violationsOf(broken(change));
    expect(violations.join('\n')).toMatch(says);
  });

  it('forgets what was flushed', async () => {
    const create = async (): Promise<DataDevice> => new MemoryDataDevice({ size: SIZE });
    expect(await violationsOf(create, { reopen: create })).toEqual([
      expect.stringMatching(/is found as it was flushed when it is opened again: opened again: byte 0 is 0/),
    ]);
  });

  it('takes writes though it says it is read-only', async () => {
    const createReadOnly = broken(() => ({ readOnly: true }));
    const create = async (): Promise<DataDevice> => new MemoryDataDevice({ size: SIZE });
    expect((await violationsOf(create, { createReadOnly })).join('\n')).toMatch(
      /write when read-only: expected a rejection with a ReadOnlyError, but it succeeded/,
    );
  });
});
