/**
 * A value type whose references are counted in a plain map: what a data space map would be told, without one.
 */
import { setU64At, u64At, type ValueType } from '@pdata/persistent-data';
import { expect } from 'vitest';

/** A token that is counted, and a tag that `equal` ignores, as thin mappings ignore the time. */
export interface Token {
  readonly token: number;
  readonly tag: number;
}

export class CountedTokens implements ValueType<Token> {
  readonly size: number;
  counts = new Map<number, number>();

  /** @param size of a value: 8 bytes and more */
  constructor(size = 8) {
    this.size = size;
  }

  decode(view: DataView, at: number): Token {
    return { token: view.getUint32(at, true), tag: view.getUint32(at + 4, true) };
  }

  encode(view: DataView, at: number, { token, tag }: Token): void {
    view.setUint32(at, token, true);
    view.setUint32(at + 4, tag, true);
  }

  inc(view: DataView, at: number, count: number): void {
    for (let i = 0; i < count; i++) this.#add(view.getUint32(at + this.size * i, true), 1);
  }

  dec(view: DataView, at: number, count: number): void {
    for (let i = 0; i < count; i++) this.#add(view.getUint32(at + this.size * i, true), -1);
  }

  equal(a: DataView, atA: number, b: DataView, atB: number): boolean {
    return a.getUint32(atA, true) === b.getUint32(atB, true);
  }

  /** The reference that a tree takes over when the token is inserted. */
  take(token: number): void {
    this.#add(token, 1);
  }

  #add(token: number, delta: number): void {
    const count = (this.counts.get(token) ?? 0) + delta;
    if (count < 0) expect.fail(`token ${token} is given up more often than it was taken`);
    if (count === 0) this.counts.delete(token);
    else this.counts.set(token, count);
  }
}

/** Plain numbers of 8 bytes, which nobody counts. */
export const numbers: ValueType<number> = { size: 8, decode: u64At, encode: setU64At };

/** Values of `size` bytes: a number in the first four, the rest filled with its low byte, so that a wrong stride shows. */
export function sized(size: number): ValueType<number> {
  return {
    size,
    decode(view, at) {
      const value = view.getUint32(at, true);
      for (let i = 4; i < size; i++) {
        if (view.getUint8(at + i) !== (value & 0xff)) return -1;
      }
      return value;
    },
    encode(view, at, value) {
      view.setUint32(at, value, true);
      for (let i = 4; i < size; i++) view.setUint8(at + i, value & 0xff);
    },
  };
}
