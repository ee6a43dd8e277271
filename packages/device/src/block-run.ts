/**
 * The argument check that every `MetadataDevice` makes before it touches its medium.
 *
 * A run is the blocks that one `read` or `write` moves: it starts at a block number and is as long as the caller's array.
 * A run that is misshapen or leaves the device is a mistake of the caller's, hence a plain `RangeError`, no `StoreError`.
 */
import { BLOCK_SIZE, type MetadataDevice } from './metadata-device.js';

/**
 * Number of blocks in the run that starts at `firstBlockNr` and moves `bytes`; zero when `bytes` is empty.
 * For implementations of {@link MetadataDevice}.
 *
 * @throws {RangeError} when `bytes` is no whole number of blocks, or any block of the run is outside the device
 */
export function nrBlocksOfRun(
  device: Pick<MetadataDevice, 'name' | 'nrBlocks'>,
  operation: 'read' | 'write',
  firstBlockNr: number,
  bytes: Uint8Array,
): number {
  const nr = bytes.byteLength / BLOCK_SIZE;
  if (!Number.isInteger(nr)) {
    throw new RangeError(
      `${operation} of ${bytes.byteLength} bytes, ${device.name}: not a whole number of ${BLOCK_SIZE}-byte blocks`,
    );
  }
  if (!Number.isSafeInteger(firstBlockNr) || firstBlockNr < 0 || firstBlockNr + nr > device.nrBlocks) {
    throw new RangeError(
      `${operation} of ${blocksInWords(firstBlockNr, nr)}, ${device.name}: outside the device, ` +
        `which has ${device.nrBlocks} blocks`,
    );
  }
  return nr;
}

/** "block 7", "blocks 7..9": how messages name a run. */
export function blocksInWords(firstBlockNr: number, nrBlocks: number): string {
  return nrBlocks <= 1 ? `block ${firstBlockNr}` : `blocks ${firstBlockNr}..${firstBlockNr + nrBlocks - 1}`;
}

/** Checks a size in blocks: what a device may be created with or grown to. @throws {RangeError} */
export function requireDeviceSize(deviceName: string, nrBlocks: number, atLeast: number): void {
  if (Number.isSafeInteger(nrBlocks) && nrBlocks >= atLeast) return;
  throw new RangeError(`size of ${nrBlocks} blocks, ${deviceName}: expected a whole number, at least ${atLeast}`);
}
