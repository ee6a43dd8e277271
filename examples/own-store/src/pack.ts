/** Where the content is: a file of units of 16 KiB. Which of them are in use only the catalogue knows. */
import { closeSync, constants, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { StoreError } from '@pdata/device';

export const UNIT_SIZE = 16384;

/** Content is not what was stored. */
export class DamagedBackupError extends StoreError {
  override readonly name = 'DamagedBackupError';
  readonly code = 'ERR_DAMAGED_BACKUP';
}

export class Pack {
  readonly #path: string;
  readonly #fd: number;

  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  }

  read(unit: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const nrRead = readSync(this.#fd, bytes, 0, length, unit * UNIT_SIZE);
    if (nrRead !== length)
      throw new DamagedBackupError(
        `${this.#path} ends in the middle of unit ${unit}: was it cut short? Put back a copy of it`,
      );
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
