/** Cases about zeros, discards, and what `allocation` says of them. */
import { type AllocationExtent, type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { demand, demandSameBytes, firstNonZero } from './demand.js';
import type { DataDeviceConformanceOptions, DeviceCase } from './device-case.js';
import { pattern, readFrom, workingSize } from './region.js';

/** Ranges off and on all the borders that an implementation may have. */
const RANGES: readonly [offset: number, length: number][] = [
  [0, 512],
  [1024, 4096],
  [4096, 8192],
  [512, 65536 - 1024],
  [65536, 65536],
  [0, 131072],
  [65536 + 512, 200 * 1024],
];

export function zeroingCases({ discardable = true }: DataDeviceConformanceOptions): DeviceCase[] {
  return [
    ...[false, true].map((keepAllocated) => ({
      name: `reads as zeros where zeros were written${keepAllocated ? ' and space was kept' : ''}, and only there`,
      on: (device: DataDevice) => writesZeroes(device, keepAllocated),
    })),
    {
      name: 'reads discarded ranges as zeros or as they were, and everything else as it was',
      on: (device) => discards(device, discardable),
    },
    {
      name: 'can be written again where it was discarded',
      async on(device) {
        const model = pattern(workingSize(device), 1);
        await device.write(0, model);
        await device.discard(0, model.byteLength);
        for (const [nr, [offset, length]] of rangesOf(device).entries()) {
          const bytes = pattern(length, nr + 20);
          await device.write(offset, bytes);
          demandSameBytes('written after a discard', await readFrom(device, offset, length), bytes, offset);
        }
      },
    },
    {
      name: 'tells allocation truly and without gaps, for any range and after any change',
      async on(device) {
        const size = workingSize(device);
        await demandTrueAllocation(device, 0, size);
        await device.write(0, pattern(size, 1));
        await demandTrueAllocation(device, 0, size);
        for (const [offset, length] of rangesOf(device)) {
          await device.writeZeroes(offset, length);
          await demandTrueAllocation(device, 0, size);
          await demandTrueAllocation(device, offset, length);
          await device.write(offset + length - SECTOR_SIZE, pattern(SECTOR_SIZE, 2));
          await demandTrueAllocation(device, offset, length);
          await device.discard(offset, length);
          await demandTrueAllocation(device, 0, size);
          await device.write(0, pattern(size, 3));
        }
        await demandTrueAllocation(device, device.size - 4096, 4096);
      },
    },
    {
      name: 'says of a device that is too large to answer for at once as much as it likes, but something',
      async on(device) {
        let nrAnswers = 0;
        for (let at = 0; at < device.size && nrAnswers < 100; nrAnswers++) {
          const extents = await device.allocation(at, device.size - at);
          at = demandWellFormed(extents, at, device.size - at);
        }
      },
    },
    {
      name: 'calls nothing a hole whose space was to be kept',
      async on(device) {
        await device.write(0, pattern(131072 > device.size ? 65536 : 131072, 1));
        await device.writeZeroes(0, 65536, { keepAllocated: true });
        for (const extent of await device.allocation(0, 65536)) {
          demand(
            extent.state !== 'hole',
            `${extent.length} bytes at ${extent.offset} are a hole; space was to be kept`,
          );
        }
      },
    },
  ];
}

async function writesZeroes(device: DataDevice, keepAllocated: boolean): Promise<void> {
  const model = pattern(workingSize(device), 1);
  await device.write(0, model);
  for (const [offset, length] of rangesOf(device)) {
    await device.writeZeroes(offset, length, { keepAllocated });
    model.fill(0, offset, offset + length);
    demandSameBytes(`after ${length} zeros at ${offset}`, await readFrom(device, 0, model.byteLength), model);
    const again = pattern(length, offset / SECTOR_SIZE);
    await device.write(offset, again);
    model.set(again, offset);
    demandSameBytes(`written over the zeros at ${offset}`, await readFrom(device, 0, model.byteLength), model);
  }
}

async function discards(device: DataDevice, discardable: boolean): Promise<void> {
  const { discardGranularity } = device.hints;
  demand(
    discardGranularity > 0 === discardable,
    `hints.discardGranularity is ${discardGranularity}, but the suite was told discardable: ${discardable}`,
  );
  for (const [offset, length] of rangesOf(device)) {
    const model = pattern(workingSize(device), 1);
    await device.write(0, model);
    await device.discard(offset, length);
    const found = await readFrom(device, 0, model.byteLength);
    for (let at = offset; at < offset + length; at += SECTOR_SIZE) {
      const sector = found.subarray(at, at + SECTOR_SIZE);
      // Zeros are allowed; where they were found they become the model, and the comparison below is for the rest.
      if (discardable && firstNonZero(sector) === -1) model.fill(0, at, at + SECTOR_SIZE);
    }
    demandSameBytes(`after discarding ${length} bytes at ${offset}`, found, model);
    demandSameBytes('read once more', await readFrom(device, 0, model.byteLength), model);
  }
}

const rangesOf = (device: DataDevice): [offset: number, length: number][] =>
  RANGES.filter(([offset, length]) => offset + length <= workingSize(device)).map(([offset, length]) => [
    offset,
    length,
  ]);

/** Asks for the allocation of a range until all of it is told; demands good form, and zeros where zeros are claimed. */
export async function demandTrueAllocation(device: DataDevice, offset: number, length: number): Promise<void> {
  for (let at = offset; at < offset + length; ) {
    const extents = await device.allocation(at, offset + length - at);
    const end = demandWellFormed(extents, at, offset + length - at);
    for (const extent of extents) {
      if (extent.state === 'data') continue;
      const found = await readFrom(device, extent.offset, extent.length);
      const lie = firstNonZero(found);
      demand(lie === -1, `allocation calls byte ${extent.offset + lie} ${extent.state}, but it is ${found[lie]}`);
    }
    at = end;
  }
}

/** @returns where the extents end */
function demandWellFormed(extents: readonly AllocationExtent[], offset: number, length: number): number {
  const asked = `allocation of ${length} bytes at ${offset}`;
  demand(extents.length > 0, `${asked}: no extent`);
  let at = offset;
  let previous: string | undefined;
  for (const extent of extents) {
    demand(extent.offset === at, `${asked}: an extent at ${extent.offset}, expected one at ${at}`);
    demand(
      extent.length > 0 && extent.length % SECTOR_SIZE === 0,
      `${asked}: the extent at ${at} has ${extent.length} bytes, expected whole sectors`,
    );
    demand(['data', 'zero', 'hole'].includes(extent.state), `${asked}: the state at ${at} is ${extent.state}`);
    demand(extent.state !== previous, `${asked}: two extents of ${extent.state} meet at ${at}`);
    previous = extent.state;
    at += extent.length;
  }
  demand(at <= offset + length, `${asked}: goes on to ${at}`);
  return at;
}
