/**
 * Reads a log piece by piece: a log has up to 512 MiB of bits, and nobody needs them all at once. Nothing is ever written.
 *
 * Format: docs/format/mirror-log.md, section 2.
 */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { LOG_BITS_OFFSET, type LogHeader, nrBytesOfBits, readLogHeader } from '../format/log-layout.js';
import { RegionBits, type RegionRun } from '../format/region-bits.js';
import type { WorkOptions } from './mirror-geometry.js';

/** Bytes of bits that are read at once: 8 million regions. */
const PIECE = 2 ** 20;

export async function headerOf(device: DataDevice): Promise<LogHeader> {
  const sector = new Uint8Array(SECTOR_SIZE);
  await device.read(0, sector);
  return readLogHeader(sector);
}

/** Equal bits of the first `nrRegions` regions, in order: each `end` is the next `begin`, and neighbours differ. */
export async function* bitRuns(
  device: DataDevice,
  nrRegions: number,
  options: WorkOptions = {},
): AsyncGenerator<RegionRun, void> {
  let open: RegionRun | undefined;
  const total = nrBytesOfBits(nrRegions);
  for (let done = 0; done * 8 < nrRegions; done += PIECE) {
    options.signal?.throwIfAborted();
    options.onProgress?.({ stage: 'clean bits', done, total });
    const first = done * 8;
    const nrHere = Math.min(PIECE * 8, nrRegions - first);
    const bytes = new Uint8Array(Math.ceil(nrHere / 8 / SECTOR_SIZE) * SECTOR_SIZE);
    await device.read(LOG_BITS_OFFSET + done, bytes);
    for (const { begin, end, value } of new RegionBits(nrHere, bytes).runs()) {
      if (open !== undefined && open.value !== value) {
        yield open;
        open = undefined;
      }
      open = { begin: open?.begin ?? first + begin, end: first + end, value };
    }
  }
  if (open !== undefined) yield open;
}

/** Whether a bit is set behind the last region, in the same word of 64: there, the kernel keeps zeros. */
export async function hasStrayBits(device: DataDevice, nrRegions: number): Promise<boolean> {
  const end = nrBytesOfBits(nrRegions) * 8;
  if (end === nrRegions) return false;
  const word = (end - 64) / 8;
  const sector = new Uint8Array(SECTOR_SIZE);
  const sectorNr = Math.floor(word / SECTOR_SIZE);
  await device.read(LOG_BITS_OFFSET + sectorNr * SECTOR_SIZE, sector);
  const bits = new RegionBits(64, sector.subarray(word - sectorNr * SECTOR_SIZE));
  return bits.next(true, nrRegions - (end - 64)) < 64;
}
