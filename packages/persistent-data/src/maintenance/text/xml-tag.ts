/**
 * Parses one tag of an XML text: name, attributes, and whether it opens, closes or does both.
 *
 * Strict where leniency would hide damage: attributes are quoted and none occurs twice, values are UTF-8 without control
 * characters. There is no DTD, hence no entities but the five that XML itself knows; references to characters by number are
 * refused too. Everything is bounded: a name, a value, a tag.
 */
import type { XmlWindow } from './xml-window.js';

export const MAX_NAME_LENGTH = 64;
export const MAX_VALUE_LENGTH = 1024;
/** All of a tag, white space included. */
export const MAX_TAG_LENGTH = 8192;

export interface XmlAttribute {
  readonly name: string;
  readonly value: string;
  /** Index in the window of the name's, and of the value's, first byte. */
  readonly nameAt: number;
  readonly valueAt: number;
}

export interface XmlTag {
  readonly kind: 'start' | 'end' | 'empty';
  readonly name: string;
  readonly attributes: readonly XmlAttribute[];
  /** Index in the window behind the tag's `>`. */
  readonly end: number;
}

const [LESS, GREATER, SLASH, EQUALS, QUOTE, APOSTROPHE, AMPERSAND] = [0x3c, 0x3e, 0x2f, 0x3d, 0x22, 0x27, 0x26];
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export const isWhiteSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/**
 * The tag whose `<` is the front of the window, or undefined when its end has not arrived yet.
 * @throws {@link XmlError}
 */
export function parseTag(window: XmlWindow): XmlTag | undefined {
  try {
    return new TagParser(window).parse();
  } catch (error) {
    if (error !== INCOMPLETE) throw error;
    return undefined;
  }
}

/** Thrown at the end of what has arrived. One object: it is no error, and rare (once in a piece of text). */
const INCOMPLETE = { incomplete: true };

class TagParser {
  readonly #window: XmlWindow;
  readonly #bytes: Uint8Array;
  /** Behind the last byte that may belong to the tag. */
  readonly #limit: number;
  #at: number;

  constructor(window: XmlWindow) {
    this.#window = window;
    this.#bytes = window.bytes;
    this.#limit = Math.min(window.end, window.at + MAX_TAG_LENGTH);
    this.#at = window.at + 1;
  }

  parse(): XmlTag {
    const isEnd = this.#peek() === SLASH;
    if (isEnd) this.#at++;
    const name = this.#name('an element');
    const attributes: XmlAttribute[] = [];
    for (;;) {
      const spaceAt = this.#at;
      this.#skipWhiteSpace();
      const byte = this.#peek();
      if (byte === GREATER) return { kind: isEnd ? 'end' : 'start', name, attributes, end: this.#at + 1 };
      if (byte === SLASH && !isEnd) {
        this.#at++;
        if (this.#peek() !== GREATER) this.#window.fail(this.#at, `expected > after / in <${name}>`);
        return { kind: 'empty', name, attributes, end: this.#at + 1 };
      }
      if (isEnd) this.#window.fail(this.#at, `expected > at the end of </${name}>, not ${inWords(byte)}`);
      if (this.#at === spaceAt)
        this.#window.fail(this.#at, `expected white space, / or > in <${name}>, not ${inWords(byte)}`);
      const attribute = this.#attribute(name);
      if (attributes.some((other) => other.name === attribute.name)) {
        this.#window.fail(attribute.nameAt, `attribute '${attribute.name}' occurs twice in <${name}>`);
      }
      attributes.push(attribute);
    }
  }

  #attribute(element: string): XmlAttribute {
    const nameAt = this.#at;
    const name = this.#name(`an attribute of <${element}>`);
    this.#skipWhiteSpace();
    if (this.#peek() !== EQUALS) {
      this.#window.fail(this.#at, `expected = after attribute '${name}' in <${element}>, not ${inWords(this.#peek())}`);
    }
    this.#at++;
    this.#skipWhiteSpace();
    const quote = this.#peek();
    if (quote !== QUOTE && quote !== APOSTROPHE) {
      this.#window.fail(
        this.#at,
        `expected a quote before the value of '${name}' in <${element}>, not ${inWords(quote)}`,
      );
    }
    this.#at++;
    const valueAt = this.#at;
    let isPlain = true;
    for (;;) {
      const byte = this.#peek();
      if (byte === quote) break;
      if (byte === LESS)
        this.#window.fail(this.#at, `< in the value of '${name}' in <${element}>: is its quote missing?`);
      if (byte < 0x20 && !isWhiteSpace(byte)) {
        this.#window.fail(this.#at, `${inWords(byte)} in the value of '${name}' in <${element}>`);
      }
      if (byte === AMPERSAND || byte >= 0x80) isPlain = false;
      this.#at++;
      if (this.#at - valueAt > MAX_VALUE_LENGTH) {
        this.#window.fail(valueAt, `the value of '${name}' in <${element}> is longer than ${MAX_VALUE_LENGTH} bytes`);
      }
    }
    const value = isPlain ? ascii(this.#bytes, valueAt, this.#at) : this.#decode(valueAt, name);
    this.#at++;
    return { name, value, nameAt, valueAt };
  }

  /** A value with entities, or with more than ASCII. */
  #decode(valueAt: number, name: string): string {
    let text: string;
    try {
      text = utf8.decode(this.#bytes.subarray(valueAt, this.#at));
    } catch {
      this.#window.fail(valueAt, `the value of '${name}' is not UTF-8`);
    }
    return text.replace(/&([^;&]{0,8};?)/g, (reference, body: string) => {
      const entity = body.endsWith(';') ? ENTITIES[body.slice(0, -1)] : undefined;
      if (entity !== undefined) return entity;
      return this.#window.fail(
        valueAt,
        `'${reference}' in the value of '${name}': only &amp; &lt; &gt; &quot; and &apos; are known here`,
      );
    });
  }

  #name(of: string): string {
    const from = this.#at;
    while (isNameByte(this.#peek())) {
      this.#at++;
      if (this.#at - from > MAX_NAME_LENGTH)
        this.#window.fail(from, `the name of ${of} is longer than ${MAX_NAME_LENGTH} bytes`);
    }
    if (this.#at === from) this.#window.fail(from, `expected the name of ${of}, not ${inWords(this.#peek())}`);
    return ascii(this.#bytes, from, this.#at);
  }

  #skipWhiteSpace(): void {
    while (isWhiteSpace(this.#peek())) this.#at++;
  }

  #peek(): number {
    if (this.#at < this.#limit) return this.#bytes[this.#at] as number;
    if (this.#at < this.#window.end) {
      this.#window.fail(this.#window.at, `a tag longer than ${MAX_TAG_LENGTH} bytes`);
    }
    throw INCOMPLETE;
  }
}

const isNameByte = (byte: number): boolean =>
  (byte >= 0x61 && byte <= 0x7a) || // a-z
  (byte >= 0x41 && byte <= 0x5a) || // A-Z
  (byte >= 0x30 && byte <= 0x39) || // 0-9
  byte === 0x5f || // _
  byte === 0x2d || // -
  byte === 0x2e || // .
  byte === 0x3a; // :

/** Bytes `from`..`to` (exclusive) as text; they are ASCII. */
function ascii(bytes: Uint8Array, from: number, to: number): string {
  let text = '';
  for (let at = from; at < to; at++) text += String.fromCharCode(bytes[at] as number);
  return text;
}

/** A byte as a message names it. */
export const inWords = (byte: number): string =>
  byte > 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : `byte 0x${byte.toString(16).padStart(2, '0')}`;
