/**
 * What the format fuzzer knows of a structure on disk: a table of its fields, and how to make its checksum right again. One table
 * a structure; a new target is fuzzed by its tables.
 */

/** What a number means decides which others are worth trying in its place. */
export type FieldKind = 'pointer' | 'count' | 'size' | 'key' | 'flags' | 'number';

/** A field, or a run of equal ones. */
export interface FormatField {
  readonly name: string;
  readonly kind: FieldKind;
  /** Bytes, little-endian. */
  readonly size: 1 | 2 | 4 | 8;
  /** Byte offset in the block; or all offsets, where no stride leads from one to the next. */
  readonly at: number | ((block: DataView) => number | readonly number[]);
  /** How many there are. Default 1. What does not fit the block is left out. */
  readonly count?: (block: DataView) => number;
  /** Bytes from one to the next. Default `size`. */
  readonly stride?: number | ((block: DataView) => number);
}

export interface FormatStructure {
  /** In the words of the format: "btree node". */
  readonly name: string;
  /** Whether the block holds one: most often, whether its checksum is that of one. */
  matches(block: Uint8Array, blockNr: number): boolean;
  readonly fields: readonly FormatField[];
  /** Makes block number and checksum right, so that nothing but the changed field is wrong. */
  seal(block: Uint8Array, blockNr: number): void;
}
