/** A data device whose size is in our hands: memory and files. A block device or an export is enlarged by its owner. */
import type { DataDevice } from './data-device.js';

export interface GrowableDataDevice extends DataDevice {
  /**
   * Enlarges the device where that is in our hands (memory, regular files); a block device is re-measured instead, and may
   * turn out larger than asked. New bytes of memory and files read as zeros. Durable with the next flush. `size` is the new
   * one when the promise resolves.
   *
   * Rejects with a `RangeError` when `size` is no multiple of 512 or less than the device has, for devices do not shrink;
   * with a `DeviceError` when the device cannot reach it; with a `ReadOnlyError` or a `ClosedError` as a write does.
   */
  grow(size: number): Promise<void>;
}
