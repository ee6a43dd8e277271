/**
 * A snapshot as a stream: everything in it, or what changed since another snapshot.
 *
 * Goes over the ranges in question in cells of 1 MiB, on the volume's own grid. What has no space of its own or holds only zeros (in
 * units of 64 KiB) becomes a zero frame, or nothing at all in a full stream; the rest becomes data frames. Neighbouring zeros are one
 * frame. So the frames depend on the content alone, never on where a stream begins: see stream-format.ts about resuming.
 *
 * Cells are read ahead, so that reading and sending overlap.
 */
import { crc32 } from 'node:zlib';
import { type DataDevice, invariant } from '@pdata/device';
import type { ByteRange, PoolHost, StreamProgress, VolumeReport } from '../pool-host.js';
import { PoolError, quoted } from '../words/pool-error.js';
import type { ResumeToken } from './resume-token.js';
import { encodeFrame, type Frame, MAGIC, MAX_DATA, START, type StreamHead } from './stream-format.js';

export interface SendRequest {
  /** Name of the snapshot that is sent. */
  readonly snapshot: string;
  /** Name of the snapshot that the receiver has already. */
  readonly base?: string;
  readonly resume?: ResumeToken;
}

export interface Sent {
  /** Bytes of the volume that went into data frames. */
  readonly data: number;
  /** Bytes of the stream. */
  readonly total: number;
}

const ZERO_UNIT = 64 * 1024;
const CELLS_AHEAD = 4;

/**
 * The bytes of the stream.
 * @throws {@link PoolError} when what is to be sent, or its base, is not a snapshot; when the token is of another snapshot
 */
export async function* sendStream(host: PoolHost, request: SendRequest): AsyncGenerator<Uint8Array, Sent, undefined> {
  const snapshot = await findSnapshot(host, request.snapshot);
  const base = request.base === undefined ? undefined : await findSnapshot(host, request.base);
  if (base?.identity === snapshot.identity) {
    throw new PoolError('ERR_WRONG_BASE', `${quoted(snapshot.name)} cannot be its own base: name an earlier snapshot`);
  }
  const { resume } = request;
  if (resume !== undefined && resume.identity !== snapshot.identity) {
    throw new PoolError('ERR_RESUME', `the resume token is of another snapshot than ${quoted(snapshot.name)}`);
  }
  if (resume !== undefined && resume.position > snapshot.size) {
    throw new PoolError(
      'ERR_TOKEN',
      `the resume token points behind the end of ${quoted(snapshot.name)}: copy it again`,
    );
  }
  const from = resume === undefined ? START : progressOf(resume);
  const head: StreamHead = {
    identity: snapshot.identity,
    name: snapshot.name,
    size: snapshot.size,
    created: snapshot.created,
    ...(base === undefined ? {} : { base: { identity: base.identity, name: base.name } }),
    from,
  };
  const begin = encodeFrame({ kind: 'begin', head });
  yield MAGIC;
  yield begin;
  let { offset, checksum } = from;
  let data = 0;
  const device = await host.openVolume({ name: snapshot.name, mode: 'read' });
  try {
    const ranges =
      base === undefined
        ? [{ offset: from.position, length: snapshot.size - from.position }]
        : changedSince(host, snapshot, base, from.position);
    for await (const frame of contentFrames(device, ranges, { skipZeros: base === undefined })) {
      const bytes = encodeFrame(frame);
      offset += bytes.length;
      checksum = crc32(bytes, checksum);
      if (frame.kind === 'data') data += frame.bytes.length;
      yield bytes;
    }
  } finally {
    await device.close();
  }
  const end = encodeFrame({ kind: 'end', offset, checksum });
  yield end;
  return { data, total: MAGIC.length + begin.length + offset - from.offset + end.length };
}

const progressOf = ({ offset, checksum, position }: ResumeToken): StreamProgress => ({ offset, checksum, position });

async function findSnapshot(host: PoolHost, name: string): Promise<VolumeReport> {
  const found = await host.volume({ name });
  if (found.kind === 'snapshot') return found;
  throw new PoolError(
    'ERR_NOT_A_SNAPSHOT',
    `${quoted(name)} is a volume, and a stream is made from snapshots, which do not change: take one and send that`,
  );
}

/** The parts of `snapshot` that may differ from `base`, from byte `position` on. */
async function* changedSince(
  host: PoolHost,
  snapshot: VolumeReport,
  base: VolumeReport,
  position: number,
): AsyncGenerator<ByteRange> {
  let from: number | undefined = position;
  while (from !== undefined) {
    const page = await host.diff({ name: snapshot.name, base: base.name, from });
    for (const range of page.ranges) {
      const begin = Math.max(range.offset, position);
      const end = Math.min(range.offset + range.length, snapshot.size);
      if (begin < end) yield { offset: begin, length: end - begin };
    }
    from = page.next;
  }
}

/** As much of a device as content is read from. */
export type ContentSource = Pick<DataDevice, 'read' | 'allocation'>;

/** The frames of `ranges` of `device`. */
export async function* contentFrames(
  device: ContentSource,
  ranges: Iterable<ByteRange> | AsyncIterable<ByteRange>,
  options: { readonly skipZeros: boolean },
): AsyncGenerator<Extract<Frame, { kind: 'data' | 'zero' }>> {
  let zero: { position: number; length: number } | undefined;
  for await (const part of readAhead(partsOf(device, ranges), device)) {
    for (const { position, length, bytes } of splitAtZeros(part)) {
      if (bytes === undefined) {
        if (zero !== undefined && zero.position + zero.length === position) zero.length += length;
        else {
          if (zero !== undefined && !options.skipZeros) yield { kind: 'zero', ...zero };
          zero = { position, length };
        }
      } else {
        if (zero !== undefined && !options.skipZeros) yield { kind: 'zero', ...zero };
        zero = undefined;
        yield { kind: 'data', position, bytes };
      }
    }
  }
  if (zero !== undefined && !options.skipZeros) yield { kind: 'zero', ...zero };
}

/** A stretch of the volume: to be read, or known to be zero. Those to be read do not cross the grid. */
interface Part {
  readonly position: number;
  readonly length: number;
  readonly isZero: boolean;
}

async function* partsOf(
  device: ContentSource,
  ranges: Iterable<ByteRange> | AsyncIterable<ByteRange>,
): AsyncGenerator<Part> {
  for await (const range of ranges) {
    const end = range.offset + range.length;
    for (let at = range.offset; at < end; ) {
      const before = at;
      for (const { offset, length, state } of await device.allocation(at, end - at)) {
        at = offset + length;
        if (state !== 'data') yield { position: offset, length, isZero: true };
        else yield* cells(offset, at);
      }
      invariant(at > before, 'the answer about allocation goes on');
    }
  }
}

function* cells(begin: number, end: number): Generator<Part> {
  for (let at = begin; at < end; ) {
    const next = Math.min(end, (Math.floor(at / MAX_DATA) + 1) * MAX_DATA);
    yield { position: at, length: next - at, isZero: false };
    at = next;
  }
}

interface ReadPart extends Part {
  readonly bytes?: Uint8Array;
}

async function* readAhead(parts: AsyncIterable<Part>, device: ContentSource): AsyncGenerator<ReadPart> {
  const started: Promise<ReadPart>[] = [];
  const read = async (part: Part): Promise<ReadPart> => {
    if (part.isZero) return part;
    const bytes = new Uint8Array(part.length);
    await device.read(part.position, bytes);
    return { ...part, bytes };
  };
  try {
    for await (const part of parts) {
      const reading = read(part);
      reading.catch(() => undefined); // whoever awaits it hears of it
      started.push(reading);
      if (started.length > CELLS_AHEAD) yield await started.shift()!;
    }
    while (started.length > 0) yield await started.shift()!;
  } finally {
    await Promise.allSettled(started);
  }
}

/** Runs of units that are zero (without bytes) and that are not. Units lie on the volume's grid. */
function* splitAtZeros(part: ReadPart): Generator<{ position: number; length: number; bytes?: Uint8Array }> {
  const { position, length, bytes } = part;
  if (bytes === undefined) return yield { position, length };
  let runBegin = 0;
  let runIsZero: boolean | undefined;
  const run = (end: number) =>
    runIsZero === true
      ? { position: position + runBegin, length: end - runBegin }
      : { position: position + runBegin, length: end - runBegin, bytes: bytes.subarray(runBegin, end) };
  for (let at = 0; at < length; ) {
    const next = Math.min(length, (Math.floor((position + at) / ZERO_UNIT) + 1) * ZERO_UNIT - position);
    const isZero = isAllZero(bytes, at, next);
    if (runIsZero !== undefined && isZero !== runIsZero) {
      yield run(at);
      runBegin = at;
    }
    runIsZero = isZero;
    at = next;
  }
  yield run(length);
}

const ZEROS = new Uint8Array(ZERO_UNIT);

export function isAllZero(bytes: Uint8Array, begin = 0, end = bytes.length): boolean {
  for (let at = begin; at < end; at += ZERO_UNIT) {
    const length = Math.min(ZERO_UNIT, end - at);
    if (Buffer.compare(bytes.subarray(at, at + length), ZEROS.subarray(0, length)) !== 0) return false;
  }
  return true;
}
