/** The suite itself: it passes on a good device, and finds each of these bad ones. */
import { BLOCK_SIZE, MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { metadataDeviceConformance } from './metadata-device-conformance.js';

/** Memory devices of which some members are replaced; `reopen` finds the bytes of the one that was closed. */
function fixtureOf(change: (good: MemoryMetadataDevice) => Partial<MetadataDevice>) {
  const innerOf = new Map<MetadataDevice, MemoryMetadataDevice>();
  const wrapped = (good: MemoryMetadataDevice): MetadataDevice => {
    const changed = change(good);
    const device = new Proxy<MetadataDevice>(good, {
      get(_, key) {
        if (key in changed) return changed[key as keyof MetadataDevice];
        const member = (good as MetadataDevice)[key as keyof MetadataDevice];
        return typeof member === 'function' ? member.bind(good) : member;
      },
    });
    innerOf.set(device, good);
    return device;
  };
  return {
    create: (nrBlocks: number) => wrapped(new MemoryMetadataDevice({ nrBlocks })),
    reopen: (closed: MetadataDevice, mode: 'read' | 'write') => {
      const { bytes } = innerOf.get(closed) as MemoryMetadataDevice;
      return wrapped(new MemoryMetadataDevice({ bytes, readOnly: mode === 'read' }));
    },
    nrRandomWorkloads: 5,
  };
}

describe('a good device', () => {
  for (const { name, run } of metadataDeviceConformance(fixtureOf(() => ({})))) it(name, run);
});

it.each<{ sin: string; says: RegExp; change: (good: MemoryMetadataDevice) => Partial<MetadataDevice> }>([
  {
    sin: 'keeps the array of a write',
    says: /the caller changes the array afterwards: the device holds 8, expected 7/,
    change: (good) => {
      const kept = new Map<number, Uint8Array>();
      return {
        write: (nr, from) => {
          good.write(nr, from);
          if (from.byteLength === BLOCK_SIZE) kept.set(nr, from);
        },
        read: (nr, into) => {
          for (const [at, bytes] of kept) good.write(at, bytes);
          good.read(nr, into);
        },
      };
    },
  },
  {
    sin: 'loses the last bytes of a block',
    says: /blocks of any content: block \d+: byte 40\d\d is 0/,
    change: (good) => ({
      write: (nr, from) => {
        const cut = from.slice();
        for (let end = BLOCK_SIZE; end <= cut.byteLength; end += BLOCK_SIZE) cut.fill(0, end - 3, end);
        good.write(nr, cut);
      },
    }),
  },
  {
    sin: 'leaves alone what it should fill with zeroes',
    says: /reads as zeroes: the device holds 165/,
    change: (good) => ({
      read: (nr, into) => {
        const found = new Uint8Array(into.byteLength);
        good.read(nr, found);
        found.forEach((byte, at) => {
          if (byte !== 0) into[at] = byte;
        });
      },
    }),
  },
  {
    sin: 'writes past its end without a word',
    says: /refuses a block behind the end.*write: expected a RangeError, but it succeeded/,
    change: (good) => ({ write: (nr, from) => void (nr < good.nrBlocks && good.write(nr, from)) }),
  },
  {
    sin: 'throws from flushAsync instead of rejecting',
    says: /flushAsync after close: thrown instead of rejected/,
    change: (good) => ({
      flushAsync: () => {
        good.flush();
        return Promise.resolve();
      },
    }),
  },
  {
    sin: 'brings back what a flush that was asked for earlier covers',
    says: /neither undoes the other: the device holds 1,1,0,0, expected 1,2,2,0/,
    change: (good) => ({
      flushAsync: async () => {
        const stale = new Uint8Array(good.nrBlocks * BLOCK_SIZE);
        good.flush();
        good.read(0, stale);
        await Promise.resolve();
        good.write(0, stale.subarray(0, Math.min(stale.byteLength, good.nrBlocks * BLOCK_SIZE)));
      },
    }),
  },
  {
    sin: 'shrinks',
    says: /grow to 2: expected a RangeError, but it succeeded/,
    change: (good) => ({ grow: (nrBlocks) => void (nrBlocks > good.nrBlocks && good.grow(nrBlocks)) }),
  },
  {
    sin: 'is written while open for reading',
    says: /open for reading, and still reads: write: expected a ReadOnlyError, but it succeeded/,
    change: (good) => ({ write: (nr, from) => void (good.readOnly || good.write(nr, from)) }),
  },
])('a device that $sin is found out', async ({ change, says }) => {
  const violations: string[] = [];
  for (const { name, run } of metadataDeviceConformance(fixtureOf(change))) {
    await run().catch((error: Error) => violations.push(`${name}: ${error.message}`));
  }
  expect(violations.join('\n')).toMatch(says);
});
