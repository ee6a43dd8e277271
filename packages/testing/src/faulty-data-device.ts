/**
 * A data device that fails where it is told to, is full when it is told to, and keeps requests waiting while it is told to.
 *
 * Everything else is passed on. To try each write of a workload, run it once unharmed, read `nrDone('write')`, then run it
 * that many times with the fault one further on. To see what happens while a request is in flight, `hold` requests of a
 * kind, wait until there is one, look, and `release`.
 */
import {
  type AllocationExtent,
  bytesInWords,
  ClosedError,
  type DataDevice,
  type DataDeviceHints,
  DeviceError,
  SECTOR_SIZE,
  type WriteOptions,
  type WriteZeroesOptions,
} from '@pdata/device';
import { noSpaceLeft } from './no-space-left.js';
import { PendingRequests } from './pending-requests.js';

export type FaultyDataOperation = 'read' | 'write' | 'writeZeroes' | 'discard' | 'flush';

export type DataFault =
  | {
      readonly operation: FaultyDataOperation;
      /** Which operation of this kind fails, counted from 1 over the device's life. */
      readonly nth: number;
      /** Every later one fails too. Default false. A failed flush lasts in any case, as the contract has it. */
      readonly andLater?: boolean;
      /** For writes: the first half of the request, in whole sectors, reaches the device all the same. Default false. */
      readonly landsPartly?: boolean;
    }
  | {
      readonly operation: 'read' | 'write';
      /** Every request that touches the sector with this byte fails, as with a bad place on a disk. */
      readonly badByte: number;
      readonly landsPartly?: boolean;
    }
  | {
      readonly operation: 'write';
      /** Writes fail for want of space, the system's ENOSPC their cause, when so many bytes have been written in all. */
      readonly fullAfterBytes: number;
    };

/** Requests that are kept waiting; see {@link FaultyDataDevice.hold}. */
export interface HeldRequests {
  /** How many are waiting now. */
  readonly nrHeld: number;
  /** Resolves when at least `nr` are waiting. Default 1. */
  untilHeld(nr?: number): Promise<void>;
  /** Lets the oldest go, if there is one; later ones go on being held. */
  releaseOne(): void;
  /** Lets all go, and holds no more. */
  release(): void;
}

export interface HoldOptions {
  /** Only requests for which this is true. Flushes are asked with 0, 0. Default: all. */
  readonly which?: (offset: number, length: number) => boolean;
  /** `before` it reaches the device below, or `after` it was done there and only the answer is missing. Default before. */
  readonly at?: 'before' | 'after';
}

export interface FaultyDataOptions {
  /** A slow device: awaited before each request. Timers stay the test's business: hand in the promises. */
  readonly delay?: (operation: FaultyDataOperation, offset: number, length: number) => Promise<void>;
}

export class FaultyDataDevice implements DataDevice {
  readonly #inner: DataDevice;
  readonly #delay: FaultyDataOptions['delay'];
  #faults: DataFault[];
  #holds: Hold[] = [];
  #hasLostAFlush = false;
  #isClosed = false;
  #nrBytesWritten = 0;
  readonly #pending = new PendingRequests();
  readonly #nrDone = { read: 0, write: 0, writeZeroes: 0, discard: 0, flush: 0 };

  constructor(inner: DataDevice, faults: readonly DataFault[] = [], options: FaultyDataOptions = {}) {
    this.#inner = inner;
    this.#faults = [...faults];
    this.#delay = options.delay;
  }

  /** Requests of this kind so far, failed and waiting ones included. */
  nrDone(operation: FaultyDataOperation): number {
    return this.#nrDone[operation];
  }

  /** Bytes that writes have put down so far: what `fullAfterBytes` is compared with. */
  get nrBytesWritten(): number {
    return this.#nrBytesWritten;
  }

  inject(fault: DataFault): void {
    this.#faults.push(fault);
  }

  /** Forgets all faults, as if the device had been repaired, enlarged or opened anew. Holds stay. */
  heal(): void {
    this.#faults = [];
    this.#hasLostAFlush = false;
  }

  /** From now on keeps requests of this kind waiting. A fault that is due strikes when the request is let go. */
  hold(operation: FaultyDataOperation, options: HoldOptions = {}): HeldRequests {
    const hold = new Hold(operation, options, () => {
      this.#holds = this.#holds.filter((other) => other !== hold);
    });
    this.#holds.push(hold);
    return hold;
  }

  get name(): string {
    return this.#inner.name;
  }

  get size(): number {
    return this.#inner.size;
  }

  get readOnly(): boolean {
    return this.#inner.readOnly;
  }

  get hints(): DataDeviceHints {
    return this.#inner.hints;
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.#request('read', offset, into.byteLength, async (fault) => {
      if (fault) throw this.#injected(fault, `read ${bytesInWords(offset, into.byteLength)} of ${this.name}`);
      await this.#inner.read(offset, into);
    });
  }

  write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    return this.#request('write', offset, from.byteLength, async (fault) => {
      if (fault === undefined) {
        await this.#inner.write(offset, from, options);
        this.#nrBytesWritten += from.byteLength;
        return;
      }
      if ('landsPartly' in fault && fault.landsPartly) {
        const half = Math.floor(from.byteLength / 2 / SECTOR_SIZE) * SECTOR_SIZE;
        await this.#inner.write(offset, from.subarray(0, half));
      }
      throw this.#injected(fault, `write ${bytesInWords(offset, from.byteLength)} of ${this.name}`);
    });
  }

  writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    return this.#request('writeZeroes', offset, length, async (fault) => {
      if (fault) throw this.#injected(fault, `write ${length} zeros at ${offset} of ${this.name}`);
      await this.#inner.writeZeroes(offset, length, options);
    });
  }

  discard(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.#request('discard', offset, length, async (fault) => {
      if (fault) throw this.#injected(fault, `discard ${bytesInWords(offset, length)} of ${this.name}`);
      await this.#inner.discard(offset, length, options);
    });
  }

  flush(): Promise<void> {
    return this.#request('flush', 0, 0, async (fault) => {
      if (fault !== undefined) this.#hasLostAFlush = true;
      if (this.#hasLostAFlush) throw this.#injected(fault, `flush ${this.name}`);
      await this.#inner.flush();
    });
  }

  allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    return this.#isClosed ? Promise.reject(this.#closed()) : this.#inner.allocation(offset, length);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#pending.settled(); // also what a hold keeps waiting
    await this.#inner.close();
  }

  #request(
    operation: FaultyDataOperation,
    offset: number,
    length: number,
    pass: (fault: DataFault | undefined) => Promise<void>,
  ): Promise<void> {
    if (this.#isClosed) return Promise.reject(this.#closed());
    const nr = ++this.#nrDone[operation];
    const holds = this.#holds.filter((hold) => hold.wants(operation, offset, length));
    const run = async (): Promise<void> => {
      if (this.#delay) await this.#delay(operation, offset, length);
      for (const hold of holds) if (hold.at === 'before') await hold.wait();
      await pass(this.#faultFor(operation, nr, offset, length));
      for (const hold of holds) if (hold.at === 'after') await hold.wait();
    };
    return this.#pending.track(run());
  }

  #faultFor(operation: FaultyDataOperation, nr: number, offset: number, length: number): DataFault | undefined {
    return this.#faults.find((fault) => {
      if (fault.operation !== operation) return false;
      if ('fullAfterBytes' in fault) return this.#nrBytesWritten + length > fault.fullAfterBytes;
      if ('badByte' in fault) {
        const sector = Math.floor(fault.badByte / SECTOR_SIZE) * SECTOR_SIZE;
        return sector >= offset && sector < offset + length;
      }
      return fault.andLater ? nr >= fault.nth : nr === fault.nth;
    });
  }

  #injected(fault: DataFault | undefined, attempted: string): DeviceError {
    if (fault !== undefined && 'fullAfterBytes' in fault) return noSpaceLeft(attempted);
    return new DeviceError(`cannot ${attempted}: injected fault`);
  }

  #closed(): ClosedError {
    return new ClosedError(`${this.name} is closed`);
  }
}

class Hold implements HeldRequests {
  readonly at: 'before' | 'after';
  readonly #operation: FaultyDataOperation;
  readonly #which: HoldOptions['which'];
  readonly #forget: () => void;
  #isReleased = false;
  #waiting: (() => void)[] = [];
  #watchers: { nr: number; resolve: () => void }[] = [];

  constructor(operation: FaultyDataOperation, { which, at = 'before' }: HoldOptions, forget: () => void) {
    this.at = at;
    this.#operation = operation;
    this.#which = which;
    this.#forget = forget;
  }

  wants(operation: FaultyDataOperation, offset: number, length: number): boolean {
    return operation === this.#operation && (this.#which?.(offset, length) ?? true);
  }

  /** Resolves when the request is let go. */
  wait(): Promise<void> {
    if (this.#isReleased) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      for (const watcher of this.#watchers) if (this.#waiting.length >= watcher.nr) watcher.resolve();
      this.#watchers = this.#watchers.filter(({ nr }) => this.#waiting.length < nr);
    });
  }

  get nrHeld(): number {
    return this.#waiting.length;
  }

  untilHeld(nr = 1): Promise<void> {
    if (this.#waiting.length >= nr) return Promise.resolve();
    return new Promise((resolve) => this.#watchers.push({ nr, resolve }));
  }

  releaseOne(): void {
    this.#waiting.shift()?.();
  }

  release(): void {
    this.#isReleased = true;
    this.#forget();
    for (const letGo of this.#waiting.splice(0)) letGo();
  }
}
