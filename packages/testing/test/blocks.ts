/** Blocks that are all one value, so that a device can be compared with a list of numbers. */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';

export function blocks(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * BLOCK_SIZE);
  values.forEach((value, index) => {
    bytes.fill(value, index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE);
  });
  return bytes;
}

/** The value of each block; where sectors differ, the list of their values. */
export function valuesOf(bytes: Uint8Array): (number | number[])[] {
  return Array.from({ length: bytes.byteLength / BLOCK_SIZE }, (_, nr) => {
    const sectors = Array.from({ length: 8 }, (__, sector) => bytes[nr * BLOCK_SIZE + sector * 512] ?? -1);
    return sectors.every((value) => value === sectors[0]) ? (sectors[0] ?? -1) : sectors;
  });
}

export function blocksOf(device: MetadataDevice): (number | number[])[] {
  const bytes = new Uint8Array(device.nrBlocks * BLOCK_SIZE);
  device.read(0, bytes);
  return valuesOf(bytes);
}
