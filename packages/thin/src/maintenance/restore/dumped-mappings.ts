/**
 * The short way through the mappings of a dump: tags written exactly as thin_dump writes them, byte for byte.
 *
 *     <single_mapping origin_block="7" data_block="41" time="0"/>
 *     <range_mapping origin_begin="8" data_begin="198" length="2" time="4"/>
 *
 * Constant parts are compared eight bytes at a time, as doubles: two doubles of ASCII text are equal just when the bytes are.
 * Numbers are read where they lie. 294 MB, four million mappings, take 0.4 s of processor time (Node 20.20, 2026-11), the
 * general way 6 s.
 *
 * Whatever deviates in the least (another order, other quotes, a number of 16 digits or out of range, a tag that has not
 * arrived to its end) is left for the general way, which knows what to say of it.
 */
import type { XmlWindow } from '@pdata/persistent-data/maintenance';
import { MAX_DATA_BLOCKS, MAX_TIME } from '../../format/block-time.js';

/** A tag thin_dump writes, with the longest numbers taken here, and then some. */
const MAX_TAG = 256;
/** More digits may exceed 2^53. */
const MAX_DIGITS = 15;

/** ASCII text as the doubles, and the rest as the word, that its bytes are. */
const double = (ascii: string): number => new DataView(new TextEncoder().encode(ascii).buffer).getFloat64(0, true);
const word = (ascii: string): number => new DataView(new TextEncoder().encode(ascii).buffer).getUint32(0, true);
const half = (ascii: string): number => new DataView(new TextEncoder().encode(ascii).buffer).getUint16(0, true);
const SINGLE = [double('<single_'), double('mapping '), double('origin_b'), word('lock'), half('="')] as const;
const RANGE = [double('<range_m'), double('apping o'), double('rigin_be'), word('gin='), half('"0') & 0xff] as const;
const DATA_BLOCK = [double('" data_b'), word('lock'), half('="')] as const;
const DATA_BEGIN = [double('" data_b'), word('egin'), half('="')] as const;
const LENGTH = [double('" length'), half('="')] as const;
const TIME = double('" time="');
const CLOSE = [half('"/'), 0x3e] as const;

export type TakeMappings = (origin: number, data: number, length: number, time: number) => void;

export class DumpedMappings {
  readonly #window: XmlWindow;
  readonly #take: TakeMappings;
  /** What `#digits` read last. */
  #number = 0;

  constructor(window: XmlWindow, take: TakeMappings) {
    this.#window = window;
    this.#take = take;
  }

  /**
   * Reads mappings as long as there is a whole one, written as expected; the front of the window is then at what is not.
   * While a mapping is being taken, the front is at its `<`.
   */
  read(): void {
    const window = this.#window;
    const { bytes, view } = window;
    const last = window.end - MAX_TAG;
    while (window.at <= last) {
      let at = this.#skipWhiteSpace(last);
      const isSingle = bytes[at + 1] === 0x73; // s
      if (isSingle) {
        if (
          view.getFloat64(at, true) !== SINGLE[0] ||
          view.getFloat64(at + 8, true) !== SINGLE[1] ||
          view.getFloat64(at + 16, true) !== SINGLE[2] ||
          view.getUint32(at + 24, true) !== SINGLE[3] ||
          view.getUint16(at + 28, true) !== SINGLE[4]
        ) {
          return;
        }
        at += 30;
      } else {
        if (
          view.getFloat64(at, true) !== RANGE[0] ||
          view.getFloat64(at + 8, true) !== RANGE[1] ||
          view.getFloat64(at + 16, true) !== RANGE[2] ||
          view.getUint32(at + 24, true) !== RANGE[3] ||
          bytes[at + 28] !== RANGE[4]
        ) {
          return;
        }
        at += 29;
      }
      at = this.#digits(bytes, at);
      if (at < 0) return;
      const origin = this.#number;
      const name = isSingle ? DATA_BLOCK : DATA_BEGIN;
      if (
        view.getFloat64(at, true) !== name[0] ||
        view.getUint32(at + 8, true) !== name[1] ||
        view.getUint16(at + 12, true) !== name[2]
      ) {
        return;
      }
      at = this.#digits(bytes, at + 14);
      if (at < 0) return;
      const data = this.#number;
      let length = 1;
      if (!isSingle) {
        if (view.getFloat64(at, true) !== LENGTH[0] || view.getUint16(at + 8, true) !== LENGTH[1]) return;
        at = this.#digits(bytes, at + 10);
        if (at < 0) return;
        length = this.#number;
      }
      if (view.getFloat64(at, true) !== TIME) return;
      at = this.#digits(bytes, at + 8);
      if (at < 0) return;
      const time = this.#number;
      if (view.getUint16(at, true) !== CLOSE[0] || bytes[at + 2] !== CLOSE[1]) return;
      if (data >= MAX_DATA_BLOCKS || time >= MAX_TIME) return;
      this.#take(origin, data, length, time);
      window.at = at + 3;
    }
  }

  /** Moves the front behind white space, `last` at most, counting lines. @returns the front */
  #skipWhiteSpace(last: number): number {
    const window = this.#window;
    const { bytes } = window;
    let { at } = window;
    let byte = bytes[at] as number;
    while (at < last && (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09)) {
      byte = bytes[++at] as number;
      if (bytes[at - 1] !== 0x0a) continue;
      window.line++;
      window.lineStart = at;
    }
    window.at = at;
    return at;
  }

  /** Reads 1 to 15 digits at `at`. @returns where they end, or -1 when there are none, or more */
  #digits(bytes: Uint8Array, at: number): number {
    let number = 0;
    let i = at;
    for (let digit = (bytes[i] as number) - 0x30; digit >= 0 && digit <= 9; digit = (bytes[i] as number) - 0x30) {
      number = number * 10 + digit;
      i++;
    }
    if (i === at || i - at > MAX_DIGITS) return -1;
    this.#number = number;
    return i;
  }
}
