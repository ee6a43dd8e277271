/**
 * A set of bits in an array of 64-bit words: bit r is bit r mod 64 of word floor(r / 64), least significant first. A block
 * holds 509 words, 32 576 bits.
 *
 * One word is kept in memory, so that neighbouring bits cost one change of the array. It reaches the array when another
 * word is changed, and by `flush`: whoever stores `root` flushes first. After an abort it is worth nothing: `drop` it.
 * Reading never writes it: a test of another word looks into the array past it (where the kernel would write it first, and
 * reading could move the root).
 *
 * A word is two halves of 32 bits, never a number: a double has 53.
 *
 * Bits past the end, in the last word, are ignored, whatever they are. We leave zeros there; a kernel that created or grew
 * its set with ones leaves ones, and does not touch them when the set grows over them. Here growing sets them as asked.
 *
 * Format: docs/format/array-and-bitset.md, section 4.
 */
import type { ValueType } from '../btree/value-type.js';
import type { TransactionManager } from '../transaction/transaction-manager.js';
import { PersistentArray } from './array.js';
import { lowestBit, popCount } from './half-words.js';

/** 64 bits: `low` has bits 0 to 31, `high` 32 to 63. Each is a whole number from 0 to 2^32 - 1. */
export interface Word {
  readonly low: number;
  readonly high: number;
}

/** A range of bits that are all set, or all clear: `begin` inclusive, `end` exclusive. */
export interface BitRun {
  readonly begin: number;
  readonly end: number;
}

export const wordType: ValueType<Word> = {
  size: 8,
  decode: (view, at) => ({ low: view.getUint32(at, true), high: view.getUint32(at + 4, true) }),
  encode(view, at, { low, high }) {
    view.setUint32(at, low, true);
    view.setUint32(at + 4, high, true);
  },
};

const WORD_BITS = 64;
const NO_BITS: Word = { low: 0, high: 0 };
const ALL_BITS: Word = { low: 0xffffffff, high: 0xffffffff };
const nrWordsFor = (nrBits: number): number => Math.ceil(nrBits / WORD_BITS);

export class Bitset {
  readonly #words: PersistentArray<Word>;
  #nrBits: number;
  /** The word in memory: its number, -1 for none, and its bits. */
  #wordNr = -1;
  #low = 0;
  #high = 0;
  #dirty = false;

  /** The set that somebody remembered as `root` and `nrBits`. Nothing is read. */
  constructor(tm: TransactionManager, root: number, nrBits: number) {
    refuseLength(nrBits);
    this.#words = new PersistentArray(tm, wordType, root, nrWordsFor(nrBits));
    this.#nrBits = nrBits;
  }

  /** A new set, all clear unless told: all alike, or each as `initial(bit)` says. @throws {@link NoSpaceError} */
  static create(tm: TransactionManager, nrBits: number, initial: boolean | ((bit: number) => boolean) = false): Bitset {
    refuseLength(nrBits);
    const isSet = typeof initial === 'function' ? initial : () => initial;
    const half = (from: number): number => {
      let bits = 0;
      for (let i = 0; i < 32 && from + i < nrBits; i++) if (isSet(from + i)) bits |= 1 << i;
      return bits >>> 0;
    };
    const words = PersistentArray.create(tm, wordType, nrWordsFor(nrBits), (wordNr) =>
      initial === false ? NO_BITS : { low: half(wordNr * WORD_BITS), high: half(wordNr * WORD_BITS + 32) },
    );
    return new Bitset(tm, words.root, nrBits);
  }

  /** Root of the array of words, as of the last change that reached it: `flush` first. */
  get root(): number {
    return this.#words.root;
  }

  /** The length. For the owner to store: the set's blocks do not say it. */
  get nrBits(): number {
    return this.#nrBits;
  }

  /** @throws RangeError when `bit` is outside; {@link CorruptBlockError} */
  test(bit: number): boolean {
    this.#refuseBit(bit);
    const wordNr = Math.floor(bit / WORD_BITS);
    const inWord = bit % WORD_BITS;
    if (wordNr !== this.#wordNr) {
      if (this.#dirty) {
        const { view } = this.#words.locate(wordNr);
        return ((view.getUint32(this.#words.at + (inWord < 32 ? 0 : 4), true) >>> (inWord & 31)) & 1) === 1;
      }
      this.#load(wordNr);
    }
    return (((inWord < 32 ? this.#low : this.#high) >>> (inWord & 31)) & 1) === 1;
  }

  /** May move `root`: another word may be written to make room for this one. @throws RangeError, {@link NoSpaceError} */
  set(bit: number): void {
    this.#change(bit, true);
  }

  /** As {@link set}, the other way. */
  clear(bit: number): void {
    this.#change(bit, false);
  }

  /**
   * Sets, in words `firstWord` to `endWord` (exclusive), the bits that `bits` has set: its elements 2w and 2w + 1 are the low and
   * the high half of word w. Each block is looked for once, not each word. Flushes, and so may move `root`.
   * @throws RangeError for words outside the set; {@link NoSpaceError}, {@link CorruptBlockError}
   */
  setInWords(bits: Uint32Array, firstWord: number, endWord: number): void {
    this.flush();
    const words = this.#words;
    const { blocks } = words.tm;
    for (let wordNr = firstWord; wordNr < endWord; ) {
      words.refuseIndex(wordNr);
      words.refuseIndex(endWord - 1);
      const end = Math.min(endWord, words.endOfBlock(wordNr));
      blocks.enter();
      try {
        const { view } = words.locateToChange(wordNr);
        for (let { at } = words; wordNr < end; wordNr++, at += 8) {
          view.setUint32(at, view.getUint32(at, true) | (bits[2 * wordNr] as number), true);
          view.setUint32(at + 4, view.getUint32(at + 4, true) | (bits[2 * wordNr + 1] as number), true);
        }
      } finally {
        blocks.leave();
      }
    }
  }

  /** Writes the word in memory, if it was changed. Returns the root: what the superblock is to say. */
  flush(): number {
    if (this.#dirty) {
      const { blocks } = this.#words.tm;
      blocks.enter();
      try {
        const { view } = this.#words.locateToChange(this.#wordNr);
        view.setUint32(this.#words.at, this.#low, true);
        view.setUint32(this.#words.at + 4, this.#high, true);
      } finally {
        blocks.leave();
      }
      this.#dirty = false;
    }
    this.#wordNr = -1;
    return this.#words.root;
  }

  /** Forgets the word in memory, changes included. `root` is that of the state to go back to. */
  drop(root: number): void {
    this.#wordNr = -1;
    this.#dirty = false;
    this.#words.root = root;
  }

  /** Makes the set `nrBits` long; new bits are clear, or set if `initial`. Flushes. */
  resize(nrBits: number, initial = false): void {
    refuseLength(nrBits);
    const oldNrBits = this.#nrBits;
    if (nrBits > oldNrBits) {
      const oldEnd = this.#words.nrElements * WORD_BITS;
      this.#nrBits = Math.min(nrBits, oldEnd);
      for (let bit = oldNrBits; bit < this.#nrBits; bit++) this.#change(bit, initial);
    }
    this.flush();
    this.#words.resize(nrWordsFor(nrBits), initial ? ALL_BITS : NO_BITS);
    this.#nrBits = nrBits;
    this.#clearPastTheEnd();
    this.flush();
  }

  /** Gives back every block that nobody else reads. The set must not be used afterwards. */
  delete(): void {
    this.drop(this.root);
    this.#words.delete();
  }

  /** How many bits are set. O(n). */
  countSet(): number {
    let nrSet = 0;
    this.walkWords((_wordNr, low, high) => {
      nrSet += popCount(low) + popCount(high);
    });
    return nrSet;
  }

  /** The first set bit ≥ `from`, or undefined. */
  nextSet(from = 0): number | undefined {
    return this.#next(from, 0);
  }

  /** The first clear bit ≥ `from`, or undefined. */
  nextClear(from = 0): number | undefined {
    return this.#next(from, 0xffffffff);
  }

  /** The longest runs of set bits (of clear ones, if not `value`), in order. The set must not change meanwhile. */
  *runs(value = true): Generator<BitRun> {
    for (let end = 0; ; ) {
      const begin = value ? this.nextSet(end) : this.nextClear(end);
      if (begin === undefined) return;
      end = (value ? this.nextClear(begin) : this.nextSet(begin)) ?? this.#nrBits;
      yield { begin, end };
    }
  }

  /** The set bits, in order. The set must not change meanwhile. */
  *[Symbol.iterator](): Generator<number> {
    for (const { begin, end } of this.runs()) for (let bit = begin; bit < end; bit++) yield bit;
  }

  /**
   * Calls `visit` with every word from `fromWord` on, what is in memory included and bits past the end clear; stops when it
   * returns false. The set must not change meanwhile.
   */
  walkWords(visit: (wordNr: number, low: number, high: number) => boolean | void, fromWord = 0): void {
    const lastWord = this.#words.nrElements - 1;
    const past = pastTheEnd(this.#nrBits);
    this.#words.walk((wordNr, view, at) => {
      const cached = wordNr === this.#wordNr;
      let low = cached ? this.#low : view.getUint32(at, true);
      let high = cached ? this.#high : view.getUint32(at + 4, true);
      if (wordNr === lastWord) {
        low = (low & ~past.low) >>> 0;
        high = (high & ~past.high) >>> 0;
      }
      return visit(wordNr, low, high);
    }, fromWord);
  }

  #change(bit: number, value: boolean): void {
    this.#refuseBit(bit);
    const wordNr = Math.floor(bit / WORD_BITS);
    const inWord = bit % WORD_BITS;
    if (wordNr !== this.#wordNr) {
      this.flush();
      this.#load(wordNr);
    }
    const mask = 1 << (inWord & 31);
    if (inWord < 32) this.#low = (value ? this.#low | mask : this.#low & ~mask) >>> 0;
    else this.#high = (value ? this.#high | mask : this.#high & ~mask) >>> 0;
    this.#dirty = true;
  }

  #load(wordNr: number): void {
    const { view } = this.#words.locate(wordNr);
    this.#low = view.getUint32(this.#words.at, true);
    this.#high = view.getUint32(this.#words.at + 4, true);
    this.#wordNr = wordNr;
  }

  /** The first bit ≥ `from` that is set after `flip` has been applied to both halves of its word. */
  #next(from: number, flip: number): number | undefined {
    if (from === this.#nrBits) return undefined;
    this.#refuseBit(from);
    const firstWord = Math.floor(from / WORD_BITS);
    const first = bitsFrom(from % WORD_BITS);
    let found: number | undefined;
    this.walkWords((wordNr, low, high) => {
      let [wantedLow, wantedHigh] = [low ^ flip, high ^ flip];
      if (wordNr === firstWord) {
        wantedLow &= first.low;
        wantedHigh &= first.high;
      }
      if ((wantedLow | wantedHigh) === 0) return true;
      found = wordNr * WORD_BITS + (wantedLow !== 0 ? lowestBit(wantedLow) : 32 + lowestBit(wantedHigh));
      return false;
    }, firstWord);
    return found !== undefined && found < this.#nrBits ? found : undefined;
  }

  #clearPastTheEnd(): void {
    const lastWord = this.#words.nrElements - 1;
    const past = pastTheEnd(this.#nrBits);
    if (lastWord < 0 || (past.low | past.high) === 0) return;
    this.#load(lastWord);
    this.#dirty = ((this.#low & past.low) | (this.#high & past.high)) !== 0;
    this.#low = (this.#low & ~past.low) >>> 0;
    this.#high = (this.#high & ~past.high) >>> 0;
  }

  #refuseBit(bit: number): void {
    if (Number.isInteger(bit) && bit >= 0 && bit < this.#nrBits) return;
    throw new RangeError(`bit ${bit} is outside the set of ${this.#nrBits}`);
  }
}

/** Bits `from` to 63 of a word. */
const bitsFrom = (from: number): Word => ({
  low: from < 32 ? (0xffffffff << from) >>> 0 : 0,
  high: from <= 32 ? 0xffffffff : (0xffffffff << (from - 32)) >>> 0,
});

/** The bits of a set's last word that are none of its bits. */
const pastTheEnd = (nrBits: number): Word => (nrBits % WORD_BITS === 0 ? NO_BITS : bitsFrom(nrBits % WORD_BITS));

function refuseLength(nrBits: number): void {
  if (!Number.isSafeInteger(nrBits) || nrBits < 0)
    throw new RangeError(`the length of a bitset is a whole number from 0 to 2^53 - 1, not ${nrBits}`);
}
