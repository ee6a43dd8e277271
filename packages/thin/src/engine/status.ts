/**
 * What a pool and its volumes tell of themselves, as objects and in the kernel's words.
 *
 * Format: docs/format/thin.md, section 11.
 */
import { lineOrError } from '@pdata/device/engine';
import type { PoolCore } from './pool-core.js';
import { canChange, type PoolMode } from './pool-mode.js';

export interface PoolStatus {
  readonly mode: PoolMode;
  readonly transactionId: bigint;
  /** Blocks of 4096 bytes; those in reserve count as used. */
  readonly nrUsedMetadataBlocks: number;
  readonly nrMetadataBlocks: number;
  /** Free metadata blocks that are kept back for commits. */
  readonly metadataReserve: number;
  readonly nrUsedDataBlocks: number;
  readonly nrDataBlocks: number;
  /** Sectors. */
  readonly dataBlockSize: number;
  /** Block of the metadata snapshot, if one is held. */
  readonly heldRoot: number | undefined;
  /** What becomes of discards now. */
  readonly discards: 'ignore_discard' | 'discard_passdown' | 'no_discard_passdown';
  /** What becomes of a write that finds no free data block now. */
  readonly noSpace: 'error_if_no_space' | 'queue_if_no_space';
  /** Writes that wait for space. */
  readonly nrWaitingForSpace: number;
  readonly needsCheck: boolean;
  /** Blocks of 4096 bytes; when free ones come down to it, `metadataLow` is told. */
  readonly metadataLowWaterMark: number;
  /** Data blocks; when an allocation finds no more free, `dataLow` is told. */
  readonly dataLowWaterMark: number;
}

export interface ThinStatus {
  readonly nrMappedBlocks: number;
  /** Sectors. */
  readonly mappedSectors: number;
  /** The last sector of the highest mapped block; undefined when nothing is mapped. May lie behind the volume's end. */
  readonly highestMappedSector: number | undefined;
}

/** @throws {@link PoolModeError} in fail mode */
export function poolStatus(core: PoolCore): PoolStatus {
  core.refuseClosed();
  core.refuseFailed();
  const { metadata, settings } = core;
  return {
    mode: core.mode,
    transactionId: metadata.transactionId,
    nrUsedMetadataBlocks: metadata.nrMetadataBlocks - core.nrUsableMetadataBlocks,
    nrMetadataBlocks: metadata.nrMetadataBlocks,
    metadataReserve: metadata.metadataReserve,
    nrUsedDataBlocks: metadata.nrDataBlocks - metadata.nrFreeDataBlocks,
    nrDataBlocks: metadata.nrDataBlocks,
    dataBlockSize: metadata.dataBlockSize,
    heldRoot: metadata.heldRoot,
    discards: settings.ignoreDiscard
      ? 'ignore_discard'
      : core.passesDiscards
        ? 'discard_passdown'
        : 'no_discard_passdown',
    noSpace: core.errorIfNoSpace ? 'error_if_no_space' : 'queue_if_no_space',
    nrWaitingForSpace: core.space.nr,
    needsCheck: core.needsCheck,
    metadataLowWaterMark: core.metadataLowWaterMark,
    dataLowWaterMark: settings.lowWaterMark,
  };
}

export function poolStatusLine(core: PoolCore): string {
  core.refuseClosed();
  return core.mode === 'fail' ? 'Fail' : lineOrError(() => poolLine(core));
}

function poolLine(core: PoolCore): string {
  const status = poolStatus(core);
  const mode = core.mode === 'out_of_data_space' ? core.mode : canChange(core.mode) ? 'rw' : 'ro';
  return (
    `${status.transactionId} ${status.nrUsedMetadataBlocks}/${status.nrMetadataBlocks} ` +
    `${status.nrUsedDataBlocks}/${status.nrDataBlocks} ${status.heldRoot ?? '-'} ${mode} ${status.discards} ` +
    `${status.noSpace} ${status.needsCheck ? 'needs_check' : '-'} ${status.metadataLowWaterMark} `
  );
}

/** @throws {@link PoolModeError} in fail mode */
export function thinStatus(core: PoolCore, thinId: number): ThinStatus {
  core.refuseFailed();
  const { metadata } = core;
  const nrMappedBlocks = metadata.details(thinId)?.mappedBlocks ?? 0;
  const highest = metadata.highestMapped(thinId);
  return {
    nrMappedBlocks,
    mappedSectors: nrMappedBlocks * metadata.dataBlockSize,
    highestMappedSector: highest === undefined ? undefined : (highest + 1) * metadata.dataBlockSize - 1,
  };
}

export function thinStatusLine(core: PoolCore, thinId: number): string {
  if (core.mode === 'fail') return 'Fail';
  return lineOrError(() => {
    const { mappedSectors, highestMappedSector } = thinStatus(core, thinId);
    return `${mappedSectors} ${highestMappedSector ?? '-'}`;
  });
}
