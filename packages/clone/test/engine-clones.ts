/** Clones with an engine, in memory, for tests. */
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { FaultyDataDevice, RecordingDataDevice } from '@pdata/testing';
import { CloneDevice, type CloneOptions } from '../src/index.js';

/** Bytes of a region: 4 KiB, the smallest. */
export const REGION = 4096;

export interface EngineClone {
  readonly metadata: MemoryMetadataDevice;
  /** Holds {@link sourceByte} everywhere. Reads can be held up, and fail. */
  readonly source: FaultyDataDevice;
  /** Holds 0xdd everywhere to begin with, unless it is sparse. Remembers what is done to it; may fail, too. */
  readonly destination: FaultyDataDevice;
  readonly written: RecordingDataDevice;
  readonly clone: CloneDevice;
}

export type EngineCloneOptions = Partial<CloneOptions> & {
  readonly nrRegions?: number;
  /** Bytes that the last region lacks. */
  readonly lacks?: number;
  /** Sectors. */
  readonly regionSize?: number;
  readonly sparse?: boolean;
};

/** A new clone of 64 regions of 4 KiB. Nothing is hydrated or committed by itself unless told. */
export async function newClone(options: EngineCloneOptions = {}): Promise<EngineClone> {
  const { nrRegions = 64, lacks = 0, regionSize = 8, sparse = false, ...more } = options;
  const size = nrRegions * regionSize * 512 - lacks;
  const source = new FaultyDataDevice(
    new MemoryDataDevice({ name: 'source', bytes: sourceBytes(0, size), readOnly: true }),
  );
  const name = 'destination';
  const memory = sparse
    ? new MemoryDataDevice({ name, size })
    : new MemoryDataDevice({ name, bytes: new Uint8Array(size).fill(0xdd) });
  const written = new RecordingDataDevice(memory, { initial: memory });
  const destination = new FaultyDataDevice(written);
  const metadata = new MemoryMetadataDevice({ nrBlocks: 64 });
  const clone = await CloneDevice.openOrFormat(
    metadata,
    { source, destination },
    { regionSize, noHydration: true, commitPeriod: 0, ...more },
  );
  return { metadata, source, destination, written, clone };
}

/** The same devices once more, after the clone was closed. */
export function openAgain(
  { metadata, source, destination }: Pick<EngineClone, 'metadata' | 'source' | 'destination'>,
  options: CloneOptions = {},
): Promise<CloneDevice> {
  return CloneDevice.open(metadata, { source, destination }, { noHydration: true, commitPeriod: 0, ...options });
}

/** What the source holds: different in each sector, never 0, never 0xdd, less than 0x80. */
export function sourceBytes(offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = 1 + ((Math.floor((offset + at) / 512) * 7) % 120);
  return bytes;
}

/** `length` bytes of one value. */
export const bytesOf = (value: number, length = REGION): Uint8Array => new Uint8Array(length).fill(value);

export async function readFrom(
  device: { read(offset: number, into: Uint8Array): Promise<void> },
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const into = new Uint8Array(length).fill(0xee); // so that what is left alone shows
  await device.read(offset, into);
  return into;
}

/** The regions that are hydrated, in words: `0-3 7`. */
export function hydrated(clone: CloneDevice): string {
  const runs: string[] = [];
  const { nrRegions } = clone.status();
  for (let region = 0; region < nrRegions; region++) {
    if (!clone.isHydrated(region)) continue;
    const begin = region;
    while (region + 1 < nrRegions && clone.isHydrated(region + 1)) region++;
    runs.push(begin === region ? `${begin}` : `${begin}-${region}`);
  }
  return runs.join(' ');
}
