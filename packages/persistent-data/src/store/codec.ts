/**
 * What a fixed-size value looks like in a block, said once as data: the same description gives TypeScript its type, the
 * collection its encoder and decoder, and the store's directory something to compare an opener's schema with.
 *
 * All integers are little-endian. A struct is its fields one after the other, without padding.
 */
import { setU64At, u64At } from '../block/block.js';

/** A codec as the directory stores it. */
export type CodecDescription =
  | string
  | { readonly bytes: number }
  | { readonly text: number }
  | { readonly unit: string }
  | { readonly struct: readonly (readonly [name: string, codec: CodecDescription])[] };

/** Where a value refers to a unit of a space map. */
export interface UnitPlace {
  /** Name of the space map. */
  readonly map: string;
  /** Bytes from the beginning of the value; there lies the unit's number plus one, or 0 for none. */
  readonly offset: number;
}

export interface Codec<T> {
  /** Bytes of a value. */
  readonly size: number;
  readonly description: CodecDescription;
  readonly units: readonly UnitPlace[];
  decode(view: DataView, at: number): T;
  /** @throws {@link RangeError} or {@link TypeError} for what is no such value; nothing is half stored then */
  encode(view: DataView, at: number, value: T): void;
}

/** What a codec decodes to. */
export type Decoded<C> = C extends Codec<infer T> ? T : never;

const NO_UNITS: readonly UnitPlace[] = [];

function whole(
  name: string,
  size: number,
  max: number,
  get: (v: DataView, at: number) => number,
  set: (v: DataView, at: number, n: number) => void,
  min = 0,
): Codec<number> {
  return {
    size,
    description: name,
    units: NO_UNITS,
    decode: get,
    encode(view, at, value) {
      if (!Number.isInteger(value) || value < min || value > max)
        throw new RangeError(`a value of type ${name} is a whole number from ${min} to ${max}, not ${String(value)}`);
      set(view, at, value);
    },
  };
}

export const u8 = whole(
  'u8',
  1,
  0xff,
  (v, at) => v.getUint8(at),
  (v, at, n) => v.setUint8(at, n),
);
export const u16 = whole(
  'u16',
  2,
  0xffff,
  (v, at) => v.getUint16(at, true),
  (v, at, n) => v.setUint16(at, n, true),
);
export const u32 = whole(
  'u32',
  4,
  0xffffffff,
  (v, at) => v.getUint32(at, true),
  (v, at, n) => v.setUint32(at, n, true),
);
export const i32 = whole(
  'i32',
  4,
  0x7fffffff,
  (v, at) => v.getInt32(at, true),
  (v, at, n) => v.setInt32(at, n, true),
  -0x80000000,
);
/** Whole numbers from 0 to 2^53 - 1, in eight bytes. */
export const u64 = whole('u64', 8, Number.MAX_SAFE_INTEGER, u64At, setU64At);

export const f64: Codec<number> = {
  size: 8,
  description: 'f64',
  units: NO_UNITS,
  decode: (view, at) => view.getFloat64(at, true),
  encode(view, at, value) {
    if (typeof value !== 'number') throw new TypeError(`a value of type f64 is a number, not ${String(value)}`);
    view.setFloat64(at, value, true);
  },
};

export const bool: Codec<boolean> = {
  size: 1,
  description: 'bool',
  units: NO_UNITS,
  decode: (view, at) => view.getUint8(at) !== 0,
  encode(view, at, value) {
    if (typeof value !== 'boolean') throw new TypeError(`a value of type bool is true or false, not ${String(value)}`);
    view.setUint8(at, value ? 1 : 0);
  },
};

/** Exactly `size` bytes. What is decoded is a copy. */
export function bytes(size: number): Codec<Uint8Array> {
  refuseSize('bytes', size);
  return {
    size,
    description: { bytes: size },
    units: NO_UNITS,
    decode: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, size).slice(),
    encode(view, at, value) {
      if (!(value instanceof Uint8Array) || value.length !== size)
        throw new RangeError(`a value of type bytes(${size}) is a Uint8Array of that length, not ${lengthOf(value)}`);
      new Uint8Array(view.buffer, view.byteOffset + at, size).set(value);
    },
  };
}

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder();

/** A string of at most `size` bytes in UTF-8, none of its characters U+0000. */
export function text(size: number): Codec<string> {
  refuseSize('text', size);
  return {
    size,
    description: { text: size },
    units: NO_UNITS,
    decode(view, at) {
      let length = 0;
      while (length < size && view.getUint8(at + length) !== 0) length++;
      return fromUtf8.decode(new Uint8Array(view.buffer, view.byteOffset + at, length));
    },
    encode(view, at, value) {
      const encoded = typeof value === 'string' ? utf8.encode(value) : undefined;
      if (encoded === undefined || encoded.length > size || encoded.includes(0) || isReplaced(encoded, value))
        throw new RangeError(
          `a value of type text(${size}) is a string of at most ${size} bytes in UTF-8 without U+0000, and without halves of characters`,
        );
      const into = new Uint8Array(view.buffer, view.byteOffset + at, size);
      into.fill(0);
      into.set(encoded);
    },
  };
}

/** Whether UTF-8 has no bytes for something in `text`: halves of surrogate pairs, all of which become the same sign. */
const isReplaced = (encoded: Uint8Array, value: string): boolean =>
  encoded.includes(0xef) && /\p{Surrogate}/u.test(value);

/**
 * A unit of the space map collection `map`, or undefined. Every stored value counts as a reference to its unit, in the current
 * state, clones and snapshots alike: a unit becomes free when the last value that names it is gone.
 */
export function unit(map: string): Codec<number | undefined> {
  return {
    size: 8,
    description: { unit: map },
    units: [{ map, offset: 0 }],
    decode(view, at) {
      const stored = u64At(view, at);
      return stored === 0 ? undefined : stored - 1;
    },
    encode(view, at, value) {
      if (value !== undefined && (!Number.isSafeInteger(value) || value < 0))
        throw new RangeError(`a unit is a whole number from 0 on, or undefined, not ${String(value)}`);
      setU64At(view, at, value === undefined ? 0 : value + 1);
    },
  };
}

/** Names and codecs of a struct. */
export type StructFields = Readonly<Record<string, Codec<unknown>>>;
/** What a struct of these fields decodes to. */
export type Struct<F extends StructFields> = { -readonly [Name in keyof F]: Decoded<F[Name]> };

/** Several named values, one after the other. */
export function struct<F extends StructFields>(fields: F): Codec<Struct<F>> {
  const places: { name: string; codec: Codec<unknown>; offset: number }[] = [];
  let size = 0;
  for (const [name, codec] of Object.entries(fields)) {
    places.push({ name, codec, offset: size });
    size += codec.size;
  }
  if (places.length === 0) throw new TypeError('a struct has one field or more');
  // One object literal of the right shape, copied and filled: objects of one hidden class, at a third of the time that keyed
  // stores into an empty one take.
  const blank: Record<string, unknown> = Object.fromEntries(places.map(({ name }) => [name, undefined]));
  const [first, second, third] = places;
  return {
    size,
    description: { struct: places.map(({ name, codec }) => [name, codec.description] as const) },
    units: places.flatMap(({ codec, offset }) =>
      codec.units.map((place) => ({ ...place, offset: offset + place.offset })),
    ),
    decode:
      places.length === 1 && first !== undefined
        ? (view, at) => ({ [first.name]: first.codec.decode(view, at) }) as Struct<F>
        : places.length === 2 && first !== undefined && second !== undefined
          ? (view, at) =>
              ({
                [first.name]: first.codec.decode(view, at),
                [second.name]: second.codec.decode(view, at + second.offset),
              }) as Struct<F>
          : places.length === 3 && first !== undefined && second !== undefined && third !== undefined
            ? (view, at) =>
                ({
                  [first.name]: first.codec.decode(view, at),
                  [second.name]: second.codec.decode(view, at + second.offset),
                  [third.name]: third.codec.decode(view, at + third.offset),
                }) as Struct<F>
            : (view, at) => {
                const found: Record<string, unknown> = { ...blank };
                for (const { name, codec, offset } of places) found[name] = codec.decode(view, at + offset);
                return found as Struct<F>;
              },
    encode(view, at, value) {
      if (typeof value !== 'object' || value === null)
        throw new TypeError(`a struct is an object, not ${String(value)}`);
      for (const { name, codec, offset } of places) {
        try {
          codec.encode(view, at + offset, (value as Record<string, unknown>)[name]);
        } catch (error) {
          throw new RangeError(`field ${name}: ${(error as Error).message}`, { cause: error });
        }
      }
    },
  };
}

/** The codec that a directory describes. @throws {@link TypeError} for one that this version does not know */
export function codecOf(description: CodecDescription): Codec<unknown> {
  if (typeof description === 'string') {
    const named = { u8, u16, u32, i32, u64, f64, bool }[description];
    if (named === undefined) throw new TypeError(`no codec is called ${description}`);
    return named as Codec<unknown>;
  }
  if ('bytes' in description) return bytes(description.bytes) as Codec<unknown>;
  if ('text' in description) return text(description.text) as Codec<unknown>;
  if ('unit' in description) return unit(description.unit) as Codec<unknown>;
  return struct(
    Object.fromEntries(description.struct.map(([name, codec]) => [name, codecOf(codec)])),
  ) as Codec<unknown>;
}

function refuseSize(name: string, size: number): void {
  if (!Number.isInteger(size) || size < 1 || size > 1024)
    throw new RangeError(`${name} takes a size from 1 to 1024 bytes, not ${size}`);
}

const lengthOf = (value: unknown): string => (value instanceof Uint8Array ? `${value.length} bytes` : String(value));
