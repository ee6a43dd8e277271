/**
 * Holds a space map against the references that were found: bitmap by bitmap, count by count.
 *
 * A count is one of these:
 *   equal                              good
 *   1, and nothing refers to the block a leak: space lost, harmless, repairable
 *   anything else                      fatal: a block in use could be handed out again, or the map is plainly damaged
 * (the real tools draw the line there too). Entries of the reference-count tree are compared as its leaves pass; that each
 * pair of 3 has one is known from a mark per block, bitmap by bitmap.
 *
 * The hints nrFree and noneFreeBefore, nrAllocated, and what lies behind the last block are compared too, but only noticed:
 * old tools have left them wrong in metadata that works.
 *
 * Format: docs/format/space-maps.md.
 */
import { CorruptBlockError, DeviceError } from '@pdata/device';
import type { Block } from '../../block/block.js';
import { keyAt, valuesOffset } from '../../btree/node.js';
import { bitmapEntry, bitmapValidator, ENTRIES_PER_BITMAP, MANY } from '../../space-map/bitmap.js';
import type { BlockReader } from './block-reader.js';
import type { CheckWords } from './check-context.js';
import { approximately, type CheckFinding, counted, type Findings } from './findings.js';
import { NumberList } from './number-list.js';
import type { ReferenceCounts } from './reference-counts.js';

/** Byte offset of a bitmap's first entry. */
const ENTRIES_AT = 16;
const BYTES_PER_MARKS = ENTRIES_PER_BITMAP / 8;

export type SpaceMapKind = 'data' | 'metadata';

/** The bitmaps of a space map, as its index lists them. */
export class BitmapIndex {
  /** Block of each bitmap; 0 where the index has no usable entry. */
  readonly blockNrs: Uint32Array;
  readonly nrFree: Uint32Array;
  readonly noneFreeBefore: Uint32Array;
  /** Where each entry was found: the node or index block, and the byte in it. */
  readonly holderNrs: Uint32Array;
  readonly holderOffsets: Uint16Array;

  constructor(nrBitmaps: number) {
    this.blockNrs = new Uint32Array(nrBitmaps);
    this.nrFree = new Uint32Array(nrBitmaps);
    this.noneFreeBefore = new Uint32Array(nrBitmaps);
    this.holderNrs = new Uint32Array(nrBitmaps);
    this.holderOffsets = new Uint16Array(nrBitmaps);
  }
}

export class BitmapComparison {
  /** Blocks with a count of 1 or more. */
  nrAllocated = 0;
  /** Bitmaps that hold leaked blocks, by their place in the index. */
  readonly leaky = new NumberList();
  /** Bitmaps whose hints are not what their entries say. */
  nrWrongHints = 0;
  /** Blocks with a count of 1 that nothing refers to. */
  nrLeaked = 0;
  /** Bitmaps that cannot be read. */
  nrBadBitmaps = 0;
  /** Entries in use behind the last block. */
  nrBehindEnd = 0;
  readonly #kind: SpaceMapKind;
  readonly #counts: ReferenceCounts;
  readonly #nrBlocks: number;
  readonly #findings: Findings;
  readonly #words: CheckWords;
  /** Which blocks the reference-count tree lists, a bit each, where it lists any. */
  readonly #listed = new Map<number, Uint8Array>();
  /** False: nothing is known of the true counts, and only the structure is looked at. */
  readonly #isComparable: boolean;
  readonly #structure: string;

  constructor(
    kind: SpaceMapKind,
    map: {
      nrBlocks: number;
      counts: ReferenceCounts;
      findings: Findings;
      words: CheckWords;
      isComparable: boolean;
    },
  ) {
    this.#kind = kind;
    this.#counts = map.counts;
    this.#nrBlocks = map.nrBlocks;
    this.#findings = map.findings;
    this.#words = map.words;
    this.#isComparable = map.isComparable;
    this.#structure = `${kind} space map`;
  }

  /** A leaf of the reference-count tree; all references have been counted by now. */
  compareOverflow(leaf: Block, nr: number): void {
    const values = valuesOffset(leaf);
    for (let i = 0; i < nr; i++)
      this.compareOverflowEntry(leaf.nr, keyAt(leaf, i), leaf.view.getUint32(values + 4 * i, true));
  }

  compareOverflowEntry(leafNr: number, blockNr: number, count: number): void {
    if (blockNr >= this.#nrBlocks) {
      this.#fatal(
        leafNr,
        () =>
          `the reference-count tree lists block ${approximately(blockNr)}, but there are only ${counted(this.#nrBlocks, `${this.#kind} block`)}`,
      );
      return;
    }
    const index = Math.floor(blockNr / ENTRIES_PER_BITMAP);
    let marks = this.#listed.get(index);
    if (marks === undefined) {
      marks = new Uint8Array(BYTES_PER_MARKS);
      this.#listed.set(index, marks);
    }
    const entry = blockNr - index * ENTRIES_PER_BITMAP;
    marks[entry >>> 3] = (marks[entry >>> 3] as number) | (1 << (entry & 7));
    if (count < MANY) {
      this.#fatal(
        leafNr,
        () =>
          `the reference-count tree lists ${this.#kind} block ${blockNr} with a count of ${count}; it is for counts of 3 and more`,
      );
    } else if (this.#isComparable && this.#counts.count(blockNr) !== count) {
      this.#wrongCount(leafNr, blockNr, count);
    }
  }

  /** Reads the bitmaps and compares them; `onRun` is told how many each read brought. */
  *compareBitmaps(
    reader: BlockReader,
    index: BitmapIndex,
    onRun: (nrBlocks: number) => void,
  ): Generator<CheckFinding, void> {
    // Sorted by where they lie: block number and place in the index packed in one number, exact below 2^53.
    const order = new Float64Array(index.blockNrs.length);
    let nr = 0;
    for (let i = 0; i < index.blockNrs.length; i++) {
      const blockNr = index.blockNrs[i] as number;
      if (blockNr !== 0) order[nr++] = blockNr * 2 ** 30 + i;
    }
    const sorted = order.subarray(0, nr).sort();
    const numbers = Uint32Array.from(sorted, (packed) => Math.floor(packed / 2 ** 30));
    for (const { from, to } of reader.runs(numbers)) {
      for (let i = from; i < to; i++) {
        const blockNr = numbers[i] as number;
        this.#compareBitmap(blockNr, reader.block(blockNr), (sorted[i] as number) % 2 ** 30, index);
      }
      onRun(to - from);
      yield* this.#findings.drain();
    }
  }

  #compareBitmap(blockNr: number, block: Block | DeviceError, at: number, index: BitmapIndex): void {
    const fault = faultOf(block);
    if (block instanceof DeviceError || fault !== undefined) {
      this.nrBadBitmaps++;
      this.#fatal(blockNr, () => `bitmap ${at} cannot be used: ${fault}`);
      return;
    }
    const first = at * ENTRIES_PER_BITMAP;
    const nrEntries = Math.min(ENTRIES_PER_BITMAP, this.#nrBlocks - first);
    const nrUsed = usedEntries(block, 0, ENTRIES_PER_BITMAP);
    const nrBehind = usedEntries(block, nrEntries, ENTRIES_PER_BITMAP);
    this.nrBehindEnd += nrBehind;
    this.nrAllocated += nrUsed - nrBehind;
    const nrFree = index.nrFree[at] as number;
    const noneFreeBefore = Math.min(index.noneFreeBefore[at] as number, ENTRIES_PER_BITMAP);
    if (nrFree !== ENTRIES_PER_BITMAP - nrUsed || usedEntries(block, 0, noneFreeBefore) !== noneFreeBefore) {
      this.nrWrongHints++;
    }

    const marks = this.#listed.get(at);
    if (this.#isComparable) this.#compareEntries(block, at, nrEntries, marks);
    else if (marks !== undefined) this.#compareMarks(block, first, marks);
  }

  /** Four entries a step: a byte of the bitmap against four counted bytes. */
  #compareEntries({ bytes, nr }: Block, at: number, nrEntries: number, marks: Uint8Array | undefined): void {
    const counts = this.#counts.ofBitmap(at);
    const first = at * ENTRIES_PER_BITMAP;
    let leakFrom = -1;
    let leakTo = -1;
    for (let entry = 0; entry < nrEntries; entry += 4) {
      const raw = bytes[ENTRIES_AT + (entry >>> 2)] as number;
      if (counts === undefined) {
        if (raw === 0) continue;
      } else {
        const a = counts[entry] as number;
        const b = counts[entry + 1] as number;
        const c = counts[entry + 2] as number;
        const d = counts[entry + 3] as number;
        if ((a | b | c | d) <= 3) {
          const pairs = a | (b << 2) | (c << 4) | (d << 6);
          // Each pair has its bits swapped on disk.
          const expected = ((pairs & 0x55) << 1) | ((pairs & 0xaa) >>> 1);
          // A pair of 3 needs a look at the marks.
          if (raw === expected && (pairs & (pairs >>> 1) & 0x55) === 0) continue;
        }
      }
      const end = Math.min(entry + 4, nrEntries);
      for (let e = entry; e < end; e++) {
        const pair = (raw >>> ((e & 3) << 1)) & 3;
        const found = ((pair & 1) << 1) | (pair >>> 1);
        const expected = this.#counts.count(first + e);
        if (found === MANY) {
          const isListed = marks !== undefined && ((marks[e >>> 3] as number) & (1 << (e & 7))) !== 0;
          if (expected < MANY) this.#wrongCount(nr, first + e, 'at least 3');
          else if (!isListed) this.#unlisted(nr, first + e);
        } else if (found === 1 && expected === 0) {
          if (first + e !== leakTo) {
            this.#leaked(leakFrom, leakTo);
            leakFrom = first + e;
          }
          leakTo = first + e + 1;
        } else if (found !== expected) this.#wrongCount(nr, first + e, found);
      }
    }
    if (leakFrom >= 0) this.leaky.push(at);
    this.#leaked(leakFrom, leakTo);
  }

  /** Without counts to compare with: a pair of 3 and an entry in the tree still go together. */
  #compareMarks(block: Block, first: number, marks: Uint8Array): void {
    for (let entry = 0; entry < ENTRIES_PER_BITMAP; entry++) {
      const isListed = ((marks[entry >>> 3] as number) & (1 << (entry & 7))) !== 0;
      if (isListed && bitmapEntry(block, entry) !== MANY) {
        this.#fatal(
          block.nr,
          () => `the reference-count tree lists ${this.#kind} block ${first + entry}, but its bitmap does not say 3`,
        );
      }
    }
  }

  #leaked(from: number, to: number): void {
    if (from < 0) return;
    const kind = this.#kind;
    const nr = to - from;
    this.nrLeaked += nr;
    this.#findings.addLeak(kind, nr, () => ({
      structure: this.#structure,
      ...(kind === 'metadata' ? { blockNr: from } : {}),
      message: `${nr === 1 ? `${kind} block ${from} is` : `${kind} blocks ${from}..${to - 1} are`} allocated, but nothing refers to ${nr === 1 ? 'it' : 'them'}`,
      effect: 'The space is lost until it is freed; no data is in danger.',
      nextStep: this.#words.leaksNextStep,
    }));
  }

  #wrongCount(blockNr: number, countedNr: number, found: number | string): void {
    const expected = this.#counts.count(countedNr);
    this.#fatal(
      blockNr,
      () =>
        `bad reference count for ${this.#kind} block ${countedNr}: expected ${expected}, but the space map says ${found}`,
      typeof found === 'number' && found < expected
        ? 'A block in use could be handed out again and overwritten.'
        : 'The space map is not what this metadata was written with; it cannot be relied on.',
    );
  }

  #unlisted(blockNr: number, countedNr: number): void {
    const expected = this.#counts.count(countedNr);
    this.#fatal(
      blockNr,
      () => `${this.#kind} block ${countedNr} has ${expected} references, but no entry in the reference-count tree`,
      `The kernel fails, and makes the ${this.#words.subject} read-only, when it next changes this count.`,
    );
  }

  #fatal(
    blockNr: number,
    message: () => string,
    effect = `Which ${this.#kind} blocks are free is not known for sure.`,
  ): void {
    this.#findings.addFatal(() => ({
      structure: this.#structure,
      blockNr,
      message: message(),
      effect,
      nextStep: this.#words.countsNextStep,
    }));
  }
}

function faultOf(block: Block | DeviceError): string | undefined {
  if (block instanceof DeviceError) return block.message;
  try {
    bitmapValidator.check(block);
    return undefined;
  } catch (error) {
    if (error instanceof CorruptBlockError) return error.message;
    throw error;
  }
}

/** How many of the entries `from`..`to` (exclusive) are in use. */
function usedEntries(block: Block, from: number, to: number): number {
  const { view } = block;
  let nr = 0;
  let entry = from;
  while (entry < to) {
    if ((entry & 15) !== 0 || to - entry < 16) {
      if (bitmapEntry(block, entry) !== 0) nr++;
      entry++;
      continue;
    }
    // Sixteen entries a step: one bit for each pair in use, then the usual count of bits.
    const word = view.getUint32(ENTRIES_AT + (entry >>> 2), true);
    let used = (word | (word >>> 1)) & 0x55555555;
    used = (used & 0x33333333) + ((used >>> 2) & 0x33333333);
    used = (used + (used >>> 4)) & 0x0f0f0f0f;
    nr += Math.imul(used, 0x01010101) >>> 24;
    entry += 16;
  }
  return nr;
}
