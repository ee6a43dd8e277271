/** Blocks that can be told apart, and what threw. */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';

/** One block per value, filled with it. */
export function blocks(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * BLOCK_SIZE);
  values.forEach((value, index) => {
    bytes.fill(value, index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE);
  });
  return bytes;
}

/** The first byte of each block. */
export function firstBytes(device: MetadataDevice): number[] {
  const bytes = bytesOf(device);
  return Array.from({ length: device.nrBlocks }, (_, nr) => bytes[nr * BLOCK_SIZE] as number);
}

/** The whole device, read over bytes that are not zero. */
export function bytesOf(device: MetadataDevice): Uint8Array {
  const bytes = new Uint8Array(device.nrBlocks * BLOCK_SIZE).fill(0xa5);
  device.read(0, bytes);
  return bytes;
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

/** What `action` rejects with; fails the test when it does not. */
export async function rejectionOf(action: Promise<unknown>): Promise<Error> {
  return await action.then(
    () => {
      throw new Error('expected a rejection, but it resolved');
    },
    (error: Error) => error,
  );
}
