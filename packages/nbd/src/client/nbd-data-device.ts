/**
 * A remote disk: an export of an NBD server as a `DataDevice`.
 *
 * Requests are cut to what the server takes at once and sent side by side, over all connections, each to the one that has
 * least to do. Several connections are only used when the server says that they share one cache, so that one FLUSH on any of
 * them covers what was answered on all.
 *
 * What a server does not offer is made up for, or refused, never pretended:
 *   WRITE_ZEROES      zeros are written
 *   TRIM              nothing is discarded, and the hints say so
 *   FUA               the write is followed by a flush
 *   FLUSH             a flush fails, unless `trustWithoutFlush`
 *   base:allocation   everything is data
 *   small requests    a server with blocks larger than a sector is read and written in whole blocks, one writer a block
 *
 * A failed flush, and the death of a connection, are final: see errors.ts.
 */
import {
  type AllocationExtent,
  bytesInWords,
  ClosedError,
  type DataDevice,
  type DataDeviceHints,
  DeviceError,
  InvariantError,
  type RangeOperation,
  ReadOnlyError,
  requireSectorRange,
  SECTOR_SIZE,
  type WriteOptions,
  type WriteZeroesOptions,
} from '@pdata/device';
import { BASE_ALLOCATION, COMMAND_FLAG, TRANSMISSION_FLAG } from '../protocol/constants.js';
import { allocationOf } from './allocation.js';
import type { NbdConnection } from './connection.js';
import type { RequestOptions, StatusDescriptor } from './pending-request.js';
import { type ByteRange, ServerBlocks } from './server-blocks.js';

/** The longest read or write that is asked at once: longer ones gain nothing, and keep small ones waiting. */
const MAX_PAYLOAD = 2 ** 20;
/** The longest range that is zeroed, discarded or asked about at once; a server may need a while for it. */
const MAX_EFFECT = 2 ** 28;

/** A stretch of an export with the same flags in a metadata context. */
export interface NbdExtent {
  /** Bytes. */
  readonly offset: number;
  readonly length: number;
  /** What they mean depends on the context: bit 0 of a dirty bitmap is "changed". */
  readonly flags: number;
}

export interface NbdDataDeviceOptions {
  readonly name: string;
  readonly connections: readonly NbdConnection[];
  readonly readOnly: boolean;
  readonly trustWithoutFlush: boolean;
}

/** Made by {@link connectNbd}. */
export class NbdDataDevice implements DataDevice {
  readonly name: string;
  readonly size: number;
  /** What the server says the export has; bytes behind the last whole sector, or the last whole block of the server, are not used. */
  readonly exportSize: number;
  readonly readOnly: boolean;
  readonly hints: DataDeviceHints;
  /** What the server says of the export; may be empty. */
  readonly description: string;
  /** Names of the metadata contexts that {@link extents} can be asked for. */
  readonly contexts: readonly string[];
  readonly #connections: readonly NbdConnection[];
  readonly #flags: number;
  readonly #blocks: ServerBlocks;
  readonly #maxPayload: number;
  readonly #contextIds: ReadonlyMap<string, number>;
  readonly #trustWithoutFlush: boolean;
  readonly #busy = new Set<Promise<unknown>>();
  #failedFlush: DeviceError | undefined;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor({ name, connections, readOnly, trustWithoutFlush }: NbdDataDeviceOptions) {
    const { size, flags, blockSize, contexts, description } = connections[0]!.negotiated;
    const unit = Math.max(SECTOR_SIZE, blockSize.minimum);
    this.name = name;
    this.#connections = connections;
    this.#flags = flags;
    this.#blocks = new ServerBlocks(blockSize.minimum);
    this.#maxPayload = this.#blocks.inwards({ begin: 0, end: Math.min(MAX_PAYLOAD, blockSize.maximum) })?.end ?? unit;
    this.#contextIds = contexts;
    this.#trustWithoutFlush = trustWithoutFlush;
    this.contexts = [...contexts.keys()];
    this.description = description;
    this.exportSize = size;
    this.size = size - (size % unit);
    this.readOnly = readOnly || (flags & TRANSMISSION_FLAG.READ_ONLY) !== 0;
    this.hints = {
      preferredSize: Math.max(SECTOR_SIZE, blockSize.preferred),
      discardGranularity: this.#can('SEND_TRIM') && !this.readOnly ? unit : 0,
      fastZeroes: this.#can('SEND_WRITE_ZEROES') && !this.readOnly,
    };
  }

  /** Connections in use. */
  get nrConnections(): number {
    return this.#connections.length;
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.#run('read', offset, into.length, async () => {
      if (into.length === 0) return;
      const { begin, end } = this.#blocks.outwards({ begin: offset, end: offset + into.length });
      if (begin === offset && end === offset + into.length) return this.#read(offset, into);
      const blocks = new Uint8Array(end - begin);
      await this.#read(begin, blocks);
      into.set(blocks.subarray(offset - begin, offset - begin + into.length));
    });
  }

  write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    return this.#change('write', offset, from.length, options, (range, flags) =>
      this.#blocks.exclusively(range, () => {
        const partOf = ({ begin, end }: ByteRange): Uint8Array => from.subarray(begin - offset, end - offset);
        const body = this.#blocks.inwards(range);
        const writes = this.#blocks
          .partial(range)
          .map((block) => this.#writeIntoBlock(block, range, (bytes, part, at) => bytes.set(partOf(part), at), flags));
        if (body !== undefined) writes.push(this.#write(body.begin, partOf(body), flags));
        return allDone(writes);
      }),
    );
  }

  writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    const hole = options?.keepAllocated === true ? COMMAND_FLAG.NO_HOLE : 0;
    return this.#change('writeZeroes', offset, length, options, (range, flags) =>
      this.#blocks.exclusively(range, () => {
        const body = this.#blocks.inwards(range);
        const zero = (bytes: Uint8Array, part: ByteRange, at: number): unknown =>
          bytes.fill(0, at, at + part.end - part.begin);
        const writes = this.#blocks.partial(range).map((block) => this.#writeIntoBlock(block, range, zero, flags));
        if (body !== undefined)
          writes.push(
            this.#can('SEND_WRITE_ZEROES')
              ? this.#effect('writeZeroes', body, flags | hole)
              : this.#writeZerosOut(body, flags),
          );
        return allDone(writes);
      }),
    );
  }

  discard(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.#change('discard', offset, length, options, async (range, flags) => {
      const body = this.#blocks.inwards(range);
      if (this.#can('SEND_TRIM') && body !== undefined)
        await this.#blocks.exclusively(body, () => this.#effect('trim', body, flags));
    });
  }

  flush(): Promise<void> {
    return this.#run('write', 0, 0, () => this.#flush());
  }

  async allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    return this.#run('allocation', offset, length, async () => {
      if (length === 0) return [];
      const contextId = this.#contextIds.get(BASE_ALLOCATION);
      if (contextId === undefined) return [{ offset, length, state: 'data' }];
      const { begin, end } = this.#blocks.outwards({ begin: offset, end: offset + length });
      const known: StatusDescriptor[] = [];
      for (let at = begin; at < end; ) {
        for (const descriptor of await this.#status(contextId, at, end)) {
          known.push(descriptor);
          at += descriptor.length;
        }
        // The blocks around the range begin before it; what is left of the answer may be less than a sector.
        const extents = clipped(allocationOf(begin, end, known), offset, offset + length);
        if (extents.length > 0) return extents;
      }
      throw new InvariantError('a range that was answered for to its end has no extents');
    });
  }

  /**
   * What a metadata context says of a range: extents in order without gaps, the first at `offset`. May end before the range
   * does, never at `offset`; never goes beyond.
   * @param context one of {@link contexts}, such as "qemu:dirty-bitmap:monday"
   * @param options `oneExtent`: only the first extent is wanted (REQ_ONE), which may be less work for the server
   * @throws RangeError when the range is not whole sectors, or leaves the device, or the context was not asked for
   */
  extents(
    context: string,
    offset: number,
    length: number,
    { oneExtent = false }: { readonly oneExtent?: boolean } = {},
  ): Promise<NbdExtent[]> {
    return this.#run('allocation', offset, length, async () => {
      const contextId = this.#contextIds.get(context);
      if (contextId === undefined) {
        const known = this.contexts.length === 0 ? 'none' : this.contexts.join(', ');
        throw new RangeError(
          `${this.name}: the context "${context}" was not agreed on; ${known} was (option contexts)`,
        );
      }
      if (length === 0) return [];
      const { begin, end } = this.#blocks.outwards({ begin: offset, end: offset + length });
      const found: NbdExtent[] = [];
      for (let at = begin; at < end && found.length === 0; ) {
        for (const { length: nrBytes, flags } of await this.#status(contextId, at, end, oneExtent)) {
          const [from, to] = [Math.max(at, offset), Math.min(at + nrBytes, offset + length)];
          const last = found.at(-1);
          if (to > from && last?.flags === flags) found[found.length - 1] = { ...last, length: to - last.offset };
          else if (to > from) found.push({ offset: from, length: to - from, flags });
          at += nrBytes;
        }
      }
      return found;
    });
  }

  /**
   * The ranges of a context whose bit 0 is set, merged: of a dirty bitmap, what has changed. Asks as often as it takes.
   * @example for await (const { offset, length } of disk.changed('qemu:dirty-bitmap:monday')) await copy(offset, length);
   */
  async *changed(
    context: string,
    offset = 0,
    length = this.size - offset,
  ): AsyncGenerator<{ offset: number; length: number }> {
    const end = offset + length;
    let open: { offset: number; length: number } | undefined;
    for (let at = offset; at < end; ) {
      for (const extent of await this.extents(context, at, end - at)) {
        at = extent.offset + extent.length;
        if ((extent.flags & 1) === 0) {
          if (open !== undefined) yield open;
          open = undefined;
        } else if (open === undefined) open = { offset: extent.offset, length: extent.length };
        else open.length = at - open.offset;
      }
    }
    if (open !== undefined) yield open;
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      while (this.#busy.size > 0) await Promise.allSettled(this.#busy);
      await Promise.all(this.#connections.map((connection) => connection.leave()));
    })();
    return this.#closing;
  }

  #can(flag: keyof typeof TRANSMISSION_FLAG): boolean {
    return (this.#flags & TRANSMISSION_FLAG[flag]) !== 0;
  }

  /** Checks what every request has in common, as rejections; `close` waits for `work`. */
  async #run<Result>(
    operation: RangeOperation,
    offset: number,
    length: number,
    work: () => Promise<Result>,
  ): Promise<Result> {
    if (this.#closing !== undefined) throw new ClosedError(`${this.name} is closed`);
    requireSectorRange(this, operation, offset, length);
    const done = work();
    this.#busy.add(done);
    try {
      return await done;
    } finally {
      this.#busy.delete(done);
    }
  }

  /** A request that changes the device, made durable where `fua` asks for it. */
  #change(
    operation: RangeOperation,
    offset: number,
    length: number,
    options: WriteOptions | undefined,
    work: (range: ByteRange, flags: number) => Promise<void>,
  ): Promise<void> {
    return this.#run(operation, offset, length, async () => {
      if (this.readOnly)
        throw new ReadOnlyError(
          `${this.name} is read-only: a ${operation} of ${bytesInWords(offset, length)} is refused`,
        );
      if (length === 0) return;
      const fua = options?.fua === true;
      const byFlag = fua && this.#can('SEND_FUA');
      await work({ begin: offset, end: offset + length }, byFlag ? COMMAND_FLAG.FUA : 0);
      if (fua && !byFlag) await this.#flush();
    });
  }

  async #flush(): Promise<void> {
    if (this.#failedFlush !== undefined) throw this.#failedFlush;
    try {
      if (this.#can('SEND_FLUSH')) await this.#send({ kind: 'flush' });
      else if (!this.readOnly && !this.#trustWithoutFlush)
        throw new DeviceError(
          `${this.name}: the server cannot flush, so nothing is known to be durable; where it keeps what it answered, open with trustWithoutFlush`,
        );
    } catch (error) {
      // What the server threw away once is gone; a later flush that goes well would not bring it back.
      this.#failedFlush ??= error as DeviceError;
      throw error;
    }
  }

  #send(options: RequestOptions): Promise<unknown> {
    let idlest = this.#connections[0]!;
    for (const connection of this.#connections) if (connection.load < idlest.load) idlest = connection;
    return idlest.request(options);
  }

  async #status(
    contextId: number,
    begin: number,
    end: number,
    oneExtent = false,
  ): Promise<readonly StatusDescriptor[]> {
    const request = await this.#connections[0]!.request({
      kind: 'blockStatus',
      flags: oneExtent ? COMMAND_FLAG.REQ_ONE : 0,
      offset: begin,
      length: Math.min(end - begin, MAX_EFFECT),
      contextIds: [...this.#contextIds.values()],
      exportSize: this.exportSize,
      oneExtent,
    });
    return request.status.get(contextId)!;
  }

  #read(offset: number, into: Uint8Array): Promise<void> {
    return this.#inPieces(offset, offset + into.length, this.#maxPayload, (begin, end) =>
      this.#send({
        kind: 'read',
        offset: begin,
        length: end - begin,
        into: into.subarray(begin - offset, end - offset),
      }),
    );
  }

  #write(offset: number, from: Uint8Array, flags: number): Promise<void> {
    return this.#inPieces(offset, offset + from.length, this.#maxPayload, (begin, end) =>
      this.#send({
        kind: 'write',
        flags,
        offset: begin,
        length: end - begin,
        from: from.subarray(begin - offset, end - offset),
      }),
    );
  }

  #writeZerosOut({ begin, end }: ByteRange, flags: number): Promise<void> {
    const zeros = new Uint8Array(Math.min(this.#maxPayload, end - begin));
    return this.#inPieces(begin, end, this.#maxPayload, (from, to) =>
      this.#send({ kind: 'write', flags, offset: from, length: to - from, from: zeros.subarray(0, to - from) }),
    );
  }

  #effect(kind: 'trim' | 'writeZeroes', { begin, end }: ByteRange, flags: number): Promise<void> {
    return this.#inPieces(begin, end, MAX_EFFECT, (from, to) =>
      this.#send({ kind, flags, offset: from, length: to - from }),
    );
  }

  /** Changes the part of `range` that lies in `block`, and writes the block back whole. */
  async #writeIntoBlock(
    block: ByteRange,
    range: ByteRange,
    change: (bytes: Uint8Array, part: ByteRange, at: number) => unknown,
    flags: number,
  ): Promise<void> {
    const bytes = new Uint8Array(this.#blocks.size);
    await this.#read(block.begin, bytes);
    const part = { begin: Math.max(block.begin, range.begin), end: Math.min(block.end, range.end) };
    change(bytes, part, part.begin - block.begin);
    await this.#write(block.begin, bytes, flags);
  }

  /** Pieces side by side, a bounded number of them; all have settled afterwards. */
  async #inPieces(
    begin: number,
    end: number,
    size: number,
    ask: (begin: number, end: number) => Promise<unknown>,
  ): Promise<void> {
    if (end - begin <= size) {
      await ask(begin, end);
      return;
    }
    let next = begin;
    let failed = false;
    const lane = async (): Promise<void> => {
      while (next < end && !failed) {
        const from = next;
        next = Math.min(end, from + size);
        try {
          await ask(from, next);
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    };
    const nrLanes = Math.min(16, Math.ceil((end - begin) / size));
    await allDone(Array.from({ length: nrLanes }, lane));
  }
}

/** Waits for all, then throws the first failure: while one is under way its buffers are in use. */
async function allDone(works: readonly Promise<unknown>[]): Promise<void> {
  if (works.length === 1) {
    await works[0];
    return;
  }
  const failed = (await Promise.allSettled(works)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

function clipped(extents: readonly AllocationExtent[], begin: number, end: number): AllocationExtent[] {
  return extents.flatMap((extent) => {
    const [from, to] = [Math.max(begin, extent.offset), Math.min(end, extent.offset + extent.length)];
    return to > from ? [{ offset: from, length: to - from, state: extent.state }] : [];
  });
}
