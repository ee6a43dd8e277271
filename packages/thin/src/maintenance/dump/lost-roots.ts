/**
 * Finds a pool's trees when its superblock, which knows where they begin, cannot be read.
 *
 * Every block of the device is looked at; a node gives itself away by its checksum. Blocks are not wiped when they are freed,
 * so trees of several past commits turn up, in whole or in part. Wanted is a pair: a details tree, and an upper mapping tree
 * with the same thin ids, such that each device has as many mappings as its record says, or is damaged and has fewer. Of these
 * the newest is taken: latest times, then highest transaction id, then highest block numbers, for the kernel hands out blocks
 * in ascending order for as long as the pool is open. A newer pair of which a little is damaged goes before an older one that
 * is whole, for what was written since would be lost of every device; one of which more than a tenth is missing does not.
 *
 * What the superblock alone knew is guessed: the pool's time is the latest found, the transaction id one more than the highest
 * (as thin_dump has it), the data device ends at the highest block mapped. The data block size cannot be guessed.
 *
 * Format: docs/format/tools.md, section 2 (thin_repair).
 */
import { BLOCK_SIZE, CorruptBlockError, StoreError } from '@pdata/device';
import {
  Block,
  childAt,
  isLeaf,
  nodeValidator,
  nrEntries,
  u64At,
  valueOffset,
  valueSize,
} from '@pdata/persistent-data';
import { DEVICE_DETAILS_SIZE } from '../../format/device-details.js';
import { THIN_VERSION } from '../../format/superblock.js';
import type { DumpOptions } from './dump-options.js';
import type { DumpedDevice } from './dump-writer.js';
import type { BlockSource } from './forgiving-source.js';
import { MappingCensus } from './mapping-census.js';
import type { NodeReader } from './node-reader.js';
import { type PoolRoots, readDetails, readMappingRoots } from './pool-roots.js';
import { ThinDamageError } from './thin-damage.js';

/** The superblock is lost or says nonsense of it: the size of a data block, which nothing else tells. */
export class DataBlockSizeNeededError extends StoreError {
  override readonly name = 'DataBlockSizeNeededError';
  readonly code = 'ERR_DATA_BLOCK_SIZE_NEEDED';
}

/** In the words of thin_dump. @param cause what is wrong with the superblock */
export const dataBlockSizeNeeded = (cause: CorruptBlockError): DataBlockSizeNeededError =>
  new DataBlockSizeNeededError(
    `data block size needs to be provided due to corruption in the superblock (${cause.message})`,
  );

/** No tree is deeper: see leaf-walk.ts. */
const MAX_DEPTH = 24;
/** Blocks read in one request. */
const RUN = 256;
/** Pairs looked at in full; bounds the work on an image with very many old trees. */
const MAX_PAIRS = 2000;

/** What a block turned out to be. */
const KIND = {
  other: 0,
  details: 1,
  /** Leaf or internal node of a tree of 8-byte values. */
  mappings: 2,
  /** The same, and all values of its first leaf could be block numbers: perhaps of the upper tree. */
  roots: 3,
} as const;

/** The part of a pair's mappings that must be readable for it to be taken before an older one. */
const NEARLY_WHOLE = 0.9;

interface Tree {
  readonly isWhole: boolean;
  readonly nrMappings: number;
}

interface Pair {
  readonly detailsRoot: number;
  readonly mappingRoot: number;
  readonly details: ReadonlyMap<number, DumpedDevice>;
  readonly roots: ReadonlyMap<number, number>;
}

/**
 * @param cause what is wrong with the superblock
 * @throws {@link DataBlockSizeNeededError} unless `options` has the data block size
 * @throws {@link ThinDamageError} when there is no pair of trees on the device
 */
export function findLostRoots(
  device: BlockSource,
  reader: NodeReader,
  options: DumpOptions,
  cause: CorruptBlockError,
): PoolRoots {
  if (options.dataBlockSize === undefined) {
    throw dataBlockSizeNeeded(cause);
  }
  const kinds = new Scan(device, reader.nrBlocks, options).kinds;
  const pairs = pairsAmong(reader, kinds).sort(newestFirst).slice(0, MAX_PAIRS);
  const [newest] = pairs;
  if (newest === undefined) {
    throw new ThinDamageError(cause.detail, {
      thinId: undefined,
      effect: 'nothing can be dumped, because no trees of a pool were found either',
      nextStep: 'make sure that this is the metadata device of a thin pool',
    });
  }
  const pair = bestOf(reader, pairs, options) ?? newest;
  return { ...pair, superblock: guessSuperblock(reader, pair, options.dataBlockSize) };
}

/** Finds out what each block is. */
class Scan {
  readonly kinds: Uint8Array;
  /** Internal nodes and their children: what these are says what their parent is. */
  readonly #childrenOf = new Map<number, readonly number[]>();

  constructor(device: BlockSource, nrBlocks: number, { signal }: DumpOptions) {
    this.kinds = new Uint8Array(nrBlocks);
    const run = new Uint8Array(RUN * BLOCK_SIZE);
    const blocks = Array.from(
      { length: RUN },
      (_, i) => new Block(run.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE), 0),
    );
    for (let first = 0; first < nrBlocks; first += RUN) {
      signal?.throwIfAborted();
      const nr = Math.min(RUN, nrBlocks - first);
      device.read(first, run.subarray(0, nr * BLOCK_SIZE));
      for (let i = 0; i < nr; i++) {
        const block = blocks[i] as Block;
        block.nr = first + i;
        this.#lookAt(block);
      }
    }
    for (const blockNr of this.#childrenOf.keys()) this.#kindBelow(blockNr, 0);
  }

  #lookAt(block: Block): void {
    if (u64At(block.view, 8) !== block.nr || !isNode(block)) return;
    if (isLeaf(block)) this.kinds[block.nr] = kindOfLeaf(block, this.kinds.length);
    else
      this.#childrenOf.set(
        block.nr,
        Array.from({ length: nrEntries(block) }, (_, i) => childAt(block, i)),
      );
  }

  /** The kind of the first leaf below that is one. Noted for each node on the way, so that none is looked at twice. */
  #kindBelow(blockNr: number, depth: number): number {
    const children = this.#childrenOf.get(blockNr);
    if (children === undefined || this.kinds[blockNr] !== KIND.other) return this.kinds[blockNr] ?? KIND.other;
    this.#childrenOf.set(blockNr, []); // a stale node may lead in circles
    for (const child of children) {
      const kind = depth < MAX_DEPTH ? this.#kindBelow(child, depth + 1) : KIND.other;
      if (kind === KIND.other) continue;
      this.kinds[blockNr] = kind;
      return kind;
    }
    return KIND.other;
  }
}

function isNode(block: Block): boolean {
  try {
    nodeValidator.check(block);
    return true;
  } catch (error) {
    if (!(error instanceof CorruptBlockError)) throw error;
    return false;
  }
}

function kindOfLeaf(leaf: Block, nrBlocks: number): number {
  if (valueSize(leaf) === DEVICE_DETAILS_SIZE) return KIND.details;
  if (valueSize(leaf) !== 8) return KIND.other;
  // A mapping to data block 1 is above 2^24 already, more than any block number.
  for (let i = 0; i < nrEntries(leaf); i++) {
    const value = u64At(leaf.view, valueOffset(leaf, i));
    if (value === 0 || value >= nrBlocks) return KIND.mappings;
  }
  return KIND.roots;
}

/** Details trees and upper trees that can be read and name the same devices. */
function pairsAmong(reader: NodeReader, kinds: Uint8Array): Pair[] {
  const idsOf = (map: ReadonlyMap<number, unknown>): string => [...map.keys()].join(' ');
  const byIds = new Map<string, { detailsRoot: number; details: Map<number, DumpedDevice> }[]>();
  for (const detailsRoot of blocksOf(kinds, KIND.details)) {
    const details = whole((onDamage) => readDetails(reader, detailsRoot, onDamage));
    if (!details) continue;
    const alike = byIds.get(idsOf(details)) ?? [];
    alike.push({ detailsRoot, details });
    byIds.set(idsOf(details), alike);
  }
  const pairs: Pair[] = [];
  for (const mappingRoot of blocksOf(kinds, KIND.roots)) {
    const roots = whole((onDamage) => readMappingRoots(reader, mappingRoot, onDamage));
    if (!roots || [...roots.values()].some((rootNr) => (kinds[rootNr] as number) < KIND.mappings)) continue;
    for (const found of byIds.get(idsOf(roots)) ?? []) pairs.push({ ...found, mappingRoot, roots });
  }
  return pairs;
}

function* blocksOf(kinds: Uint8Array, kind: number): Generator<number> {
  for (let blockNr = kinds.indexOf(kind); blockNr >= 0; blockNr = kinds.indexOf(kind, blockNr + 1)) yield blockNr;
}

/** What `read` reads, or undefined when any of it is damaged. */
function whole<T>(read: (onDamage: (error: CorruptBlockError) => never) => T): T | undefined {
  try {
    return read((error) => {
      throw error;
    });
  } catch (error) {
    if (!(error instanceof CorruptBlockError)) throw error;
    return undefined;
  }
}

function newestFirst(a: Pair, b: Pair): number {
  const [of, than] = [rank(a), rank(b)];
  const differing = of.findIndex((value, i) => value !== than[i]);
  return differing < 0 ? 0 : (than[differing] as number) > (of[differing] as number) ? 1 : -1;
}

function rank({ details, mappingRoot, detailsRoot }: Pair): (number | bigint)[] {
  let latest = 0;
  let transactionId = 0n;
  let hasMappings = 0;
  for (const record of details.values()) {
    latest = Math.max(latest, record.creationTime, record.snapshottedTime);
    if (record.transactionId > transactionId) transactionId = record.transactionId;
    if (record.mappedBlocks > 0n) hasMappings = 1;
  }
  return [hasMappings, latest, transactionId, mappingRoot, detailsRoot];
}

/** Of `pairs`, newest first, the first that is nearly whole, or else the one with most mappings left. */
function bestOf(reader: NodeReader, pairs: readonly Pair[], options: DumpOptions): Pair | undefined {
  const trees = new Map<number, Tree>();
  let best: Pair | undefined;
  let mostReadable = 0;
  for (const pair of pairs) {
    const found = assess(reader, pair, trees, options);
    if (found === undefined) continue;
    if (found.nrReadable >= found.nrPromised * NEARLY_WHOLE) return pair;
    if (found.nrReadable <= mostReadable) continue;
    mostReadable = found.nrReadable;
    best = pair;
  }
  return best;
}

/** What can be read of a pair; undefined when its two trees are not of the same moment. */
function assess(
  reader: NodeReader,
  { details, roots }: Pair,
  trees: Map<number, Tree>,
  { signal }: DumpOptions,
): { nrPromised: number; nrReadable: number } | undefined {
  let [nrPromised, nrReadable] = [0, 0];
  for (const [thinId, rootNr] of roots) {
    let tree = trees.get(rootNr);
    if (tree === undefined) {
      const census = new MappingCensus(reader, signal);
      const isWhole = census.visit(rootNr);
      tree = { isWhole, nrMappings: census.count(rootNr, () => {}) };
      trees.set(rootNr, tree);
    }
    const promised = Number(details.get(thinId)?.mappedBlocks ?? 0n);
    if (tree.nrMappings > promised || (tree.isWhole && tree.nrMappings < promised)) return undefined;
    nrPromised += promised;
    nrReadable += tree.nrMappings;
  }
  return { nrPromised, nrReadable };
}

function guessSuperblock(reader: NodeReader, { details, roots }: Pair, dataBlockSize: number): PoolRoots['superblock'] {
  const census = new MappingCensus(reader, undefined);
  for (const rootNr of new Set(roots.values())) census.visit(rootNr);
  let time = census.latestTime;
  let transactionId = 0n;
  for (const record of details.values()) {
    time = Math.max(time, record.creationTime, record.snapshottedTime);
    if (record.transactionId >= transactionId) transactionId = record.transactionId + 1n;
  }
  const nrDataBlocks = BigInt(census.highestDataBlock + 1);
  return { time, transactionId, needsCheck: false, version: THIN_VERSION, dataBlockSize, nrDataBlocks };
}
