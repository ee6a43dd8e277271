/**
 * A write's way: into the order of those that overlap, a stable copy, admission by the region hash, and then to all legs, to the default
 * one, or to wait.
 *
 *   ordered ──▶ admitted ──▶ copied ──▶ all legs, or the default leg alone ──▶ done
 *                 ▲    │                                                 └──▶ held, when a leg or the log did not take it (handle_errors)
 *                 │    └── its region is being copied                           │
 *                 └──────────────── released ◀──────────────────────────────────┘
 *
 * A request is cut into pieces that lie within 1 MiB of the mirror, and each of them is ordered as a whole: of two that overlap, the
 * later one begins when the earlier one has ended on every leg. So legs cannot end up with different ones of two writes. A piece has a
 * part for each region that it touches; those that go the same way, side by side, go to a leg as one request.
 *
 * A discard is done as zeros that give their space back, and marked like any write. A device may do all, a part or nothing of a discard;
 * legs that each do another part would differ, and so would those of a mirror whose power fails in between. The kernel passes it on unmarked.
 *
 * Format: docs/format/mirror-log.md, sections 6 and 9; section 12 (c) for the copy.
 */
import { DeviceError } from '@pdata/device';
import { allEnded, inWords, RequestQueue } from '@pdata/device/engine';
import type { CopyBuffers } from './copy-buffers.js';
import { HeldWriteError } from './errors.js';
import type { Leg } from './legs.js';
import { MarkAhead } from './mark-ahead.js';
import type { MirrorCore } from './mirror-core.js';
import { LARGEST_PIECE } from './options.js';
import type { Part, Piece, WriteOperation } from './region-write.js';

const FUA = { fua: true };
/** Milliseconds after which a write is tried again whose region another node is copying. */
const LATER_MS = 200;
/** Pieces of zeros that are under way for one request: it may be as large as the mirror. */
const MOST_ZERO_PIECES = 16;

/** Parts of a piece side by side that go the same way. */
interface Run {
  readonly piece: Piece;
  readonly begin: number;
  end: number;
  readonly parts: Part[];
}

export class WritePath {
  readonly #core: MirrorCore;
  readonly #buffers: CopyBuffers;
  readonly #queue = new RequestQueue();
  /** Undefined when regions are cleared at once. */
  readonly #ahead: MarkAhead | undefined;
  #held: Part[] = [];
  /** Nothing is held back any more, for this reason. */
  #holdsNothing: string | undefined;

  constructor(core: MirrorCore, buffers: CopyBuffers) {
    this.#core = core;
    this.#buffers = buffers;
    this.#ahead = core.settings.clearPeriod > 0 ? new MarkAhead(core.regionBytes) : undefined;
    core.readmit = (parts) => void this.#admit(parts);
  }

  /** Parts of writes that are held back until a suspend or a change of the legs. */
  get nrHeld(): number {
    return this.#held.length;
  }

  /** Writes `from`, or zeros, at byte `offset`. Rejects with the first error of its pieces, when all have ended. */
  async write(operation: WriteOperation, offset: number, length: number, from: Uint8Array | undefined): Promise<void> {
    const firstEnd = nextBorder(offset, LARGEST_PIECE);
    if (offset + length <= firstEnd) return this.#writePiece(operation, offset, length, from);
    if (from === undefined) return this.#writeZeroPieces(operation, offset, offset + length);
    const pieces: Promise<void>[] = [];
    for (let begin = offset; begin < offset + length; ) {
      const end = Math.min(offset + length, nextBorder(begin, LARGEST_PIECE));
      pieces.push(this.#writePiece(operation, begin, end - begin, from.subarray(begin - offset, end - offset)));
      begin = end;
    }
    await allEnded(pieces);
  }

  /** Writes that were held back are tried again. */
  retryHeld(): void {
    const held = this.#takeHeld();
    if (held.length > 0) void this.#admit(held);
  }

  /** Writes that were held back fail. */
  giveUpHeld(why: string): void {
    for (const part of this.#takeHeld())
      this.#end(part, new HeldWriteError(`a write to ${this.#core.settings.name} was given up: ${why}`));
  }

  /** Writes that are held back fail, from now on. */
  holdNothing(why: string): void {
    this.#holdsNothing = why;
    this.giveUpHeld(why);
  }

  async #writeZeroPieces(operation: WriteOperation, begin: number, end: number): Promise<void> {
    let next = begin;
    const worker = async (): Promise<void> => {
      while (next < end) {
        const at = next;
        next = Math.min(end, nextBorder(at, LARGEST_PIECE));
        await this.#writePiece(operation, at, next - at, undefined);
      }
    };
    await allEnded(Array.from({ length: MOST_ZERO_PIECES }, worker));
  }

  async #writePiece(
    operation: WriteOperation,
    offset: number,
    length: number,
    from: Uint8Array | undefined,
  ): Promise<void> {
    const entry = this.#queue.enter(Math.floor(offset / LARGEST_PIECE), offset, offset + length, true);
    let buffer: Uint8Array | undefined;
    try {
      if (!entry.granted) await this.#queue.granting(entry);
      if (from !== undefined) buffer = this.#buffers.tryTake(length) ?? (await this.#buffers.take(length));
      await this.#untilEnded(operation, offset, length, from, buffer);
    } finally {
      if (buffer !== undefined) this.#buffers.giveBack(buffer);
      this.#queue.leave(entry);
    }
  }

  #untilEnded(
    operation: WriteOperation,
    offset: number,
    length: number,
    bytes: Uint8Array | undefined,
    buffer: Uint8Array | undefined,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (): void => (piece.error === undefined ? resolve() : reject(piece.error));
      const piece: Piece = { operation, offset, bytes, isCopied: false, buffer, nrOpen: 0, error: undefined, settle };
      const { regionBytes } = this.#core;
      const parts: Part[] = [];
      for (let begin = offset; begin < offset + length; ) {
        const end = Math.min(offset + length, nextBorder(begin, regionBytes));
        parts.push({ piece, regionNr: Math.floor(begin / regionBytes), begin, end });
        begin = end;
      }
      piece.nrOpen = parts.length;
      this.#markAhead(parts);
      void this.#admit(parts);
    });
  }

  /** In memory at once: what is admitted next shares its flush of the log. */
  #markAhead(parts: readonly Part[]): void {
    const [first, last] = [parts[0] as Part, parts.at(-1) as Part];
    const range = this.#ahead?.wrote(first.regionNr, last.regionNr, this.#core.nrClears);
    if (range !== undefined) void this.#core.hash.markAhead(range.begin, range.end);
  }

  async #admit(parts: readonly Part[]): Promise<void> {
    const { gate } = this.#core;
    if (!gate.tryEnter(parts.length)) await gate.enter(parts.length);
    const { toAllLegs, toDefaultLeg, later, logFailure } = await this.#core.hash.admitWrites(parts);
    for (const { piece } of parts) this.#copy(piece);
    // The others wait for the end of a recovery, or for another node's.
    for (let nr = toAllLegs.length + toDefaultLeg.length; nr < parts.length; nr++) gate.leave();
    if (later.length > 0) this.#core.settings.timers.set(() => void this.#admit(later), LATER_MS);
    if (logFailure !== undefined) this.#core.logFailed(logFailure);
    if (logFailure !== undefined && this.#core.settings.handleErrors) this.#refuseUnlogged(toAllLegs, logFailure);
    else for (const run of runsOf(toAllLegs)) void this.#toAllLegs(run);
    for (const run of runsOf(toDefaultLeg)) void this.#toDefaultLeg(run);
  }

  /** A crash now would leave legs that differ, and nobody would know where: so nothing is written. */
  #refuseUnlogged(parts: readonly Part[], logFailure: unknown): void {
    const { name } = this.#core.settings;
    for (const part of parts) {
      if (this.#core.holds) this.#holdInside(part, 'the log did not take its mark');
      else {
        const message = `cannot write ${inRange(part)} of ${name}: the log did not take its mark: ${inWords(logFailure)}`;
        this.#done(part, new DeviceError(message, { cause: logFailure }));
      }
    }
  }

  async #toAllLegs(run: Run): Promise<void> {
    const { legs } = this.#core;
    const { failed, took } = await this.#send(run, legs.present);
    if (took.length === legs.all.length) {
      for (const part of run.parts) this.#done(part, undefined);
      return;
    }
    for (const part of run.parts) await this.#someMissed(part, took, failed);
  }

  /** A write to a region in sync that not all legs have taken: it is not in sync any more, and there if the default leg has it. */
  async #someMissed(part: Part, took: readonly Leg[], failed: ReadonlyMap<Leg, unknown>): Promise<void> {
    const { legs } = this.#core;
    await this.#core.fallOutOfSync(part.regionNr);
    if (failed.size > 0 && this.#core.holds && legs.firstGood !== undefined)
      this.#holdInside(part, 'a leg did not take it');
    else this.#done(part, took.includes(legs.default) ? undefined : this.#failure(part, failed));
  }

  /** Regions that are not in sync. */
  async #toDefaultLeg(run: Run): Promise<void> {
    if (this.#core.holds && this.#core.hasLegFailure) {
      for (const part of run.parts) this.#holdInside(part, 'a leg has failed');
      return;
    }
    const { failed } = await this.#send(run, [this.#core.legs.default]);
    for (const part of run.parts) {
      if (failed.size > 0) await this.#core.fallOutOfSync(part.regionNr);
      if (failed.size > 0 && this.#core.holds) this.#holdInside(part, 'the default leg did not take it');
      else this.#done(part, failed.size > 0 ? this.#failure(part, failed) : undefined);
    }
  }

  /** Sends to all of `legs` at once; resolves when all have answered. */
  async #send(
    run: Run,
    legs: readonly Leg[],
  ): Promise<{ readonly took: readonly Leg[]; readonly failed: ReadonlyMap<Leg, unknown> }> {
    let failed: Map<Leg, unknown> | undefined;
    const sent = legs.map((leg) =>
      sendTo(leg, run).catch((error) => {
        failed ??= new Map();
        failed.set(leg, error);
      }),
    );
    await Promise.all(sent);
    if (failed === undefined) return { took: legs, failed: NONE };
    for (const [leg, error] of failed) this.#core.legFailed(leg, 'write', error);
    return { took: legs.filter((leg) => !failed?.has(leg)), failed };
  }

  #failure(part: Part, failed: ReadonlyMap<Leg, unknown>): DeviceError {
    const { legs, settings } = this.#core;
    const leg = failed.has(legs.default) ? legs.default : [...failed.keys()][0];
    const cause = leg && failed.get(leg);
    const why = leg === undefined ? 'the default leg does not have it' : `leg ${leg.nr}: ${inWords(cause)}`;
    return new DeviceError(`cannot write ${inRange(part)} of ${settings.name}: ${why}`, { cause });
  }

  /** A part that was admitted has ended on the legs. */
  #done(part: Part, error: unknown): void {
    this.#core.hash.writeEnded(part.regionNr);
    this.#core.gate.leave();
    this.#end(part, error);
  }

  #end({ piece }: Part, error: unknown): void {
    piece.error ??= error;
    piece.nrOpen--;
    if (piece.nrOpen === 0) piece.settle();
  }

  /** A part that was admitted is not sent, or not again, for now. */
  #holdInside(part: Part, reason: string): void {
    this.#core.hash.writeEnded(part.regionNr);
    this.#held.push(part);
    this.#core.gate.leave();
    if (this.#holdsNothing !== undefined) this.giveUpHeld(this.#holdsNothing);
    else if (this.#held.length === 1) this.#core.events.emit('writesHeld', { reason });
  }

  #takeHeld(): Part[] {
    const held = this.#held;
    this.#held = [];
    return held;
  }

  /** From here on the caller's bytes are not looked at any more. */
  #copy(piece: Piece): void {
    if (piece.isCopied || piece.bytes === undefined || piece.buffer === undefined) return;
    piece.bytes = this.#buffers.copy(piece.bytes, piece.buffer);
    piece.isCopied = true;
  }
}

const NONE: ReadonlyMap<Leg, unknown> = new Map();

async function sendTo({ device, offset }: Leg, { piece, begin, end }: Run): Promise<void> {
  const { operation, bytes } = piece;
  const options = operation.fua ? FUA : undefined;
  if (bytes !== undefined)
    await device.write(offset + begin, bytes.subarray(begin - piece.offset, end - piece.offset), options);
  else if (operation.kind === 'writeZeroes')
    await device.writeZeroes(offset + begin, end - begin, {
      fua: operation.fua,
      keepAllocated: operation.keepAllocated,
    });
  else {
    await device.writeZeroes(offset + begin, end - begin, options);
    // What is zeros reads as zeros afterwards, whatever the device does of it. That it gives no space back is no failure.
    await device.discard(offset + begin, end - begin).catch(() => {});
  }
}

/** Joins parts of one piece that lie side by side. */
function runsOf(parts: readonly Part[]): Run[] {
  const runs: Run[] = [];
  for (const part of parts) {
    const last = runs.at(-1);
    if (last !== undefined && last.piece === part.piece && last.end === part.begin) {
      last.end = part.end;
      last.parts.push(part);
    } else runs.push({ piece: part.piece, begin: part.begin, end: part.end, parts: [part] });
  }
  return runs;
}

const nextBorder = (offset: number, size: number): number => (Math.floor(offset / size) + 1) * size;
const inRange = ({ begin, end }: Part): string => `${end - begin} bytes at ${begin}`;
