/**
 * A request that the server owes an answer to, and what an answer to it may be.
 *
 * Nothing that a server says is taken on trust: data must lie in the range that was asked and cover each byte of it exactly
 * once, a status must have exactly one list for each context, of extents that are not empty and do not leave the export.
 * Servers that send less are known (docs/format/nbd.md, section 10), and clients that believed them copied zeros.
 *
 * A violation is an {@link NbdProtocolError}; what to do about it is the connection's business.
 */
import type { DeviceError } from '@pdata/device';
import { CoveredRanges } from './covered-ranges.js';
import { NbdProtocolError } from './errors.js';

/** What `BLOCK_STATUS` says of one extent. */
export interface StatusDescriptor {
  readonly length: number;
  readonly flags: number;
}

/** What the server complained of. */
export interface ReplyComplaint {
  readonly errorNr: number;
  /** In its own words; may be empty. */
  readonly text: string;
  readonly offset?: number;
}

export type RequestKind = 'read' | 'write' | 'flush' | 'trim' | 'writeZeroes' | 'blockStatus';

const WORDS: Readonly<Record<RequestKind, string>> = {
  read: 'read',
  write: 'write',
  flush: 'flush',
  trim: 'discard',
  writeZeroes: 'write of zeros',
  blockStatus: 'allocation query',
};

export interface RequestOptions {
  readonly kind: RequestKind;
  /** Command flags as on the wire. */
  readonly flags?: number;
  readonly offset?: number;
  readonly length?: number;
  /** Of a read: where the data goes, `length` bytes. */
  readonly into?: Uint8Array;
  /** Of a write: the data, `length` bytes. */
  readonly from?: Uint8Array;
  /** Of a block status: the ids of all contexts that were negotiated, and the size of the export. */
  readonly contextIds?: readonly number[];
  readonly exportSize?: number;
  /** Of a block status: whether REQ_ONE was asked. */
  readonly oneExtent?: boolean;
}

export class PendingRequest {
  readonly kind: RequestKind;
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
  readonly from: Uint8Array | undefined;
  /** By context id; what a block status was answered. */
  readonly status = new Map<number, readonly StatusDescriptor[]>();
  /** When it was sent, on the connection's clock. */
  sentAt = 0;
  readonly done: Promise<void>;
  readonly #options: RequestOptions;
  readonly #covered: CoveredRanges | undefined;
  #complaint: ReplyComplaint | undefined;
  #resolve!: () => void;
  #reject!: (error: Error) => void;

  constructor(options: RequestOptions) {
    this.#options = options;
    this.kind = options.kind;
    this.flags = options.flags ?? 0;
    this.offset = options.offset ?? 0;
    this.length = options.length ?? 0;
    this.from = options.from;
    this.#covered = options.kind === 'read' ? new CoveredRanges() : undefined;
    this.done = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** For messages: "read of 4096 bytes at 8192". */
  get words(): string {
    return this.kind === 'flush' ? 'flush' : `${WORDS[this.kind]} of ${this.length} bytes at ${this.offset}`;
  }

  get complaint(): ReplyComplaint | undefined {
    return this.#complaint;
  }

  /** Where the data of a chunk for [offset, offset + length) goes. @throws {@link NbdProtocolError} when it has no place there */
  destination(offset: number, length: number): Uint8Array {
    const into = this.#options.into;
    if (into === undefined || this.#covered === undefined) return this.#violated('was answered with data');
    const end = offset + length;
    if (length === 0) return this.#violated('was answered with a chunk of no data');
    if (offset < this.offset || end > this.offset + this.length)
      return this.#violated(`was answered with bytes ${offset} to ${end}, which leave its range`);
    const wrong = this.#covered.add(offset, end);
    if (wrong !== undefined) return this.#violated(`was ${wrong}, the second time by bytes ${offset} to ${end}`);
    return into.subarray(offset - this.offset, end - this.offset);
  }

  /** Takes one list of extents. @throws {@link NbdProtocolError} */
  addStatus(contextId: number, descriptors: readonly StatusDescriptor[]): void {
    const { contextIds = [], exportSize = 0, oneExtent = false } = this.#options;
    if (this.kind !== 'blockStatus') this.#violated('was answered with a block status');
    if (!contextIds.includes(contextId))
      this.#violated(`was answered for context ${contextId}, which was never agreed on`);
    if (this.status.has(contextId)) this.#violated(`was answered twice for context ${contextId}`);
    if (descriptors.length === 0) this.#violated('was answered with an empty list of extents');
    if (oneExtent && descriptors.length > 1)
      this.#violated(`asked for one extent and was answered with ${descriptors.length}`);
    let end = this.offset;
    for (const { length } of descriptors) {
      if (length === 0) this.#violated('was answered with an extent of length 0');
      if (end >= this.offset + this.length) this.#violated('was answered with an extent that begins behind its range');
      end += length;
    }
    if (end > exportSize)
      this.#violated(`was answered with extents up to ${end}, behind the end of the export at ${exportSize}`);
    if (oneExtent && end > this.offset + this.length)
      this.#violated(
        `asked for one extent and was answered with one of ${end - this.offset} bytes, more than it asked for`,
      );
    this.status.set(contextId, descriptors);
  }

  /** The first complaint counts. @throws {@link NbdProtocolError} when it complains of what was not asked */
  complain(complaint: ReplyComplaint): void {
    const { errorNr, offset } = complaint;
    if (errorNr === 0) this.#violated('was answered with an error whose number is 0');
    if (offset !== undefined && (offset < this.offset || offset > this.offset + this.length))
      this.#violated(`was answered with an error at byte ${offset}, outside its range`);
    this.#complaint ??= complaint;
  }

  /** Whether the whole answer is here, now that the server says so. @throws {@link NbdProtocolError} */
  checkComplete(): void {
    if (this.#complaint !== undefined) return;
    const missing = this.#covered?.firstMissing(this.offset, this.offset + this.length);
    if (missing !== undefined) this.#violated(`was answered only in part: byte ${missing} is missing`);
    for (const contextId of this.kind === 'blockStatus' ? (this.#options.contextIds ?? []) : [])
      if (!this.status.has(contextId)) this.#violated(`was not answered for context ${contextId}`);
  }

  succeed(): void {
    this.#resolve();
  }

  fail(error: DeviceError): void {
    this.#reject(error);
  }

  #violated(what: string): never {
    throw new NbdProtocolError(`the server broke the NBD protocol: a ${this.words} ${what}`);
  }
}
