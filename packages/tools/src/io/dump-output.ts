/**
 * Where a dump goes: standard output, or a file, which is opened when the first bytes arrive, so that a dump that cannot
 * begin leaves an existing file alone. The input is never taken as output: opening it would empty it.
 */
import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { systemProblem } from '@pdata/device/node';
import { ToolError } from '../failure/tool-error.js';
import type { Io } from './io.js';

export interface DumpOutput {
  write(data: string | Uint8Array): void;
  close(): void;
}

export function standardOutput(io: Io): DumpOutput {
  return { write: (data) => io.out(data), close: () => {} };
}

/** @throws {@link ToolError} of code ERR_OUTPUT, here or from `write`, when the file cannot be written */
export function fileOutput(path: string, inputPath: string): DumpOutput {
  let fd: number | undefined;
  const attempt = <T>(action: () => T): T => {
    try {
      return action();
    } catch (cause) {
      throw new ToolError(
        'ERR_OUTPUT',
        `output error: cannot write '${path}': ${systemProblem(cause) ?? (cause as Error).message}`,
        { nextStep: 'give a path that can be written, on a file system with room for it' },
        { cause },
      );
    }
  };
  return {
    write(data) {
      if (fd === undefined) {
        if (attempt(() => isSameFile(path, inputPath))) {
          throw new ToolError('ERR_OUTPUT', `output error: '${path}' is the input itself`, {
            nextStep: 'give another output',
          });
        }
        fd = attempt(() => openSync(path, 'w'));
      }
      const bytes = typeof data === 'string' ? Buffer.from(data) : data;
      for (let done = 0; done < bytes.length; ) {
        const [to, from] = [fd, done];
        done += attempt(() => writeSync(to, bytes, from));
      }
    },
    close() {
      const open = fd;
      fd = undefined;
      // Some file systems report a write that failed only now.
      if (open !== undefined) attempt(() => closeSync(open));
    },
  };
}

/** Whether two paths lead to one file or device. */
export function isSameFile(path: string, otherPath: string): boolean {
  const [stats, other] = [path, otherPath].map((name) => statSync(name, { bigint: true, throwIfNoEntry: false }));
  if (stats === undefined || other === undefined) return false;
  if (stats.isBlockDevice() && other.isBlockDevice()) return stats.rdev === other.rdev;
  return stats.dev === other.dev && stats.ino === other.ino;
}
