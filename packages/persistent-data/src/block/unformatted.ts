/** Devices without metadata: how they are known, and how one that may have some is made one. */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';

/** Whether block 0 is all zero, which every target takes for an invitation to format; or there is none. @throws {@link DeviceError} */
export function isUnformatted(device: MetadataDevice): boolean {
  if (device.nrBlocks === 0) return true;
  const block = new Uint8Array(BLOCK_SIZE);
  device.read(0, block);
  return block.every((byte) => byte === 0);
}

/** Zeroes block 0, durably: an old superblock must not outlive the first of its blocks that is overwritten. */
export function wipeSuperblock(device: MetadataDevice): void {
  try {
    if (isUnformatted(device)) return;
  } catch {
    // What it holds, nobody can read; perhaps it can be written.
  }
  device.write(0, new Uint8Array(BLOCK_SIZE));
  device.flush();
}
