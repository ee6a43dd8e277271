/**
 * Reads the XML of a thin pool as it arrives, and tells a handler what it says. Nothing is held but the tag being read.
 *
 * Two ways through the text, with the same results and the same errors:
 *   - tags in general: any white space, order of attributes, quotes, comments (xml-tag.ts, thin-xml-fields.ts);
 *   - mappings exactly as thin_dump writes them, which is all but a handful of a dump's tags (dumped-mappings.ts). Whatever
 *     deviates in the least is left to the general way.
 * Tests run both over the same mutated texts.
 *
 * Accepted besides what thin_dump 1.x writes: an XML declaration (as 0.9 accepts it), comments, white space anywhere between
 * tags, self-closed containers, leaves with a separate end tag, a byte-order mark. Refused: DTDs, CDATA, processing
 * instructions, entities beyond XML's five, text, unknown elements and attributes.
 *
 * Format: docs/format/tools.md, section 5.
 */
import { DumpedMappings } from './dumped-mappings.js';
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

/** Longest XML declaration. */
const MAX_DECLARATION = 256;

/** Bytes 0xfe and 0xff are no part of UTF-8, and begin UTF-16: what older PowerShells make of `thin_dump … > FILE`. */
const UTF_16 = "the text begins as UTF-16 (PowerShell's > writes that), expected UTF-8";

export class ThinXmlReader {
  readonly #window = new XmlWindow();
  readonly #handler: ThinXmlHandler;
  readonly #dumped: DumpedMappings | undefined;
  /** Names of the elements that are open. */
  readonly #open: string[] = [];
  #isInComment = false;
  #hasRoot = false;
  #mayHaveDeclaration = true;

  constructor(handler: ThinXmlHandler, { fast = true }: ThinXmlReaderOptions = {}) {
    this.#handler = handler;
    const take = (origin: number, data: number, length: number, time: number): void =>
      this.#mappings(origin, data, length, time);
    this.#dumped = fast ? new DumpedMappings(this.#window, take) : undefined;
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
        if (this.#dumped && this.#isAmongMappings) this.#dumped.read();
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

  /** Reads one tag, comment or stretch of white space; false when more text is needed for it. */
  #readOne(): boolean {
    const window = this.#window;
    if (this.#isInComment) return this.#readComment();
    this.#skipWhiteSpace();
    const { at, end, bytes } = window;
    if (at === end) return false;
    if (window.isAtBeginning) {
      if (bytes[at] === 0xef) return this.#skipByteOrderMark();
      if (bytes[at] === 0xff || bytes[at] === 0xfe) window.fail(at, UTF_16);
    }
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
    if (end - at > MAX_DECLARATION) this.#window.fail(at, `a declaration longer than ${MAX_DECLARATION} bytes`);
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
}
