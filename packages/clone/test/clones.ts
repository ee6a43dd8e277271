/** Clones' metadata in memory for tests, and the few steps that every test takes with it. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { MemoryMetadataDevice } from '@pdata/device';
import { differentBlocks } from '@pdata/testing';
import { expect } from 'vitest';
import { CloneMetadata } from '../src/metadata/clone-metadata.js';

/** Sectors per region: 4 KiB. */
export const REGION_SIZE = 8;
/** Two array blocks and a short last region: docs/format/clone.md, section 2. */
export const TWO_BLOCKS = { regionSize: REGION_SIZE, targetSize: 327_683 } as const;
export const NR_REGIONS_OF_TWO_BLOCKS = 40_961;

export interface CloneInMemory {
  readonly device: MemoryMetadataDevice;
  readonly metadata: CloneMetadata;
}

export function newClone({
  nrBlocks = 64,
  regionSize = REGION_SIZE,
  targetSize = REGION_SIZE * 1000,
}: {
  nrBlocks?: number;
  regionSize?: number;
  targetSize?: number;
} = {}): CloneInMemory {
  const device = new MemoryMetadataDevice({ nrBlocks, name: 'clone metadata' });
  return { device, metadata: CloneMetadata.format(device, { regionSize, targetSize }) };
}

/** All three steps, the destination's flush left out: there is none here. */
export function commit(metadata: CloneMetadata): boolean {
  metadata.preCommit();
  return metadata.commit();
}

/** Hydrated regions as the open metadata shows them. */
export function hydratedOf(metadata: CloneMetadata): number[] {
  return Array.from({ length: metadata.nrRegions }, (_, regionNr) => regionNr).filter((regionNr) =>
    metadata.isHydrated(regionNr),
  );
}

/** The image that a kernel made (test/fixtures/README.md); the caller's own copy. */
export function fixtureBytes(): Uint8Array {
  return new Uint8Array(gunzipSync(readFileSync(new URL('fixtures/clone-partial.img.gz', import.meta.url))));
}

/** For whole media, which `toEqual` would compare byte by byte. */
export function expectSameBytes(found: Uint8Array, expected: Uint8Array): void {
  expect(differentBlocks(found, expected), 'blocks that differ').toEqual([]);
}

export { thrownBy } from '@pdata/testing';
