/**
 * What a clone tells of itself, as an object and in the kernel's words.
 *
 * Format: docs/format/clone.md, section 10.
 */
import { lineOrError } from '@pdata/device/engine';
import type { CloneCore } from './clone-core.js';
import type { CloneMode } from './clone-mode.js';

export interface CloneStatus {
  readonly mode: CloneMode;
  /** Blocks of 4096 bytes. */
  readonly nrUsedMetadataBlocks: number;
  readonly nrMetadataBlocks: number;
  /** Sectors. */
  readonly regionSize: number;
  readonly nrRegions: number;
  /** Regions hydrated now; the last commit may have fewer. */
  readonly nrHydrated: number;
  /** Regions being copied or overwritten. */
  readonly nrHydrating: number;
  /** Whether all is hydrated and committed: the source is not needed any more. */
  readonly isComplete: boolean;
  /** Whether background hydration is enabled. */
  readonly hydrationEnabled: boolean;
  /** Whether discards go down to the destination: asked for, and possible. */
  readonly discardPassdown: boolean;
  readonly hydrationThreshold: number;
  readonly hydrationBatchSize: number;
}

/** Bytes of a metadata block over bytes of a sector. */
const METADATA_BLOCK_SECTORS = 8;

/** @throws {@link CloneModeError} in fail mode */
export function cloneStatus(core: CloneCore): CloneStatus {
  core.refuseFailed();
  const { metadata, settings, hydrations } = core;
  return {
    mode: core.mode,
    nrUsedMetadataBlocks: metadata.nrMetadataBlocks - metadata.nrFreeMetadataBlocks,
    nrMetadataBlocks: metadata.nrMetadataBlocks,
    regionSize: metadata.regionSize,
    nrRegions: core.nrRegions,
    nrHydrated: metadata.nrHydrated,
    nrHydrating: hydrations.nrRegions,
    isComplete: core.isDone,
    hydrationEnabled: settings.hydrates,
    discardPassdown: core.passesDiscards,
    hydrationThreshold: settings.hydrationThreshold,
    hydrationBatchSize: settings.hydrationBatchSize,
  };
}

/** `Fail` in fail mode. */
export function cloneStatusLine(core: CloneCore): string {
  if (core.mode === 'fail') return 'Fail';
  return lineOrError(() => {
    const status = cloneStatus(core);
    const features = [
      ...(status.hydrationEnabled ? [] : ['no_hydration']),
      ...(status.discardPassdown ? [] : ['no_discard_passdown']),
    ];
    return [
      METADATA_BLOCK_SECTORS,
      `${status.nrUsedMetadataBlocks}/${status.nrMetadataBlocks}`,
      status.regionSize,
      `${status.nrHydrated}/${status.nrRegions}`,
      status.nrHydrating,
      features.length,
      ...features,
      4,
      'hydration_threshold',
      status.hydrationThreshold,
      'hydration_batch_size',
      status.hydrationBatchSize,
      status.mode === 'write' ? 'rw' : 'ro',
    ].join(' ');
  });
}
