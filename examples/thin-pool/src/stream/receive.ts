/**
 * A stream into a pool: a hidden volume takes what arrives, and becomes a snapshot when all of it is there and its sums are right.
 *
 * Until then nothing can be seen of it. Now and then, and when the stream breaks off, what has arrived is made durable together with
 * how far that is: from there the stream can be resumed, by a stream that goes on there or by one that begins anew (then what is
 * here already is read, checked and skipped). A frame that does not check is not applied, nor anything behind it.
 */
import { type DataDevice, StoreError } from '@pdata/device';
import type { PoolHost, ReceivingReport, StreamProgress, VolumeReport } from '../pool-host.js';
import { PoolError, quoted } from '../words/pool-error.js';
import { formatSize } from '../words/sizes.js';
import { formatToken } from './resume-token.js';
import { type Frame, type ReadFrame, readStream, type StreamHead } from './stream-format.js';

export interface ReceiveOptions {
  /** Name of the new snapshot; otherwise the one it has where it comes from. */
  readonly name?: string;
  /** Go on with what has been received before. */
  readonly resume?: boolean;
  /** Bytes of frames after which progress is noted; default 64 MiB. */
  readonly checkpointBytes?: number;
  readonly onProgress?: (progress: StreamProgress, head: StreamHead) => void;
}

const WRITES_IN_FLIGHT = 8;
const CHECKPOINT_BYTES = 64 * 1024 * 1024;

/**
 * @returns the new snapshot
 * @throws {@link PoolError} `ERR_STREAM`, `ERR_STREAM_TRUNCATED`: bytes changed or missing; `ERR_WRONG_BASE`: the pool lacks the base;
 *   `ERR_ALREADY_HERE`, `ERR_NAME_TAKEN`, `ERR_RESUME`
 */
export async function receiveStream(
  host: PoolHost,
  source: AsyncIterable<Uint8Array>,
  options: ReceiveOptions = {},
): Promise<VolumeReport> {
  const frames = readStream(source);
  const begin = (await frames.next()).value?.frame;
  if (begin?.kind !== 'begin') throw new PoolError('ERR_STREAM', 'the stream does not begin');
  const { head } = begin;
  const receiving = await beginOrResume(host, head, options);
  const volume = await host.receiving.open({ identity: head.identity });
  const reception = new Reception(host, volume, head, receiving, options);
  try {
    for await (const read of frames) await reception.take(read);
    await reception.complete();
  } catch (error) {
    throw await reception.breakOff(error);
  }
  return await host.receiving.finish({ identity: head.identity });
}

async function beginOrResume(host: PoolHost, head: StreamHead, options: ReceiveOptions): Promise<ReceivingReport> {
  const pending = (await host.receiving.list()).find(({ identity }) => identity === head.identity);
  if (pending !== undefined) {
    if (options.resume !== true) {
      throw new PoolError(
        'ERR_RESUME',
        `${quoted(pending.name)} has been received in part (${formatSize(pending.offset)} of the stream): go on with receive --resume, or remove it with receive --abandon ${pending.name}`,
      );
    }
    refuseAnotherStream(pending, head);
    return pending;
  }
  if (head.from.offset > 0) {
    throw new PoolError(
      'ERR_RESUME',
      `the stream is the rest of one, from byte ${head.from.offset} on, and this pool has nothing of its beginning: send it without --resume`,
    );
  }
  const { identity, size, created, base } = head;
  const name = options.name ?? head.name;
  return await host.receiving.begin({ name, identity, size, created, ...(base === undefined ? {} : { base }) });
}

function refuseAnotherStream(pending: ReceivingReport, head: StreamHead): void {
  if (pending.base?.identity !== head.base?.identity) {
    const against = (base: StreamHead['base']) =>
      base === undefined ? 'a full stream' : `against ${quoted(base.name)}`;
    throw new PoolError(
      'ERR_WRONG_BASE',
      `the part of ${quoted(pending.name)} that is here is ${against(pending.base)}, and this stream is ${against(head.base)}: send it in the same way, or receive --abandon ${pending.name} first`,
    );
  }
  if (head.from.offset > pending.offset) {
    throw new PoolError(
      'ERR_RESUME',
      `the stream goes on at byte ${head.from.offset}, but only ${pending.offset} bytes are here: send it with --resume ${formatToken(pending)}`,
    );
  }
}

/** The sums do not fit although each frame's does: nothing of such a stream is kept. */
class UntrustworthyStreamError extends PoolError {}

class Reception {
  readonly #host: PoolHost;
  readonly #volume: DataDevice;
  readonly #head: StreamHead;
  readonly #options: ReceiveOptions;
  /** What was here before, */
  readonly #before: StreamProgress;
  /** what is certainly here: durable, and noted in the catalogue, */
  #noted: StreamProgress;
  /** and how far the stream has been read. At first behind `#before`, when it begins anew: that part is only checked. */
  #read: StreamProgress;
  readonly #writes = new Set<Promise<void>>();
  #writeError: unknown;
  #isComplete = false;

  constructor(
    host: PoolHost,
    volume: DataDevice,
    head: StreamHead,
    receiving: ReceivingReport,
    options: ReceiveOptions,
  ) {
    this.#host = host;
    this.#volume = volume;
    this.#head = head;
    this.#options = options;
    const { offset, checksum, position } = receiving;
    this.#before = { offset, checksum, position };
    this.#noted = this.#before;
    this.#read = head.from;
  }

  async take({ frame, size, checksumAfter }: ReadFrame): Promise<void> {
    if (this.#read.offset === this.#before.offset) this.#refuseDifference();
    if (frame.kind === 'begin') return;
    if (frame.kind === 'end') return this.#end(frame);
    const { position } = frame;
    const end = position + (frame.kind === 'data' ? frame.bytes.length : frame.length);
    if (position < this.#read.position || end > this.#head.size) {
      const where =
        end > this.#head.size ? `behind the end of the snapshot, ${this.#head.size}` : 'before what precedes it';
      throw new UntrustworthyStreamError(
        'ERR_STREAM',
        `the stream is damaged: bytes ${position} to ${end} lie ${where}`,
      );
    }
    const { offset, checksum } = this.#read;
    const isHere = offset < this.#before.offset;
    this.#read = { offset: offset + size, checksum: checksumAfter(checksum), position: end };
    if (isHere && this.#read.offset > this.#before.offset) throw this.#different();
    if (!isHere) await this.#apply(frame);
    this.#options.onProgress?.(this.#read, this.#head);
    const due = this.#noted.offset + (this.#options.checkpointBytes ?? CHECKPOINT_BYTES);
    if (this.#read.offset >= due) await this.#checkpoint();
  }

  /** The stream is over and right: all of it becomes durable. */
  async complete(): Promise<void> {
    await this.#settle();
    await this.#volume.flush();
    await this.#volume.close();
  }

  /**
   * Keeps what is good of a stream that failed, to be resumed; a hidden volume with nothing in it is removed.
   * @returns the error to throw: what went wrong, and how to go on
   */
  async breakOff(cause: unknown): Promise<unknown> {
    const { identity } = this.#head;
    const keeps = !this.#isComplete && !(cause instanceof UntrustworthyStreamError);
    try {
      await Promise.allSettled(this.#writes);
      if (keeps && this.#writeError === undefined && this.#read.offset > this.#noted.offset) await this.#checkpoint();
      await this.#volume.close();
      if (!keeps || this.#noted.offset === 0) {
        await this.#host.receiving.abandon({ identity });
        return cause;
      }
    } catch {
      // Whoever has the pool cannot keep more of it (full, or the connection is lost): what was noted before stands.
      await this.#volume.close().catch(() => undefined);
    }
    if (!(cause instanceof StoreError) || this.#noted.offset === 0) return cause;
    const token = formatToken({ identity, ...this.#noted });
    const safe = formatSize(this.#noted.offset);
    return new PoolError(
      cause.code,
      `${cause.message}; ${safe} of the stream are safe here: go on with receive --resume and send --resume ${token}`,
      { cause },
    );
  }

  async #apply(frame: Extract<Frame, { kind: 'data' | 'zero' }>): Promise<void> {
    if (this.#writeError !== undefined) throw this.#writeError;
    while (this.#writes.size >= WRITES_IN_FLIGHT) await Promise.race(this.#writes);
    const writing = (
      frame.kind === 'data'
        ? this.#volume.write(frame.position, frame.bytes)
        : this.#volume.writeZeroes(frame.position, frame.length)
    )
      .catch((error: unknown) => {
        this.#writeError ??= error;
      })
      .finally(() => this.#writes.delete(writing));
    this.#writes.add(writing);
  }

  #end(frame: { readonly offset: number; readonly checksum: number }): void {
    const { offset, checksum } = this.#read;
    if (frame.offset !== offset || frame.checksum !== checksum || offset < this.#before.offset) {
      throw new UntrustworthyStreamError(
        'ERR_STREAM',
        `the sum of the whole stream does not fit (${offset} bytes of frames read, ${frame.offset} sent): frames are missing or were changed`,
      );
    }
    this.#isComplete = true;
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#writes);
    if (this.#writeError !== undefined) throw this.#writeError;
  }

  async #checkpoint(): Promise<void> {
    if (this.#read.offset <= this.#noted.offset) return;
    const reached = this.#read;
    await this.#settle();
    await this.#volume.flush();
    await this.#host.receiving.progress({ identity: this.#head.identity, ...reached });
    this.#noted = reached;
  }

  /** Where the stream reaches what is here already, both must have the same sum. */
  #refuseDifference(): void {
    if (this.#read.checksum !== this.#before.checksum || this.#read.position !== this.#before.position) {
      throw this.#different();
    }
  }

  #different(): PoolError {
    return new PoolError(
      'ERR_RESUME',
      `the stream is cut differently from the part that is here: send it with --resume ${formatToken({ identity: this.#head.identity, ...this.#before })}`,
    );
  }
}
