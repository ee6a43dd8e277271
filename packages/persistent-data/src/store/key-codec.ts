/**
 * Keys of a tree: whole numbers, which go into the kernel's btree nodes as they are; or bytes of one size, compared from the
 * first on, into which compound keys and keys of other types are encoded: integers big-endian, one component after the other,
 * zeros up to a multiple of four bytes. So the order of the bytes is the order of the keys, component by component.
 */
import { type Codec, type CodecDescription, codecOf, type Decoded } from './codec.js';

/** One codec, or several for a compound key. Of the codecs `u8` to `u64`, `bool`, `bytes` and `text`. */
export type KeySpec = KeyPart | readonly KeyPart[];
/** A key, or a component of one. */
export type KeyPart = Codec<number> | Codec<boolean> | Codec<string> | Codec<Uint8Array>;
/** The key that a specification stands for. */
export type KeyOf<K> = K extends readonly unknown[] ? { -readonly [I in keyof K]: Decoded<K[I]> } : Decoded<K>;

export interface KeyCodec {
  /** Bytes of an encoded key; 0 when keys are plain numbers. */
  readonly size: number;
  /** The largest plain number. */
  readonly max: number;
  readonly description: CodecDescription | readonly CodecDescription[];
  encode(key: unknown, into: DataView): void;
  decode(view: DataView, at: number): unknown;
}

export const MAX_KEY_SIZE = 128;

export function keyCodec(spec: KeySpec): KeyCodec {
  const isCompound = Array.isArray(spec);
  const parts = (isCompound ? spec : [spec]) as readonly Codec<unknown>[];
  const description = isCompound ? parts.map((part) => part.description) : (parts[0] as Codec<unknown>).description;
  for (const part of parts) {
    const known = part.description;
    if (known === 'f64' || known === 'i32' || (typeof known === 'object' && !('bytes' in known) && !('text' in known)))
      throw new TypeError(
        `a key cannot have a component of type ${JSON.stringify(known)}: its bytes are not in the order of its values`,
      );
  }
  if (!isCompound && typeof description === 'string' && description !== 'bool') {
    const max = Math.min(2 ** (8 * (parts[0] as Codec<unknown>).size) - 1, Number.MAX_SAFE_INTEGER);
    return { size: 0, max, description, encode: () => {}, decode: () => undefined };
  }
  const offsets: number[] = [];
  let size = 0;
  for (const part of parts) {
    offsets.push(size);
    size += part.size;
  }
  size = Math.ceil(size / 4) * 4;
  if (parts.length === 0 || size > MAX_KEY_SIZE)
    throw new RangeError(`a key has from 1 to ${MAX_KEY_SIZE} bytes, not ${size}`);
  const scratch = new DataView(new ArrayBuffer(MAX_KEY_SIZE));
  return {
    size,
    max: 0,
    description,
    encode(key, into) {
      if (isCompound && (!Array.isArray(key) || key.length !== parts.length))
        throw new TypeError(`a compound key is an array of ${parts.length} components`);
      for (let i = 0; i < size; i += 4) into.setUint32(i, 0);
      parts.forEach((part, i) => {
        const at = offsets[i] as number;
        part.encode(scratch, 0, isCompound ? (key as unknown[])[i] : key);
        copy(part, scratch, 0, into, at);
      });
    },
    decode(view, at) {
      const found = parts.map((part, i) => {
        copy(part, view, at + (offsets[i] as number), scratch, 0);
        return part.decode(scratch, 0);
      });
      return isCompound ? found : found[0];
    },
  };
}

/** Turns the bytes of an integer round; others are copied. */
function copy({ size, description }: Codec<unknown>, from: DataView, fromAt: number, to: DataView, toAt: number): void {
  const isInteger = typeof description === 'string';
  for (let i = 0; i < size; i++) to.setUint8(toAt + i, from.getUint8(fromAt + (isInteger ? size - 1 - i : i)));
}

/** The key codec that a directory describes. */
export const keyCodecOf = (description: KeyCodec['description']): KeyCodec =>
  keyCodec(
    (Array.isArray(description)
      ? description.map((part) => codecOf(part))
      : codecOf(description as CodecDescription)) as KeySpec,
  );
