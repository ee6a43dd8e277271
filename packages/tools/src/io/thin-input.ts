/** Opens the metadata device of a pool, and puts what is wrong with it into the words of thin-provisioning-tools. */
import { CorruptBlockError, type MetadataDevice, type StoreError } from '@pdata/device';
import { DataBlockSizeNeededError, NoMetadataSnapshotError, ThinDamageError } from '@pdata/thin';
import type { TargetAdvice } from '../failure/foreign-content.js';
import { ToolError } from '../failure/tool-error.js';
import { withInput, wrongDevice } from './metadata-input.js';

export const THIN_ADVICE: TargetAdvice = {
  target: 'thin',
  notMetadata:
    'find the metadata device: `lvs -a -o name,devices` shows it as NAME_tmeta; without LVM it is the first device in the ' +
    'thin-pool line of `dmsetup table`',
  probably: "so probably the pool's data device or a thin volume",
  unformatted: {
    what: 'an unformatted device: its superblock is all zeros',
    nextStep:
      'there is nothing to check or dump: the kernel formats such a device when the pool is first activated; ' +
      'thin_restore writes metadata to it',
  },
  wiped: {
    what: 'metadata without its superblock, which is all zeros',
    effect: 'the kernel takes it for a new device, and formats it when the pool is activated: do not activate it',
    nextStep:
      'if thin_restore was interrupted here, run it again; otherwise restore the metadata from a backup, or search for the ' +
      'newest trees that are whole: thin_dump --repair --data-block-size SECTORS',
  },
};

export interface OpenThinInputOptions {
  readonly mode: 'read' | 'write';
  /** Then the pool may be in use. */
  readonly ofMetadataSnapshot: boolean;
  /** What to do when somebody else uses it, where that is not the usual advice. */
  readonly busy?: string;
}

const BUSY =
  'deactivate the pool first (LVM: lvchange -an VG/POOL); of a pool in use, only a metadata snapshot can be read ' +
  '(--metadata-snap)';

/** Opens the metadata device at `path` for `work`, and closes it afterwards. What is wrong with it becomes a `ToolError`. */
export function withThinInput<T>(
  path: string,
  { mode, ofMetadataSnapshot, busy = BUSY }: OpenThinInputOptions,
  work: (device: MetadataDevice) => Promise<T>,
): Promise<T> {
  return withInput(
    path,
    { mode, lock: !ofMetadataSnapshot, busy, tooSmall: 'XML goes into thin_restore', explain: explained },
    work,
  );
}

function explained(error: unknown, device: MetadataDevice): unknown {
  if (error instanceof NoMetadataSnapshotError) {
    return new ToolError(
      error.code,
      'no current metadata snap',
      { nextStep: 'reserve one first (dmsetup message POOL 0 reserve_metadata_snap), or leave --metadata-snap out' },
      { cause: error },
    );
  }
  if (error instanceof DataBlockSizeNeededError) {
    const nextStep = "give --data-block-size, in sectors: the pool's (LVM: lvs -o chunk_size --units s)";
    return (
      wrongDevice(device, error, THIN_ADVICE) ??
      new ToolError(error.code, error.message, { nextStep }, { cause: error })
    );
  }
  if (!(error instanceof CorruptBlockError)) return error;
  const { structure, blockNr, field } = error.detail;
  if (structure !== 'thin superblock' || !['blockNr', 'magic', 'checksum'].includes(field)) return error;
  return blockNr === 0 ? superblockFailure(error, device) : snapshotFailure(error);
}

function snapshotFailure(error: CorruptBlockError): ToolError {
  return new ToolError(
    error.code,
    `metadata snap: bad checksum in superblock: ${error.message}`,
    {
      effect: 'the metadata snapshot cannot be read',
      nextStep: 'check the pool itself (without --metadata-snap, while it is not in use)',
    },
    { cause: error },
  );
}

function superblockFailure(error: CorruptBlockError, device: MetadataDevice): StoreError {
  const wrong = wrongDevice(device, error, THIN_ADVICE);
  if (wrong !== undefined) return wrong;
  if (error instanceof ThinDamageError) return error; // a repairing dump, which knows better what to do
  return new ToolError(
    error.code,
    `bad checksum in superblock: ${error.message}`,
    {
      effect: 'without its superblock the pool cannot be used',
      nextStep:
        "check that this is the pool's metadata device (LVM: NAME_tmeta); if it is, restore it from a backup, or search " +
        'for the newest trees that are whole: thin_dump --repair --data-block-size SECTORS',
    },
    { cause: error },
  );
}
