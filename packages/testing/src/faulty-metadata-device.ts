/**
 * A metadata device that fails where it is told to: the n-th write, every read of one block, all flushes from the third on; or that
 * is full when it is told to.
 *
 * Everything else is passed on. To try each write of a commit, run it once unharmed, read `nrDone('write')`, then run it
 * that many times with the fault one further on.
 */
import { BLOCK_SIZE, blocksInWords, DeviceError, type MetadataDevice } from '@pdata/device';
import { noSpaceLeft } from './no-space-left.js';

export type FaultyOperation = 'read' | 'write' | 'flush' | 'grow';

export type Fault =
  | {
      readonly operation: FaultyOperation;
      /** Which operation of this kind fails, counted from 1 over the device's life. */
      readonly nth: number;
      /** Every later one fails too. Default false. A failed flush lasts in any case, as the contract has it. */
      readonly andLater?: boolean;
      /** For writes: the first half of the request, in whole sectors, reaches the device all the same. Default false. */
      readonly landsPartly?: boolean;
    }
  | {
      readonly operation: 'read' | 'write';
      /** Every request that touches this block fails, as with a bad place on a disk. */
      readonly blockNr: number;
      readonly landsPartly?: boolean;
    }
  | {
      readonly operation: 'write';
      /**
       * Writes fail for want of space, the system's ENOSPC their cause, when so many blocks have been written in all: a file with holes
       * on a file system that is full. So does growing.
       */
      readonly fullAfterBlocks: number;
    };

const SECTOR_SIZE = 512;

export class FaultyMetadataDevice implements MetadataDevice {
  readonly #inner: MetadataDevice;
  #faults: Fault[];
  #hasLostAFlush = false;
  #nrBlocksWritten = 0;
  readonly #nrDone = { read: 0, write: 0, flush: 0, grow: 0 };

  constructor(inner: MetadataDevice, ...faults: readonly Fault[]) {
    this.#inner = inner;
    this.#faults = [...faults];
  }

  /** Operations of this kind so far, failed ones included. */
  nrDone(operation: FaultyOperation): number {
    return this.#nrDone[operation];
  }

  /** Blocks that writes have put down so far: what `fullAfterBlocks` is compared with. */
  get nrBlocksWritten(): number {
    return this.#nrBlocksWritten;
  }

  inject(fault: Fault): void {
    this.#faults.push(fault);
  }

  /** Forgets all faults, as if the device had been repaired, given room or opened anew. */
  heal(): void {
    this.#faults = [];
    this.#hasLostAFlush = false;
  }

  get name(): string {
    return this.#inner.name;
  }

  get nrBlocks(): number {
    return this.#inner.nrBlocks;
  }

  get readOnly(): boolean {
    return this.#inner.readOnly;
  }

  read(firstBlockNr: number, into: Uint8Array): void {
    const nrBlocks = into.byteLength / BLOCK_SIZE;
    const fault = this.#nextFault('read', firstBlockNr, nrBlocks);
    if (fault) throw injected(fault, `read ${blocksInWords(firstBlockNr, nrBlocks)} of ${this.name}`);
    this.#inner.read(firstBlockNr, into);
  }

  write(firstBlockNr: number, from: Uint8Array): void {
    const nrBlocks = from.byteLength / BLOCK_SIZE;
    const fault = this.#nextFault('write', firstBlockNr, nrBlocks);
    if (fault === undefined) {
      this.#inner.write(firstBlockNr, from);
      this.#nrBlocksWritten += nrBlocks;
      return;
    }
    if ('landsPartly' in fault && fault.landsPartly) {
      const halfDone = new Uint8Array(from.byteLength);
      this.#inner.read(firstBlockNr, halfDone);
      halfDone.set(from.subarray(0, Math.floor(from.byteLength / 2 / SECTOR_SIZE) * SECTOR_SIZE));
      this.#inner.write(firstBlockNr, halfDone);
    }
    throw injected(fault, `write ${blocksInWords(firstBlockNr, nrBlocks)} of ${this.name}`);
  }

  flush(): void {
    this.#failFlushIfDue();
    this.#inner.flush();
  }

  async flushAsync(): Promise<void> {
    this.#failFlushIfDue();
    await this.#inner.flushAsync();
  }

  grow(nrBlocks: number): void {
    const fault = this.#nextFault('grow');
    if (fault) throw injected(fault, `grow ${this.name} to ${nrBlocks} blocks`);
    this.#inner.grow(nrBlocks);
  }

  close(): void {
    this.#inner.close();
  }

  /** Counts an operation, and finds the fault that hits it. */
  #nextFault(operation: FaultyOperation, firstBlockNr = 0, nrBlocks = 0): Fault | undefined {
    const nr = ++this.#nrDone[operation];
    return this.#faults.find((fault) => {
      if ('fullAfterBlocks' in fault) {
        if (operation === 'grow') return this.#nrBlocksWritten >= fault.fullAfterBlocks;
        return operation === 'write' && this.#nrBlocksWritten + nrBlocks > fault.fullAfterBlocks;
      }
      if (fault.operation !== operation) return false;
      if ('blockNr' in fault) return fault.blockNr >= firstBlockNr && fault.blockNr < firstBlockNr + nrBlocks;
      return fault.andLater ? nr >= fault.nth : nr === fault.nth;
    });
  }

  #failFlushIfDue(): void {
    const fault = this.#nextFault('flush');
    if (fault === undefined && !this.#hasLostAFlush) return;
    this.#hasLostAFlush = true;
    throw injected(fault, `flush ${this.name}`);
  }
}

function injected(fault: Fault | undefined, attempted: string): DeviceError {
  if (fault !== undefined && 'fullAfterBlocks' in fault) return noSpaceLeft(attempted);
  return new DeviceError(`cannot ${attempted}: injected fault`);
}
