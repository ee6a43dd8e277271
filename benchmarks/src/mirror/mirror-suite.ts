/**
 * What a mirror costs a stream of writes: two files written through a `MirrorDevice`, and both written directly, block for block, flushed at
 * the end. The same files, the same bytes, as many requests on their way.
 *
 * The direct writer is the peer because nothing that keeps two legs equal can do less. What the mirror does besides: one copy of the
 * bytes that nobody changes, the order of what overlaps, marks in a log that is flushed. How often it writes the log is counted.
 */
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { openFileDataDevice } from '@pdata/device/node';
import { DiskLog, MirrorDevice, mirrorLogSize } from '@pdata/mirror';
import { RecordingDataDevice, seededRandom } from '@pdata/testing';
import { faster, table } from '../report.js';
import { median } from '../statistics.js';

const KIB = 1024;
const MIB = 1024 * KIB;
/** Sectors: 2 MiB, what LVM gives a mirror. */
const REGION_SIZE = 4096;
/** Requests on their way. */
const DEPTH = 8;
/** Of the direct writer's speed. */
const TARGET = 0.8;

export interface MirrorOptions {
  readonly directory: string;
  /** Bytes of a leg. */
  readonly size: number;
  readonly runs: number;
  readonly seed: number;
  readonly progress: (text: string) => void;
}

/** In seconds. The processor's time says what a busy machine hides: how much more work it is. */
interface Taken {
  readonly wall: number;
  readonly processor: number;
}

export interface MirrorFigures {
  /** Bytes of a request. */
  readonly block: number;
  /** Flush included. */
  readonly direct: Taken[];
  readonly mirrored: Taken[];
  /** Writes of the log, in each run. */
  readonly logWrites: number[];
}

/** Returns a hash of the legs, too, which must be the same for each leg and each contender. */
export async function measureMirror(
  blocks: readonly number[],
  options: MirrorOptions,
): Promise<{ readonly works: readonly MirrorFigures[]; readonly hash: string }> {
  const { directory, size, runs, seed, progress } = options;
  const inDirectory = (name: string): string => join(directory, `mirror-${name}`);
  const [leg0, leg1, logPath] = [inDirectory('leg0'), inDirectory('leg1'), inDirectory('log')];
  const logSize = mirrorLogSize(Math.ceil(size / SECTOR_SIZE / REGION_SIZE), 4096);
  const [first, second, log] = await Promise.all([
    openFileDataDevice(leg0, { mode: 'write', create: { size } }),
    openFileDataDevice(leg1, { mode: 'write', create: { size } }),
    openFileDataDevice(logPath, { mode: 'write', create: { size: logSize } }),
  ]);
  // Each contender writes bytes of its own: what one leaves out would be found as the other's.
  const contents = [seed, seed + 1].map((each) => randomBytes(Math.max(MIB, ...blocks), each)) as [
    Uint8Array,
    Uint8Array,
  ];
  const hashes = new Set<string>();
  try {
    await writeInOrder(size, MIB, [first, second], contents[1].subarray(0, MIB)); // so that no run makes the files larger
    const works: MirrorFigures[] = [];
    for (const block of blocks) {
      const [ours, theirs] = contents.map((bytes) => bytes.subarray(0, block)) as [Uint8Array, Uint8Array];
      const work: MirrorFigures = { block, direct: [], mirrored: [], logWrites: [] };
      for (let run = 0; run < runs; run++) {
        progress(`two legs, blocks of ${block / KIB} KiB: run ${run + 1}`);
        work.direct.push(await timed(() => writeInOrder(size, block, [first, second], theirs)));
        for (const leg of [first, second]) hashes.add(`${block} direct ${await hashOf(leg)}`);
        const counted = new RecordingDataDevice(log);
        const sync = { length: size / SECTOR_SIZE, regionSize: REGION_SIZE, sync: 'nosync' as const };
        const legs = [{ device: first }, { device: second }];
        const mirror = await MirrorDevice.open({ log: new DiskLog(counted, sync), legs, goodLeg: 0 });
        counted.clear();
        work.mirrored.push(await timed(() => writeInOrder(size, block, [mirror], ours)));
        work.logWrites.push(counted.nrOf('write'));
        await mirror.close();
        for (const leg of [first, second]) hashes.add(`${block} mirror ${await hashOf(leg)}`);
      }
      works.push(work);
    }
    if (hashes.size !== 2 * blocks.length)
      throw new Error(`the legs do not all hold the same: ${[...hashes].join(', ')}`);
    return {
      works,
      hash: createHash('sha256')
        .update([...hashes].join())
        .digest('hex')
        .slice(0, 16),
    };
  } finally {
    for (const device of [first, second, log]) await device.close();
    for (const path of [leg0, leg1, logPath]) rmSync(path, { force: true });
  }
}

export function mirrorTable(
  { works, hash }: Awaited<ReturnType<typeof measureMirror>>,
  { size, runs }: Pick<MirrorOptions, 'size' | 'runs'>,
): string {
  const rows = [
    [
      'sequential write to two file legs',
      'mirror',
      'both directly',
      'ratio',
      'to reach',
      'reached',
      'ratio of processor time',
      'log writes',
    ],
  ];
  for (const { block, direct, mirrored, logWrites } of works) {
    const { ratio, target, met } = faster(medianOf(direct, 'wall') / medianOf(mirrored, 'wall'), TARGET);
    const [ours, theirs] = [mirrored, direct].map((taken) => speed(size, taken));
    const processor = `${(medianOf(direct, 'processor') / medianOf(mirrored, 'processor')).toFixed(2)}x`;
    const [least, most] = [Math.min(...logWrites), Math.max(...logWrites)];
    const writes = `${least === most ? least : `${least}–${most}`} for ${Math.ceil(size / SECTOR_SIZE / REGION_SIZE)} regions`;
    rows.push([`${block / KIB} KiB blocks`, ours as string, theirs as string, ratio, target, met, processor, writes]);
  }
  return [
    `Mirror: two files of ${size / MIB} MiB, regions of ${(REGION_SIZE * SECTOR_SIZE) / MIB} MiB, ${DEPTH} requests on their way, flush included; median of ${runs} runs; hash ${hash}`,
    '',
    table(rows),
  ].join('\n');
}

const medianOf = (taken: readonly Taken[], which: keyof Taken): number => median(taken.map((each) => each[which]));

function speed(size: number, taken: readonly Taken[]): string {
  const mibs = taken.map(({ wall }) => size / MIB / wall);
  return `${median(mibs).toFixed(0)} MiB/s (${Math.min(...mibs).toFixed(0)}–${Math.max(...mibs).toFixed(0)})`;
}

/** Writes all of them from front to end, each block to all of them at once, and flushes. */
async function writeInOrder(
  size: number,
  block: number,
  devices: readonly DataDevice[],
  bytes: Uint8Array,
): Promise<void> {
  let next = 0;
  const writer = async (): Promise<void> => {
    while (next < size) {
      const offset = next;
      next += block;
      await Promise.all(devices.map((device) => device.write(offset, bytes)));
    }
  };
  await Promise.all(Array.from({ length: DEPTH }, writer));
  await Promise.all(devices.map((device) => device.flush()));
}

async function timed(work: () => Promise<void>): Promise<Taken> {
  const [begin, used] = [process.hrtime.bigint(), process.cpuUsage()];
  await work();
  const { user, system } = process.cpuUsage(used);
  return { wall: Number(process.hrtime.bigint() - begin) / 1e9, processor: (user + system) / 1e6 };
}

function randomBytes(length: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  return new Uint8Array(length).map(() => random() * 256);
}

async function hashOf(device: DataDevice): Promise<string> {
  const hash = createHash('sha256');
  const bytes = new Uint8Array(MIB);
  for (let at = 0; at < device.size; at += MIB) {
    await device.read(at, bytes);
    hash.update(bytes);
  }
  return hash.digest('hex').slice(0, 16);
}
