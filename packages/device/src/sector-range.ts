/**
 * The argument checks that every `DataDevice` makes before it touches its medium, and the words its messages use.
 *
 * A range that is misshapen or leaves the device is a mistake of the caller's, hence a plain `RangeError`, no
 * `StoreError`. All of this runs once a request, so nothing is allocated unless something is wrong.
 */
import { type DataDevice, SECTOR_SIZE } from './data-device.js';

/** The kinds of request that name a range of a {@link DataDevice}. */
export type RangeOperation = 'read' | 'write' | 'writeZeroes' | 'discard' | 'allocation';

/**
 * Checks that `length` bytes from byte `offset` on are whole sectors of `device`. For implementations of
 * {@link DataDevice}, which turn the error into a rejection.
 *
 * @throws {RangeError} when `offset` or `length` is no multiple of 512, or any byte of the range is outside the device
 */
export function requireSectorRange(
  device: Pick<DataDevice, 'name' | 'size'>,
  operation: RangeOperation,
  offset: number,
  length: number,
): void {
  // A remainder is NaN for NaN and for infinity, and a fraction for a fraction: neither is 0.
  if (offset % SECTOR_SIZE !== 0 || length % SECTOR_SIZE !== 0) {
    throw new RangeError(
      `${operation} of ${length} bytes at ${offset}, ${device.name}: not whole sectors of ${SECTOR_SIZE} bytes`,
    );
  }
  if (offset < 0 || length < 0 || offset + length > device.size) {
    throw new RangeError(
      `${operation} of ${length} bytes at ${offset}, ${device.name}: outside the device, which has ${device.size} bytes`,
    );
  }
}

/** Checks a size in bytes: what a data device may be created with or grown to. @throws {RangeError} */
export function requireDataSize(deviceName: string, size: number, atLeast: number): void {
  if (Number.isSafeInteger(size) && size >= atLeast && size % SECTOR_SIZE === 0) return;
  throw new RangeError(
    `size of ${size} bytes, ${deviceName}: expected a multiple of ${SECTOR_SIZE}, at least ${atLeast}`,
  );
}

/** `size` without the part of a sector at its end: what a device can use of a file or of an array of bytes. */
export function wholeSectors(size: number): number {
  return size - (size % SECTOR_SIZE);
}

/** "512 bytes at 4096": how messages name a range of a data device. */
export function bytesInWords(offset: number, length: number): string {
  return `${length} bytes at ${offset}`;
}
