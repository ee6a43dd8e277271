/**
 * Reads the XML of a clone as it arrives, and tells a handler what it says.
 *
 *   element      inside        attributes
 *   superblock   -             [version], region_size, target_size, nr_regions
 *   hydrated     superblock    begin, end        regions; end is exclusive
 *   in_doubt     superblock    begin, end        nothing is known of these
 *
 * Format: docs/format/clone.md, section 12.
 */
import {
  ContentProblem,
  numberUpTo,
  optionalUpTo,
  type TagFields,
  XmlError,
  type XmlLanguage,
  XmlReader,
} from '@pdata/persistent-data/maintenance';
import { checkRegionSize, checkTargetSize, MAX_REGIONS, nrRegionsFor } from '../../format/limits.js';
import { CLONE_VERSION } from '../../format/superblock.js';
import type { RegionRun } from '../regions/region-runs.js';

/**
 * XML that cannot be restored: malformed, not a dump of a clone, or contradicting itself.
 * @example line 3, column 3 (byte 91): regions 10 to 20 do not come after region 15, the one before: they must ascend and not overlap
 */
export class CloneXmlError extends XmlError {
  override readonly name = 'CloneXmlError';
  readonly code = 'ERR_CLONE_XML';
}

export interface XmlGeometry {
  /** Sectors. */
  readonly regionSize: number;
  /** Sectors. */
  readonly targetSize: number;
  readonly nrRegions: number;
}

/** May throw a {@link ContentProblem}. */
export interface CloneXmlHandler {
  beginSuperblock(geometry: XmlGeometry): void;
  /** In order, not overlapping. */
  regions(run: RegionRun): void;
}

const region = numberUpTo(MAX_REGIONS);
const LANGUAGE: XmlLanguage = {
  subject: 'a clone',
  root: 'superblock',
  errorType: CloneXmlError,
  elements: {
    superblock: {
      inside: [''],
      fields: {
        version: optionalUpTo(2 ** 32 - 1),
        region_size: numberUpTo(Number.MAX_SAFE_INTEGER),
        target_size: numberUpTo(Number.MAX_SAFE_INTEGER),
        nr_regions: region,
      },
    },
    hydrated: { inside: ['superblock'], fields: { begin: region, end: region } },
    in_doubt: { inside: ['superblock'], fields: { begin: region, end: region } },
  },
};

export class CloneXmlReader {
  readonly #handler: CloneXmlHandler;
  readonly #reader: XmlReader;
  #nrRegions = 0;
  /** Behind the last region that was named. */
  #end = 0;

  constructor(handler: CloneXmlHandler) {
    this.#handler = handler;
    this.#reader = new XmlReader(LANGUAGE, {
      open: (element, fields) => {
        if (element === 'superblock') this.#superblock(fields);
        else this.#regions(element === 'hydrated' ? 'hydrated' : 'inDoubt', fields);
      },
      close: () => {},
    });
  }

  /** Line that has been reached. */
  get line(): number {
    return this.#reader.line;
  }

  /** The next piece of the text, of any size; not kept. @throws {@link CloneXmlError} */
  push(chunk: Uint8Array): void {
    this.#reader.push(chunk);
  }

  /** The text is complete. @throws {@link CloneXmlError} when it is not */
  end(): void {
    this.#reader.end();
  }

  #superblock(fields: TagFields): void {
    const [regionSize, targetSize] = [fields.number('region_size'), fields.number('target_size')];
    if (fields.has('version') && fields.number('version') !== CLONE_VERSION) {
      throw new ContentProblem(`version is ${fields.text('version')}, expected ${CLONE_VERSION}`);
    }
    const regionProblem = checkRegionSize(regionSize);
    if (regionProblem !== undefined)
      throw new ContentProblem(`region_size is ${regionSize}, expected ${regionProblem}`);
    const targetProblem = checkTargetSize(targetSize, regionSize);
    if (targetProblem !== undefined)
      throw new ContentProblem(`target_size is ${targetSize}, expected ${targetProblem}`);
    const nrRegions = nrRegionsFor(targetSize, regionSize);
    if (fields.number('nr_regions') !== nrRegions) {
      throw new ContentProblem(
        `nr_regions is ${fields.text('nr_regions')}, but ${targetSize} sectors in regions of ${regionSize} are ${nrRegions}`,
      );
    }
    this.#nrRegions = nrRegions;
    this.#handler.beginSuperblock({ regionSize, targetSize, nrRegions });
  }

  #regions(kind: RegionRun['kind'], fields: TagFields): void {
    const [begin, end] = [fields.number('begin'), fields.number('end')];
    if (begin >= end)
      throw new ContentProblem(`begin is ${begin} and end ${end}, which is exclusive: there is no region between`);
    if (end > this.#nrRegions) {
      throw new ContentProblem(`region ${end - 1} is outside the clone, which has ${this.#nrRegions} (nr_regions)`);
    }
    if (begin < this.#end) {
      throw new ContentProblem(
        `region ${begin} does not come after ${this.#end - 1}, the one before: they must ascend and not overlap`,
      );
    }
    this.#end = end;
    this.#handler.regions({ kind, begin, end });
  }
}
