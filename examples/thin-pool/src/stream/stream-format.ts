/**
 * The bytes of a stream: what `send` writes and `receive` reads.
 *
 *   offset  size   content
 *        0    16   "PDATA-STREAM 1\r\n": text, so that a transfer that changes line ends is noticed at once
 *       16     …   frames, one after the other, the first a begin, the last an end
 *
 *   a frame        4   length of the body, little-endian, at most 1 MiB + 4096
 *                  4   crc32 of the body
 *                  …   the body: msgpack, an array whose first member says what it is
 *
 *   body                                       meaning
 *   ["begin", StreamHead]                      what is sent, against which base, and from where on
 *   ["data", position, bytes]                  the volume holds these bytes from `position` on
 *   ["zero", position, length]                 the volume holds zeros there, and needs no space for them
 *   ["end", offset, checksum]                  of the whole stream, see below
 *
 * Positions ascend and ranges do not overlap; all are whole sectors inside the volume. Data of one frame stays within a MiB of the
 * volume's own grid. What no frame names is as in the base, or zero when there is none.
 *
 * `offset` counts the bytes of data and zero frames (heads included) from the stream's beginning, `checksum` is the crc32 of these
 * same bytes. The cut into frames follows from content alone: so a sender that is told offset, checksum and position goes on with
 * exactly the bytes that it would have sent, without reading what came before. That is how a stream is resumed; its head then
 * says `from`.
 */
import { crc32 } from 'node:zlib';
import { SECTOR_SIZE } from '@pdata/device';
import { Packr } from 'msgpackr';
import type { StreamProgress } from '../pool-host.js';
import { PoolError } from '../words/pool-error.js';
import { MAX_SIZE } from '../words/sizes.js';

export const MAGIC = Buffer.from('PDATA-STREAM 1\r\n');
const MAGIC_OF_ANY_VERSION = Buffer.from('PDATA-STREAM ');
/** Bytes of a volume that one data frame can hold, and the grid it keeps to. */
export const MAX_DATA = 1024 * 1024;
const MAX_BODY = MAX_DATA + 4096;
const HEAD_SIZE = 8;

export interface StreamHead {
  /** Of the snapshot that is sent: same identity, same content. */
  readonly identity: string;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** When the snapshot was taken, milliseconds since 1970. */
  readonly created: number;
  /** The snapshot that the stream tells the changes against; without it the stream holds everything. */
  readonly base?: { readonly identity: string; readonly name: string };
  /** Where it goes on; all 0 for one that begins at the beginning. */
  readonly from: StreamProgress;
}

export type Frame =
  | { readonly kind: 'begin'; readonly head: StreamHead }
  | { readonly kind: 'data'; readonly position: number; readonly bytes: Uint8Array }
  | { readonly kind: 'zero'; readonly position: number; readonly length: number }
  | { readonly kind: 'end'; readonly offset: number; readonly checksum: number };

/** A frame as it was read, with the progress that it makes. */
export interface ReadFrame {
  readonly frame: Frame;
  /** Bytes with the head, and the crc32 of the stream's frames up to here, given that of those before. */
  readonly size: number;
  checksumAfter(checksum: number): number;
}

export const START: StreamProgress = { offset: 0, checksum: 0, position: 0 };

const packr = new Packr({ useRecords: false, mapsAsObjects: true });

export function encodeFrame(frame: Frame): Buffer {
  const body = packr.pack(bodyOf(frame));
  const bytes = Buffer.allocUnsafe(HEAD_SIZE + body.length);
  bytes.writeUInt32LE(body.length, 0);
  bytes.writeUInt32LE(crc32(body), 4);
  body.copy(bytes, HEAD_SIZE);
  return bytes;
}

function bodyOf(frame: Frame): unknown[] {
  switch (frame.kind) {
    case 'begin':
      return ['begin', frame.head];
    case 'data':
      return ['data', frame.position, frame.bytes];
    case 'zero':
      return ['zero', frame.position, frame.length];
    case 'end':
      return ['end', frame.offset, frame.checksum];
  }
}

/**
 * Reads a stream frame by frame. Trusts nothing: lengths have a bound before anything is kept, checksums are compared before
 * anything is decoded, and members are checked before anybody uses them.
 *
 * @returns after the end frame, when nothing follows it
 * @throws {@link PoolError} `ERR_STREAM` when the bytes are no stream or were changed, `ERR_STREAM_TRUNCATED` when it ends too early
 */
export async function* readStream(source: AsyncIterable<Uint8Array>): AsyncGenerator<ReadFrame, void, undefined> {
  const bytes = new ByteQueue(source);
  const magic = await bytes.take(MAGIC.length);
  if (magic === undefined) {
    throw bytes.nrTaken + bytes.length === 0
      ? new PoolError('ERR_STREAM_TRUNCATED', 'the stream is empty: nothing was sent')
      : new PoolError(
          'ERR_STREAM',
          'this is no stream of thin-pool send: it is shorter than the first 16 bytes of one',
        );
  }
  if (!magic.equals(MAGIC)) {
    throw magic.subarray(0, MAGIC_OF_ANY_VERSION.length).equals(MAGIC_OF_ANY_VERSION)
      ? new PoolError('ERR_STREAM', 'the stream is of another version, or its line ends were changed on the way')
      : new PoolError('ERR_STREAM', 'this is no stream of thin-pool send: it does not begin as one');
  }
  for (let nr = 0; ; nr++) {
    const read = await readFrame(bytes, nr);
    if (nr === 0 && read.frame.kind !== 'begin') throw damaged(nr, 'it should begin the stream');
    if (nr > 0 && read.frame.kind === 'begin') throw damaged(nr, 'it begins a stream in the middle of another');
    yield read;
    if (read.frame.kind === 'end') break;
  }
  if ((await bytes.take(1)) !== undefined) {
    throw new PoolError('ERR_STREAM', 'the stream goes on behind its end: something was appended to it');
  }
}

async function readFrame(bytes: ByteQueue, nr: number): Promise<ReadFrame> {
  const start = bytes.nrTaken;
  const cut = () =>
    new PoolError(
      'ERR_STREAM_TRUNCATED',
      `the stream breaks off in frame ${nr} (byte ${start}): the sender was interrupted, or the copy is not complete`,
    );
  const head = await bytes.take(HEAD_SIZE);
  if (head === undefined) throw cut();
  const length = head.readUInt32LE(0);
  if (length > MAX_BODY) throw damaged(nr, `its length is ${length}, and none is longer than ${MAX_BODY}`);
  const body = await bytes.take(length);
  if (body === undefined) throw cut();
  if (crc32(body) !== head.readUInt32LE(4)) throw damaged(nr, 'its checksum does not fit');
  let content: unknown;
  try {
    content = packr.unpack(body);
  } catch {
    throw damaged(nr, 'it cannot be decoded');
  }
  const frame = frameOf(content);
  if (typeof frame === 'string') throw damaged(nr, frame);
  return { frame, size: HEAD_SIZE + length, checksumAfter: (checksum) => crc32(body, crc32(head, checksum)) };
}

const damaged = (nr: number, why: string) =>
  new PoolError('ERR_STREAM', `the stream is damaged in frame ${nr}: ${why}`);

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isIdentity = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value);

/** @returns what is wrong with it, when it is no frame */
function frameOf(content: unknown): Frame | string {
  if (!Array.isArray(content)) return 'it is no list';
  const [kind, first, second] = content as unknown[];
  switch (kind) {
    case 'begin':
      return headOf(first);
    case 'data': {
      if (!isCount(first) || first % SECTOR_SIZE !== 0) return 'its position is not whole sectors';
      if (!(second instanceof Uint8Array)) return 'it holds no bytes';
      if (second.length === 0 || second.length % SECTOR_SIZE !== 0) return 'its data are not whole sectors';
      if (second.length > MAX_DATA) return 'it holds more than 1 MiB of data';
      return { kind, position: first, bytes: second };
    }
    case 'zero': {
      if (!isCount(first) || first % SECTOR_SIZE !== 0) return 'its position is not whole sectors';
      if (!isCount(second) || second === 0 || second % SECTOR_SIZE !== 0) return 'its length is not whole sectors';
      return { kind, position: first, length: second };
    }
    case 'end':
      return isCount(first) && isCount(second) ? { kind, offset: first, checksum: second } : 'it ends without a sum';
    default:
      return 'it is of an unknown kind';
  }
}

function headOf(content: unknown): Frame | string {
  if (typeof content !== 'object' || content === null) return 'its head is no record';
  const { identity, name, size, created, base, from } = content as Record<string, unknown>;
  if (!isIdentity(identity)) return 'its identity is malformed';
  if (typeof name !== 'string') return 'it has no name';
  if (!isCount(size) || size === 0 || size % SECTOR_SIZE !== 0 || size > MAX_SIZE) return 'its size is no size';
  if (!isCount(created)) return 'its time is no time';
  const { offset, checksum, position } = (from ?? {}) as Record<string, unknown>;
  if (!isCount(offset) || !isCount(checksum) || !isCount(position)) return 'where it goes on is malformed';
  const head = { identity, name, size, created, from: { offset, checksum, position } };
  if (base === undefined) return { kind: 'begin', head };
  const { identity: baseIdentity, name: baseName } = base as Record<string, unknown>;
  if (!isIdentity(baseIdentity) || typeof baseName !== 'string') return 'its base is malformed';
  return { kind: 'begin', head: { ...head, base: { identity: baseIdentity, name: baseName } } };
}

/** Bytes that arrive in pieces of any size, taken in pieces of another. Holds little more than what was asked for. */
class ByteQueue {
  readonly #source: AsyncIterator<Uint8Array>;
  #pieces: Uint8Array[] = [];
  length = 0;
  nrTaken = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Exactly `length` bytes; undefined when the source ends before. */
  async take(length: number): Promise<Buffer | undefined> {
    while (this.length < length) {
      const { done, value } = await this.#source.next();
      if (done === true) return undefined;
      this.#pieces.push(value);
      this.length += value.length;
    }
    const all = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces);
    this.#pieces = all.length === length ? [] : [all.subarray(length)];
    this.length -= length;
    this.nrTaken += length;
    return Buffer.from(all.buffer, all.byteOffset, length);
  }
}
