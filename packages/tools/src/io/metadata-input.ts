/**
 * Opens a metadata device for a command, after the checks of thin-provisioning-tools: the same paths are refused, with the
 * same first line. The device package's own messages cover what is left (permission, locks, devices in use).
 *
 * Reading the superblock here, before any work, lets a command tell a wrong device from a damaged one.
 */
import { closeSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import {
  BLOCK_SIZE,
  CorruptBlockError,
  DeviceBusyError,
  DeviceOpenError,
  type MetadataDevice,
  type StoreError,
} from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import { DataBlockSizeNeededError, NoMetadataSnapshotError, ThinDamageError } from '@pdata/thin';
import { foreignContent, looksLikeXml, NR_BYTES_TO_LOOK_AT } from '../failure/foreign-content.js';
import { systemProblem } from '../failure/system-problem.js';
import { ToolError } from '../failure/tool-error.js';

const CHECK_PATH = 'check the path, and that you have the permission to read it';

export interface OpenInputOptions {
  readonly mode: 'read' | 'write';
  /** A metadata snapshot is read while the kernel uses the device: no lock can be had, and none is needed. */
  readonly ofMetadataSnapshot: boolean;
  /** What to do when somebody else uses it, where that is not the usual advice. */
  readonly busy?: string;
}

/** Opens the metadata device at `path` for `work`, and closes it afterwards. What is wrong with it becomes a `ToolError`. */
export async function withInput<T>(
  path: string,
  options: OpenInputOptions,
  work: (device: MetadataDevice) => Promise<T>,
): Promise<T> {
  const device = openInput(path, options);
  try {
    return await work(device);
  } catch (error) {
    throw explained(error, device);
  } finally {
    device.close();
  }
}

function openInput(path: string, { mode, ofMetadataSnapshot, busy }: OpenInputOptions): MetadataDevice {
  const stats = inputStats(path);
  if (stats.isFile() && stats.size < BLOCK_SIZE) {
    throw new ToolError('ERR_INPUT_SIZE', 'Metadata device/file too small.  Is this binary metadata?', {
      effect: `'${path}' holds ${stats.size} bytes, and metadata has blocks of ${BLOCK_SIZE}`,
      nextStep: 'give the metadata device, or an image of it; XML goes into thin_restore',
    });
  }
  try {
    return openFileMetadataDevice(path, { mode, lock: !ofMetadataSnapshot });
  } catch (error) {
    if (error instanceof DeviceOpenError) {
      const nextStep = mode === 'read' ? CHECK_PATH : 'check the path, and that you have the permission to write to it';
      throw new ToolError(error.code, error.message, { nextStep }, { cause: error });
    }
    if (!(error instanceof DeviceBusyError)) throw error;
    throw new ToolError(
      error.code,
      error.message,
      {
        nextStep:
          busy ??
          'deactivate the pool first (LVM: lvchange -an VG/POOL); of a pool in use, only a metadata snapshot can be read ' +
            '(--metadata-snap)',
      },
      { cause: error },
    );
  }
}

/** @throws {@link ToolError} when nothing is there, or nothing that can be read from */
export function inputStats(path: string, what = 'metadata device'): Stats {
  const stats = reading(path, () => statSync(path, { throwIfNoEntry: false }));
  if (stats === undefined) {
    throw new ToolError('ERR_NO_INPUT', `Couldn't find input file '${path}'`, { nextStep: 'check the path' });
  }
  if (!stats.isFile() && !stats.isBlockDevice()) {
    throw new ToolError('ERR_INPUT_KIND', `Not a block device or regular file '${path}'.`, {
      nextStep: `give the ${what}, or a file; pipes and directories cannot be used`,
    });
  }
  return stats;
}

/** Does `work`, which reads `path`; what the system refuses is told without its codes and calls. */
export function reading<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const problem = systemProblem(cause);
    if (problem === undefined) throw cause;
    const nextStep = CHECK_PATH;
    throw new ToolError('ERR_NO_INPUT', `cannot read '${path}': ${problem}`, { nextStep }, { cause });
  }
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
    return wrongDevice(device, error) ?? new ToolError(error.code, error.message, { nextStep }, { cause: error });
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
  const wrong = wrongDevice(device, error);
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

/** What the device is, if it is recognized as something else than thin metadata: worth more than what is wrong with it. */
function wrongDevice(device: MetadataDevice, cause: unknown): ToolError | undefined {
  const start = new Uint8Array(Math.min(device.nrBlocks * BLOCK_SIZE, NR_BYTES_TO_LOOK_AT));
  device.read(0, start);
  if (looksLikeXml(start)) {
    return new ToolError('ERR_XML', 'This looks like XML.  This tool only supports the binary metadata format.', {
      nextStep: `write it to a metadata device first: thin_restore -i ${device.name} -o DEVICE`,
    });
  }
  const foreign = foreignContent(start);
  if (foreign === undefined) return undefined;
  const message = `bad checksum in superblock: '${device.name}' is ${foreign.what}`;
  return new ToolError('ERR_WRONG_DEVICE', message, foreign, { cause });
}

/** The first bytes of a file or device, as many as tell what it is. */
export function startOf(path: string): Uint8Array {
  const fd = reading(path, () => openSync(path, 'r'));
  try {
    const start = new Uint8Array(NR_BYTES_TO_LOOK_AT);
    return start.subarray(
      0,
      reading(path, () => readSync(fd, start)),
    );
  } finally {
    closeSync(fd);
  }
}

/** The content of a file in pieces, for reading from the front to the end once. A piece is valid until the next. */
export function* fileContent(path: string): Generator<Uint8Array, void> {
  const fd = reading(path, () => openSync(path, 'r'));
  try {
    const buffer = new Uint8Array(256 * 1024);
    for (;;) {
      const nr = reading(path, () => readSync(fd, buffer));
      if (nr === 0) return;
      yield buffer.subarray(0, nr);
    }
  } finally {
    closeSync(fd);
  }
}
