/**
 * The part of an XML text that has arrived and is not yet understood: a window over one buffer that slides along the text.
 *
 * Text comes in pieces of any size and leaves from the front, token by token; what is incomplete stays and is joined by the
 * next piece. The window knows the line and column of its front, so that any byte in it can be named in an error.
 */
import type { TextPosition, XmlErrorType } from './xml-error.js';

/** Fits the processor's second-level cache. Must exceed the longest token (xml-tag.ts). */
const WINDOW_SIZE = 256 * 1024;
const LINE_FEED = 10;

export class XmlWindow {
  readonly bytes = new Uint8Array(WINDOW_SIZE);
  readonly view = new DataView(this.bytes.buffer);
  /** Front of the window: the first byte not yet understood. Moved with {@link advanceTo} or, newlines counted, by hand. */
  at = 0;
  /** Behind the last byte that has arrived. */
  end = 0;
  /** Line of the front, from 1. */
  line = 1;
  /** Index in `bytes` at which that line begins; negative once its beginning has left the window. */
  lineStart = 0;
  /** Position in the text of `bytes[0]`. */
  #base = 0;
  readonly #errorType: XmlErrorType;

  constructor(errorType: XmlErrorType) {
    this.#errorType = errorType;
  }

  /** Takes as much of `chunk`, from `from` on, as there is room for. @returns how much */
  fill(chunk: Uint8Array, from: number): number {
    if (this.at > 0) {
      this.bytes.copyWithin(0, this.at, this.end);
      this.#base += this.at;
      this.lineStart -= this.at;
      this.end -= this.at;
      this.at = 0;
    }
    const nr = Math.min(chunk.length - from, WINDOW_SIZE - this.end);
    this.bytes.set(from === 0 && nr === chunk.length ? chunk : chunk.subarray(from, from + nr), this.end);
    this.end += nr;
    return nr;
  }

  /** Moves the front to index `to`, counting lines. */
  advanceTo(to: number): void {
    const { bytes } = this;
    for (let i = this.at; i < to; i++) {
      if (bytes[i] !== LINE_FEED) continue;
      this.line++;
      this.lineStart = i + 1;
    }
    this.at = to;
  }

  /** Where the byte at `index`, not before the front, is in the text. */
  positionOf(index: number): TextPosition {
    let { line, lineStart } = this;
    for (let i = this.at; i < index; i++) {
      if (this.bytes[i] !== LINE_FEED) continue;
      line++;
      lineStart = i + 1;
    }
    return { line, column: index - lineStart + 1, byte: this.#base + index };
  }

  /** True at the very beginning of the text. */
  get isAtBeginning(): boolean {
    return this.#base + this.at === 0;
  }

  fail(index: number, problem: string): never {
    throw new this.#errorType(problem, this.positionOf(index));
  }
}
