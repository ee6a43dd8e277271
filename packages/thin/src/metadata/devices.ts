/**
 * The thin devices of a pool: their records, creating, snapshotting, deleting.
 *
 * A snapshot costs one reference: both devices name the same root, and whoever writes first copies the path it changes.
 * What is shared is decided by times: a mapping made before its device was last snapshotted is taken for shared.
 *
 * Format: docs/format/thin.md, sections 2 and 4.
 */
import { CorruptBlockError } from '@pdata/device';
import { BTree, subtreeType, type TransactionManager, type ValueType } from '@pdata/persistent-data';
import { MAX_TIME } from '../format/block-time.js';
import type { DeviceDetails } from '../format/device-details.js';
import { MAX_THIN_ID, refuseThinId } from '../format/limits.js';
import { DeviceExistsError, NoSuchDeviceError, PoolTimeError } from './errors.js';
import type { MappingValue } from './mapping-type.js';
import type { OpenDetails, PoolState } from './pool-state.js';

/** The record of device `thinId`, kept in memory from the first look. @throws {@link NoSuchDeviceError} */
export function openDetails(state: PoolState, thinId: number): OpenDetails {
  const open = state.openDetails.get(thinId) ?? readDetails(state, thinId);
  if (open === undefined)
    throw new NoSuchDeviceError(`there is no thin device ${thinId} in this pool: create it, or see what there is`);
  return open;
}

export function hasDevice(state: PoolState, thinId: number): boolean {
  return state.openDetails.has(thinId) || readDetails(state, thinId) !== undefined;
}

function readDetails(state: PoolState, thinId: number): OpenDetails | undefined {
  refuseThinId(thinId);
  const details = state.details.lookup(thinId);
  if (details === undefined) return undefined;
  const open: OpenDetails = { ...details, changed: false };
  state.openDetails.set(thinId, open);
  return open;
}

/** The device with the least id ≥ `from`, as this transaction sees it. */
export function nextDevice(state: PoolState, from: number): { thinId: number; details: DeviceDetails } | undefined {
  const entry = state.details.ceiling(from);
  if (entry === undefined) return undefined;
  if (entry.key > MAX_THIN_ID) {
    throw new CorruptBlockError({
      structure: 'details tree',
      blockNr: state.details.root,
      field: 'thin id',
      found: entry.key,
      expected: `at most ${MAX_THIN_ID}`,
    });
  }
  return { thinId: entry.key, details: snapshotOf(state.openDetails.get(entry.key) ?? entry.value) };
}

/** A copy that the transaction does not change any more. */
export function snapshotOf(details: DeviceDetails): DeviceDetails {
  const { mappedBlocks, transactionId, creationTime, snapshottedTime } = details;
  return { mappedBlocks, transactionId, creationTime, snapshottedTime };
}

/**
 * The record of `thinId` is about to differ from the last commit's. Its entry is stored at once, not at the commit: so the
 * blocks that this takes are taken while the change that causes it can still be refused.
 */
export function markChanged(state: PoolState, thinId: number, details: OpenDetails): void {
  if (details.changed) return;
  state.details.insert(thinId, details);
  details.changed = true;
}

export function refuseExisting(state: PoolState, thinId: number): void {
  if (hasDevice(state, thinId))
    throw new DeviceExistsError(`thin device ${thinId} exists already: take another id, or delete it first`);
}

export function createThin(state: PoolState, thinId: number): void {
  const { tm, superblock } = state;
  const top = topTree(state);
  tm.blocks.hold(() => {
    const root = BTree.create(tm, subtreeType(tm)).root; // an empty leaf is the same for any 8-byte values
    top.insert(thinId, root);
  });
  state.mappings.root = top.root;
  addDetails(state, thinId, 0, superblock.time);
}

/** A kernel may have let the time run past what a mapping can carry; a mapping made now would name another data block. */
export function refuseLateMapping({ superblock: { time } }: PoolState): void {
  if (time < MAX_TIME) return;
  throw new PoolTimeError(
    `this pool's time is ${time}, and mappings have no room for it (2^24 - 1 at most): ` +
      'do not write to it, copy its volumes to a new pool',
  );
}

/** The times a snapshot would need are checked before anything changes. */
export function refuseLateSnapshot(state: PoolState): void {
  if (state.superblock.time + 1 < MAX_TIME) return;
  throw new PoolTimeError(
    `this pool has taken ${state.superblock.time} snapshots, and its mappings have no room for a later time (2^24 - 1 at most): ` +
      'copy its volumes to a new pool, for a dump keeps the time',
  );
}

export function createSnapshot(state: PoolState, thinId: number, originId: number): void {
  const { tm, superblock } = state;
  const origin = openDetails(state, originId);
  const top = topTree(state);
  tm.blocks.hold(() => {
    const root = rootOf(state, top, originId);
    tm.inc(root);
    top.insert(thinId, root);
  });
  state.mappings.root = top.root;
  superblock.time++;
  origin.snapshottedTime = superblock.time;
  markChanged(state, originId, origin);
  addDetails(state, thinId, origin.mappedBlocks, superblock.time);
}

export function deleteDevice(state: PoolState, thinId: number): void {
  const top = topTree(state);
  const root = rootOf(state, top, thinId);
  state.openDetails.delete(thinId);
  state.details.remove(thinId);
  // The entry first: copying a shared leaf counts the root once more, and only then is it known who reads it.
  top.remove(thinId);
  state.mappings.root = top.root;
  deleteMappings(state, root);
}

/** Gives back a device's tree, as far as nobody else reads it. */
export function deleteMappings(state: PoolState, root: number): void {
  new BTree<MappingValue>(state.tm, state.mappings.type, root).delete();
}

function addDetails(state: PoolState, thinId: number, mappedBlocks: number, time: number): void {
  const details: OpenDetails = {
    mappedBlocks,
    transactionId: state.superblock.transactionId,
    creationTime: time,
    snapshottedTime: time,
    changed: false,
  };
  state.openDetails.set(thinId, details);
  markChanged(state, thinId, details);
}

/** The upper level as a tree of roots. A root taken out of it is handed to the caller: nothing is given up with it. */
function topTree(state: PoolState): BTree<number> {
  return new BTree(state.tm, handedOver(state.tm), state.mappings.root);
}

function handedOver(tm: TransactionManager): ValueType<number> {
  const { dec: _given, ...type } = subtreeType(tm);
  return type;
}

function rootOf(state: PoolState, top: BTree<number>, thinId: number): number {
  const root = top.lookup(thinId);
  if (root !== undefined) return root;
  throw new CorruptBlockError({
    structure: 'mapping tree',
    blockNr: state.mappings.root,
    field: `root of thin device ${thinId}`,
    found: 'missing',
    expected: 'a root, for the details tree has the device',
  });
}
