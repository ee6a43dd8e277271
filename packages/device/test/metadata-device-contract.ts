/**
 * What every `MetadataDevice` must do, whatever it stands on: the contract of src/metadata-device.ts as tests.
 * A new implementation runs this suite in its own test file and adds what is special about it. The cases are those of
 * @pdata/testing, so that packages which cannot reach this folder run the same ones.
 */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';
import { type MetadataDeviceConformanceOptions, metadataDeviceConformance } from '@pdata/testing';
import { it } from 'vitest';

export function itBehavesLikeAMetadataDevice(fixture: MetadataDeviceConformanceOptions): void {
  for (const { name, run } of metadataDeviceConformance(fixture)) it(name, run);
}

/** One block per value, filled with it. */
export function blocks(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * BLOCK_SIZE);
  values.forEach((value, index) => {
    bytes.fill(value, index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE);
  });
  return bytes;
}

/** The value that fills each block; "mixed" where a block is not all one value. */
export function valuesOf(bytes: Uint8Array): (number | string)[] {
  return Array.from({ length: bytes.byteLength / BLOCK_SIZE }, (_, nr) => {
    const block = bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
    return block.every((byte) => byte === block[0]) ? (block[0] ?? 0) : 'mixed';
  });
}

/** The whole device, read in one run, as `valuesOf` tells it. */
export function blocksOf(device: MetadataDevice): (number | string)[] {
  const bytes = new Uint8Array(device.nrBlocks * BLOCK_SIZE);
  device.read(0, bytes);
  return valuesOf(bytes);
}

/** What `action` throws; fails the test when it throws nothing. */
export function thrownBy(action: () => unknown): Error {
  try {
    action();
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected an error, none was thrown');
}
