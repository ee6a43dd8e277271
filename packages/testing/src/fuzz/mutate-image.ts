/**
 * Changes single fields of the structures of an image, under checksums that are right: what no checksum protects a reader from.
 *
 * The image is changed in place and put back: images are large, changes small. Everything follows from the seed.
 */
import { BLOCK_SIZE } from '@pdata/device';
import { seededRandom } from '../seeded-random.js';
import type { FormatField, FormatStructure } from './format-structure.js';

export interface MutationOptions {
  /** Changed in place, and put back when the next image is asked for. */
  readonly image: Uint8Array;
  readonly structures: readonly FormatStructure[];
  readonly seed: number;
  /** Blocks to be changed. Default: all that a structure matches. */
  readonly blocks?: readonly number[];
  /** Fields changed in one image. Default: 1 in most, 2 or 3 in some. */
  readonly changes?: number;
}

export interface MutatedImage {
  /** The same array each time. */
  readonly bytes: Uint8Array;
  /** What was changed, from what, to what. */
  readonly description: string;
}

/** Without an end. */
export function* mutatedImages(options: MutationOptions): Generator<MutatedImage> {
  const mutator = new Mutator(options);
  try {
    for (;;) {
      yield { bytes: options.image, description: mutator.mutate() };
      mutator.putBack();
    }
  } finally {
    mutator.putBack();
  }
}

class Mutator {
  readonly #image: Uint8Array;
  readonly #random: () => number;
  readonly #changes: number | undefined;
  /** Blocks that hold something known. */
  readonly #known: { readonly blockNr: number; readonly structure: FormatStructure }[] = [];
  readonly #saved = new Map<number, Uint8Array>();

  constructor({ image, structures, seed, blocks, changes }: MutationOptions) {
    this.#image = image;
    this.#random = seededRandom(seed);
    this.#changes = changes;
    const nrs = blocks ?? Array.from({ length: Math.floor(image.byteLength / BLOCK_SIZE) }, (_, nr) => nr);
    for (const blockNr of nrs) {
      const structure = structures.find(({ matches }) => matches(this.#block(blockNr), blockNr));
      if (structure !== undefined) this.#known.push({ blockNr, structure });
    }
    if (this.#known.length === 0) throw new RangeError('the image holds none of the structures');
  }

  mutate(): string {
    const nr = this.#changes ?? (this.#random() < 0.7 ? 1 : 2 + this.#pick(2));
    return Array.from({ length: nr }, () => this.#mutateOne()).join('; ');
  }

  putBack(): void {
    for (const [blockNr, bytes] of this.#saved) this.#block(blockNr).set(bytes);
    this.#saved.clear();
  }

  #mutateOne(): string {
    const { blockNr, structure } = this.#one(this.#known);
    this.#touch(blockNr);
    if (this.#random() < 0.03) return this.#overwrite(blockNr);
    const block = this.#block(blockNr);
    const view = viewOf(block);
    const places = structure.fields
      .map((field) => ({ field, offsets: offsetsOf(field, view) }))
      .filter(({ offsets }) => offsets.length > 0);
    if (places.length === 0) return `nothing in block ${blockNr}, ${structure.name}, which has no fields`;
    const { field, offsets } = this.#one(places);
    const index = this.#pick(offsets.length);
    const at = offsets[index] as number;
    const old = read(view, at, field.size);
    const value = BigInt.asUintN(8 * field.size, this.#valueFor(field, old, view, offsets, blockNr));
    write(view, at, field.size, value);
    structure.seal(block, blockNr);
    const which = offsets.length > 1 ? `${field.name} ${index}` : field.name;
    return `${which} of block ${blockNr}, ${structure.name}: ${value} instead of ${old}`;
  }

  /** One structure where another should be: right by itself, wrong in its place. */
  #overwrite(blockNr: number): string {
    const other = this.#one(this.#known);
    const block = this.#block(blockNr);
    block.set(this.#block(other.blockNr));
    other.structure.seal(block, blockNr);
    return `block ${blockNr} overwritten by block ${other.blockNr}, ${other.structure.name}`;
  }

  #valueFor(field: FormatField, old: bigint, view: DataView, offsets: readonly number[], blockNr: number): bigint {
    const nrBlocks = BigInt(this.#image.byteLength / BLOCK_SIZE);
    const dice = this.#random();
    if (dice < 0.15) return old + BigInt(this.#pick(2) === 0 ? 1 : -1);
    if (dice < 0.25) return old ^ (1n << BigInt(this.#pick(8 * field.size)));
    if (dice < 0.3) return (BigInt(this.#pick(2 ** 32)) << 32n) | BigInt(this.#pick(2 ** 32));
    if (dice < 0.4 && offsets.length > 1) return read(view, this.#one(offsets), field.size);
    switch (field.kind) {
      case 'pointer':
        // Cycles, shared nodes, structures of another kind, the ends of the device, and what no device has.
        return this.#one([
          BigInt(blockNr),
          BigInt(this.#one(this.#known).blockNr),
          BigInt(this.#one(this.#known).blockNr),
          BigInt(this.#one(this.#known).blockNr),
          0n,
          nrBlocks - 1n,
          nrBlocks,
          2n ** 32n + old,
          2n ** 53n,
          2n ** 64n - 1n,
        ]);
      case 'count':
        return this.#one([
          0n,
          1n,
          2n,
          3n,
          251n,
          252n,
          253n,
          255n,
          256n,
          16320n,
          2n ** 31n - 1n,
          2n ** 31n,
          2n ** 32n - 1n,
          nrBlocks,
          old * 2n,
        ]);
      case 'size':
        return this.#one([
          0n,
          1n,
          3n,
          4n,
          7n,
          8n,
          9n,
          16n,
          24n,
          1346n,
          4064n,
          4096n,
          2n ** 16n,
          2n ** 31n,
          2n ** 32n - 1n,
        ]);
      case 'key':
        return this.#one([
          0n,
          1n,
          old - 2n,
          old + 2n,
          2n ** 24n,
          2n ** 32n,
          2n ** 53n - 1n,
          2n ** 53n,
          2n ** 63n,
          2n ** 64n - 1n,
        ]);
      case 'flags':
        return this.#one([0n, 1n, 2n, 3n, 4n, 2n ** 31n, 2n ** 32n - 1n]);
      case 'number':
        return this.#one([
          0n,
          1n,
          2n ** 24n,
          2n ** 31n,
          2n ** 32n - 1n,
          2n ** 40n,
          2n ** 53n,
          2n ** 63n,
          2n ** 64n - 1n,
        ]);
    }
  }

  #touch(blockNr: number): void {
    if (!this.#saved.has(blockNr)) this.#saved.set(blockNr, this.#block(blockNr).slice());
  }

  #block(blockNr: number): Uint8Array {
    return this.#image.subarray(blockNr * BLOCK_SIZE, (blockNr + 1) * BLOCK_SIZE);
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  #one<T>(of: readonly T[]): T {
    return of[this.#pick(of.length)] as T;
  }
}

function offsetsOf({ at, count, stride, size }: FormatField, view: DataView): number[] {
  const first = typeof at === 'number' ? at : at(view);
  if (typeof first !== 'number') return first.filter((offset) => offset + size <= BLOCK_SIZE);
  const step = stride === undefined ? size : typeof stride === 'number' ? stride : stride(view);
  const offsets: number[] = [];
  const nr = count === undefined ? 1 : count(view);
  for (let i = 0; i < nr; i++) {
    const offset = first + i * step;
    if (offset + size > BLOCK_SIZE || (i > 0 && step === 0)) break;
    offsets.push(offset);
  }
  return offsets;
}

function viewOf(block: Uint8Array): DataView {
  return new DataView(block.buffer, block.byteOffset, block.byteLength);
}

function read(view: DataView, at: number, size: FormatField['size']): bigint {
  if (size === 8) return view.getBigUint64(at, true);
  if (size === 4) return BigInt(view.getUint32(at, true));
  return BigInt(size === 2 ? view.getUint16(at, true) : view.getUint8(at));
}

function write(view: DataView, at: number, size: FormatField['size'], value: bigint): void {
  if (size === 8) view.setBigUint64(at, value, true);
  else if (size === 4) view.setUint32(at, Number(value), true);
  else if (size === 2) view.setUint16(at, Number(value), true);
  else view.setUint8(at, Number(value));
}
