/** What a restore takes and gives back, and what it refuses of it before anything is touched. */

import type { WorkOptions } from '@pdata/persistent-data/maintenance';
import { MAX_DATA_BLOCKS } from '../../format/block-time.js';
import { checkDataBlockSize } from '../../format/limits.js';

export interface RestoreOptions extends WorkOptions {
  /** The larger of this and the XML's is restored. */
  readonly transactionId?: bigint;
  /** In sectors; restored in place of the XML's. */
  readonly dataBlockSize?: number;
  /** The larger of this and the XML's is restored. */
  readonly nrDataBlocks?: number;
}

export interface RestoreSummary {
  readonly nrDevices: number;
  /** Mappings of all devices; those they share count for each. */
  readonly nrMappings: number;
  /** Blocks of the target in use. */
  readonly nrMetadataBlocks: number;
  /** What was restored but deserves a look, in sentences. */
  readonly warnings: readonly string[];
}

/** What a dump and a restore both let their caller say in place of the pool. */
interface Overrides {
  readonly transactionId?: bigint;
  readonly dataBlockSize?: number;
  readonly nrDataBlocks?: number | bigint;
}

/** Refuses what no pool can have. @throws {RangeError} */
export function refuseOverrides({ dataBlockSize, nrDataBlocks, transactionId }: Overrides): void {
  if (dataBlockSize !== undefined) {
    const problem = dataBlockSizeProblem(dataBlockSize);
    if (problem) throw new RangeError(problem);
  }
  if (nrDataBlocks !== undefined && !isDataBlockCount(nrDataBlocks)) {
    throw new RangeError(
      `the number of data blocks is ${nrDataBlocks}, expected a whole number up to ${MAX_DATA_BLOCKS}`,
    );
  }
  if (transactionId !== undefined && !(transactionId >= 0n && transactionId < 2n ** 64n)) {
    throw new RangeError(`the transaction id is ${transactionId}, expected a whole number up to ${2n ** 64n - 1n}`);
  }
}

/** Comparisons alone would let 1.5 through; those with NaN are false. */
const isDataBlockCount = (nr: number | bigint): boolean =>
  (typeof nr === 'bigint' || Number.isInteger(nr)) && nr >= 0 && nr <= MAX_DATA_BLOCKS;

/** What is wrong with a data block size, in sectors; undefined when nothing is. */
export function dataBlockSizeProblem(sectors: number): string | undefined {
  const expected = checkDataBlockSize(sectors);
  return expected && `the data block size is ${sectors} sectors, expected ${expected}`;
}
