/** Where the content is: a file of units of 16 KiB. Which of them are in use only the catalogue knows. */
import { closeSync, constants, fsyncSync, openSync, readSync, writeSync } from 'node:fs';

export const UNIT_SIZE = 16384;

export class Pack {
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  }

  read(unit: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const nrRead = readSync(this.#fd, bytes, 0, length, unit * UNIT_SIZE);
    if (nrRead !== length) throw new Error(`the pack ends in the middle of unit ${unit}: was it cut short?`);
    return bytes;
  }

  write(unit: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.#fd, bytes, done, bytes.length - done, unit * UNIT_SIZE + done);
  }

  /** What was written is on the disk when this returns. */
  flush(): void {
    fsyncSync(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
