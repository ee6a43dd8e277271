/**
 * A volume that the serving process has open for us, as a `DataDevice`. Long requests go in pieces of 1 MiB, a few at once.
 */
import {
  type AllocationExtent,
  ClosedError,
  type DataDevice,
  type DataDeviceHints,
  ReadOnlyError,
  SECTOR_SIZE,
  type WriteOptions,
  type WriteZeroesOptions,
} from '@pdata/device';
import { MAX_PIECE } from './messages.js';

export type Ask = (method: string, parameters?: object) => Promise<unknown>;

export interface RemoteVolumeInfo extends Pick<DataDevice, 'name' | 'size' | 'readOnly' | 'hints'> {
  readonly handle: number;
}

const PIECES_AT_ONCE = 4;

export class RemoteVolume implements DataDevice {
  readonly name: string;
  readonly size: number;
  readonly readOnly: boolean;
  readonly hints: DataDeviceHints;
  readonly #handle: number;
  readonly #ask: Ask;
  readonly #inFlight = new Set<Promise<unknown>>();
  #isClosed = false;

  constructor(ask: Ask, { handle, name, size, readOnly, hints }: RemoteVolumeInfo) {
    this.#ask = ask;
    this.#handle = handle;
    this.name = name;
    this.size = size;
    this.readOnly = readOnly;
    this.hints = hints;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    this.#refuse(offset, into.length, { writes: false });
    await this.#inPieces(into.length, async (at, length) => {
      const bytes = await this.#request('read', { offset: offset + at, length });
      into.set(bytes as Uint8Array, at);
    });
  }

  async write(offset: number, from: Uint8Array, { fua = false }: WriteOptions = {}): Promise<void> {
    this.#refuse(offset, from.length, { writes: true });
    await this.#inPieces(from.length, (at, length) =>
      this.#request('write', { offset: offset + at, bytes: from.subarray(at, at + length), fua }),
    );
  }

  async writeZeroes(offset: number, length: number, options: WriteZeroesOptions = {}): Promise<void> {
    this.#refuse(offset, length, { writes: true });
    await this.#request('writeZeroes', { offset, length, ...options });
  }

  async discard(offset: number, length: number, options: WriteOptions = {}): Promise<void> {
    this.#refuse(offset, length, { writes: true });
    await this.#request('discard', { offset, length, ...options });
  }

  async flush(): Promise<void> {
    this.#refuse(0, 0, { writes: false });
    await this.#request('flush', {});
  }

  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    this.#refuse(offset, length, { writes: false });
    return (await this.#request('allocation', { offset, length })) as AllocationExtent[];
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // Not after what is in flight: a write that waits for space is given up by this.
    const closed = this.#ask('closeVolume', { handle: this.#handle });
    await Promise.allSettled([...this.#inFlight, closed]);
    await closed;
  }

  async #inPieces(length: number, move: (at: number, length: number) => Promise<unknown>): Promise<void> {
    const moving = new Set<Promise<void>>();
    let failure: { error: unknown } | undefined;
    for (let at = 0; at < length && failure === undefined; at += MAX_PIECE) {
      const piece = move(at, Math.min(MAX_PIECE, length - at))
        .then(
          () => {},
          (error: unknown) => {
            failure ??= { error };
          },
        )
        .finally(() => moving.delete(piece));
      moving.add(piece);
      if (moving.size >= PIECES_AT_ONCE) await Promise.race(moving);
    }
    await Promise.all(moving);
    if (failure !== undefined) throw failure.error;
  }

  async #request(method: string, parameters: object): Promise<unknown> {
    const asking = this.#ask(method, { handle: this.#handle, ...parameters });
    this.#inFlight.add(asking);
    try {
      return await asking;
    } finally {
      this.#inFlight.delete(asking);
    }
  }

  #refuse(offset: number, length: number, { writes }: { readonly writes: boolean }): void {
    if (this.#isClosed) throw new ClosedError(`${this.name} is closed`);
    if (writes && this.readOnly) throw new ReadOnlyError(`${this.name} is open for reading only`);
    const isWhole = [offset, length].every(
      (value) => Number.isSafeInteger(value) && value >= 0 && value % SECTOR_SIZE === 0,
    );
    if (!isWhole || offset + length > this.size) {
      throw new RangeError(
        `${this.name} has no bytes ${offset} to ${offset + length} in whole sectors: it has ${this.size}`,
      );
    }
  }
}
