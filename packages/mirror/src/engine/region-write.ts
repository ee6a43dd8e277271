/** A write on its way, in pieces and parts: see write-path.ts. */

export type WriteOperation =
  | { readonly kind: 'write'; readonly fua: boolean }
  | { readonly kind: 'writeZeroes'; readonly fua: boolean; readonly keepAllocated: boolean }
  | { readonly kind: 'discard'; readonly fua: boolean };

/** A write, or 1 MiB of it at most. */
export interface Piece {
  readonly operation: WriteOperation;
  readonly offset: number;
  /** The caller's bytes, until they have been copied; undefined for zeros. */
  bytes: Uint8Array | undefined;
  isCopied: boolean;
  /** For the copy. */
  readonly buffer: Uint8Array | undefined;
  /** Parts that have not ended. */
  nrOpen: number;
  error: unknown;
  readonly settle: () => void;
}

/** What lies in one region. */
export interface Part {
  readonly regionNr: number;
  readonly piece: Piece;
  /** Bytes of the mirror. */
  readonly begin: number;
  readonly end: number;
}
