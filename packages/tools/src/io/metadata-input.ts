/**
 * Opens a metadata device for a command, after the checks of thin-provisioning-tools: the same paths are refused, with the
 * same first line. The device package's own messages cover what is left (permission, locks, devices in use).
 *
 * Reading the superblock here, before any work, lets a command tell a wrong device from a damaged one.
 */
import { closeSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { BLOCK_SIZE, DeviceBusyError, DeviceOpenError, type MetadataDevice } from '@pdata/device';
import { openFileMetadataDevice, systemProblem } from '@pdata/device/node';
import { foreignContent, looksLikeXml, NR_BYTES_TO_LOOK_AT, type TargetAdvice } from '../failure/foreign-content.js';
import { ToolError } from '../failure/tool-error.js';

const CHECK_PATH = 'check the path, and that you have the permission to read it';

export interface OpenInputOptions {
  readonly mode: 'read' | 'write';
  /** False for what is read while the kernel uses the device (a metadata snapshot): no lock can be had, and none is needed. */
  readonly lock?: boolean;
  /** What to do with a file that is too small to be metadata, besides giving another: "XML goes into thin_restore". */
  readonly tooSmall: string;
  /** What to do when somebody else uses it. */
  readonly busy: string;
  /** Puts what `work` throws into words that fit the target. */
  readonly explain: (error: unknown, device: MetadataDevice) => unknown;
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
    throw options.explain(error, device);
  } finally {
    device.close();
  }
}

function openInput(path: string, { mode, lock = true, busy, tooSmall }: OpenInputOptions): MetadataDevice {
  const stats = inputStats(path);
  if (stats.isFile() && stats.size < BLOCK_SIZE) {
    throw new ToolError('ERR_INPUT_SIZE', 'Metadata device/file too small.  Is this binary metadata?', {
      effect: `'${path}' holds ${stats.size} bytes, and metadata has blocks of ${BLOCK_SIZE}`,
      nextStep: `give the metadata device, or an image of it; ${tooSmall}`,
    });
  }
  try {
    return openFileMetadataDevice(path, { mode, lock });
  } catch (error) {
    if (error instanceof DeviceOpenError) {
      const nextStep = mode === 'read' ? CHECK_PATH : 'check the path, and that you have the permission to write to it';
      throw new ToolError(error.code, error.message, { nextStep }, { cause: error });
    }
    if (!(error instanceof DeviceBusyError)) throw error;
    throw new ToolError(error.code, error.message, { nextStep: busy }, { cause: error });
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
      nextStep: `give a block device or a file as the ${what}; pipes and directories cannot be used`,
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

/** What the device is, if it is recognized as something else than this metadata: worth more than what is wrong with it. */
export function wrongDevice(device: MetadataDevice, cause: unknown, advice: TargetAdvice): ToolError | undefined {
  const start = new Uint8Array(Math.min(device.nrBlocks * BLOCK_SIZE, NR_BYTES_TO_LOOK_AT));
  device.read(0, start);
  if (looksLikeXml(start)) {
    return new ToolError('ERR_XML', 'This looks like XML.  This tool only supports the binary metadata format.', {
      nextStep: `write it to a metadata device first: ${advice.target}_restore -i ${device.name} -o DEVICE`,
    });
  }
  const foreign = foreignContent(start, advice);
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
