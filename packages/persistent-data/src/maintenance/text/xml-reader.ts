/**
 * Reads the XML of a target as it arrives, and tells a handler what it says. Nothing is held but the tag being read.
 *
 * Accepted: an XML declaration, comments, white space anywhere between tags, self-closed containers, leaves with a separate end
 * tag, a byte-order mark. Refused: DTDs, CDATA, processing instructions, entities beyond XML's five, text, unknown elements and
 * attributes. Every error has a position.
 */
import { ContentProblem, type XmlErrorType } from './xml-error.js';
import { type ElementTable, type Field, TagFields } from './xml-fields.js';
import { inWords, isWhiteSpace, parseTag, type XmlTag } from './xml-tag.js';
import { XmlWindow } from './xml-window.js';

export interface XmlLanguage {
  /** What the XML is of: "a thin pool". */
  readonly subject: string;
  /** The element that holds all others. */
  readonly root: string;
  readonly elements: ElementTable;
  /** What is thrown. */
  readonly errorType: XmlErrorType;
}

/** Throws a {@link ContentProblem} at what makes no sense; the reader says where it was. */
export interface XmlHandler {
  /** An element begins; its attributes are those of the table. */
  open(element: string, fields: TagFields): void;
  close(element: string): void;
  /**
   * Called before the next tag inside `element` ('' for the document) is read. May understand what it can of the window by itself,
   * and move its front along.
   */
  beforeTag?(element: string): void;
}

/** Longest XML declaration. */
const MAX_DECLARATION = 256;

/** Bytes 0xfe and 0xff are no part of UTF-8, and begin UTF-16: what older PowerShells make of `thin_dump … > FILE`. */
const UTF_16 = "the text begins as UTF-16 (PowerShell's > writes that), expected UTF-8";

export class XmlReader {
  readonly window: XmlWindow;
  readonly #language: XmlLanguage;
  readonly #handler: XmlHandler;
  /** The table's fields, in the form that is looked at for every tag. */
  readonly #fieldsOf: ReadonlyMap<string, readonly (readonly [string, Field])[]>;
  /** Names of the elements that are open. */
  readonly #open: string[] = [];
  #isInComment = false;
  #hasRoot = false;
  #mayHaveDeclaration = true;

  constructor(language: XmlLanguage, handler: XmlHandler) {
    this.window = new XmlWindow(language.errorType);
    this.#language = language;
    this.#handler = handler;
    this.#fieldsOf = new Map(
      Object.entries(language.elements).map(([name, { fields }]) => [name, Object.entries(fields)]),
    );
  }

  /** Line that has been reached. */
  get line(): number {
    return this.window.line;
  }

  /** The next piece of the text, of any size; not kept. @throws {@link XmlError} */
  push(chunk: Uint8Array): void {
    for (let from = 0; from < chunk.length; ) {
      from += this.window.fill(chunk, from);
      this.#read();
    }
  }

  /** The text is complete. @throws {@link XmlError} when it is not */
  end(): void {
    const { at, end } = this.window;
    const where = this.#open.at(-1);
    if (this.#isInComment) this.window.fail(end, 'the text ends inside a comment: is it complete?');
    if (at < end) this.window.fail(at, 'the text ends inside this tag: is it complete?');
    if (where !== undefined) this.window.fail(end, `the text ends inside <${where}>: is it complete?`);
    if (!this.#hasRoot) this.window.fail(end, `the text is empty: expected <${this.#language.root}>`);
  }

  #read(): void {
    try {
      for (;;) {
        if (!this.#isInComment) this.#handler.beforeTag?.(this.#open.at(-1) ?? '');
        if (!this.#readOne()) return;
      }
    } catch (error) {
      if (!(error instanceof ContentProblem)) throw error;
      this.window.fail(this.window.at, error.message);
    }
  }

  /** Reads one tag, comment or stretch of white space; false when more text is needed for it. */
  #readOne(): boolean {
    const { window } = this;
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
    const { bytes, end } = this.window;
    let { at } = this.window;
    while (at < end && isWhiteSpace(bytes[at] as number)) at++;
    if (at === this.window.at) return;
    this.window.advanceTo(at);
    this.#mayHaveDeclaration = false;
  }

  #skipByteOrderMark(): boolean {
    const { at, end, bytes } = this.window;
    if (end - at < 3) return false;
    if (bytes[at + 1] !== 0xbb || bytes[at + 2] !== 0xbf) {
      this.window.fail(at, `${inWords(0xef)} where only tags are expected`);
    }
    this.window.advanceTo(at + 3);
    return true;
  }

  #beginComment(): boolean {
    const { at, end, bytes } = this.window;
    for (const [i, expected] of [0x2d, 0x2d].entries()) {
      if (at + 2 + i === end) return false;
      if (bytes[at + 2 + i] !== expected) {
        this.window.fail(at, 'expected a tag or a comment: no DTD and no CDATA section is read here');
      }
    }
    this.window.advanceTo(at + 4);
    this.#mayHaveDeclaration = false;
    this.#isInComment = true;
    return true;
  }

  #readComment(): boolean {
    const { at, end, bytes } = this.window;
    for (let i = at; i + 2 < end; i++) {
      if (bytes[i] !== 0x2d || bytes[i + 1] !== 0x2d) continue;
      if (bytes[i + 2] !== 0x3e) this.window.fail(i, '-- inside a comment');
      this.window.advanceTo(i + 3);
      this.#isInComment = false;
      return true;
    }
    // Two bytes may be the beginning of the end.
    this.window.advanceTo(Math.max(at, end - 2));
    return false;
  }

  #readDeclaration(): boolean {
    const { at, end, bytes } = this.window;
    for (let i = at + 2; i + 1 < end; i++) {
      if (bytes[i] !== 0x3f || bytes[i + 1] !== 0x3e) continue;
      const text = String.fromCharCode(...bytes.subarray(at, i + 2));
      if (!this.#mayHaveDeclaration || !/^<\?xml[ \t\r\n]/.test(text)) {
        this.window.fail(at, 'a processing instruction; only an XML declaration at the very beginning is accepted');
      }
      const encoding = /encoding[ \t\r\n]*=[ \t\r\n]*["']([^"']*)["']/.exec(text)?.[1];
      if (encoding !== undefined && !/^(utf-8|us-ascii|iso-8859-1)$/i.test(encoding)) {
        this.window.fail(at, `the text is declared to be in '${encoding}', expected UTF-8`);
      }
      this.window.advanceTo(i + 2);
      this.#mayHaveDeclaration = false;
      return true;
    }
    if (end - at > MAX_DECLARATION) this.window.fail(at, `a declaration longer than ${MAX_DECLARATION} bytes`);
    return false;
  }

  #element(tag: XmlTag): void {
    const { name } = tag;
    const { subject, root, elements } = this.#language;
    const parent = this.#open.at(-1) ?? '';
    const window: XmlWindow = this.window;
    const fields =
      this.#fieldsOf.get(name) ?? window.fail(window.at, `unknown element <${name}>: is this the XML of ${subject}?`);
    if (parent === '' && this.#hasRoot) window.fail(window.at, `<${name}> after the end of </${root}>`);
    const mayStandIn = (element: string): boolean => elements[element]?.inside.includes(parent) === true;
    if (!mayStandIn(name)) {
      const expected = Object.keys(elements).filter(mayStandIn);
      const where = parent === '' ? 'at the beginning' : `inside <${parent}>`;
      window.fail(
        window.at,
        `<${name}> ${where}, expected ${expected.map((other) => `<${other}>`).join(', ') || 'its end tag'}`,
      );
    }
    const checked = new TagFields(window, name, fields, tag);
    this.#open.push(name);
    if (name === root) this.#hasRoot = true;
    this.#handler.open(name, checked);
  }

  #close(name: string): void {
    const opened = this.#open.pop();
    if (opened === undefined) this.window.fail(this.window.at, `</${name}> closes nothing: nothing is open`);
    if (opened !== name) this.window.fail(this.window.at, `</${name}> inside <${opened}>, expected </${opened}>`);
    this.#handler.close(name);
  }
}
