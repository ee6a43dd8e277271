/**
 * The trees that hang from a superblock: details, top level, and a mapping tree per device; those of the pool and of its
 * metadata snapshot together, since they share most of their nodes.
 *
 * Format: docs/format/thin.md, sections 2, 5 and 12.
 */
import { type Block, CHILD_SIZE } from '@pdata/persistent-data';
import type { PointerSource, ReferenceCounts } from '@pdata/persistent-data/maintenance';
import { approximately, counted, NumberList, type TreeKind, TreeWalker } from '@pdata/persistent-data/maintenance';
import { MAX_TIME } from '../../format/block-time.js';
import { DEVICE_DETAILS_SIZE } from '../../format/device-details.js';
import { MAX_THIN_ID } from '../../format/limits.js';
import type { ThinSuperblock } from '../../format/superblock.js';
import { type ThinCheckContext, ThinRole } from './check-context.js';
import { type DeviceEntry, DeviceTable } from './device-table.js';
import type { CheckFinding } from './findings.js';
import { MappingLeaves } from './mapping-leaves.js';

const RESTORE =
  'Restore a backup of the metadata, or save what can be read: thin_dump --repair, then thin_restore to another device.';
/** Of a root that the caller gave: this says nothing about the pool. */
const NOT_CHECKED = 'This tree was not checked; the pool itself may be sound.';
const GIVE_ANOTHER_ROOT =
  "Give the block of the tree's root node, or leave the root out to check the superblock's own.";

const DETAILS: TreeKind = {
  structure: 'device details tree',
  role: ThinRole.detailsNode,
  valueSize: DEVICE_DETAILS_SIZE,
  isShareable: true,
  effect: 'The thin devices recorded there cannot be activated.',
  nextStep: RESTORE,
};
const TOP: TreeKind = {
  structure: 'top-level mapping tree',
  role: ThinRole.topNode,
  valueSize: CHILD_SIZE,
  isShareable: true,
  effect: 'The mappings of the thin devices listed there cannot be found: all their data is out of reach.',
  nextStep: RESTORE,
};
const MAPPINGS: TreeKind = {
  structure: 'mapping tree',
  role: ThinRole.mappingNode,
  valueSize: CHILD_SIZE,
  isShareable: true,
  effect: 'The mappings there cannot be found: that part of the thin devices concerned cannot be read.',
  nextStep: RESTORE,
};

/** The trees below one superblock. */
export interface TreePair {
  /** The block that holds the two roots: 0, or the metadata snapshot's. */
  readonly blockNr: number;
  readonly detailsRoot: number;
  readonly mappingRoot: number;
  /** Which of them the caller gave, so that no block holds them. */
  readonly given: readonly RootName[];
}

export type RootName = 'detailsRoot' | 'mappingRoot';

export class PoolTrees {
  nrDevices = 0;
  nrMappings = 0;
  readonly #context: ThinCheckContext;
  readonly #table = new DeviceTable();
  readonly #leaves: MappingLeaves;
  readonly #details: TreeWalker;
  readonly #top: TreeWalker;
  readonly #mappings: TreeWalker;
  readonly #deviceRoots = new NumberList();
  /** Roots of the details trees and of the top levels that were found whole. */
  readonly #wholeDetails = new Set<number>();
  readonly #wholeTops = new Set<number>();
  /** Nodes that cannot be used, pointers to nowhere, devices that only one tree knows. */
  #nrBad = 0;

  /**
   * @param counts where references to data blocks are counted
   * @param skipMappings stop at the top level: the devices' own trees are not even reached
   */
  constructor(context: ThinCheckContext, counts: ReferenceCounts, nrDataBlocks: number, skipMappings: boolean) {
    this.#context = context;
    this.#leaves = new MappingLeaves(counts, nrDataBlocks, context.findings);
    const { advance } = context.meter;
    this.#details = new TreeWalker(context, DETAILS, (leaf, nr) => this.#table.addDetailsLeaf(leaf, nr), advance);
    this.#top = new TreeWalker(
      context,
      TOP,
      (leaf, nr) =>
        this.#table.addTopLeaf(leaf, nr, (thinId, root) => skipMappings || this.#reachDevice(leaf, thinId, root)),
      advance,
    );
    this.#mappings = new TreeWalker(context, MAPPINGS, (leaf, nr) => this.#leaves.count(leaf, nr), advance);
  }

  /** Walks and compares the details trees and the top levels. */
  *checkDevices(pairs: readonly TreePair[]): Generator<CheckFinding, void> {
    this.#context.meter.stage('device details tree', 0);
    yield* walkRoots(this.#details, DETAILS, pairs, 'detailsRoot');
    for (const { detailsRoot } of pairs) yield* this.#settle(this.#details, detailsRoot, this.#wholeDetails);
    this.#context.meter.stage('mapping tree', 0);
    yield* walkRoots(this.#top, TOP, pairs, 'mappingRoot');
    for (const { mappingRoot } of pairs) yield* this.#settle(this.#top, mappingRoot, this.#wholeTops);
    for (const pair of pairs) {
      for (const device of this.#devices(pair)) {
        if (pair.blockNr === 0 || pairs.length === 1) this.nrDevices++;
        this.#compareTrees(device, pair);
      }
      yield* this.#context.findings.drain();
    }
    this.#noticeTimesAndIds();
  }

  /** Walks the devices' own trees, and compares their number of mappings with the details. */
  *checkMappings(pairs: readonly TreePair[], nrBlocksExpected: number): Generator<CheckFinding, void> {
    this.#context.meter.stage('mapping tree', nrBlocksExpected);
    yield* this.#mappings.walk(this.#deviceRoots);
    for (const pair of pairs) {
      for (const device of this.#devices(pair)) {
        const nr = yield* this.#checkDevice(device, pair);
        if (pair.blockNr === 0 || pairs.length === 1) this.nrMappings += nr;
      }
    }
  }

  noticeTimes(poolTime: number): void {
    const latest = Math.max(this.#leaves.latestTime, this.#table.latestTime);
    if (latest <= poolTime || poolTime >= MAX_TIME) return;
    this.#context.findings.addNotice({
      structure: 'mapping tree',
      message: `a mapping or a device carries the time ${latest}, but the pool's own time is ${poolTime}`,
      effect:
        'Until the pool has caught up, a new snapshot would not be protected from writes to the blocks concerned.',
      nextStep: 'Dump the metadata, raise the time in the superblock element, and restore it.',
    });
  }

  /** Whether every tree was found whole. */
  get isWhole(): boolean {
    return this.#nrBad === 0 && this.#leaves.nrOutside === 0;
  }

  #reachDevice(leaf: Block, thinId: number, root: number): boolean {
    const source: PointerSource = {
      structure: TOP.structure,
      blockNr: leaf.nr,
      effect: `All data of thin device ${thinId} is out of reach.`,
      nextStep: RESTORE,
    };
    return this.#mappings.addRoot(root, source, this.#deviceRoots);
  }

  *#settle(walker: TreeWalker, root: number, whole: Set<number>): Generator<CheckFinding, void> {
    const nrBad = walker.knows(root) ? (yield* walker.settle(root)).nrBad : 1;
    this.#nrBad += nrBad;
    if (nrBad === 0) whole.add(root);
  }

  #devices({ detailsRoot, mappingRoot }: TreePair): Generator<DeviceEntry, void> {
    return this.#table.devices(
      this.#wholeDetails.has(detailsRoot) ? { walker: this.#details, root: detailsRoot } : undefined,
      this.#wholeTops.has(mappingRoot) ? { walker: this.#top, root: mappingRoot } : undefined,
    );
  }

  #compareTrees({ thinId, mappedBlocks, root }: DeviceEntry, { blockNr, detailsRoot, mappingRoot }: TreePair): void {
    if (mappedBlocks !== undefined && root !== undefined) return;
    // A damaged tree was told as such; what it lacks follows from that.
    if (!this.#wholeDetails.has(detailsRoot) || !this.#wholeTops.has(mappingRoot)) return;
    this.#nrBad++;
    this.#context.findings.addFatal(() => ({
      structure: blockNr === 0 ? 'thin devices' : 'metadata snapshot',
      blockNr,
      thinId,
      message:
        mappedBlocks === undefined
          ? `thin device ${thinId} has mappings, but no entry in the device details tree`
          : `thin device ${thinId} has an entry in the device details tree, but no mapping tree`,
      effect:
        mappedBlocks === undefined
          ? 'It cannot be activated, and its space cannot be freed.'
          : 'The kernel fails on it, and everything it held is out of reach.',
      nextStep: RESTORE,
    }));
  }

  *#checkDevice({ thinId, mappedBlocks, root }: DeviceEntry, pair: TreePair): Generator<CheckFinding, number> {
    if (root === undefined) return 0;
    const known = root !== 0 && this.#mappings.knows(root);
    const { nrEntries, nrBad } = known ? yield* this.#mappings.settle(root) : { nrEntries: 0, nrBad: 1 };
    this.#nrBad += nrBad;
    if (nrBad === 0 && (mappedBlocks === undefined || nrEntries === mappedBlocks)) return nrEntries;
    const whose = pair.blockNr === 0 ? '' : ' of the metadata snapshot';
    const expected = mappedBlocks === undefined ? 'an unknown number' : mappedBlocks;
    this.#context.findings.addFatal(() => ({
      structure: 'mapping tree',
      thinId,
      message:
        nrBad === 0
          ? `thin device ${thinId}${whose} has ${counted(nrEntries, 'mapping')}, but its details say ${mappedBlocks}`
          : `the mappings of thin device ${thinId}${whose} are damaged in ${counted(nrBad, 'place')}: ` +
            `${nrEntries} of ${expected} can be found for sure`,
      effect:
        nrBad === 0
          ? 'Mappings were lost or are not its own; its use of space is reported wrongly.'
          : 'Where the mappings are lost, its data cannot be read.',
      nextStep: RESTORE,
    }));
    yield* this.#context.findings.drain();
    return nrEntries;
  }

  #noticeTimesAndIds(): void {
    const { largestId } = this.#table;
    if (largestId <= MAX_THIN_ID) return;
    this.#context.findings.addNotice({
      structure: TOP.structure,
      thinId: largestId,
      message: `there is a thin device with the id ${approximately(largestId)}, but ids end at ${MAX_THIN_ID}`,
      effect: 'The kernel cannot activate or delete it.',
      nextStep: 'Dump the metadata, change the id, and restore it.',
    });
  }
}

function* walkRoots(
  walker: TreeWalker,
  kind: TreeKind,
  pairs: readonly TreePair[],
  which: RootName,
): Generator<CheckFinding, void> {
  const layer = new NumberList();
  for (const pair of pairs) {
    const { structure, effect, nextStep } = kind;
    const source: PointerSource = pair.given.includes(which)
      ? { structure, blockNr: undefined, effect: NOT_CHECKED, nextStep: GIVE_ANOTHER_ROOT }
      : { structure, blockNr: pair.blockNr, effect, nextStep };
    walker.addRoot(pair[which], source, layer);
  }
  yield* walker.walk(layer);
}

/** The trees that `superblock`, which lies in block `blockNr`, points to. */
export const treePairOf = (superblock: ThinSuperblock, blockNr: number): TreePair => ({
  blockNr,
  detailsRoot: superblock.detailsRoot,
  mappingRoot: superblock.mappingRoot,
  given: [],
});
