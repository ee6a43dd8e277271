/**
 * Blocks that are not to be had, at the n-th attempt: the space maps' `newBlock` made to fail, for metadata blocks and for data
 * blocks. The maps' classes are changed for as long as it takes, so only one exploration at a time.
 */
import { MemoryMetadataDevice } from '@pdata/device';
import { createTransactionManager, DataSpaceMap, NoSpaceError } from '@pdata/persistent-data';
import type { FaultSource } from '@pdata/testing';

interface Allocating {
  newBlock(): number;
}

class AllocationFaults implements FaultSource {
  readonly #allocating: Allocating;
  readonly #of: 'metadata' | 'data';
  readonly #newBlock: () => number;
  #nrDone = 0;
  #fault: { readonly nth: number; readonly andLater: boolean } | undefined;

  constructor(allocating: Allocating, of: 'metadata' | 'data') {
    this.#allocating = allocating;
    this.#of = of;
    this.#newBlock = allocating.newBlock;
  }

  get nrDone(): number {
    return this.#nrDone;
  }

  watch(): void {
    this.#nrDone = 0;
    this.#fault = undefined;
    const faults = this;
    this.#allocating.newBlock = function newBlock(this: Allocating): number {
      faults.#count();
      return faults.#newBlock.call(this);
    };
  }

  arm(nth: number, andLater: boolean): void {
    this.#fault = { nth: this.#nrDone + nth, andLater };
  }

  disarm(): void {
    this.#fault = undefined;
    this.#allocating.newBlock = this.#newBlock;
  }

  #count(): void {
    const nr = ++this.#nrDone;
    if (this.#fault === undefined) return;
    const { nth, andLater } = this.#fault;
    if (nr === nth || (andLater && nr > nth))
      throw new NoSpaceError(this.#of, `no ${this.#of} block is to be had: injected fault`);
  }
}

/** The class of the metadata space map is not exported: an instance leads to it. */
function metadataSpaceMapClass(): Allocating {
  const { spaceMap } = createTransactionManager(new MemoryMetadataDevice({ nrBlocks: 16 }));
  return Object.getPrototypeOf(spaceMap) as Allocating;
}

export const allocationFaults: Readonly<Record<string, FaultSource>> = {
  'allocation of a metadata block': new AllocationFaults(metadataSpaceMapClass(), 'metadata'),
  'allocation of a data block': new AllocationFaults(DataSpaceMap.prototype, 'data'),
};
