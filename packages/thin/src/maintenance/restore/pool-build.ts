/**
 * Builds a pool's metadata from what its XML says, as it says it: mappings go straight into leaves (mapping-leaves.ts), leaves
 * into trees (mapping-roots.ts); the upper trees, the space maps and the superblock follow when all has been read.
 *
 * Refused: virtual blocks that do not ascend, data blocks outside the device, a `mapped_blocks` that is not the number of
 * mappings (neither real version notices; the kernel would believe it), a device or part that occurs twice, a reference to a
 * part that was not defined before.
 *
 * The result is version 2 metadata with fresh space maps, no flags and no metadata snapshot.
 *
 * Format: docs/format/thin.md, sections 1 and 2.
 */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';
import {
  type Block,
  buildTree,
  createTransactionManager,
  NoSpaceError,
  nrBitmapsFor,
  type TransactionManager,
  type ValueType,
} from '@pdata/persistent-data';
import { ContentProblem } from '@pdata/persistent-data/maintenance';
import { type DeviceDetails, deviceDetailsType } from '../../format/device-details.js';
import { THIN_VERSION, thinSuperblockValidator, writeThinSuperblock } from '../../format/superblock.js';
import { DataCounts } from './data-counts.js';
import { buildDataSpaceMap } from './data-space-map-build.js';
import { type MappingLeaf, MappingLeaves } from './mapping-leaves.js';
import { MappingRoots } from './mapping-roots.js';
import { dataBlockSizeProblem, type RestoreOptions, type RestoreSummary } from './restore-options.js';
import type { ThinXmlHandler, XmlDevice, XmlSuperblock } from './thin-xml-reader.js';

/** Small: leaves are written once and hardly ever read again. */
const CACHE_BLOCKS = 2048;

interface BuiltDevice {
  readonly thinId: number;
  readonly rootNr: number;
  readonly details: DeviceDetails;
}

export class PoolBuild implements ThinXmlHandler {
  readonly #device: MetadataDevice;
  readonly #options: RestoreOptions;
  // Made when the superblock is known; the reader tells it before anything else.
  #tm!: TransactionManager;
  #counts!: DataCounts;
  #roots!: MappingRoots;
  #superblock!: XmlSuperblock;

  readonly #defs = new Map<string, readonly MappingLeaf[]>();
  readonly #built: BuiltDevice[] = [];
  readonly #thinIds = new Set<number>();
  /** What the element that is open becomes. */
  #leaves!: MappingLeaves;
  #deviceLeaves!: MappingLeaves;
  #defLeaves!: MappingLeaves;
  #defName = '';
  #xmlDevice!: XmlDevice;
  #nrDataBlocks = 0;
  #nrMappings = 0;
  #latestTime = 0;

  constructor(device: MetadataDevice, options: RestoreOptions) {
    this.#device = device;
    this.#options = options;
  }

  beginSuperblock(superblock: XmlSuperblock): void {
    if (this.#options.dataBlockSize === undefined) {
      const problem = dataBlockSizeProblem(superblock.dataBlockSize);
      if (problem) throw new ContentProblem(problem);
    }
    this.#superblock = superblock;
    this.#nrDataBlocks = Math.max(superblock.nrDataBlocks, this.#options.nrDataBlocks ?? 0);
    this.#refuseTooManyDataBlocks();
    this.#tm = createTransactionManager(this.#device, { cacheBlocks: CACHE_BLOCKS });
    this.#counts = new DataCounts(this.#nrDataBlocks);
    this.#roots = new MappingRoots(this.#tm);
    this.#deviceLeaves = new MappingLeaves(this.#tm, this.#counts, false);
    this.#defLeaves = new MappingLeaves(this.#tm, this.#counts, true);
  }

  /** Before memory is taken for their counts: a bitmap block is needed for every 16 320 of them. */
  #refuseTooManyDataBlocks(): void {
    const nrBitmaps = nrBitmapsFor(this.#nrDataBlocks);
    if (nrBitmaps < this.#device.nrBlocks) return;
    throw new NoSpaceError('metadata', `the bitmaps of ${this.#nrDataBlocks} data blocks need ${nrBitmaps} blocks`);
  }

  beginDef(name: string): void {
    if (this.#defs.has(name)) throw new ContentProblem(`<def> '${name}' occurs twice`);
    this.#defName = name;
    this.#leaves = this.#defLeaves;
  }

  endDef(): void {
    this.#defs.set(this.#defName, this.#leaves.finish());
  }

  beginDevice(device: XmlDevice): void {
    if (this.#thinIds.has(device.thinId)) throw new ContentProblem(`thin device ${device.thinId} occurs twice`);
    this.#thinIds.add(device.thinId);
    this.#xmlDevice = device;
    this.#leaves = this.#deviceLeaves;
  }

  endDevice(): void {
    const { thinId, ...details } = this.#xmlDevice;
    const { nrMappings } = this.#leaves;
    if (details.mappedBlocks !== nrMappings) {
      throw new ContentProblem(
        `thin device ${thinId} ends with ${nrMappings} mapped blocks, but its mapped_blocks is ${details.mappedBlocks}: is the XML complete?`,
      );
    }
    this.#nrMappings += nrMappings;
    this.#built.push({ thinId, rootNr: this.#roots.rootOf(this.#leaves.finish()), details });
  }

  mappings(origin: number, data: number, length: number, time: number): void {
    if (origin <= this.#leaves.lastKey) {
      throw new ContentProblem(
        `virtual block ${origin} does not come after ${this.#leaves.lastKey}, the one before: they must ascend and not overlap`,
      );
    }
    if (data + length > this.#nrDataBlocks) {
      throw new ContentProblem(
        `data block ${data + length - 1} is outside the data device, which has ${this.#nrDataBlocks} (nr_data_blocks)`,
      );
    }
    if (time > this.#latestTime) this.#latestTime = time;
    this.#leaves.add(origin, data, length, time);
  }

  ref(name: string): void {
    const leaves = this.#defs.get(name);
    if (leaves === undefined) {
      throw new ContentProblem(`<ref> to '${name}', which no <def> before it defines`);
    }
    const firstKey = leaves[0]?.firstKey ?? -1;
    if (firstKey >= 0 && firstKey <= this.#leaves.lastKey) {
      throw new ContentProblem(
        `<ref> to '${name}', which begins at virtual block ${firstKey}, not after ${this.#leaves.lastKey}, the one before`,
      );
    }
    this.#leaves.adopt(leaves);
  }

  endSuperblock(): void {
    // All that is left needs the whole text to have been read: `commit`.
  }

  /** Space maps, the two upper trees, and last the superblock. */
  commit(): RestoreSummary {
    const tm = this.#tm;
    const nrUnused = this.#roots.settle(this.#sharedLeaves(), this.#counts);
    const warnings = this.#warnings(nrUnused);
    const superblock = this.#superblock;
    const dataSpaceMap = buildDataSpaceMap(tm, this.#counts);
    this.#built.sort((a, b) => a.thinId - b.thinId);
    const mappingRoot = buildTree(
      tm,
      rootType,
      this.#built.map(({ thinId, rootNr }) => [thinId, rootNr] as const),
    ).root;
    const detailsRoot = buildTree(
      tm,
      deviceDetailsType,
      this.#built.map(({ thinId, details }) => [thinId, details] as const),
    ).root;
    tm.preCommit();
    const fill = (block: Block): void =>
      writeThinSuperblock(block, {
        flags: 0,
        uuid: new Uint8Array(16),
        version: THIN_VERSION,
        time: superblock.time,
        transactionId: larger(superblock.transactionId, this.#options.transactionId ?? 0n),
        heldRoot: 0,
        dataSpaceMap,
        metadataSpaceMap: tm.spaceMap.root,
        mappingRoot,
        detailsRoot,
        dataBlockSize: this.#options.dataBlockSize ?? superblock.dataBlockSize,
        metadataBlockSize: BLOCK_SIZE / 512,
        metadataNrBlocks: tm.spaceMap.nrBlocks,
        compatFlags: 0,
        compatRoFlags: 0,
        incompatFlags: 0,
      });
    tm.commit(thinSuperblockValidator, fill, { formatting: true });
    return {
      nrDevices: this.#built.length,
      nrMappings: this.#nrMappings,
      nrMetadataBlocks: tm.spaceMap.nrAllocated,
      warnings,
    };
  }

  /** What neither real version minds, and the kernel would take as it is. */
  #warnings(nrUnused: number): string[] {
    const warnings: string[] = [];
    const { time } = this.#superblock;
    if (nrUnused > 0) warnings.push(`${nrUnused} mappings in <def> elements belong to no device and were left out`);
    if (this.#latestTime > time) {
      warnings.push(
        `the pool's time is ${time}, but there are mappings of time ${this.#latestTime}: ` +
          `they are never taken as shared, so a snapshot may be overwritten`,
      );
    }
    const isAhead = ({ details }: BuiltDevice): boolean =>
      details.creationTime > time || details.snapshottedTime > time;
    const ahead = this.#built.filter(isAhead).map(({ thinId }) => thinId);
    if (ahead.length > 0) {
      const which = `${ahead.slice(0, 5).join(', ')}${ahead.length > 5 ? ` and ${ahead.length - 5} more` : ''}`;
      warnings.push(
        `the pool's time is ${time}, but thin device ${which} has a later one: ` +
          `what is written to it may be copied without need`,
      );
    }
    return warnings;
  }

  *#sharedLeaves(): Generator<MappingLeaf> {
    const seen = new Set<MappingLeaf>();
    for (const leaves of this.#defs.values()) {
      for (const leaf of leaves) {
        if (seen.has(leaf)) continue; // a part may refer to another
        seen.add(leaf);
        yield leaf;
      }
    }
  }
}

/** The root of a device's tree, as a value of the upper tree. */
const rootType: ValueType<number> = {
  size: 8,
  decode: (view, at) => Number(view.getBigUint64(at, true)),
  encode: (view, at, rootNr) => view.setBigUint64(at, BigInt(rootNr), true),
};

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
