/**
 * What a pool records of each thin device: 24 bytes, the values of the details tree (key: thin id).
 *
 *   offset  size   field
 *        0     8   mappedBlocks      mappings in the device's tree
 *        8     8   transactionId     the pool's, when the device was created
 *       16     4   creationTime      the pool's time then
 *       20     4   snapshottedTime   the pool's time at the last snapshot taken of this device
 *
 * Format: docs/format/thin.md, section 2.
 */
import { setU64At, u64At, type ValueType } from '@pdata/persistent-data';

export interface DeviceDetails {
  /** Virtual blocks that have a data block, shared or not. */
  readonly mappedBlocks: number;
  /** The pool's transaction id when the device was created. */
  readonly transactionId: bigint;
  /** The pool's time when the device was created. */
  readonly creationTime: number;
  /** The pool's time when a snapshot of it was last taken; what was mapped before is taken for shared. */
  readonly snapshottedTime: number;
}

/** Bytes of a record. */
export const DEVICE_DETAILS_SIZE = 24;

export const deviceDetailsType: ValueType<DeviceDetails> = {
  size: DEVICE_DETAILS_SIZE,
  decode: (view, at) => ({
    mappedBlocks: u64At(view, at),
    transactionId: view.getBigUint64(at + 8, true),
    creationTime: view.getUint32(at + 16, true),
    snapshottedTime: view.getUint32(at + 20, true),
  }),
  encode(view, at, details) {
    setU64At(view, at, details.mappedBlocks);
    view.setBigUint64(at + 8, details.transactionId, true);
    view.setUint32(at + 16, details.creationTime, true);
    view.setUint32(at + 20, details.snapshottedTime, true);
  },
};
