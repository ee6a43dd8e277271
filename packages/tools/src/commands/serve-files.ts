/** The files that a service works on: data devices opened with advice for who cannot, and no file taken for two. */
import { realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { type DataDevice, DeviceBusyError, DeviceOpenError, SECTOR_SIZE } from '@pdata/device';
import { type OpenFileDataDeviceOptions, openFileDataDevice, systemProblem } from '@pdata/device/node';
import { ToolError } from '../failure/tool-error.js';
import { inputStats } from '../io/metadata-input.js';

export interface DataFileAdvice {
  /** What the path should name: "data device". */
  readonly what: string;
  /** What to do when somebody else uses it. */
  readonly busy: string;
  /** What to do about a file in which nothing is yet, if there is something. */
  readonly whenEmpty?: string;
  /** An option that asks for less than writing, if there is one. */
  readonly insteadOfWriting?: string;
}

/** Opens a data device that exists for `work`, and closes it afterwards. */
export async function withDataFile<T>(
  path: string,
  mode: 'read' | 'write',
  advice: DataFileAdvice,
  work: (data: DataDevice) => Promise<T>,
): Promise<T> {
  const stats = inputStats(path, advice.what);
  if (stats.isFile() && stats.size < SECTOR_SIZE) {
    throw new ToolError('ERR_INPUT_SIZE', `'${path}' is too small: it holds ${stats.size} bytes, less than a sector`, {
      nextStep: advice.whenEmpty ?? `give the ${advice.what}, or an image of it`,
    });
  }
  return withOpened(await openedData(path, { mode }, advice), work);
}

/** Makes a sparse file of `size` bytes for `work`; it must not exist. */
export async function withNewDataFile<T>(
  path: string,
  size: number,
  advice: DataFileAdvice,
  work: (data: DataDevice) => Promise<T>,
): Promise<T> {
  return withOpened(await openedData(path, { mode: 'write', create: { size } }, advice), work);
}

async function withOpened<T>(data: DataDevice, work: (data: DataDevice) => Promise<T>): Promise<T> {
  try {
    return await work(data);
  } finally {
    await data.close();
  }
}

/** What the advice on paths and permissions is for. */
const ABOUT_ACCESS: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENXIO']);

async function openedData(
  path: string,
  options: OpenFileDataDeviceOptions,
  { busy, insteadOfWriting }: DataFileAdvice,
): Promise<DataDevice> {
  try {
    return await openFileDataDevice(path, options);
  } catch (cause) {
    if (cause instanceof DeviceBusyError) throw new ToolError(cause.code, cause.message, { nextStep: busy }, { cause });
    if (!(cause instanceof DeviceOpenError)) throw cause;
    // A full disk, and the like: what there is to do about it is known elsewhere.
    if (
      systemProblem(cause.cause) !== undefined &&
      !ABOUT_ACCESS.has((cause.cause as NodeJS.ErrnoException).code ?? '')
    )
      throw cause;
    const instead = insteadOfWriting === undefined ? '' : `; ${insteadOfWriting}`;
    const nextStep =
      options.mode === 'read'
        ? 'check the path, and that you have the permission to read it'
        : `check the path, and that you have the permission to write to it${instead}`;
    throw new ToolError(cause.code, cause.message, { nextStep }, { cause });
  }
}

/** Does `work` on what is served, and closes it, which commits it. What `work` throws is worth more than what closing does then. */
export async function closingAfter<T>(served: { close(): Promise<void> }, work: () => Promise<T>): Promise<T> {
  let outcome: T;
  try {
    outcome = await work();
  } catch (error) {
    await served.close().catch(() => {});
    throw error;
  }
  await served.close();
  return outcome;
}

/**
 * Refuses one file for two purposes, however it is called.
 * @param files by what they are for, in the order in which they are named
 */
export function refuseOneFile(files: Readonly<Record<string, string>>, nextStep: string): void {
  const seen: { purpose: string; id: string }[] = [];
  for (const [purpose, path] of Object.entries(files)) {
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
    const id = stats === undefined || stats.ino === 0n ? placeOf(path) : `${stats.dev} ${stats.ino}`;
    const other = seen.find((earlier) => earlier.id === id);
    if (other !== undefined) {
      throw new ToolError('ERR_OPTION', `${other.purpose} and ${purpose} are the same file: '${path}'`, { nextStep });
    }
    seen.push({ purpose, id });
  }
}

/** Where a file is, or would be. */
function placeOf(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    return resolve(path); // its folder does not exist either, which opening it will say
  }
}
