/**
 * clone_dump: a clone's metadata as text: its sizes, and which regions are hydrated.
 *
 * The index of the bitset is read first, then its array blocks one by one, in order; memory is flat. Damage ends a plain dump by a
 * `CloneDamageError`, after what came before it was yielded in part; with `repair` what can be read is printed, and the summary
 * lists which regions are in doubt.
 */
import type { MetadataDevice } from '@pdata/device';
import type { BitRun } from '@pdata/persistent-data';
import type { WorkOptions } from '@pdata/persistent-data/maintenance';
import type { CloneDamageError } from '../regions/damage.js';
import { type CloneOutline, type OutlineOptions, readOutline, refuseGivenSizes } from '../regions/outline.js';
import { regionRuns } from '../regions/region-runs.js';
import { type DumpWriter, JsonWriter, XmlWriter } from './dump-writer.js';

export interface DumpOptions extends WorkOptions, Omit<OutlineOptions, 'signal'> {
  /** Default: xml. Both forms: docs/format/clone.md, section 12. */
  readonly format?: 'xml' | 'json';
}

/** What a reading of a clone's metadata found, and what it could not. */
export interface RegionsSummary {
  /** Sectors. */
  readonly regionSize: number;
  /** Sectors. */
  readonly targetSize: number;
  readonly nrRegions: number;
  readonly nrHydrated: number;
  /**
   * Regions whose bits cannot be read, in order; empty without `repair`. They count as not hydrated: what was written to them
   * since the clone was made is out of sight, and hydration overwrites it.
   */
  readonly inDoubt: readonly BitRun[];
  /** What could not be read, the first 1000 of it; empty without `repair`, which alone goes on after damage. */
  readonly lost: readonly CloneDamageError[];
}

/**
 * Dumps the metadata on `device`, which is only read.
 *
 * @returns chunks of about 256 KiB; each is valid until the next step, then its memory is used again
 * @throws {@link CloneDamageError} when a block that is needed contradicts the format: the text so far is incomplete
 * @throws {@link CorruptBlockError} when that block is the superblock
 * @throws {@link NotFormattedError}, {@link UnsupportedMetadataError}, {@link GeometryError}
 * @throws {@link GeometryNeededError} with `repair`, when the superblock is lost and the sizes were not given
 * @throws {@link DeviceError} when the device cannot be read; with `repair`, what cannot be read is damage
 * @throws {RangeError} at once, for sizes no clone can have
 */
export function dumpClone(device: MetadataDevice, options: DumpOptions = {}): Generator<Uint8Array, RegionsSummary> {
  refuseGivenSizes(options);
  return dump(device, options);
}

function* dump(device: MetadataDevice, options: DumpOptions): Generator<Uint8Array, RegionsSummary> {
  const outline = readOutline(device, options);
  const writer: DumpWriter = options.format === 'json' ? new JsonWriter() : new XmlWriter();
  const { buffer } = writer;
  const progress = new RegionsProgress(outline, options);
  let nrHydrated = 0;
  try {
    writer.begin(outline);
    for (const run of regionRuns(outline, progress.advance)) {
      writer.run(run);
      if (run.kind === 'hydrated') nrHydrated += run.end - run.begin;
      if (buffer.isFull) yield buffer.take();
    }
    writer.end(outline.losses.inDoubt);
    yield buffer.take();
  } catch (error) {
    if (writer.abandon()) yield buffer.take();
    throw error;
  }
  return regionsSummary(outline, nrHydrated);
}

export function regionsSummary(outline: CloneOutline, nrHydrated: number): RegionsSummary {
  const { regionSize, targetSize, nrRegions, losses } = outline;
  return { regionSize, targetSize, nrRegions, nrHydrated, inDoubt: losses.inDoubt, lost: losses.told };
}

/** Tells how far a reading of regions is. */
export class RegionsProgress {
  readonly #options: WorkOptions;
  readonly #total: number;
  #done = 0;
  #nextTold = 0;

  constructor({ blockNrs }: CloneOutline, options: WorkOptions) {
    this.#options = options;
    this.#total = blockNrs.length;
  }

  /** One array block more. */
  readonly advance = (): void => {
    if (this.#done >= this.#nextTold) {
      const { signal, onProgress } = this.#options;
      signal?.throwIfAborted();
      this.#nextTold = this.#done + Math.max(1, this.#total / 200);
      onProgress?.({ stage: 'regions', done: this.#done, total: this.#total });
    }
    this.#done++;
  };
}
