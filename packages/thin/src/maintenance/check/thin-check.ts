/**
 * The check of a pool's metadata, start to end: reads only, each block once, and says everything it can.
 *
 * Order, and why:
 *   1. superblock, and the metadata snapshot's, if there is one
 *   2. index of the data space map: how many data blocks can be counted at all, whatever the superblock claims
 *   3. details tree and top level of the mapping tree: small, and they name the devices
 *   4. the mapping trees: nearly all of the metadata; counts references to metadata blocks and data blocks as it goes
 *   5. the space maps against these counts: the data map, then the metadata map, which counts the data map's blocks too
 *
 * Counts are compared only when every tree was found whole. Behind an unreadable node are references that nobody can count;
 * what they refer to would look leaked, and freeing it would lose it.
 *
 * Memory: some 40 bytes per metadata block, one byte per data block in use; nothing per mapping.
 *
 * Which findings are fatal, and what the real tools say to the same damage: docs/format/tools.md, sections 2 and 8.
 */
import type { MetadataDevice } from '@pdata/device';
import { MAX_METADATA_BLOCKS } from '@pdata/persistent-data';
import type { WorkOptions } from '@pdata/persistent-data/maintenance';
import {
  BlockCensus,
  BlockReader,
  DataSpaceMapAudit,
  DEFAULT_MAX_FINDINGS,
  Findings,
  MetadataSpaceMapAudit,
  NodeNotes,
  ProgressMeter,
  ReferenceCounts,
  Role,
} from '@pdata/persistent-data/maintenance';
import { NEEDS_CHECK, type ThinSuperblock } from '../../format/superblock.js';
import { NoMetadataSnapshotError } from '../no-metadata-snapshot-error.js';
import { POOL_WORDS, type ThinCheckContext, ThinRole } from './check-context.js';
import type { CheckFinding, CheckNotice, ThinFindings } from './findings.js';
import { PoolTrees, type TreePair, treePairOf } from './pool-trees.js';
import { checkHeldSuperblock, checkSuperblock } from './superblock-check.js';

export interface CheckOptions extends WorkOptions {
  /** Look at the superblock, nothing else. */
  readonly superblockOnly?: boolean;
  /** Check the list of devices, but neither their mappings nor the space maps. */
  readonly skipMappings?: boolean;
  /** Check the metadata snapshot instead of the pool; no space maps. The only check of a pool in use that means anything. */
  readonly metadataSnapshot?: boolean;
  /** Use this block as root of the mapping tree, instead of the superblock's. */
  readonly mappingRoot?: number;
  /** Use this block as root of the details tree, instead of the superblock's. */
  readonly detailsRoot?: number;
  /** Findings (and notices) to be told in words; default 1000. All are counted. */
  readonly maxFindings?: number;
}

export interface CheckSummary {
  /** No findings of any severity. Notices do not count. */
  readonly clean: boolean;
  /** Findings of severity fatal, told or not. */
  readonly fatal: number;
  /** Findings of severity shape, told or not. */
  readonly shape: number;
  /** Leaked blocks. */
  readonly leaks: { readonly data: number; readonly metadata: number };
  /** Findings that were counted but not told, because there were more than `maxFindings`. */
  readonly findingsLeftOut: number;
  /** What is odd, but harms nobody and decides nothing. */
  readonly notices: readonly CheckNotice[];
  /** The pool's flag: the kernel does not write to the pool until it is cleared. */
  readonly needsCheck: boolean;
  /** Whether the counts of both space maps were compared with the references found. */
  readonly countsVerified: boolean;
  /** Missing when the superblock cannot be read. */
  readonly transactionId?: bigint;
  /** Free blocks of the metadata device, as the superblock has it; missing when it cannot be read. */
  readonly metadataFreeBlocks?: number;
  /** Thin devices found (in the metadata snapshot, if that was checked). */
  readonly nrDevices: number;
  /** Mappings of all of them; a mapping that devices share counts for each. */
  readonly nrMappings: number;
}

/**
 * Checks a pool's metadata without writing to it. Yields what is wrong as it is found, and returns a summary.
 *
 * Damage of any kind is a finding, never an exception: bad blocks, blocks that cannot be read, trees that run in circles.
 * Time and memory are bounded by the size of the device.
 *
 * @throws {@link NoMetadataSnapshotError} when `metadataSnapshot` is asked for and the pool holds none
 * @throws the reason of `signal`, when it is aborted
 */
export function* checkThin(
  device: MetadataDevice,
  options: CheckOptions = {},
): Generator<CheckFinding, CheckSummary, undefined> {
  return yield* new ThinCheck(device, options).run();
}

/** One check. What it learned stays, for a repair. */
export class ThinCheck {
  readonly reader: BlockReader;
  readonly findings: ThinFindings;
  superblock: ThinSuperblock | undefined = undefined;
  data: DataSpaceMapAudit | undefined = undefined;
  metadata: MetadataSpaceMapAudit | undefined = undefined;
  readonly #options: CheckOptions;
  readonly #meter: ProgressMeter;
  #trees: PoolTrees | undefined;
  #countsVerified = false;
  /** The metadata snapshot's superblock cannot be used, so what it refers to is not known. */
  #isSnapshotLost = false;

  constructor(device: MetadataDevice, options: CheckOptions) {
    this.#options = options;
    this.reader = new BlockReader(device);
    this.findings = new Findings(options.maxFindings ?? DEFAULT_MAX_FINDINGS);
    this.#meter = new ProgressMeter(options);
  }

  *run(): Generator<CheckFinding, CheckSummary, undefined> {
    this.#meter.stage('superblock', 1);
    const superblock = checkSuperblock(this.reader, this.findings);
    this.superblock = superblock;
    if (superblock !== undefined) {
      if (this.#options.metadataSnapshot === true && superblock.heldRoot === 0) {
        throw new NoMetadataSnapshotError(`${this.reader.device.name} holds no metadata snapshot`);
      }
      if (this.#options.superblockOnly !== true) yield* this.#checkAll(superblock);
    }
    yield* this.findings.drain();
    return this.#summary();
  }

  *#checkAll(superblock: ThinSuperblock): Generator<CheckFinding, void> {
    const { skipMappings = false, metadataSnapshot = false } = this.#options;
    const { dataSpaceMap, metadataSpaceMap, time } = superblock;
    const context = this.#newContext(metadataSpaceMap.nrBlocks);
    context.census.reach(0, Role.superblock, false, {
      structure: 'thin superblock',
      blockNr: 0,
      effect: '',
      nextStep: '',
    });
    const pairs = this.#treePairs(superblock, context);
    yield* this.findings.drain();

    const isFull = !skipMappings && !metadataSnapshot;
    const data = isFull ? new DataSpaceMapAudit(context, dataSpaceMap) : undefined;
    if (data !== undefined) yield* data.readIndex();
    const counts = data?.counts ?? new ReferenceCounts(0, 0);
    const trees = new PoolTrees(context, counts, dataSpaceMap.nrBlocks, skipMappings);
    this.#trees = trees;
    yield* trees.checkDevices(pairs);
    if (skipMappings) return;
    yield* trees.checkMappings(pairs, metadataSnapshot ? 0 : metadataSpaceMap.nrAllocated);
    trees.noticeTimes(time);
    if (data === undefined) return;

    const isWhole = trees.isWhole && context.census.nrRefused === 0 && !this.#isSnapshotLost;
    yield* data.check(isWhole);
    const metadata = new MetadataSpaceMapAudit(context, metadataSpaceMap);
    yield* metadata.check(isWhole && data.nrBad === 0);
    this.data = data;
    this.metadata = metadata;
    this.#countsVerified = isWhole && data.isWhole && metadata.isWhole;
    if (!this.#countsVerified) {
      this.findings.addNotice({
        structure: 'space maps',
        message: 'the reference counts were not compared, because not all references to blocks could be found',
        effect: 'There may be wrong counts and leaks besides what was found.',
        nextStep: 'Put the rest right first, then check again.',
      });
    }
  }

  #newContext(nrBlocks: number): ThinCheckContext {
    const known = Math.max(1, Math.min(nrBlocks, this.reader.device.nrBlocks, MAX_METADATA_BLOCKS));
    return {
      reader: this.reader,
      findings: this.findings,
      meter: this.#meter,
      census: new BlockCensus(known, this.findings),
      notes: new NodeNotes(known),
      words: POOL_WORDS,
    };
  }

  /** The trees to check: the pool's, the metadata snapshot's, or both. */
  #treePairs(superblock: ThinSuperblock, { census }: ThinCheckContext): TreePair[] {
    const { metadataSnapshot = false, mappingRoot, detailsRoot } = this.#options;
    const pairs: TreePair[] = [];
    if (!metadataSnapshot) {
      const own = treePairOf(superblock, 0);
      pairs.push({
        ...own,
        mappingRoot: mappingRoot ?? own.mappingRoot,
        detailsRoot: detailsRoot ?? own.detailsRoot,
        given: [
          ...(mappingRoot === undefined ? [] : (['mappingRoot'] as const)),
          ...(detailsRoot === undefined ? [] : (['detailsRoot'] as const)),
        ],
      });
    }
    const { heldRoot } = superblock;
    if (heldRoot === 0) return pairs;
    const reached = census.reach(heldRoot, ThinRole.metadataSnapshot, false, {
      structure: 'metadata snapshot',
      blockNr: 0,
      effect: 'What the metadata snapshot holds cannot be read, nor released.',
      nextStep:
        'Restore a backup of the metadata, or save what can be read: thin_dump --repair, then thin_restore to another device.',
    });
    const held = reached === 'first' ? checkHeldSuperblock(this.reader, heldRoot, this.findings) : undefined;
    if (held === undefined) this.#isSnapshotLost = true;
    else pairs.push(treePairOf(held, heldRoot));
    return pairs;
  }

  #summary(): CheckSummary {
    const { findings, superblock } = this;
    const { fatal, shape, leaks } = findings;
    return {
      clean: fatal === 0 && shape === 0 && leaks.data === 0 && leaks.metadata === 0,
      fatal,
      shape,
      leaks: { ...leaks },
      findingsLeftOut: findings.leftOut,
      notices: findings.notices,
      needsCheck: superblock !== undefined && (superblock.flags & NEEDS_CHECK) !== 0,
      countsVerified: this.#countsVerified,
      ...(superblock !== undefined && {
        transactionId: superblock.transactionId,
        metadataFreeBlocks: superblock.metadataSpaceMap.nrBlocks - superblock.metadataSpaceMap.nrAllocated,
      }),
      nrDevices: this.#trees?.nrDevices ?? 0,
      nrMappings: this.#trees?.nrMappings ?? 0,
    };
  }
}
