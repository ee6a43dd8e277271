/**
 * Opens a path as the descriptor of a metadata or data device, or says in one sentence why not.
 *
 * Only regular files and block devices are opened: opening a pipe could wait for ever, opening a tape would rewind it.
 * On Linux a block device is opened with O_EXCL, by readers and writers alike: the open fails while a mount, a swap area
 * or device-mapper uses the device, and none of these can take it up while it is open here. There is no shared form of
 * that claim, so two readers of one block device exclude each other too, as two runs of `thin_check` do.
 *
 * O_DIRECT goes with it. The kernel's pool writes metadata and data past the page cache, so that a cached block of a device
 * that a pool uses or used may be older than the disk: a reader would see yesterday's tree, a writer would build on it.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  type Stats,
  statSync,
  unlinkSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { DeviceBusyError, DeviceOpenError } from '../errors.js';
import { reasonOf } from './system-problem.js';

export interface Descriptor {
  readonly fd: number;
  readonly isBlockDevice: boolean;
  /** Buffers must be aligned to the device's own blocks: see aligned-memory.ts. */
  readonly isDirect: boolean;
}

export interface HowToOpen {
  readonly mode: 'read' | 'write';
  /** What will be kept there, for messages. */
  readonly content: 'metadata' | 'data';
  /** Claim a block device with O_EXCL. */
  readonly isExclusive: boolean;
}

/** Opens what exists. @throws {@link DeviceOpenError} @throws {@link DeviceBusyError} */
export function openDescriptor(path: string, { mode, content, isExclusive }: HowToOpen): Descriptor {
  const purpose = mode === 'read' ? 'for reading' : 'for writing';
  const found = attempt(path, purpose, () => statSync(path));
  requireKind(path, found, content);
  const isBlockDevice = found.isBlockDevice();
  const isLinux = process.platform === 'linux';
  const access = mode === 'read' ? constants.O_RDONLY : constants.O_RDWR;
  const claim = isLinux && isBlockDevice && isExclusive ? constants.O_EXCL : 0;
  let direct = isLinux && isBlockDevice ? constants.O_DIRECT : 0;
  const fd = attempt(path, purpose, () => {
    try {
      return openSync(path, access | claim | direct);
    } catch (error) {
      if (direct === 0 || codeOf(error) !== 'EINVAL') throw error;
      direct = 0; // a block device that knows no direct I/O
      return openSync(path, access | claim);
    }
  });
  // What was opened must be what was looked at, not something that took its name in between.
  const opened = fstatSync(fd);
  if (opened.isBlockDevice() !== isBlockDevice || opened.isFile() !== found.isFile()) {
    closeSync(fd);
    throw new DeviceOpenError(`cannot open ${path} ${purpose}: it was replaced while being opened`);
  }
  return { fd, isBlockDevice, isDirect: direct !== 0 };
}

/** Creates a file of `size` bytes that read as zeroes and take no space yet. Never replaces anything. */
export function createDescriptor(path: string, size: number): Descriptor {
  const { O_CREAT, O_EXCL, O_RDWR } = constants;
  const purpose = 'as a new file';
  const fd = attempt(path, purpose, () => openSync(path, O_RDWR | O_CREAT | O_EXCL, 0o666));
  try {
    ftruncateSync(fd, size);
    fsyncSync(fd);
    // The name must survive a loss of power as well as the bytes. Windows cannot open a directory, and needs not to.
    if (process.platform !== 'win32') {
      const directory = openSync(dirname(path), 'r');
      try {
        fsyncSync(directory);
      } finally {
        closeSync(directory);
      }
    }
  } catch (error) {
    closeSync(fd);
    unlinkSync(path);
    throw openFailure(path, purpose, error);
  }
  return { fd, isBlockDevice: false, isDirect: false };
}

function requireKind(path: string, stats: Stats, content: 'metadata' | 'data'): void {
  if (stats.isFile() || stats.isBlockDevice()) return;
  const kind = stats.isDirectory()
    ? 'a directory'
    : stats.isCharacterDevice()
      ? 'a character device'
      : stats.isFIFO()
        ? 'a pipe'
        : 'a socket';
  throw new DeviceOpenError(
    `cannot open ${path}: it is ${kind}, and ${content} is kept in a regular file or a block device`,
  );
}

function attempt<T>(path: string, purpose: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw openFailure(path, purpose, error);
  }
}

function openFailure(path: string, purpose: string, cause: unknown): DeviceOpenError | DeviceBusyError {
  const refusal = `cannot open ${path} ${purpose}`;
  switch (codeOf(cause)) {
    case 'ENOENT':
      return purpose === 'as a new file'
        ? new DeviceOpenError(`${refusal}: its directory does not exist`, { cause })
        : new DeviceOpenError(`${refusal}: there is no such file or device`, { cause });
    case 'EEXIST':
      return new DeviceOpenError(`${refusal}: something of that name exists already, and is left as it is`, { cause });
    case 'EACCES':
    case 'EPERM':
      return new DeviceOpenError(`${refusal}: permission denied`, { cause });
    case 'EROFS':
      return new DeviceOpenError(`${refusal}: its file system or device is read-only`, { cause });
    case 'EBUSY':
      return new DeviceBusyError(`${refusal}: it is in use, by a mount, by device-mapper or by another program`, {
        cause,
      });
    case 'ENXIO':
    case 'ENOMEDIUM':
      return new DeviceOpenError(`${refusal}: there is no device behind this name`, { cause });
    default:
      return new DeviceOpenError(`${refusal}: ${reasonOf(cause)}`, { cause });
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
