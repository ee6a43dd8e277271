/** Cases about reading and writing: bytes arrive, arguments are checked, requests in flight keep out of each other's way. */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { demand, demandRejection, demandSameBytes } from './demand.js';
import type { DataDeviceConformanceOptions, DeviceCase } from './device-case.js';
import { pattern, readFrom, workingSize } from './region.js';

/** Those that hold for read-only devices too. */
export function fixedContentCases({ fixedContent }: DataDeviceConformanceOptions): DeviceCase[] {
  const cases: DeviceCase[] = [
    {
      name: 'has a name, whole sectors, and hints that make sense',
      async on(device) {
        demand(device.name !== '', 'name is empty');
        demand(
          Number.isSafeInteger(device.size) && device.size > 0 && device.size % SECTOR_SIZE === 0,
          `size is ${device.size}, expected a multiple of 512`,
        );
        demand(typeof device.readOnly === 'boolean', `readOnly is ${device.readOnly}`);
        const { preferredSize, discardGranularity, fastZeroes } = device.hints;
        demand(
          preferredSize >= SECTOR_SIZE && Number.isInteger(Math.log2(preferredSize)),
          `hints.preferredSize is ${preferredSize}, expected a power of two, at least 512`,
        );
        demand(
          discardGranularity >= 0 && discardGranularity % SECTOR_SIZE === 0,
          `hints.discardGranularity is ${discardGranularity}, expected a multiple of 512`,
        );
        demand(typeof fastZeroes === 'boolean', `hints.fastZeroes is ${fastZeroes}`);
      },
    },
    {
      name: 'refuses what is not whole sectors or leaves the device, by a RangeError that names it, and changes nothing',
      on: refusesBadRanges,
    },
    {
      name: 'does nothing for a length of 0, at the very end too',
      async on(device) {
        const before = await readFrom(device, 0, workingSize(device));
        for (const offset of [0, SECTOR_SIZE, device.size]) {
          await device.read(offset, new Uint8Array(0));
          const extents = await device.allocation(offset, 0);
          demand(extents.length === 0, `allocation of nothing at ${offset}: ${extents.length} extents`);
          if (device.readOnly) continue;
          await device.write(offset, new Uint8Array(0));
          await device.write(offset, new Uint8Array(0), { fua: true });
          await device.writeZeroes(offset, 0);
          await device.discard(offset, 0);
        }
        demandSameBytes('after requests of length 0', await readFrom(device, 0, before.byteLength), before);
      },
    },
    {
      name: 'fills exactly the view it is given to read into',
      async on(device) {
        const expected = await readFrom(device, SECTOR_SIZE, 3 * SECTOR_SIZE);
        const buffer = new Uint8Array(5 * SECTOR_SIZE).fill(0x5a);
        const view = buffer.subarray(101, 101 + expected.byteLength); // not aligned to anything
        await device.read(SECTOR_SIZE, view);
        demandSameBytes('read into a view', view, expected);
        const around = [...buffer.subarray(0, 101), ...buffer.subarray(101 + expected.byteLength)];
        demand(
          around.every((byte) => byte === 0x5a),
          'a read wrote beside the view it was given',
        );
      },
    },
    {
      name: 'answers many reads in flight, in pieces of any size',
      async on(device) {
        const whole = await readFrom(device, 0, workingSize(device));
        const lengths = [512, 4096, 1024, 65536, 1536, 512, 131072, 8192];
        const reads: Promise<void>[] = [];
        const found = new Uint8Array(whole.byteLength);
        for (let at = 0, nr = 0; at < found.byteLength; nr++) {
          const length = Math.min(lengths[nr % lengths.length] ?? 512, found.byteLength - at);
          reads.push(device.read(at, found.subarray(at, at + length)));
          at += length;
        }
        await Promise.all(reads);
        demandSameBytes('many reads in flight', found, whole);
      },
    },
  ];
  if (fixedContent !== undefined) {
    cases.push({
      name: 'holds what it should, to the last sector',
      async on(device) {
        demand(device.readOnly, 'a device of fixed content is not read-only');
        demand(device.size === fixedContent.byteLength, `size is ${device.size}, not ${fixedContent.byteLength}`);
        for (let at = 0; at < device.size; at += 2 ** 20) {
          const expected = fixedContent.subarray(at, Math.min(device.size, at + 2 ** 20));
          demandSameBytes('content', await readFrom(device, at, expected.byteLength), expected, at);
        }
      },
    });
  }
  return cases;
}

async function refusesBadRanges(device: DataDevice): Promise<void> {
  const { size } = device;
  const before = await readFrom(device, 0, workingSize(device));
  const ranges: [offset: number, length: number][] = [
    [size, SECTOR_SIZE],
    [size - SECTOR_SIZE, 2 * SECTOR_SIZE],
    [size + SECTOR_SIZE, 0],
    [-SECTOR_SIZE, SECTOR_SIZE],
    [1, SECTOR_SIZE],
    [0.5, SECTOR_SIZE],
    [256, 256],
    [0, 511],
    [0, 513],
    [2 ** 53, SECTOR_SIZE],
    [Number.NaN, SECTOR_SIZE],
    [Number.POSITIVE_INFINITY, SECTOR_SIZE],
  ];
  for (const [offset, length] of ranges) {
    const bytes = new Uint8Array(length).fill(0xee);
    const uses: [string, () => Promise<unknown>][] = [
      ['read', () => device.read(offset, bytes)],
      ['allocation', () => device.allocation(offset, length)],
    ];
    if (!device.readOnly) {
      uses.push(['write', () => device.write(offset, bytes)]);
      uses.push(['writeZeroes', () => device.writeZeroes(offset, length)]);
      uses.push(['discard', () => device.discard(offset, length)]);
    }
    for (const [what, use] of uses) {
      const described = `${what} of ${length} bytes at ${offset}`;
      const error = await demandRejection(described, RangeError, use);
      demand(error.message.includes(device.name), `${described}: "${error.message}" does not name ${device.name}`);
    }
  }
  for (const [offset, length] of [
    [0, -SECTOR_SIZE],
    [0, Number.NaN],
    [0, 100],
  ] as const) {
    await demandRejection(`allocation of ${length} bytes`, RangeError, () => device.allocation(offset, length));
    if (device.readOnly) continue;
    await demandRejection(`discard of ${length} bytes`, RangeError, () => device.discard(offset, length));
    await demandRejection(`writeZeroes of ${length} bytes`, RangeError, () => device.writeZeroes(offset, length));
  }
  demandSameBytes('after refused requests', await readFrom(device, 0, before.byteLength), before);
}

export function transferCases(): DeviceCase[] {
  return [
    {
      name: 'reads back what was written, and nothing else changes',
      async on(device) {
        const model = await readFrom(device, 0, workingSize(device));
        const writes: [offset: number, length: number][] = [
          [0, 512],
          [512, 512],
          [4096, 4096],
          [7 * 512, 9 * 512],
          [32768 - 512, 1024],
          [1024, 40960],
          [model.byteLength - 512, 512],
          [0, Math.min(model.byteLength, 300 * 1024)],
          [3 * 512, 512],
        ];
        for (const [nr, [offset, length]] of writes.entries()) {
          const bytes = pattern(length, nr + 1);
          await device.write(offset, bytes);
          model.set(bytes, offset);
          const found = await readFrom(device, 0, model.byteLength);
          demandSameBytes(`after writing ${length} bytes at ${offset}`, found, model);
        }
      },
    },
    {
      name: 'can be written to its last sector',
      async on(device) {
        const bytes = pattern(2 * SECTOR_SIZE, 5);
        await device.write(device.size - bytes.byteLength, bytes);
        const last = await readFrom(device, device.size - SECTOR_SIZE, SECTOR_SIZE);
        demandSameBytes('last sector', last, bytes.subarray(SECTOR_SIZE), device.size - SECTOR_SIZE);
      },
    },
    {
      name: 'writes exactly the view it is given',
      async on(device) {
        await device.write(0, pattern(5 * SECTOR_SIZE, 1));
        const buffer = pattern(5 * SECTOR_SIZE, 9);
        const view = buffer.subarray(77, 77 + 2 * SECTOR_SIZE);
        await device.write(2 * SECTOR_SIZE, view);
        const expected = pattern(5 * SECTOR_SIZE, 1);
        expected.set(view, 2 * SECTOR_SIZE);
        demandSameBytes('after writing a view', await readFrom(device, 0, expected.byteLength), expected);
      },
    },
    {
      name: 'keeps no array of the caller: what happens to it after the request changes nothing',
      async on(device) {
        for (const length of [SECTOR_SIZE, 65536]) {
          const written = pattern(length, 3);
          await device.write(0, written);
          written.fill(0xff);
          const found = await readFrom(device, 0, length);
          demandSameBytes('changed after a write', found, pattern(length, 3));
          await device.write(0, pattern(length, 4));
          demandSameBytes('a past read, after another write', found, pattern(length, 3));
          found.fill(0xff);
          demandSameBytes('changed after a read', await readFrom(device, 0, length), pattern(length, 4));
        }
      },
    },
    {
      name: 'lands many writes in flight that do not overlap, side by side to the sector',
      async on(device) {
        const size = workingSize(device);
        const model = new Uint8Array(size);
        const writes: Promise<void>[] = [];
        const lengths = [512, 1024, 512, 3584, 4096, 512, 65536, 2048];
        for (let at = 0, nr = 0; at < size; nr++) {
          const bytes = pattern(Math.min(lengths[nr % lengths.length] ?? 512, size - at), nr);
          model.set(bytes, at);
          writes.push(device.write(at, bytes));
          at += bytes.byteLength;
        }
        await Promise.all(writes);
        demandSameBytes('neighbouring writes in flight', await readFrom(device, 0, size), model);
      },
    },
    {
      name: 'leaves each sector whole where writes in flight overlap',
      async on(device) {
        for (let round = 0; round < 8; round++) {
          const length = 64 * SECTOR_SIZE;
          const shift = round % 2 === 0 ? 0 : SECTOR_SIZE;
          await device.write(0, new Uint8Array(length + 8 * SECTOR_SIZE));
          const writes = [1, 2, 3, 4, 5, 6, 7].map((value) =>
            device.write(value * shift, new Uint8Array(length).fill(value)),
          );
          writes.push(device.writeZeroes(0, length));
          await Promise.all(writes);
          const found = await readFrom(device, 0, length + 8 * SECTOR_SIZE);
          for (let at = 0; at < found.byteLength; at += SECTOR_SIZE) {
            const sector = found.subarray(at, at + SECTOR_SIZE);
            const value = sector[0] ?? -1;
            demand(
              sector.every((byte) => byte === value),
              `the sector at ${at} is a mixture of overlapping writes`,
            );
            const isPossible =
              value === 0 ? at < length || at >= length + 7 * shift : covers(value * shift, length, at);
            demand(isPossible, `the sector at ${at} holds ${value}, which no write put there`);
          }
        }
      },
    },
    {
      name: 'takes fua on every request that changes something',
      async on(device) {
        await device.write(0, pattern(4096, 1), { fua: true });
        await device.writeZeroes(512, 512, { fua: true });
        await device.discard(65536 - 4096, 4096, { fua: true });
        const expected = pattern(4096, 1).fill(0, 512, 1024);
        demandSameBytes('after fua requests', await readFrom(device, 0, 4096), expected);
      },
    },
  ];
}

const covers = (start: number, length: number, at: number): boolean => at >= start && at < start + length;
