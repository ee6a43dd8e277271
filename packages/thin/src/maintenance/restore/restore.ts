/**
 * thin_restore: new metadata from the XML of a dump.
 *
 * A restore that fails or is interrupted, for whatever reason, leaves no valid superblock, so nobody takes half a pool for a
 * whole one (`StreamRestorer`). The XML is read as it arrives (thin-xml-reader.ts) and built into metadata as it is read (pool-build.ts).
 *
 * Format: docs/format/tools.md, sections 2 and 5.
 */
import type { MetadataDevice } from '@pdata/device';
import { type Progress, StreamRestorer } from '@pdata/persistent-data/maintenance';
import { PoolBuild } from './pool-build.js';
import { type RestoreOptions, type RestoreSummary, refuseOverrides } from './restore-options.js';
import { ThinXmlReader } from './thin-xml-reader.js';

/**
 * Restores `xml`, given in pieces, onto `device`, whose content is lost from the first step on.
 *
 * @returns progress after each piece: `done` is the bytes read, `total` unknown (0)
 * @throws {@link ThinXmlError} where the XML cannot be restored, with line and column
 * @throws {@link NoSpaceError} when `device` is too small for it
 * @throws {@link DeviceError} when the device fails
 * @throws {RangeError} when an option is out of its range: nothing is written then
 */
export function* restoreThin(
  xml: Iterable<Uint8Array>,
  device: MetadataDevice,
  options: RestoreOptions = {},
): Generator<Progress, RestoreSummary> {
  const restorer = new ThinRestorer(device, options);
  for (const chunk of xml) yield restorer.push(chunk);
  return restorer.end();
}

/**
 * As {@link restoreThin}, for XML that arrives by itself: `push` each piece, then `end`. After an error, or when `end` is
 * never called, the target has no valid superblock.
 */
export class ThinRestorer extends StreamRestorer<RestoreSummary> {
  /** @throws {RangeError}, {@link ReadOnlyError}; the device is not touched yet */
  constructor(device: MetadataDevice, options: RestoreOptions = {}) {
    refuseOverrides(options);
    const build = new PoolBuild(device, options);
    const parts = { reader: new ThinXmlReader(build), writesWhileReading: true, commit: () => build.commit() };
    super(device, parts, options);
  }
}
