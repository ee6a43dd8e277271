/**
 * One opener for a writer, any number of readers otherwise: an advisory lock on the open file itself.
 *
 * The lock belongs to the open file description (OFD locks on Linux, `flock` on macOS, `LockFileEx` on Windows): it
 * excludes a second opener in this process as well as in another, disappears with the descriptor or the process however
 * that ends, and leaves no file behind. Node has no call for it, so a native library is used: native-extensions.ts.
 *
 * A shared lock needs a descriptor open for reading, an exclusive one a descriptor open for writing: what readers and
 * writers have anyway.
 */
import { DeviceBusyError, DeviceOpenError } from '../errors.js';
import { loadNativeExtensions, type NativeExtensions } from './native-extensions.js';
import { reasonOf } from './system-problem.js';

/**
 * Locks `fd` without waiting.
 * @throws {@link DeviceBusyError} when somebody else holds it
 * @throws {@link DeviceOpenError} when it cannot be locked: no native library for this platform, no locks on this file system
 */
export function lockFile(fd: number, name: string, mode: 'shared' | 'exclusive'): void {
  const locks = loadLibrary(name);
  let isLocked: boolean;
  try {
    isLocked = locks.tryLock(fd, { shared: mode === 'shared' });
  } catch (cause) {
    throw new DeviceOpenError(
      `cannot lock ${name}: ${reasonOf(cause)}; where the file system has no locks, \`lock: false\` opens it without`,
      { cause },
    );
  }
  if (isLocked) return;
  throw new DeviceBusyError(
    mode === 'shared'
      ? `cannot open ${name} for reading: it is open for writing, in this process or another; wait until the writer has closed it`
      : `cannot open ${name} for writing: it is open already, in this process or another; a writer needs it alone`,
  );
}

/** Gives the lock back while `fd` stays open. */
export function unlockFile(fd: number, name: string): void {
  loadLibrary(name).unlock(fd);
}

function loadLibrary(name: string): NativeExtensions {
  try {
    return loadNativeExtensions();
  } catch (cause) {
    throw new DeviceOpenError(
      `cannot lock ${name}: the library fs-native-extensions could not be loaded on ${process.platform}-${process.arch}; ` +
        'install it, or open with `lock: false` if nothing else can have the device open',
      { cause },
    );
  }
}
