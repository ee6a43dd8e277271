/** Content for conformance cases: sectors that can be told apart, and the part of a device that cases work in. */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';

/** Bytes at a device's start that the cases use; a device may be larger than memory. */
export function workingSize(device: DataDevice): number {
  return Math.min(device.size, 512 * 1024);
}

/** `length` bytes that differ from sector to sector and from seed to seed, none of them 0. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let start = 0; start < length; start += SECTOR_SIZE) {
    const first = seed * 37 + (start / SECTOR_SIZE) * 11;
    for (let at = 0; at < SECTOR_SIZE; at++) bytes[start + at] = 1 + ((first + at) % 255);
  }
  return bytes;
}

export async function readFrom(device: DataDevice, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length).fill(0xa5); // so that a read that fills nothing is found out
  await device.read(offset, into);
  return into;
}
