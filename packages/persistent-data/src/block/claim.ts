/**
 * One writer a device, within this process: two would each believe in a cache that the other makes stale. (Across processes
 * the device's own lock sees to it.)
 */
import { DeviceBusyError, type MetadataDevice } from '@pdata/device';

const claimed = new WeakSet<MetadataDevice>();

/**
 * Claims `device` for one writer; the returned function gives it up.
 * @throws {@link DeviceBusyError} while somebody else holds it
 */
export function claimDevice(device: MetadataDevice): () => void {
  if (claimed.has(device)) {
    throw new DeviceBusyError(
      `${device.name} is open for writing already, in this program: close that first, or use it`,
    );
  }
  claimed.add(device);
  return () => claimed.delete(device);
}

/** Opens `device` for its one writer, who is handed what gives it up; given up at once when `open` throws. Readers need none. */
export function withWriterClaim<T>(device: MetadataDevice, open: (unclaim: () => void) => T): T {
  const unclaim = device.readOnly ? () => {} : claimDevice(device);
  try {
    return open(unclaim);
  } catch (error) {
    unclaim();
    throw error;
  }
}
