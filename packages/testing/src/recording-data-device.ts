/**
 * A data device that passes everything on to another and remembers it: to show the order of requests, and to say at any
 * moment what a loss of power would leave.
 *
 * What a crash leaves: everything that a flush covered which has resolved, and what went with `fua`; of all other changes,
 * those still in flight included, any part: none, all, or some sectors of them. A flush covers the changes whose promises
 * had resolved when it was called. To know this the device keeps a second, sparse copy of what is durable, and the bytes
 * of what is in doubt, and nothing older: a long workload that flushes costs no more than a short one.
 *
 * A change is noted when it is asked for, because it may reach the medium from then on. A flush and a read are noted when
 * they have succeeded. With a recording metadata device beside it, `onOperation` of both is the place to stop the world
 * at the n-th operation of a pool and take both sides of it.
 */
import {
  type AllocationExtent,
  bytesInWords,
  type DataDevice,
  type DataDeviceHints,
  MemoryDataDevice,
  SECTOR_SIZE,
  type WriteOptions,
  type WriteZeroesOptions,
} from '@pdata/device';
import { PendingRequests } from './pending-requests.js';
import { seededRandom } from './seeded-random.js';

export type RecordedDataOperation =
  | { readonly op: 'read'; readonly offset: number; readonly length: number }
  | {
      readonly op: 'write' | 'writeZeroes' | 'discard';
      readonly offset: number;
      readonly length: number;
      readonly fua: boolean;
    }
  | { readonly op: 'flush' };

export interface RecordingDataOptions {
  /** What the device contains already; copied. Zeros when left out. */
  readonly initial?: Uint8Array | MemoryDataDevice;
  /** Note reads as well. Default false. */
  readonly reads?: boolean;
  /** Called when an operation is noted: a change before it has any effect, a flush or a read when it has succeeded. */
  readonly onOperation?: (operation: RecordedDataOperation) => void;
}

export interface DataCrash {
  readonly seed: number;
  /** What becomes of the changes in doubt. Default `some`: a random part, one in four torn between its sectors. */
  readonly lands?: 'none' | 'some' | 'all';
}

/** A change that a loss of power may undo in whole or in part. */
interface Change {
  /** Parts of one change keep its number. */
  readonly nr: number;
  readonly offset: number;
  readonly length: number;
  /** What was written; undefined for zeros and discards, which read as zeros where they land. */
  readonly bytes: Uint8Array | undefined;
  isDone: boolean;
}

export class RecordingDataDevice implements DataDevice {
  readonly #inner: DataDevice;
  readonly #reads: boolean;
  readonly #onOperation: ((operation: RecordedDataOperation) => void) | undefined;
  readonly #durable: MemoryDataDevice;
  readonly #pending = new PendingRequests();
  /** In the order in which they were asked for. */
  #inDoubt: Change[] = [];
  #nrChanges = 0;
  #operations: RecordedDataOperation[] = [];
  #isClosed = false;

  constructor(inner: DataDevice, options: RecordingDataOptions = {}) {
    this.#inner = inner;
    this.#reads = options.reads ?? false;
    this.#onOperation = options.onOperation;
    this.#durable = durableStart(inner, options.initial);
  }

  /** Everything since the beginning, or the last `clear`. */
  get operations(): readonly RecordedDataOperation[] {
    return this.#operations;
  }

  /** The operations in words, for comparing: `write 4096 bytes at 0`, `flush`, `discard 65536 bytes at 65536`. */
  get summary(): string[] {
    return this.#operations.map(inWords);
  }

  /** Changes that a crash now might lose. */
  get nrInDoubt(): number {
    return this.#inDoubt.length;
  }

  /** Requests of this kind. */
  nrOf(op: RecordedDataOperation['op']): number {
    return this.#operations.filter((operation) => operation.op === op).length;
  }

  /** Bytes covered by all requests of this kind; a byte written twice counts twice. */
  nrBytesOf(op: 'read' | 'write' | 'writeZeroes' | 'discard'): number {
    return this.#operations.reduce((sum, operation) => (operation.op === op ? sum + operation.length : sum), 0);
  }

  /** Forgets what was noted. What is durable and what is in doubt stay as they are. */
  clear(): void {
    this.#operations = [];
  }

  /**
   * A new device with what a loss of power at this moment could leave. The same seed and the same history give the same
   * content. Works after `close` too; may be called any number of times, and changes nothing here.
   */
  crash({ seed, lands = 'some' }: DataCrash): MemoryDataDevice {
    const medium = this.#durable.copy(this.name);
    enlarge(medium, this.size);
    const random = seededRandom(seed);
    const density = random();
    for (const change of this.#inDoubt) {
      if (lands === 'all') land(medium, change, 0, change.length);
      if (lands !== 'some') continue;
      const isTorn = random() < 0.25;
      if (isTorn) landTorn(medium, change, random);
      else if (random() < density) land(medium, change, 0, change.length);
    }
    return medium;
  }

  get name(): string {
    return this.#inner.name;
  }

  get size(): number {
    return this.#inner.size;
  }

  get readOnly(): boolean {
    return this.#inner.readOnly;
  }

  get hints(): DataDeviceHints {
    return this.#inner.hints;
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.#pending.track(this.#read(offset, into));
  }

  write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    const bytes = new Uint8Array(from); // a copy: slice() of a Buffer would be none
    return this.#change('write', offset, from.byteLength, bytes, options, () =>
      this.#inner.write(offset, from, options),
    );
  }

  writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    return this.#change('writeZeroes', offset, length, undefined, options, () =>
      this.#inner.writeZeroes(offset, length, options),
    );
  }

  discard(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.#change('discard', offset, length, undefined, options, () =>
      this.#inner.discard(offset, length, options),
    );
  }

  flush(): Promise<void> {
    return this.#pending.track(this.#flush());
  }

  allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    return this.#inner.allocation(offset, length);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#inner.close();
    await this.#pending.settled();
  }

  async #read(offset: number, into: Uint8Array): Promise<void> {
    await this.#inner.read(offset, into);
    if (this.#reads) this.#note({ op: 'read', offset, length: into.byteLength });
  }

  async #flush(): Promise<void> {
    const covered = this.#nrsDone();
    await this.#inner.flush();
    this.#makeDurable(covered);
    this.#note({ op: 'flush' });
  }

  #change(
    op: 'write' | 'writeZeroes' | 'discard',
    offset: number,
    length: number,
    bytes: Uint8Array | undefined,
    options: WriteOptions | undefined,
    pass: () => Promise<void>,
  ): Promise<void> {
    return this.#pending.track(this.#noteAndPass(op, offset, length, bytes, options, pass));
  }

  async #noteAndPass(
    op: 'write' | 'writeZeroes' | 'discard',
    offset: number,
    length: number,
    bytes: Uint8Array | undefined,
    options: WriteOptions | undefined,
    pass: () => Promise<void>,
  ): Promise<void> {
    // What the device is going to refuse changes nothing: passed on, for the device's own words.
    const isRefused = this.#isClosed || this.readOnly || !isRange(offset, length, this.size);
    if (isRefused || length === 0) return pass();
    const change: Change = { nr: this.#nrChanges++, offset, length, bytes, isDone: false };
    const fua = options?.fua ?? false;
    const older = fua ? this.#nrsDone() : undefined;
    this.#note({ op, offset, length, fua });
    this.#inDoubt.push(change);
    // A change that fails stays in doubt for ever: nobody knows how much of it landed.
    await pass();
    change.isDone = true;
    if (older === undefined) return;
    this.#makeDurable(new Set([change.nr]));
    // A cache does not put what it held before over what went past it.
    this.#inDoubt = this.#inDoubt.flatMap((each) => (older.has(each.nr) ? outside(each, change) : [each]));
  }

  #nrsDone(): Set<number> {
    return new Set(this.#inDoubt.filter(({ isDone }) => isDone).map(({ nr }) => nr));
  }

  /** In the order in which they were asked for; what is in doubt besides may still land over them. */
  #makeDurable(covered: ReadonlySet<number>): void {
    enlarge(this.#durable, this.size);
    for (const change of this.#inDoubt) if (covered.has(change.nr)) land(this.#durable, change, 0, change.length);
    this.#inDoubt = this.#inDoubt.filter(({ nr }) => !covered.has(nr));
  }

  #note(operation: RecordedDataOperation): void {
    this.#operations.push(operation);
    this.#onOperation?.(operation);
  }
}

/** The parts of `older` that `newer` does not cover. */
function outside(older: Change, newer: Change): Change[] {
  const [begin, end] = [older.offset, older.offset + older.length];
  return [
    [begin, Math.min(end, newer.offset)],
    [Math.max(begin, newer.offset + newer.length), end],
  ].flatMap(([from, to]) =>
    from === undefined || to === undefined || from >= to
      ? []
      : [{ ...older, offset: from, length: to - from, bytes: older.bytes?.subarray(from - begin, to - begin) }],
  );
}

/** Growing is taken to be durable at once. A memory device has grown when the call returns; the promise adds nothing. */
function enlarge(medium: MemoryDataDevice, size: number): void {
  if (size > medium.size) void medium.grow(size);
}

function durableStart(inner: DataDevice, initial: RecordingDataOptions['initial']): MemoryDataDevice {
  if (initial instanceof MemoryDataDevice) return initial.copy(inner.name);
  const durable = new MemoryDataDevice({ name: inner.name, size: inner.size });
  if (initial !== undefined) void durable.write(0, initial.subarray(0, inner.size));
  return durable;
}

function isRange(offset: number, length: number, size: number): boolean {
  return (
    offset % SECTOR_SIZE === 0 && length % SECTOR_SIZE === 0 && offset >= 0 && length >= 0 && offset + length <= size
  );
}

/** Past this many sectors a torn change lands as one run of them: nobody wants a coin tossed for each sector of 1 TiB. */
const MOST_SECTORS_TOSSED = 2048;

/** Puts a part of a change on the medium. A memory device has it when the call returns; the promise adds nothing. */
function land(medium: MemoryDataDevice, { offset, bytes }: Change, from: number, to: number): void {
  if (bytes === undefined) void medium.writeZeroes(offset + from, to - from);
  else void medium.write(offset + from, bytes.subarray(from, to));
}

function landTorn(medium: MemoryDataDevice, change: Change, random: () => number): void {
  const nrSectors = change.length / SECTOR_SIZE;
  if (nrSectors > MOST_SECTORS_TOSSED) {
    const [a, b] = [Math.floor(random() * (nrSectors + 1)), Math.floor(random() * (nrSectors + 1))];
    land(medium, change, Math.min(a, b) * SECTOR_SIZE, Math.max(a, b) * SECTOR_SIZE);
    return;
  }
  for (let nr = 0; nr < nrSectors; nr++) {
    if (random() < 0.5) land(medium, change, nr * SECTOR_SIZE, (nr + 1) * SECTOR_SIZE);
  }
}

function inWords(operation: RecordedDataOperation): string {
  if (operation.op === 'flush') return 'flush';
  const range = `${operation.op} ${bytesInWords(operation.offset, operation.length)}`;
  return operation.op !== 'read' && operation.fua ? `${range}, fua` : range;
}
