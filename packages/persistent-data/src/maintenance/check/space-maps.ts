/**
 * Finds space maps: a data map's bitmaps by a tree, the metadata map's by one block; and their trees of
 * large counts. All of them are metadata blocks, so their own references are counted on the way.
 *
 * Format: docs/format/space-maps.md, section 1.
 */
import { CorruptBlockError, DeviceError } from '@pdata/device';
import type { Block } from '../../block/block.js';
import { keyAt, valueOffset } from '../../btree/node.js';
import { nrBitmapsFor } from '../../space-map/bitmap.js';
import {
  ENTRIES_PER_INDEX_BLOCK,
  INDEX_ENTRY_SIZE,
  indexBlockValidator,
  indexEntryOffset,
  readIndexEntry,
} from '../../space-map/index-entry.js';
import type { SpaceMapRoot } from '../../space-map/root.js';
import { BitmapComparison, BitmapIndex, type SpaceMapKind } from './bitmap-comparison.js';
import { type PointerSource, Role } from './block-census.js';
import type { CheckContext } from './check-context.js';
import { approximately, type CheckFinding, counted } from './findings.js';
import { NumberList, WideNumberList } from './number-list.js';
import { ReferenceCounts } from './reference-counts.js';
import { type TreeKind, TreeWalker } from './tree-walker.js';

/** Bytes of a count in the tree of large counts. */
const COUNT_SIZE = 4;
const effectOf = (kind: SpaceMapKind): string => `Which ${kind} blocks are free is not known.`;

/** What both maps have in common: a root, an index of bitmaps, the counts found, and what came of comparing them. */
export abstract class SpaceMapAudit {
  readonly index: BitmapIndex;
  /** Set by `check`. */
  comparison: BitmapComparison | undefined = undefined;
  /** Structures (nodes, index entries) that cannot be used: what they refer to was not counted. */
  nrBad = 0;
  abstract readonly counts: ReferenceCounts;
  protected readonly source: PointerSource;

  constructor(
    protected readonly context: CheckContext,
    readonly kind: SpaceMapKind,
    readonly root: SpaceMapRoot,
    readonly nrBitmaps: number,
  ) {
    this.index = new BitmapIndex(nrBitmaps);
    this.source = {
      structure: `${kind} space map`,
      blockNr: 0,
      effect: effectOf(kind),
      nextStep: context.words.countsNextStep,
    };
  }

  /** Whether all of the map could be read. */
  get isWhole(): boolean {
    return this.nrBad === 0 && this.comparison?.nrBadBitmaps === 0;
  }

  protected get structure(): string {
    return `${this.kind} space map`;
  }

  protected fatal(blockNr: number, message: string): void {
    this.nrBad++;
    const { structure, kind } = this;
    this.context.findings.addFatal(() => ({
      structure,
      blockNr,
      message,
      effect: effectOf(kind),
      nextStep: this.context.words.countsNextStep,
    }));
  }

  protected treeKind(role: Role, valueSize: number): TreeKind {
    const { structure, effect, nextStep } = this.source;
    return { structure, role, valueSize, isShareable: false, effect, nextStep };
  }

  /** Takes over the index entry of bitmap `at`, found at byte `offset` of `holder`. */
  protected addIndexEntry(at: number, holder: Block, offset: number, role: Role): void {
    const entry = readIndexEntry(holder.view, offset);
    const reached = this.context.census.reach(entry.blockNr, role, false, { ...this.source, blockNr: holder.nr });
    if (reached !== 'first') {
      this.nrBad++;
      return;
    }
    this.index.blockNrs[at] = entry.blockNr;
    this.index.nrFree[at] = entry.nrFree;
    this.index.noneFreeBefore[at] = entry.noneFreeBefore;
    this.index.holderNrs[at] = holder.nr;
    this.index.holderOffsets[at] = offset;
  }

  /** Walks the tree of large counts; false when it cannot be reached. */
  protected *walkOverflow(walker: TreeWalker): Generator<CheckFinding, void> {
    const { refCountRoot } = this.root;
    const layer = new NumberList();
    if (!walker.addRoot(refCountRoot, this.source, layer)) {
      this.nrBad++;
      return;
    }
    yield* walker.walk(layer);
    const { nrBad } = yield* walker.settle(refCountRoot);
    this.nrBad += nrBad;
  }

  protected newComparison(isComparable: boolean): BitmapComparison {
    const { counts, root, context } = this;
    const comparison = new BitmapComparison(this.kind, {
      nrBlocks: root.nrBlocks,
      counts,
      findings: context.findings,
      words: context.words,
      isComparable,
    });
    this.comparison = comparison;
    return comparison;
  }

  /** Hints that old tools got wrong; see docs/format/space-maps.md, section 8. */
  protected noticeHints(comparison: BitmapComparison): void {
    const { structure, kind, root } = this;
    const { nrWrongHints, nrBehindEnd, nrAllocated } = comparison;
    const harmless = 'Nothing needs to be done; dumping and restoring the metadata would put it right.';
    const notice = (message: string, effect: string, nextStep = harmless): void =>
      this.context.findings.addNotice({ structure, message, effect, nextStep });
    if (nrWrongHints > 0) {
      notice(
        `wrong hints in the index for ${nrWrongHints} of ${counted(this.nrBitmaps, 'bitmap')} (free entries, or where they begin)`,
        'The kernel may overlook free blocks, or look for some where there are none.',
      );
    }
    if (nrAllocated !== root.nrAllocated) {
      notice(
        `${kind} blocks allocated: ${approximately(root.nrAllocated)} by the superblock, but really ${nrAllocated}`,
        'Free space is reported wrongly by as much.',
      );
    }
    if (nrBehindEnd > 0) {
      notice(
        nrBehindEnd === 1
          ? `1 entry behind the last ${kind} block is in use`
          : `${nrBehindEnd} entries behind the last ${kind} block are in use`,
        `None yet. When the ${kind} device grows over them, these blocks are never handed out, and the check fails.`,
        `Dump the metadata and restore it before growing the ${kind} device; until then nothing needs to be done.`,
      );
    }
  }
}

export class DataSpaceMapAudit extends SpaceMapAudit {
  readonly counts: ReferenceCounts;

  constructor(context: CheckContext, root: SpaceMapRoot) {
    // A bitmap is a metadata block: more bitmaps than that cannot be, and memory is not reserved for them.
    const nrBitmaps = Math.min(nrBitmapsFor(root.nrBlocks), context.census.nrBlocks);
    super(context, 'data', root, nrBitmaps);
    this.counts = new ReferenceCounts(root.nrBlocks, nrBitmaps);
  }

  /** Reads the index tree: to be done first, it bounds what can be counted. */
  *readIndex(): Generator<CheckFinding, void> {
    const { bitmapRoot, nrBlocks } = this.root;
    let nrTooMany = 0;
    const walker = new TreeWalker(this.context, this.treeKind(Role.dataIndexNode, INDEX_ENTRY_SIZE), (leaf, nr) => {
      for (let i = 0; i < nr; i++) {
        const at = keyAt(leaf, i);
        if (at < this.nrBitmaps) this.addIndexEntry(at, leaf, valueOffset(leaf, i), Role.dataBitmap);
        else nrTooMany++;
      }
    });
    const layer = new NumberList();
    if (!walker.addRoot(bitmapRoot, this.source, layer)) {
      this.nrBad++;
      return;
    }
    yield* walker.walk(layer);
    const { nrBad } = yield* walker.settle(bitmapRoot);
    this.nrBad += nrBad;
    if (nrTooMany > 0) {
      this.fatal(
        bitmapRoot,
        `the index lists ${counted(nrTooMany, 'bitmap')} too many for the ${counted(nrBlocks, 'data block')} of the ${this.context.words.subject}`,
      );
    }
    // Where part of the index is damaged, what is missing follows from that.
    if (this.nrBad === 0) this.#findMissing();
    yield* this.context.findings.drain();
  }

  *check(isComparable: boolean): Generator<CheckFinding, void> {
    const { meter, reader } = this.context;
    meter.stage('data space map', this.nrBitmaps);
    const comparison = this.newComparison(isComparable && this.nrBad === 0);
    yield* this.walkOverflow(
      new TreeWalker(
        this.context,
        this.treeKind(Role.dataOverflowNode, COUNT_SIZE),
        (leaf, nr) => comparison.compareOverflow(leaf, nr),
        meter.advance,
      ),
    );
    yield* comparison.compareBitmaps(reader, this.index, meter.advance);
    if (this.isWhole) this.noticeHints(comparison);
  }

  #findMissing(): void {
    const nrNeeded = nrBitmapsFor(this.root.nrBlocks);
    const missing = this.index.blockNrs.indexOf(0);
    if (missing < 0 && nrNeeded === this.nrBitmaps) return;
    const nrListed = this.index.blockNrs.reduce((nr, blockNr) => (blockNr === 0 ? nr : nr + 1), 0);
    this.fatal(
      this.root.bitmapRoot,
      `the index lists ${counted(nrListed, 'bitmap')}, but ${nrNeeded} are needed for the ${counted(this.root.nrBlocks, 'data block')} of the ${this.context.words.subject}`,
    );
  }
}

export class MetadataSpaceMapAudit extends SpaceMapAudit {
  constructor(context: CheckContext, root: SpaceMapRoot) {
    super(context, 'metadata', root, nrBitmapsFor(context.census.nrBlocks));
  }

  get counts(): ReferenceCounts {
    return this.context.census.counts;
  }

  /** Last of all: by now every other reference to a metadata block has been counted. */
  *check(isComparable: boolean): Generator<CheckFinding, void> {
    const { meter, reader } = this.context;
    meter.stage('metadata space map', this.nrBitmaps);
    this.#readIndex();
    // The tree's own nodes are counted while it is walked, so its entries wait until it has been.
    const leafNrs = new NumberList();
    const keys = new WideNumberList();
    const counts = new NumberList();
    yield* this.walkOverflow(
      new TreeWalker(this.context, this.treeKind(Role.metadataOverflowNode, COUNT_SIZE), (leaf, nr) => {
        for (let i = 0; i < nr; i++) {
          leafNrs.push(leaf.nr);
          keys.push(keyAt(leaf, i));
          counts.push(leaf.view.getUint32(valueOffset(leaf, i), true));
        }
      }),
    );
    const comparison = this.newComparison(isComparable && this.nrBad === 0);
    for (let i = 0; i < keys.length; i++) comparison.compareOverflowEntry(leafNrs.at(i), keys.at(i), counts.at(i));
    yield* comparison.compareBitmaps(reader, this.index, meter.advance);
    if (this.isWhole) this.noticeHints(comparison);
  }

  #readIndex(): void {
    const { census, reader } = this.context;
    const { bitmapRoot } = this.root;
    if (census.reach(bitmapRoot, Role.metadataIndex, false, this.source) !== 'first') {
      this.nrBad++;
      return;
    }
    const block = reader.readOne(bitmapRoot);
    if (block instanceof DeviceError) {
      this.fatal(bitmapRoot, block.message);
      return;
    }
    try {
      indexBlockValidator.check(block);
    } catch (error) {
      if (!(error instanceof CorruptBlockError)) throw error;
      this.fatal(bitmapRoot, error.message);
      return;
    }
    for (let at = 0; at < this.nrBitmaps; at++) {
      this.addIndexEntry(at, block, indexEntryOffset(at), Role.metadataBitmap);
    }
    let nrUnused = 0;
    for (let at = this.nrBitmaps; at < ENTRIES_PER_INDEX_BLOCK; at++) {
      if (readIndexEntry(block.view, indexEntryOffset(at)).blockNr !== 0) nrUnused++;
    }
    if (nrUnused > 0) {
      this.context.findings.addNotice({
        structure: this.structure,
        blockNr: bitmapRoot,
        message: `the index has ${counted(nrUnused, 'entry', 'entries')} behind the last bitmap`,
        effect: 'None: nobody looks at them, and growing the metadata replaces them.',
        nextStep: 'Nothing needs to be done.',
      });
    }
  }
}
