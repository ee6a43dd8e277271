/**
 * Random sequences of requests against a plain array: what the sentences of the other cases do not think of.
 *
 * Requests go out in bursts of up to four that do not overlap, so that the outcome is known. A discarded sector may read as
 * zeros or as it was, and must go on doing so: it is looked at, and what is found becomes the model.
 */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { seededRandom } from '../seeded-random.js';
import { ContractViolation, demandSameBytes, firstNonZero } from './demand.js';
import type { DeviceCase } from './device-case.js';
import { pattern, readFrom, workingSize } from './region.js';
import { demandTrueAllocation } from './zeroing-cases.js';

const NR_BURSTS = 30;

export function randomWorkloadCases(nrSeeds: number): DeviceCase[] {
  return [
    {
      name: `holds what a plain array would after any sequence of requests (${nrSeeds} of them)`,
      async on(device) {
        for (let seed = 1; seed <= nrSeeds; seed++) {
          try {
            await runWorkload(device, seed);
          } catch (error) {
            const message = `seed ${seed}: ${(error as Error).message}`;
            throw new ContractViolation(message, { cause: error });
          }
        }
      },
    },
  ];
}

async function runWorkload(device: DataDevice, seed: number): Promise<void> {
  const random = seededRandom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const size = workingSize(device);
  const model = await readFrom(device, 0, size);
  for (let burst = 0; burst < NR_BURSTS; burst++) {
    const discarded: [offset: number, length: number][] = [];
    const requests: Promise<unknown>[] = [];
    // Borders cut the device into parts; each request of the burst stays in a part of its own.
    const nrParts = 1 + below(4);
    for (let part = 0; part < nrParts; part++) {
      const nrSectors = Math.floor(size / SECTOR_SIZE / nrParts);
      const first = part * nrSectors + below(nrSectors);
      const nr = 1 + below(Math.min((part + 1) * nrSectors - first, random() < 0.7 ? 16 : 256));
      const [offset, length] = [first * SECTOR_SIZE, nr * SECTOR_SIZE];
      const fua = random() < 0.1;
      const chosen = random();
      if (chosen < 0.5) {
        const bytes = pattern(length, below(1000));
        model.set(bytes, offset);
        requests.push(device.write(offset, bytes, { fua }));
      } else if (chosen < 0.65) {
        model.fill(0, offset, offset + length);
        requests.push(device.writeZeroes(offset, length, { fua, keepAllocated: random() < 0.3 }));
      } else if (chosen < 0.8) {
        discarded.push([offset, length]);
        requests.push(device.discard(offset, length, { fua }));
      } else {
        const expected = model.slice(offset, offset + length);
        const reading = readFrom(device, offset, length);
        requests.push(reading.then((found) => demandSameBytes('read in a burst', found, expected, offset)));
      }
    }
    if (random() < 0.1) requests.push(device.flush());
    await Promise.all(requests);
    const found = await readFrom(device, 0, size);
    for (const [offset, length] of discarded) {
      for (let at = offset; at < offset + length; at += SECTOR_SIZE) {
        if (firstNonZero(found.subarray(at, at + SECTOR_SIZE)) === -1) model.fill(0, at, at + SECTOR_SIZE);
      }
    }
    demandSameBytes(`after burst ${burst}`, found, model);
    const from = below(size / SECTOR_SIZE) * SECTOR_SIZE;
    await demandTrueAllocation(device, from, size - from);
  }
}
