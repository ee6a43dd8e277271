/** What a dump can be asked for, what of it is refused, and what a dump tells at its end. */

import type { WorkOptions } from '@pdata/persistent-data/maintenance';
import { refuseOverrides } from '../restore/restore-options.js';
import type { ThinDamageError } from './thin-damage.js';

const FORMATS: readonly string[] = ['xml', 'human_readable', 'json'];

export interface DumpOptions extends WorkOptions {
  /** Default: xml. The form of `json` is described in json-writer.ts. */
  readonly format?: 'xml' | 'human_readable' | 'json';
  /** Devices without their mappings. As thin_dump has it, `devices` is then ignored. */
  readonly skipMappings?: boolean;
  /** The trees of the metadata snapshot, which do not change while the pool is in use. */
  readonly metadataSnapshot?: boolean;
  /** Thin ids of the devices to print; all when left out. Ids that the pool does not have are ignored. */
  readonly devices?: readonly number[];
  /** Prints what can be read when something cannot, and says in the summary what is lost. Not with `metadataSnapshot`. */
  readonly repair?: boolean;
  /** The larger of this and the superblock's is printed. As thin_dump has it, a metadata snapshot takes no overrides. */
  readonly transactionId?: bigint;
  /** In sectors, a multiple of 128 from 128 to 2097152; printed in place of the superblock's. */
  readonly dataBlockSize?: number;
  /** The larger of this, which is at most 2^40, and the superblock's is printed. */
  readonly nrDataBlocks?: number | bigint;
}

export interface DumpSummary {
  /** Devices printed. */
  readonly nrDevices: number;
  /** Mappings printed, each part that devices share counted once. */
  readonly nrMappings: number;
  /** Parts that several devices share. */
  readonly nrSharedParts: number;
  /**
   * What could not be read, or contradicts the format so that it was left out, or that a restore will refuse it; empty
   * without `repair`, which alone goes on after damage.
   */
  readonly lost: readonly ThinDamageError[];
}

/** @throws {RangeError} */
export function refuseOptions(options: DumpOptions): void {
  const { format = 'xml' } = options;
  if (!FORMATS.includes(format)) {
    throw new RangeError(`the format of a dump is ${FORMATS.join(', ')}, not '${format}'`);
  }
  if (options.repair && options.metadataSnapshot) {
    throw new RangeError('a dump of the metadata snapshot cannot repair: its trees share blocks with the live ones');
  }
  refuseOverrides(options);
}
