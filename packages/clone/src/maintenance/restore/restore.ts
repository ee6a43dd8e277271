/**
 * clone_restore: new metadata from the XML of a dump.
 *
 * The regions are kept in memory, a bit each, until the XML is complete: XML with errors changes nothing. A restore that fails or
 * is interrupted after that leaves no valid superblock, so nobody takes half of it for the whole (`StreamRestorer`).
 */
import type { MetadataDevice } from '@pdata/device';
import type { BitRun } from '@pdata/persistent-data';
import { type Progress, StreamRestorer, type WorkOptions } from '@pdata/persistent-data/maintenance';
import { CloneBuild } from './clone-build.js';
import { CloneXmlReader } from './clone-xml.js';

export type RestoreOptions = WorkOptions;

export interface RestoreSummary {
  /** Sectors. */
  readonly regionSize: number;
  /** Sectors. */
  readonly targetSize: number;
  readonly nrRegions: number;
  readonly nrHydrated: number;
  /** Blocks of the target in use. */
  readonly nrMetadataBlocks: number;
  /** Regions that the XML says are in doubt; they are restored as not hydrated. */
  readonly inDoubt: readonly BitRun[];
}

/**
 * Restores `xml`, given in pieces, onto `device`, whose content is lost as soon as the XML has proved whole.
 *
 * @returns progress after each piece: `done` is the bytes read, `total` unknown (0)
 * @throws {@link CloneXmlError} where the XML cannot be restored, with line and column
 * @throws {@link NoSpaceError} when `device` is too small for it
 * @throws {@link DeviceError} when the device fails
 */
export function* restoreClone(
  xml: Iterable<Uint8Array>,
  device: MetadataDevice,
  options: RestoreOptions = {},
): Generator<Progress, RestoreSummary> {
  const restorer = new CloneRestorer(device, options);
  for (const chunk of xml) yield restorer.push(chunk);
  return restorer.end();
}

/**
 * As {@link restoreClone}, for XML that arrives by itself: `push` each piece, then `end`, which alone writes.
 */
export class CloneRestorer extends StreamRestorer<RestoreSummary> {
  /** @throws {@link ReadOnlyError}; the device is not touched yet */
  constructor(device: MetadataDevice, options: RestoreOptions = {}) {
    const build = new CloneBuild(device);
    const parts = { reader: new CloneXmlReader(build), writesWhileReading: false, commit: () => finish(build) };
    super(device, parts, options);
  }
}

function finish(build: CloneBuild): RestoreSummary {
  const nrMetadataBlocks = build.commit();
  const { geometry, nrHydrated, inDoubt } = build;
  return { ...geometry, nrHydrated, nrMetadataBlocks, inDoubt };
}
