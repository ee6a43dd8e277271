/**
 * Checks an array of a device that may be damaged: its index tree, and each of its blocks once.
 *
 * The blocks have to be there under the keys 0, 1, 2… without a gap, each as full as its place asks for: what is missing is fatal,
 * for its elements cannot be read; what is there in excess (blocks behind the last one, elements behind the end) is never looked at
 * by anybody, and is a finding of severity shape.
 *
 * Not here: what an element means (`onBlock`).
 * Format: docs/format/array-and-bitset.md, sections 1 and 2.
 */
import { CorruptBlockError, DeviceError } from '@pdata/device';
import { arrayBlockValidator, arrayValueSize, maxArrayEntriesFor, nrArrayEntries } from '../../array/array-block.js';
import type { Block } from '../../block/block.js';
import { CHILD_SIZE, childAt, keyAt } from '../../btree/node.js';
import type { PointerSource, Role } from './block-census.js';
import type { CheckContext } from './check-context.js';
import { approximately, type CheckFinding, counted } from './findings.js';
import { NumberList } from './number-list.js';
import { TreeWalker } from './tree-walker.js';

export interface ArrayKind {
  /** "hydration bitset"… */
  readonly structure: string;
  readonly indexRole: Role;
  readonly blockRole: Role;
  /** Bytes of an element. */
  readonly valueSize: number;
  /** What it means when elements cannot be read, and what to do. */
  readonly effect: string;
  readonly nextStep: string;
}

export class ArrayAudit {
  /** Nodes and blocks that cannot be used or are missing. */
  nrBad = 0;
  readonly #context: CheckContext;
  readonly #kind: ArrayKind;
  readonly #nrElements: number;
  readonly #nrPerBlock: number;
  readonly #nrBlocks: number;

  constructor(context: CheckContext, kind: ArrayKind, nrElements: number) {
    this.#context = context;
    this.#kind = kind;
    this.#nrElements = nrElements;
    this.#nrPerBlock = maxArrayEntriesFor(kind.valueSize);
    this.#nrBlocks = Math.ceil(nrElements / this.#nrPerBlock);
  }

  /**
   * @param onBlock called for each usable block, in no particular order: it holds the elements from `first` on, `nr` of which belong
   *   to the array; valid only during the call
   * @param holder the block that holds `root`; undefined: the caller of the check gave it
   */
  *check(
    root: number,
    holder: number | undefined,
    onBlock: (block: Block, first: number, nr: number) => void,
  ): Generator<CheckFinding, void> {
    const { census, findings, meter } = this.#context;
    const { structure, effect, nextStep, indexRole, blockRole } = this.#kind;
    const source: PointerSource = { structure, blockNr: holder, effect, nextStep };
    // Its place in the array of each block to be read, by its number.
    const placeOf = new Map<number, number>();
    const numbers = new NumberList();
    let nrExcess = 0;
    let nrListed = 0;
    const tree = { structure, role: indexRole, valueSize: CHILD_SIZE, isShareable: false, effect, nextStep };
    const walker = new TreeWalker(this.#context, tree, (leaf, nr) => {
      for (let i = 0; i < nr; i++) {
        const place = keyAt(leaf, i);
        const blockNr = childAt(leaf, i);
        if (place < this.#nrBlocks) nrListed++;
        else nrExcess++;
        const reached = census.reach(blockNr, blockRole, false, { ...source, blockNr: leaf.nr });
        if (reached !== 'first') {
          this.nrBad++;
          continue;
        }
        placeOf.set(blockNr, place);
        numbers.push(blockNr);
      }
    });
    meter.stage(structure, this.#nrBlocks);
    const layer = new NumberList();
    if (!walker.addRoot(root, source, layer)) {
      this.nrBad++;
      return;
    }
    yield* walker.walk(layer);
    const { nrBad } = yield* walker.settle(root);
    this.nrBad += nrBad;
    // Where part of the index is damaged, what is missing follows from that.
    if (nrBad === 0 && nrListed < this.#nrBlocks) {
      this.#fatal(
        root,
        `the index lists ${counted(nrListed, 'array block')}, but ${this.#nrBlocks} are needed for ${this.#elements}`,
      );
    }
    if (nrExcess > 0) {
      this.#shape(root, `the index lists ${counted(nrExcess, 'array block')} too many for ${this.#elements}`);
    }
    const sorted = numbers.sorted();
    for (const { from, to } of this.#context.reader.runs(sorted)) {
      for (let i = from; i < to; i++) {
        const blockNr = sorted[i] as number;
        this.#checkBlock(blockNr, placeOf.get(blockNr) as number, onBlock);
      }
      meter.advance(to - from);
      yield* findings.drain();
    }
    yield* findings.drain();
  }

  get #elements(): string {
    return `the ${counted(this.#nrElements, 'element')} of the array`;
  }

  #checkBlock(blockNr: number, place: number, onBlock: (block: Block, first: number, nr: number) => void): void {
    const block = this.#context.reader.block(blockNr);
    const fault = block instanceof DeviceError ? block.message : this.#faultOf(block);
    if (block instanceof DeviceError || fault !== undefined) {
      this.#fatal(blockNr, fault as string);
      return;
    }
    if (place >= this.#nrBlocks) return;
    const first = place * this.#nrPerBlock;
    const due = Math.min(this.#nrPerBlock, this.#nrElements - first);
    const found = nrArrayEntries(block);
    if (found < due) {
      const expected = `${due}, for the array to have ${counted(this.#nrElements, 'element')}`;
      this.#fatal(blockNr, `array block in block ${blockNr}: nrEntries is ${found}, expected ${expected}`);
    } else if (found > due) {
      this.#shape(
        blockNr,
        `array block in block ${blockNr}: nrEntries is ${found}, of which only ${due} belong to the array`,
      );
    }
    onBlock(block, first, Math.min(found, due));
  }

  #faultOf(block: Block): string | undefined {
    try {
      arrayBlockValidator.check(block);
    } catch (error) {
      if (error instanceof CorruptBlockError) return error.message;
      throw error;
    }
    const size = arrayValueSize(block);
    return size === this.#kind.valueSize
      ? undefined
      : `array block in block ${block.nr}: valueSize is ${approximately(size)}, expected ${this.#kind.valueSize}`;
  }

  #fatal(blockNr: number, message: string): void {
    this.nrBad++;
    const { structure, effect, nextStep } = this.#kind;
    this.#context.findings.addFatal(() => ({ structure, blockNr, message, effect, nextStep }));
  }

  #shape(blockNr: number, message: string): void {
    const { structure } = this.#kind;
    this.#context.findings.addShape(() => ({
      structure,
      blockNr,
      message,
      effect: 'Nobody looks at what is too much; it is no writer known here that left it.',
      nextStep: 'Dump the metadata and restore it elsewhere; or pass it with --ignore-non-fatal-errors.',
    }));
  }
}
