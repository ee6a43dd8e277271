/**
 * Reads the XML of a thin pool as it arrives, and tells a handler what it says. Nothing is held but the tag being read.
 *
 * Two ways through the text, with the same results and the same errors:
 *   - tags in general: any white space, order of attributes, quotes, comments (xml-tag.ts, thin-xml-fields.ts);
 *   - mappings exactly as thin_dump writes them, which is all but a handful of a dump's tags: constant parts compared eight
 *     bytes at a time, numbers read where they lie. Whatever deviates in the least is left to the general way.
 * Tests run both over the same mutated texts.
 *
 * Accepted besides what thin_dump 1.x writes: an XML declaration (as 0.9 accepts it), comments, white space anywhere between
 * tags, self-closed containers, leaves with a separate end tag, a byte-order mark. Refused: DTDs, CDATA, processing
 * instructions, entities beyond XML's five, text, unknown elements and attributes.
 *
 * Format: docs/format/tools.md, section 5.
 */
import { MAX_DATA_BLOCKS, MAX_TIME } from '../../format/block-time.js';
import { ContentProblem, ThinXmlError } from './thin-xml-error.js';
import { ELEMENTS, type ElementName, isElementName, TagFields } from './thin-xml-fields.js';
import { inWords, isWhiteSpace, parseTag, type XmlTag } from './xml-tag.js';
import { XmlWindow } from './xml-window.js';

export interface XmlSuperblock {
  readonly uuid: string;
  readonly time: number;
  readonly transactionId: bigint;
  /** Sectors. */
  readonly dataBlockSize: number;
  readonly nrDataBlocks: number;
}

export interface XmlDevice {
  readonly thinId: number;
  readonly mappedBlocks: number;
  readonly transactionId: bigint;
  readonly creationTime: number;
  readonly snapshottedTime: number;
}

/** Throws a {@link ContentProblem} at what makes no sense; the reader says where it was. */
export interface ThinXmlHandler {
  beginSuperblock(superblock: XmlSuperblock): void;
  beginDef(name: string): void;
  endDef(): void;
  beginDevice(device: XmlDevice): void;
  endDevice(): void;
  /** `length` (at least 1) mappings from virtual block `origin` to data block `data` on. */
  mappings(origin: number, data: number, length: number, time: number): void;
  ref(name: string): void;
  endSuperblock(): void;
}

export interface ThinXmlReaderOptions {
  /** False sends every tag the general way. For tests, which compare the two. */
  readonly fast?: boolean;
}

/** What each element may stand in; '' is the document. */
const PARENTS: Record<ElementName, readonly string[]> = {
  superblock: [''],
  def: ['superblock'],
  device: ['superblock'],
  single_mapping: ['device', 'def'],
  range_mapping: ['device', 'def'],
  ref: ['device', 'def'],
};

/** A tag thin_dump writes, with the longest numbers the fast way takes, and the white space before it. */
const MAX_FAST_TAG = 256;
/** More digits may exceed 2^53. */
const MAX_FAST_DIGITS = 15;

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

export class ThinXmlReader {
  readonly #window = new XmlWindow();
  readonly #handler: ThinXmlHandler;
  readonly #fast: boolean;
  /** Names of the elements that are open. */
  readonly #open: string[] = [];
  #isInComment = false;
  #hasRoot = false;
  #mayHaveDeclaration = true;

  constructor(handler: ThinXmlHandler, { fast = true }: ThinXmlReaderOptions = {}) {
    this.#handler = handler;
    this.#fast = fast;
  }

  /** Line that has been reached. */
  get line(): number {
    return this.#window.line;
  }

  /** The next piece of the text, of any size; not kept. @throws {@link ThinXmlError} */
  push(chunk: Uint8Array): void {
    for (let from = 0; from < chunk.length; ) {
      from += this.#window.fill(chunk, from);
      this.#read();
    }
  }

  /** The text is complete. @throws {@link ThinXmlError} when it is not */
  end(): void {
    const { at, end } = this.#window;
    const where = this.#open.at(-1);
    if (this.#isInComment) this.#window.fail(end, 'the text ends inside a comment: is it complete?');
    if (at < end) this.#window.fail(at, 'the text ends inside this tag: is it complete?');
    if (where !== undefined) this.#window.fail(end, `the text ends inside <${where}>: is it complete?`);
    if (!this.#hasRoot) this.#window.fail(end, 'the text is empty: expected <superblock>');
  }

  #read(): void {
    try {
      for (;;) {
        if (this.#fast && this.#isAmongMappings) this.#readMappings();
        if (!this.#readOne()) return;
      }
    } catch (error) {
      if (!(error instanceof ContentProblem)) throw error;
      throw new ThinXmlError(error.message, this.#window.positionOf(this.#window.at));
    }
  }

  get #isAmongMappings(): boolean {
    const where = this.#open.at(-1);
    return (where === 'device' || where === 'def') && !this.#isInComment;
  }

  // --- the general way ---

  /** Reads one tag, comment or stretch of white space; false when more text is needed for it. */
  #readOne(): boolean {
    const window = this.#window;
    if (this.#isInComment) return this.#readComment();
    this.#skipWhiteSpace();
    const { at, end, bytes } = window;
    if (at === end) return false;
    if (window.isAtBeginning && bytes[at] === 0xef) return this.#skipByteOrderMark();
    if (bytes[at] !== 0x3c) window.fail(at, `${inWords(bytes[at] as number)} where only tags are expected`);
    if (at + 1 === end) return false;
    if (bytes[at + 1] === 0x21) return this.#beginComment();
    if (bytes[at + 1] === 0x3f) return this.#readDeclaration();
    const tag = parseTag(window);
    if (tag === undefined) return false;
    this.#mayHaveDeclaration = false;
    if (tag.kind === 'end') this.#close(tag.name);
    else {
      this.#element(tag);
      if (tag.kind === 'empty') this.#close(tag.name);
    }
    window.advanceTo(tag.end);
    return true;
  }

  #skipWhiteSpace(): void {
    const { bytes, end } = this.#window;
    let { at } = this.#window;
    while (at < end && isWhiteSpace(bytes[at] as number)) at++;
    if (at === this.#window.at) return;
    this.#window.advanceTo(at);
    this.#mayHaveDeclaration = false;
  }

  #skipByteOrderMark(): boolean {
    const { at, end, bytes } = this.#window;
    if (end - at < 3) return false;
    if (bytes[at + 1] !== 0xbb || bytes[at + 2] !== 0xbf) {
      this.#window.fail(at, `${inWords(0xef)} where only tags are expected`);
    }
    this.#window.advanceTo(at + 3);
    return true;
  }

  #beginComment(): boolean {
    const { at, end, bytes } = this.#window;
    for (const [i, expected] of [0x2d, 0x2d].entries()) {
      if (at + 2 + i === end) return false;
      if (bytes[at + 2 + i] !== expected) {
        this.#window.fail(at, 'expected a tag or a comment: no DTD and no CDATA section is read here');
      }
    }
    this.#window.advanceTo(at + 4);
    this.#mayHaveDeclaration = false;
    this.#isInComment = true;
    return true;
  }

  #readComment(): boolean {
    const { at, end, bytes } = this.#window;
    for (let i = at; i + 2 < end; i++) {
      if (bytes[i] !== 0x2d || bytes[i + 1] !== 0x2d) continue;
      if (bytes[i + 2] !== 0x3e) this.#window.fail(i, '-- inside a comment');
      this.#window.advanceTo(i + 3);
      this.#isInComment = false;
      return true;
    }
    // Two bytes may be the beginning of the end.
    this.#window.advanceTo(Math.max(at, end - 2));
    return false;
  }

  #readDeclaration(): boolean {
    const { at, end, bytes } = this.#window;
    for (let i = at + 2; i + 1 < end; i++) {
      if (bytes[i] !== 0x3f || bytes[i + 1] !== 0x3e) continue;
      const text = String.fromCharCode(...bytes.subarray(at, i + 2));
      if (!this.#mayHaveDeclaration || !/^<\?xml[ \t\r\n]/.test(text)) {
        this.#window.fail(at, 'a processing instruction; only an XML declaration at the very beginning is accepted');
      }
      const encoding = /encoding[ \t\r\n]*=[ \t\r\n]*["']([^"']*)["']/.exec(text)?.[1];
      if (encoding !== undefined && !/^(utf-8|us-ascii|iso-8859-1)$/i.test(encoding)) {
        this.#window.fail(at, `the text is declared to be in '${encoding}', expected UTF-8`);
      }
      this.#window.advanceTo(i + 2);
      this.#mayHaveDeclaration = false;
      return true;
    }
    if (end - at > MAX_FAST_TAG) this.#window.fail(at, `a declaration longer than ${MAX_FAST_TAG} bytes`);
    return false;
  }

  #element(tag: XmlTag): void {
    const { name } = tag;
    const parent = this.#open.at(-1) ?? '';
    const window: XmlWindow = this.#window;
    if (!isElementName(name)) {
      window.fail(window.at, `unknown element <${name}>: is this the XML of a thin pool?`);
    }
    if (parent === '' && this.#hasRoot) window.fail(window.at, `<${name}> after the end of </superblock>`);
    if (!PARENTS[name].includes(parent)) {
      const expected = Object.keys(ELEMENTS).filter((other) => PARENTS[other as ElementName].includes(parent));
      const where = parent === '' ? 'at the beginning' : `inside <${parent}>`;
      window.fail(
        window.at,
        `<${name}> ${where}, expected ${expected.map((other) => `<${other}>`).join(', ') || 'its end tag'}`,
      );
    }
    const fields = new TagFields(window, name, tag);
    this.#open.push(name);
    switch (name) {
      case 'superblock':
        this.#hasRoot = true;
        this.#handler.beginSuperblock({
          uuid: fields.text('uuid'),
          time: fields.number('time'),
          transactionId: fields.bigint('transaction'),
          dataBlockSize: fields.number('data_block_size'),
          nrDataBlocks: fields.number('nr_data_blocks'),
        });
        return;
      case 'def':
        this.#handler.beginDef(fields.text('name'));
        return;
      case 'device':
        this.#handler.beginDevice({
          thinId: fields.number('dev_id'),
          mappedBlocks: fields.number('mapped_blocks'),
          transactionId: fields.bigint('transaction'),
          creationTime: fields.number('creation_time'),
          snapshottedTime: fields.number('snap_time'),
        });
        return;
      case 'single_mapping':
        this.#mappings(fields.number('origin_block'), fields.number('data_block'), 1, fields.number('time'));
        return;
      case 'range_mapping':
        this.#mappings(
          fields.number('origin_begin'),
          fields.number('data_begin'),
          fields.number('length'),
          fields.number('time'),
        );
        return;
      case 'ref':
        this.#handler.ref(fields.text('name'));
        return;
    }
  }

  #mappings(origin: number, data: number, length: number, time: number): void {
    if (length === 0) throw new ContentProblem('a range of length 0 maps nothing');
    if (origin + length > Number.MAX_SAFE_INTEGER) {
      throw new ContentProblem(`the range ends behind virtual block ${Number.MAX_SAFE_INTEGER}, the last possible`);
    }
    this.#handler.mappings(origin, data, length, time);
  }

  #close(name: string): void {
    const opened = this.#open.pop();
    if (opened === undefined) this.#window.fail(this.#window.at, `</${name}> closes nothing: nothing is open`);
    if (opened !== name) this.#window.fail(this.#window.at, `</${name}> inside <${opened}>, expected </${opened}>`);
    if (name === 'superblock') this.#handler.endSuperblock();
    else if (name === 'def') this.#handler.endDef();
    else if (name === 'device') this.#handler.endDevice();
  }

  // --- mappings as thin_dump writes them ---

  #number = 0;

  /** Reads mappings as long as there is a whole one, written as expected; the front is then before what is not. */
  #readMappings(): void {
    const window = this.#window;
    const { bytes, view } = window;
    const last = window.end - MAX_FAST_TAG;
    while (window.at <= last) {
      // White space first: it is of no consequence whether it is taken here or by the general way.
      let { at } = window;
      let byte = bytes[at] as number;
      while (at < last && (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09)) {
        byte = bytes[++at] as number;
        if (bytes[at - 1] !== 0x0a) continue;
        window.line++;
        window.lineStart = at;
      }
      window.at = at;
      const isSingle = bytes[at + 1] === 0x73;
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
      if (this.#isOutOfRange(data, time)) return;
      this.#mappings(origin, data, length, time);
      window.at = at + 3;
    }
  }

  /** What the general way refuses by its table of fields. */
  #isOutOfRange(data: number, time: number): boolean {
    return data >= MAX_DATA_BLOCKS || time >= MAX_TIME;
  }

  /** Reads 1 to 15 digits at `at` into `#number`. @returns where they end, or -1 when there are none, or more */
  #digits(bytes: Uint8Array, at: number): number {
    let number = 0;
    let i = at;
    for (let digit = (bytes[i] as number) - 0x30; digit >= 0 && digit <= 9; digit = (bytes[i] as number) - 0x30) {
      number = number * 10 + digit;
      i++;
    }
    if (i === at || i - at > MAX_FAST_DIGITS) return -1;
    this.#number = number;
    return i;
  }
}
