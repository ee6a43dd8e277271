/**
 * Everything pdata throws on purpose, in three kinds.
 *
 *   a bug of ours    `invariant(holds, 'plain text')` throws an `InvariantError`; nobody handles it, the last commit stands
 *   bad bytes        `CorruptBlockError`: the disk contradicts the format; check, repair and the inspector handle it
 *   the world        any other `StoreError`: device full, held by another process, closed…; the caller handles it
 *
 * Match on `code`, which is stable; `message` is for people. An absent key is an answer (`undefined`), not an error.
 */

/** Base of everything thrown on purpose. */
export abstract class StoreError extends Error {
  abstract readonly code: `ERR_${string}`;
}

export interface CorruptBlockDetail {
  /** What the block was read as, in the words of docs/format: "btree node", "bitmap", "thin superblock"… */
  readonly structure: string;
  /** Number of the 4096-byte block on the metadata device. */
  readonly blockNr: number;
  readonly field: string;
  readonly found: number | bigint | string;
  readonly expected: number | bigint | string;
}

/**
 * A block whose bytes contradict the format.
 * @example btree node in block 7: nrEntries is 300, expected at most 252
 */
export class CorruptBlockError extends StoreError {
  override readonly name = 'CorruptBlockError';
  readonly code = 'ERR_CORRUPT_BLOCK';
  constructor(readonly detail: CorruptBlockDetail) {
    const { structure, blockNr, field, found, expected } = detail;
    super(`${structure} in block ${shown(blockNr)}: ${field} is ${shown(found)}, expected ${shown(expected)}`);
  }
}

/** A number above 2^53 has been rounded on its way here; its last digits are not those on the disk. */
const shown = (value: number | bigint | string): string =>
  typeof value === 'number' && Number.isFinite(value) && value > Number.MAX_SAFE_INTEGER
    ? `about ${value}`
    : `${value}`;

/** The operating system refused a read, a write or a flush. `cause` is its own error. */
export class DeviceError extends StoreError {
  override readonly name = 'DeviceError';
  readonly code = 'ERR_DEVICE';
}

/** The device cannot be opened: missing, not a file or block device, too small, no permission. */
export class DeviceOpenError extends StoreError {
  override readonly name = 'DeviceOpenError';
  readonly code = 'ERR_DEVICE_OPEN';
}

/** Somebody else, in this process or another, has the device open in a way that excludes us. */
export class DeviceBusyError extends StoreError {
  override readonly name = 'DeviceBusyError';
  readonly code = 'ERR_DEVICE_BUSY';
}

/** A write, a flush or a change was asked of something that is read-only, or became so after a failed commit. */
export class ReadOnlyError extends StoreError {
  override readonly name = 'ReadOnlyError';
  readonly code = 'ERR_READ_ONLY';
}

/** Used after `close()`. */
export class ClosedError extends StoreError {
  override readonly name = 'ClosedError';
  readonly code = 'ERR_CLOSED';
}

/** A bug of pdata's own: an invariant that its code must keep does not hold. Please report it. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Stops at once when `holds` is false. Pass a literal as `text`: a template would be built on every call. */
export function invariant(holds: boolean, text: string): asserts holds {
  if (!holds) throw new InvariantError(`invariant broken (a bug in pdata): ${text}`);
}
