/**
 * The check of a clone's metadata, start to end: reads only, each block once, and says everything it can.
 *
 * Order: superblock; the bitset (index tree, array blocks), which counts references to metadata blocks as it goes; the space map
 * against these counts. In a clone nothing is ever shared, so every count is 1.
 *
 * Counts are compared only when the bitset was found whole: behind an unreadable node are references that nobody can count.
 *
 * What a checker may find, and how bad it is: docs/format/clone.md, section 11.
 */
import type { MetadataDevice } from '@pdata/device';
import { ARRAY_VALUES_AT, type Block, MAX_METADATA_BLOCKS, popCount, wordType } from '@pdata/persistent-data';
import {
  ArrayAudit,
  type ArrayKind,
  BlockCensus,
  BlockReader,
  type CheckContext,
  type CheckFinding,
  type CheckNotice,
  counted,
  DEFAULT_MAX_FINDINGS,
  FIRST_TARGET_ROLE,
  Findings,
  MetadataSpaceMapAudit,
  NodeNotes,
  ProgressMeter,
  Role,
  type WorkOptions,
} from '@pdata/persistent-data/maintenance';
import { nrRegionsFor } from '../../format/limits.js';
import type { CloneSuperblock } from '../../format/superblock.js';
import { BITS_LOST, CLONE_WORDS, RESTORE } from './advice.js';
import { checkSuperblock } from './superblock-check.js';

export interface CheckOptions extends WorkOptions {
  /** Look at the superblock, nothing else. */
  readonly superblockOnly?: boolean;
  /** Sectors; when given, metadata with another region size is a fatal finding, as the kernel would refuse it. */
  readonly regionSize?: number;
  /** Sectors; as `regionSize`, for the size of the whole clone. */
  readonly targetSize?: number;
  /** Use this block as root of the bitset, instead of the superblock's. */
  readonly bitsetRoot?: number;
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
  readonly leaks: { readonly metadata: number };
  /** Findings that were counted but not told, because there were more than `maxFindings`. */
  readonly findingsLeftOut: number;
  /** What is odd, but harms nobody and decides nothing. */
  readonly notices: readonly CheckNotice[];
  /** Whether the counts of the space map were compared with the references found. */
  readonly countsVerified: boolean;
  /** Sectors. This, and what follows, is missing when the superblock cannot be used. */
  readonly regionSize?: number;
  /** Sectors. */
  readonly targetSize?: number;
  readonly nrRegions?: number;
  /** Free blocks of the metadata device, as the superblock has it. */
  readonly metadataFreeBlocks?: number;
  /** Hydrated regions found; those of {@link nrUnreadable} are not in it. Missing with `superblockOnly`, and when no bit can be read. */
  readonly nrHydrated?: number;
  /** Regions whose bits cannot be read, so that nobody knows whether they are hydrated. Missing with `superblockOnly`. */
  readonly nrUnreadable?: number;
}

/**
 * Checks a clone's metadata without writing to it. Yields what is wrong as it is found, and returns a summary.
 *
 * Damage of any kind is a finding, never an exception: bad blocks, blocks that cannot be read, trees that run in circles. Time
 * and memory are bounded by the size of the device.
 *
 * @throws the reason of `signal`, when it is aborted
 */
export function* checkClone(
  device: MetadataDevice,
  options: CheckOptions = {},
): Generator<CheckFinding, CheckSummary, undefined> {
  return yield* new CloneCheck(device, options).run();
}

const BITSET: ArrayKind = {
  structure: 'hydration bitset',
  indexRole: { id: FIRST_TARGET_ROLE, name: 'node of the bitset index' },
  blockRole: { id: FIRST_TARGET_ROLE + 1, name: 'array block of the bitset' },
  valueSize: wordType.size,
  effect: BITS_LOST,
  nextStep: RESTORE,
};

/** One check. What it learned stays, for a repair. */
export class CloneCheck {
  readonly reader: BlockReader;
  readonly findings: Findings;
  superblock: CloneSuperblock | undefined = undefined;
  metadata: MetadataSpaceMapAudit | undefined = undefined;
  readonly #options: CheckOptions;
  readonly #meter: ProgressMeter;
  /** Regions whose bits were read; undefined before. */
  #nrRead: number | undefined = undefined;
  #nrHydrated = 0;
  #nrPastEnd = 0;
  #countsVerified = false;

  constructor(device: MetadataDevice, options: CheckOptions) {
    this.#options = options;
    this.reader = new BlockReader(device);
    this.findings = new Findings(options.maxFindings ?? DEFAULT_MAX_FINDINGS);
    this.#meter = new ProgressMeter(options);
  }

  *run(): Generator<CheckFinding, CheckSummary, undefined> {
    this.#meter.stage('superblock', 1);
    this.superblock = checkSuperblock(this.reader, this.findings, this.#options);
    if (this.superblock !== undefined && this.#options.superblockOnly !== true) yield* this.#checkAll(this.superblock);
    yield* this.findings.drain();
    return this.#summary();
  }

  *#checkAll({ metadataSpaceMap, regionSize, targetSize, bitsetRoot }: CloneSuperblock): Generator<CheckFinding, void> {
    const context = this.#newContext(metadataSpaceMap.nrBlocks);
    const { census, findings } = context;
    census.reach(0, Role.superblock, false, { structure: 'clone superblock', blockNr: 0, effect: '', nextStep: '' });
    yield* findings.drain();

    const nrRegions = nrRegionsFor(targetSize, regionSize);
    const { bitsetRoot: givenRoot } = this.#options;
    const bitset = new ArrayAudit(context, BITSET, Math.ceil(nrRegions / 64));
    this.#nrRead = 0;
    yield* bitset.check(givenRoot ?? bitsetRoot, givenRoot === undefined ? 0 : undefined, (block, first, nr) =>
      this.#countBits(block, first, nr, nrRegions),
    );
    this.#noticePastEnd(nrRegions);

    const isWhole = bitset.nrBad === 0 && census.nrRefused === 0;
    const metadata = new MetadataSpaceMapAudit(context, metadataSpaceMap);
    yield* metadata.check(isWhole);
    this.metadata = metadata;
    this.#countsVerified = isWhole && metadata.isWhole;
    if (this.#countsVerified) return;
    findings.addNotice({
      structure: 'metadata space map',
      message: 'the reference counts were not compared, because not all references to blocks could be found',
      effect: 'There may be wrong counts and leaks besides what was found.',
      nextStep: 'Put the rest right first, then check again.',
    });
  }

  #newContext(nrBlocks: number): CheckContext {
    const known = Math.max(1, Math.min(nrBlocks, this.reader.device.nrBlocks, MAX_METADATA_BLOCKS));
    return {
      reader: this.reader,
      findings: this.findings,
      meter: this.#meter,
      census: new BlockCensus(known, this.findings),
      notes: new NodeNotes(known),
      words: CLONE_WORDS,
    };
  }

  #countBits({ view }: Block, firstWord: number, nrWords: number, nrRegions: number): void {
    let nr = 0;
    for (let half = 0; half < 2 * nrWords; half++) {
      const bits = view.getUint32(ARRAY_VALUES_AT + 4 * half, true);
      const nrLeft = nrRegions - (64 * firstWord + 32 * half);
      const valid = nrLeft >= 32 ? 0xffffffff : nrLeft <= 0 ? 0 : (1 << nrLeft) - 1;
      nr += popCount(bits & valid);
      this.#nrPastEnd += popCount(bits & ~valid);
    }
    this.#nrHydrated += nr;
    this.#nrRead = (this.#nrRead ?? 0) + Math.max(0, Math.min(64 * nrWords, nrRegions - 64 * firstWord));
  }

  #noticePastEnd(nrRegions: number): void {
    if (this.#nrPastEnd === 0) return;
    this.findings.addNotice({
      structure: BITSET.structure,
      message: `${counted(this.#nrPastEnd, 'bit')} behind the last of ${counted(nrRegions, 'region')} ${this.#nrPastEnd === 1 ? 'is' : 'are'} set`,
      effect: 'None: nobody looks at them, and a clone never grows.',
      nextStep: 'Nothing needs to be done.',
    });
  }

  #summary(): CheckSummary {
    const { findings, superblock } = this;
    const { fatal, shape, leaks } = findings;
    const nrRegions = superblock === undefined ? 0 : nrRegionsFor(superblock.targetSize, superblock.regionSize);
    const nrRead = this.#nrRead;
    return {
      clean: fatal === 0 && shape === 0 && leaks.metadata === 0,
      fatal,
      shape,
      leaks: { metadata: leaks.metadata },
      findingsLeftOut: findings.leftOut,
      notices: findings.notices,
      countsVerified: this.#countsVerified,
      ...(superblock !== undefined && {
        regionSize: superblock.regionSize,
        targetSize: superblock.targetSize,
        nrRegions,
        metadataFreeBlocks: superblock.metadataSpaceMap.nrBlocks - superblock.metadataSpaceMap.nrAllocated,
      }),
      ...(nrRead !== undefined && nrRead > 0 && { nrHydrated: this.#nrHydrated }),
      ...(nrRead !== undefined && { nrUnreadable: nrRegions - nrRead }),
    };
  }
}
