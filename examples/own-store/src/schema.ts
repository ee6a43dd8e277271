/**
 * What the catalogue of backups knows. A backup is a snapshot of all of it.
 *
 *   files    path (its hash, so that keys have one size) → a record: what the file is, and the hashes of its pieces
 *   pieces   hash of the content → where it lies in the pack, and how many pieces of files of this state are it
 *   space    which units of the pack are in use
 *
 * `pieces` names units of `space`; so a unit is free when no backup has a piece there any more, and not before. That is all there is
 * to do about sharing: nothing in this program counts across backups.
 */
import { btree, bytes, record, schema, spaceMap, struct, u32, unit } from '@pdata/persistent-data/store';

export interface BackedUpFile {
  readonly path: string;
  readonly size: number;
  readonly mtimeMs: number;
  readonly mode: number;
  /** Hashes of the pieces, in order. */
  readonly pieces: readonly Uint8Array[];
}

export const catalogue = schema({
  version: 1,
  collections: {
    files: btree({ key: bytes(16), value: record<BackedUpFile>() }),
    pieces: btree({ key: bytes(32), value: struct({ unit: unit('space'), length: u32, uses: u32 }) }),
    space: spaceMap(),
  },
});
