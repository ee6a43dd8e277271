/**
 * Where the bits of a clone are: sizes, and the array block of each place; read strictly, or forgiving damage.
 *
 * Strictly, the first damage is thrown. Forgiving, what cannot be read is passed over and told: regions whose bits are lost count
 * as not hydrated. A lost superblock, or index, makes the whole device be searched (lost-bitset.ts); the sizes then have to be
 * given.
 *
 * Format: docs/format/clone.md, sections 1 and 2.
 */
import { CorruptBlockError, DeviceError, type MetadataDevice } from '@pdata/device';
import { NotFormattedError, UnsupportedMetadataError } from '@pdata/persistent-data';
import { BlockReader } from '@pdata/persistent-data/maintenance';
import {
  checkRegionSize,
  checkTargetSize,
  MAX_REGION_SIZE,
  nrRegionsFor,
  refuseGeometry,
} from '../../format/limits.js';
import {
  CLONE_VERSION,
  type CloneSuperblock,
  cloneSuperblockValidator,
  readCloneSuperblock,
} from '../../format/superblock.js';
import { GeometryError } from '../../metadata/errors.js';
import { asDamage, nrPlacesFor, REGIONS_PER_BLOCK } from './blocks.js';
import { corruptNode, geometryNeeded, unreadableRegions } from './damage.js';
import { readIndexTree } from './index-tree.js';
import { Losses } from './losses.js';
import { type FoundBitset, findLostBitset } from './lost-bitset.js';

export interface OutlineOptions {
  /** Sectors. Must be the superblock's, if that can be read; with `repair`, stands in for it if it cannot. */
  readonly regionSize?: number;
  /** Sectors; as `regionSize`. */
  readonly targetSize?: number;
  /** Use this block as root of the bitset, instead of the superblock's. */
  readonly bitsetRoot?: number;
  /** Reads what can be read when something cannot. */
  readonly repair?: boolean;
  readonly signal?: AbortSignal;
}

export interface CloneOutline {
  readonly reader: BlockReader;
  /** Sectors. */
  readonly regionSize: number;
  /** Sectors. */
  readonly targetSize: number;
  readonly nrRegions: number;
  /** The array block at each place; 0 where there is none. */
  readonly blockNrs: Float64Array;
  readonly losses: Losses;
  readonly repair: boolean;
}

/**
 * @throws {@link NotFormattedError}, {@link UnsupportedMetadataError}, {@link GeometryError}
 * @throws {@link GeometryNeededError} with `repair`, when the superblock is lost and the sizes are not given
 * @throws {@link CorruptBlockError}, {@link DeviceError} without `repair`
 */
export function readOutline(device: MetadataDevice, options: OutlineOptions): CloneOutline {
  const { repair = false, signal } = options;
  const reader = new BlockReader(device);
  const losses = new Losses();
  const found = readSizes(reader, options, losses);
  const { regionSize, targetSize } = found;
  const nrRegions = nrRegionsFor(targetSize, regionSize);
  const outline = { reader, regionSize, targetSize, nrRegions, losses, repair };
  const root = options.bitsetRoot ?? found.superblock?.bitsetRoot;
  const regionsAt = (begin: number, end: number) => ({
    begin: begin * REGIONS_PER_BLOCK,
    end: Math.min(end * REGIONS_PER_BLOCK, nrRegions),
  });

  const index = root === undefined ? undefined : readIndex(reader, root, nrRegions);
  if (index?.damage.length === 0) return { ...outline, blockNrs: index.blockNrs };
  const [first] = index?.damage ?? [];
  if (!repair && first !== undefined) {
    const { error, begin, end } = first;
    throw error.cause instanceof DeviceError ? error.cause : unreadableRegions(error, regionsAt(begin, end));
  }

  const lost = options.bitsetRoot === undefined ? findLostBitset(reader, nrRegions, signal) : undefined;
  // Of an index that is damaged in part, the rest is newer than anything a search can find.
  if (lost !== undefined && (index === undefined || index.blockNrs.every((blockNr) => blockNr === 0))) {
    tellFound(lost, first?.error, found.error, root, losses);
    for (const place of lost.disputed) {
      losses.addRegions(
        corruptNode(lost.rootNr, `array block ${place}`, 'disputed', 'one'),
        regionsAt(place, place + 1),
      );
      lost.blockNrs[place] = 0;
    }
    return { ...outline, blockNrs: lost.blockNrs };
  }
  for (const { error, begin, end } of index?.damage ?? []) losses.addRegions(error, regionsAt(begin, end));
  if (index === undefined) {
    losses.addRegions(
      corruptNode(0, 'bitset', 'found nowhere on the device', 'an index with its array blocks'),
      regionsAt(0, nrPlacesFor(nrRegions)),
    );
  }
  return { ...outline, blockNrs: index?.blockNrs ?? new Float64Array(nrPlacesFor(nrRegions)) };
}

/** Of sizes that are given. @throws {RangeError} when no clone can have them */
export function refuseGivenSizes({ regionSize, targetSize }: OutlineOptions): void {
  // Alone, each has to fit some other.
  refuseGeometry(regionSize ?? MAX_REGION_SIZE, targetSize ?? 1);
}

interface Sizes {
  readonly regionSize: number;
  readonly targetSize: number;
  readonly superblock: CloneSuperblock | undefined;
  /** What is wrong with the superblock. */
  readonly error: CorruptBlockError | undefined;
}

function readSizes(reader: BlockReader, options: OutlineOptions, losses: Losses): Sizes {
  const { regionSize, targetSize } = options;
  let superblock: CloneSuperblock | undefined;
  try {
    superblock = readSuperblock(reader);
    refuseNonsense(superblock);
    for (const [asked, found] of [
      [regionSize, superblock.regionSize],
      [targetSize, superblock.targetSize],
    ]) {
      if (asked === undefined || asked === found) continue;
      throw new GeometryError(
        `${reader.device.name} holds a clone of ${superblock.targetSize} sectors in regions of ${superblock.regionSize}, not ` +
          `of ${targetSize ?? superblock.targetSize} in regions of ${regionSize ?? superblock.regionSize}: leave the sizes out, ` +
          `or look for the metadata that they belong to`,
      );
    }
    return { regionSize: superblock.regionSize, targetSize: superblock.targetSize, superblock, error: undefined };
  } catch (error) {
    const isDamage = error instanceof CorruptBlockError || error instanceof DeviceError;
    const isBlank = error instanceof NotFormattedError && regionSize !== undefined && targetSize !== undefined;
    if (options.repair !== true || !(isDamage || isBlank)) throw error;
    const damage = isBlank ? corruptNode(0, 'superblock', 'all zero', 'a superblock') : asDamage(error, 0);
    if (regionSize === undefined || targetSize === undefined) throw geometryNeeded(damage);
    losses.add(
      damage,
      'its sizes were taken from the caller; if they are not those of the clone, every region is wrong',
      "compare them with the clone's line in dmsetup table",
    );
    return { regionSize, targetSize, superblock, error: damage };
  }
}

function readSuperblock(reader: BlockReader): CloneSuperblock {
  const block = reader.readOne(0);
  if (block instanceof DeviceError) throw block;
  const { name } = reader.device;
  if (block.bytes.every((byte) => byte === 0)) {
    throw new NotFormattedError(
      `${name} holds no clone metadata: its first block is empty. If it was wiped, its regions can be searched for: give the region size and the target size, and ask for a repair`,
    );
  }
  cloneSuperblockValidator.check(block);
  const superblock = readCloneSuperblock(block);
  if (superblock.version === CLONE_VERSION) return superblock;
  throw new UnsupportedMetadataError(
    `${name} holds clone metadata of version ${superblock.version}; this version of pdata, like the kernel, knows only ${CLONE_VERSION}`,
  );
}

function refuseNonsense({ regionSize, targetSize }: CloneSuperblock): void {
  const refuse = (field: string, found: number, expected: string): never => {
    throw new CorruptBlockError({ structure: 'clone superblock', blockNr: 0, field, found, expected });
  };
  const regionProblem = checkRegionSize(regionSize);
  if (regionProblem !== undefined) refuse('region size', regionSize, regionProblem);
  const targetProblem = checkTargetSize(targetSize, regionSize);
  if (targetProblem !== undefined) refuse('target size', targetSize, targetProblem);
}

interface IndexDamage {
  readonly error: CorruptBlockError;
  readonly begin: number;
  readonly end: number;
}

function readIndex(
  reader: BlockReader,
  root: number,
  nrRegions: number,
): { readonly blockNrs: Float64Array; readonly damage: readonly IndexDamage[] } {
  const damage: IndexDamage[] = [];
  const blockNrs = readIndexTree(reader, root, nrPlacesFor(nrRegions), (error, begin, end) =>
    damage.push({ error, begin, end }),
  );
  return { blockNrs, damage };
}

function tellFound(
  { rootNr, nrHydrated, alternatives }: FoundBitset,
  indexError: CorruptBlockError | undefined,
  superblockError: CorruptBlockError | undefined,
  root: number | undefined,
  losses: Losses,
): void {
  const cause = indexError ?? superblockError ?? corruptNode(root ?? 0, 'root', 'lost', 'a node');
  const others = alternatives.map((other) => `block ${other.rootNr} (${other.nrHydrated} hydrated)`).join(', ');
  losses.add(
    cause,
    `the bitset was searched for, and the one with the most hydrated regions taken, that of block ${rootNr} (${nrHydrated} ` +
      `hydrated): regions hydrated after it was written count as not hydrated, and if the device held another clone's metadata ` +
      `before, it may be that one's${others === '' ? '' : `; there are others: ${others}`}`,
    'compare a few regions with the source before activating the clone; another bitset can be had by giving its block as root',
  );
}
