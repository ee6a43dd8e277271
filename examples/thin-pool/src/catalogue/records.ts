/**
 * What the catalogue keeps: a record for the pool under the key `pool`, and one for each thin device under `thin/ID`.
 *
 * Keys are ids, not names: renaming then changes one record, and a record and its device belong together by the same number.
 *
 *   kind        content           in lists
 *   volume      may be written    yes
 *   snapshot    never changes     yes
 *   receiving   half of a stream  no: becomes a snapshot (or, imported, a volume) when it is complete
 *   leftover    what a revert or a removal left when it was cut short; removed when the pool is opened   no
 *
 * Records come from a disk: they are checked when read, and one that makes no sense is treated as missing, never trusted.
 */

/** Format of directory and catalogue. A pool with a higher number is refused. */
export const POOL_FORMAT = 1;

export interface PoolRecord {
  readonly format: number;
  /** 32 hexadecimal digits, random. */
  readonly identity: string;
  /** Milliseconds since 1970. */
  readonly created: number;
}

export interface VolumeRecord {
  readonly kind: 'volume' | 'snapshot' | 'receiving' | 'leftover';
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since 1970; 0: nobody noted it. */
  readonly created: number;
  /** 32 hexadecimal digits, random; travels with a snapshot's stream. */
  readonly identity: string;
  /** Identity of what it was made from. */
  readonly origin?: string;
  readonly receiving?: ReceivingRecord;
  /** This record takes the place of that device's, as soon as its own device exists: how a revert is one step without a transaction. */
  readonly replaces?: number;
}

export interface ReceivingRecord {
  /** A volume being imported, which nobody resumes; otherwise a snapshot. */
  readonly becomes?: 'volume';
  /** The stream's base; missing for a full stream. */
  readonly base?: { readonly identity: string; readonly name: string };
  /** Bytes of the stream that have been applied and are durable, */
  readonly offset: number;
  /** their crc32, */
  readonly checksum: number;
  /** and the byte of the volume where the next frame begins at the earliest. */
  readonly position: number;
}

export type CatalogueRecord = PoolRecord | VolumeRecord;

export const POOL_KEY = 'pool';
export const keyOf = (thinId: number): string => `thin/${thinId}`;

/** The id in a volume's key; undefined for other keys. */
export function thinIdOf(key: string): number | undefined {
  const match = /^thin\/(\d{1,8})$/.exec(key);
  return match === null ? undefined : Number(match[1]);
}

const isIdentity = (value: unknown): boolean => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value);
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

export function isPoolRecord(value: unknown): value is PoolRecord {
  const record = value as PoolRecord | undefined;
  return typeof record === 'object' && record !== null && isCount(record.format);
}

/** @returns what is wrong with it; undefined when it can be used */
export function problemOfRecord(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'it is no record';
  const { kind, name, size, created, identity, origin, receiving, replaces } = value as Record<string, unknown>;
  if (!['volume', 'snapshot', 'receiving', 'leftover'].includes(kind as string)) return 'its kind is unknown';
  if (typeof name !== 'string' || name === '') return 'it has no name';
  if (!isCount(size) || (size as number) % 512 !== 0) return 'its size is no size';
  if (!isCount(created)) return 'its time is no time';
  if (!isIdentity(identity)) return 'its identity is malformed';
  if (origin !== undefined && !isIdentity(origin)) return 'its origin is malformed';
  if (replaces !== undefined && !isCount(replaces)) return 'what it replaces is no device';
  if (kind === 'receiving') {
    const { base, offset, checksum, position } = (receiving ?? {}) as Record<string, unknown>;
    if (![offset, checksum, position].every(isCount)) return 'its progress is malformed';
    const { identity: baseIdentity, name: baseName } = (base ?? {}) as Record<string, unknown>;
    if (base !== undefined && !(isIdentity(baseIdentity) && typeof baseName === 'string'))
      return 'its base is malformed';
  }
  return undefined;
}
