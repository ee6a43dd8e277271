/**
 * The native library for the two things that Node's `fs` cannot do: lock a file, and punch holes into it.
 *
 * It is loaded at first use, never for devices opened with `lock: false` that punch no holes. README.md, "Locks and holes",
 * weighs the alternatives.
 */
import { createRequire } from 'node:module';

/** The part of `fs-native-extensions` in use; it brings no types. */
export interface NativeExtensions {
  /** False when somebody else holds a lock in the way; throws a system error on anything else. */
  tryLock(fd: number, options: { shared: boolean }): boolean;
  unlock(fd: number): void;
  /** Afterwards the range reads as zeros and takes no space. Done by a thread of libuv's pool; rejects with a system error. */
  trim(fd: number, offset: number, length: number): Promise<void>;
  trimSync(fd: number, offset: number, length: number): void;
}

let library: NativeExtensions | undefined;

/** @throws what Node throws when the library is not installed, or has no binary for this platform */
export function loadNativeExtensions(): NativeExtensions {
  // Not an import: an import would load the addon (11 ms) in programs that never need it, and could not wait until here.
  library ??= createRequire(import.meta.url)('fs-native-extensions') as NativeExtensions;
  return library;
}
