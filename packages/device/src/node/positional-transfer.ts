/**
 * Moves all of an array between a descriptor and memory, whatever the system moves at a time. One call is the rule; there
 * are more only when the system moves less than it was asked to, and in direct I/O, which goes through aligned memory.
 */
import { read, readSync, write, writeSync } from 'node:fs';

/** What one call to the system may move; Linux itself stops at 2^31 - 4096 bytes. */
const LARGEST_TRANSFER = 2 ** 30;

/**
 * @param bounce for direct I/O: the aligned memory that the bytes pass through
 * @throws a system error, or an Error at an unexpected end of the file
 */
export function readWholeSync(fd: number, into: Uint8Array, position: number, bounce?: Uint8Array): void {
  for (let done = 0; done < into.byteLength; ) {
    const wanted = Math.min(into.byteLength - done, bounce?.byteLength ?? LARGEST_TRANSFER);
    const moved = readSync(fd, bounce ?? into, bounce ? 0 : done, wanted, position + done);
    if (moved === 0) throw shortened();
    if (bounce) into.set(bounce.subarray(0, moved), done);
    done += moved;
  }
}

/** As {@link readWholeSync}, the other way. */
export function writeWholeSync(fd: number, from: Uint8Array, position: number, bounce?: Uint8Array): void {
  for (let done = 0; done < from.byteLength; ) {
    const wanted = Math.min(from.byteLength - done, bounce?.byteLength ?? LARGEST_TRANSFER);
    bounce?.set(from.subarray(done, done + wanted));
    const moved = writeSync(fd, bounce ?? from, bounce ? 0 : done, wanted, position + done);
    if (moved === 0) throw nothingWritten();
    done += moved;
  }
}

/** As {@link readWholeSync}, done by libuv's threads. No bounce memory: it would be needed for each request in flight. */
export function readWhole(fd: number, into: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const step = (done: number): void => {
      read(fd, into, done, Math.min(into.byteLength - done, LARGEST_TRANSFER), position + done, (error, moved) => {
        if (error !== null) reject(error);
        else if (moved === 0) reject(shortened());
        else if (done + moved < into.byteLength) step(done + moved);
        else resolve();
      });
    };
    step(0);
  });
}

/** As {@link readWhole}, the other way. */
export function writeWhole(fd: number, from: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const step = (done: number): void => {
      write(fd, from, done, Math.min(from.byteLength - done, LARGEST_TRANSFER), position + done, (error, moved) => {
        if (error !== null) reject(error);
        else if (moved === 0) reject(nothingWritten());
        else if (done + moved < from.byteLength) step(done + moved);
        else resolve();
      });
    };
    step(0);
  });
}

const shortened = (): Error => new Error('unexpected end: the file was shortened while open');
const nothingWritten = (): Error => new Error('the system wrote nothing');
