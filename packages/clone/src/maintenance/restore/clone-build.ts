/**
 * Builds a clone's metadata from ranges of regions that come in order: array block by array block, each written once.
 *
 * Layout: superblock, space map, index root, array blocks in order, as the kernel formats it (docs/format/clone.md, section 2), so that
 * metadata that is restored without a hydrated region is what formatting makes, byte for byte.
 */
import type { MetadataDevice } from '@pdata/device';
import {
  createTransactionManager,
  NoSpaceError,
  nrBitmapsFor,
  PersistentArray,
  type TransactionManager,
  wordType,
} from '@pdata/persistent-data';
import { CLONE_VERSION, cloneSuperblockValidator, writeCloneSuperblock } from '../../format/superblock.js';
import { RegionMap } from '../../metadata/region-map.js';
import type { RegionRun } from '../regions/region-runs.js';

/** Blocks kept in memory: every block is written once and not looked at again. */
const CACHE_BLOCKS = 1024;

export interface BuildGeometry {
  /** Sectors. */
  readonly regionSize: number;
  /** Sectors. */
  readonly targetSize: number;
  readonly nrRegions: number;
}

export class CloneBuild {
  readonly #device: MetadataDevice;
  #geometry: BuildGeometry | undefined;
  #regions = new RegionMap(0);
  #inDoubt: { begin: number; end: number }[] = [];

  constructor(device: MetadataDevice) {
    this.#device = device;
  }

  /** @throws {@link NoSpaceError} before memory is taken for regions that cannot have a place on the device */
  beginSuperblock(geometry: BuildGeometry): void {
    const { nrRegions } = geometry;
    const { nrBlocks } = this.#device;
    const needed = nrBlocksFor(nrRegions, nrBlocks);
    if (needed > nrBlocks) {
      throw new NoSpaceError(
        'metadata',
        `${nrRegions} regions take ${needed} metadata blocks, but there are ${nrBlocks}`,
      );
    }
    this.#geometry = geometry;
    this.#regions = new RegionMap(nrRegions);
  }

  regions({ kind, begin, end }: RegionRun): void {
    if (kind === 'hydrated') this.#regions.addRange(begin, end);
    else this.#inDoubt.push({ begin, end });
  }

  /** What was told to be in doubt, and so not marked. */
  get inDoubt(): readonly { readonly begin: number; readonly end: number }[] {
    return this.#inDoubt;
  }

  get nrHydrated(): number {
    return this.#regions.nrSet;
  }

  /** The geometry given. */
  get geometry(): BuildGeometry {
    return this.#geometry as BuildGeometry;
  }

  /** Writes it all; the superblock last, after a flush. @returns blocks of the device in use */
  commit(): number {
    const tm: TransactionManager = createTransactionManager(this.#device, { cacheBlocks: CACHE_BLOCKS });
    const { regionSize, targetSize, nrRegions } = this.geometry;
    const { bits } = this.#regions;
    const words = PersistentArray.create(tm, wordType, Math.ceil(nrRegions / 64), (wordNr) => ({
      low: bits[2 * wordNr] as number,
      high: bits[2 * wordNr + 1] as number,
    }));
    tm.preCommit();
    tm.commit(
      cloneSuperblockValidator,
      (block) =>
        writeCloneSuperblock(block, {
          version: CLONE_VERSION,
          metadataSpaceMap: tm.spaceMap.root,
          regionSize,
          targetSize,
          bitsetRoot: words.root,
        }),
      { formatting: true },
    );
    return tm.spaceMap.nrAllocated;
  }
}

/** Metadata blocks that a clone needs, index nodes of large ones not counted: formatted, without room for a commit. */
const nrBlocksFor = (nrRegions: number, nrDeviceBlocks: number): number =>
  4 + nrBitmapsFor(nrDeviceBlocks) + Math.ceil(Math.ceil(nrRegions / 64) / 509);
