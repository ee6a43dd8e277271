/**
 * A mirror's log for the fuzzer. It has no checksums and no blocks: a header, and a bit a region; here it is blocks of 4096 bytes all the
 * same, for the fuzzer thinks in them. Offsets: docs/format/mirror-log.md, section 2.
 */
import { BLOCK_SIZE, type DataDevice, MemoryDataDevice, type MetadataDevice } from '@pdata/device';
import { checkMirrorLog, DiskLog, dumpMirrorLog, MirrorDevice, verifyMirror } from '@pdata/mirror';
import { type FormatStructure, seededRandom } from '@pdata/testing';
import type { FuzzTarget } from './fuzz-targets.js';
import { mirrorCommands } from './tool-fuzz.js';

const REGION_SECTORS = 8;
/** Of the mirror; of its log there is more room. */
const NR_REGIONS = 300;
const LENGTH = REGION_SECTORS * NR_REGIONS;
const BITS_AT = 1024;
const NR_BLOCKS = 3;
const MOST_OUTPUT = 64 * 2 ** 20;
const NO_TIMERS = { set: () => undefined, clear: () => {} };

const header: FormatStructure = {
  name: 'mirror log header',
  matches: (_, blockNr) => blockNr === 0,
  seal: () => {},
  fields: [
    { name: 'magic', kind: 'number', size: 4, at: 0 },
    { name: 'version', kind: 'number', size: 4, at: 4 },
    { name: 'version', kind: 'flags', size: 4, at: 4 },
    { name: 'nrRegions', kind: 'count', size: 8, at: 8 },
    { name: 'nrRegions', kind: 'count', size: 4, at: 8 },
    { name: 'unused', kind: 'number', size: 8, at: 16, count: () => 126 },
    { name: 'clean bits', kind: 'number', size: 1, at: BITS_AT, count: () => 64 },
    { name: 'clean bits, and what is behind them', kind: 'number', size: 8, at: BITS_AT, count: () => 384 },
  ],
};

const moreBits: FormatStructure = {
  name: 'what is behind the clean bits',
  matches: (_, blockNr) => blockNr > 0,
  seal: () => {},
  fields: [{ name: 'bits', kind: 'number', size: 8, at: 0, count: () => 512 }],
};

export const target: FuzzTarget = {
  name: 'mirror log',
  structures: [header, moreBits],
  readers: [
    { name: 'check', run: async (device) => void (await drain(checkMirrorLog(logOn(device)))) },
    { name: 'check of the mirror', run: (device) => drain(checkMirrorLog(logOn(device), geometry)) },
    { name: 'dump', run: (device) => dump(device, {}) },
    { name: 'dump of the mirror', run: (device) => dump(device, { ...geometry, format: 'json' }) },
    { name: 'verify', run: verify },
    { name: 'use as a log', run: useLog },
    { name: 'open the mirror and copy', run: openAndCopy },
    ...mirrorCommands(REGION_SECTORS, NR_REGIONS),
  ],
  image,
};

const geometry = { regionSize: REGION_SECTORS, length: LENGTH };

async function image(seed: number): Promise<Uint8Array> {
  const random = seededRandom(seed);
  const bytes = new Uint8Array(NR_BLOCKS * BLOCK_SIZE);
  const nrRegions = seed % 4 === 0 ? 1 + Math.floor(600 * random()) : NR_REGIONS;
  const log = new DiskLog(new MemoryDataDevice({ bytes }), { ...geometry, length: REGION_SECTORS * nrRegions });
  await log.resume(async () => []);
  for (let region = 0; region < nrRegions; region++) {
    if (random() < 0.3) continue;
    await log.setRegionSync(region, true);
    log.mark(region);
    if (random() < 0.8) log.clear(region);
  }
  await log.flush();
  await log.close();
  return bytes;
}

/** What is written to it is not seen by anybody else. */
function logOn(device: MetadataDevice): DataDevice {
  const bytes = new Uint8Array(device.nrBlocks * BLOCK_SIZE);
  device.read(0, bytes);
  return new MemoryDataDevice({ name: 'log', bytes });
}

async function drain(generator: AsyncIterator<unknown>): Promise<void> {
  while ((await generator.next()).done !== true);
}

async function dump(device: MetadataDevice, options: Parameters<typeof dumpMirrorLog>[1]): Promise<void> {
  let length = 0;
  for await (const part of dumpMirrorLog(logOn(device), options)) {
    length += part.length;
    if (length > MOST_OUTPUT) throw new Error(`a dump of more than ${MOST_OUTPUT} bytes`);
  }
}

function legs(): { readonly device: DataDevice }[] {
  return [0, 1].map((nr) => ({ device: new MemoryDataDevice({ name: `leg ${nr}`, size: LENGTH * 512 }) }));
}

async function verify(device: MetadataDevice): Promise<void> {
  await drain(verifyMirror({ legs: legs(), regionSize: REGION_SECTORS, length: LENGTH, log: logOn(device) }));
}

async function useLog(device: MetadataDevice): Promise<void> {
  const on = logOn(device);
  const log = new DiskLog(on, geometry);
  await log.resume(async () => []);
  let nrCopied = 0;
  for (let region = await log.nextResyncWork(); region !== undefined; region = await log.nextResyncWork()) {
    if (++nrCopied > NR_REGIONS) throw new Error('more regions to copy than there are');
    await log.setRegionSync(region, true);
    log.clear(region);
  }
  for (const region of [0, 17, NR_REGIONS - 1]) log.mark(region);
  await log.flush();
  if (log.syncCount !== NR_REGIONS) throw new Error(`${log.syncCount} regions in sync when all are copied`);
  await log.close();
  for await (const { severity, message } of checkMirrorLog(on, geometry))
    throw new Error(`used, the check says: ${severity}, ${message}`);
}

async function openAndCopy(device: MetadataDevice): Promise<void> {
  const log = new DiskLog(logOn(device), geometry);
  const mirror = await MirrorDevice.open({ log, legs: legs(), goodLeg: 0, clearPeriod: 0, timers: NO_TIMERS });
  await mirror.write(512, new Uint8Array(1024).fill(7));
  if (!(await mirror.untilResynced())) throw new Error('the mirror is not in sync although all has been copied');
  await mirror.flush();
  mirror.status();
  await mirror.close();
}
