/**
 * Devices that spoil what they hold, without an error: what checksums, home numbers and checks are there for.
 *
 *   flips        one bit of what is read, or of what is stored
 *   misdirected  a write lands somewhere else
 *   lost         a write that was acknowledged is not there: what was there before is read (a stale block)
 *
 * Each corruption is told by the number of the request that it strikes, counted from 1 over the device's life, as with the failing
 * devices: run a workload once unharmed, ask `nrDone`, then spoil each request in turn.
 */
import { BLOCK_SIZE, type DataDevice, type MetadataDevice, type WriteOptions } from '@pdata/device';
import { PassingDataDevice, PassingMetadataDevice } from './passing-devices.js';

export type Corruption =
  /** Bit 0 is the lowest of the first byte of the request. */
  | { readonly kind: 'flip'; readonly operation: 'read' | 'write'; readonly nth: number; readonly bit: number }
  /** The write begins `by` blocks (of metadata) or bytes (of data) further on; where that is outside the device, it is lost. */
  | { readonly kind: 'misdirected'; readonly nth: number; readonly by: number }
  | { readonly kind: 'lost'; readonly nth: number };

/** What the two kinds of device have in common: which request is struck by what. */
class Corruptions {
  readonly nrDone = { read: 0, write: 0 };
  readonly #all: Corruption[];

  constructor(all: readonly Corruption[]) {
    this.#all = [...all];
  }

  add(corruption: Corruption): void {
    this.#all.push(corruption);
  }

  next(operation: 'read' | 'write'): Corruption[] {
    const nr = ++this.nrDone[operation];
    return this.#all.filter(
      (corruption) =>
        corruption.nth === nr &&
        (corruption.kind === 'flip' ? corruption.operation === operation : operation === 'write'),
    );
  }
}

export class CorruptingMetadataDevice extends PassingMetadataDevice {
  readonly #corruptions: Corruptions;

  constructor(inner: MetadataDevice, ...corruptions: readonly Corruption[]) {
    super(inner);
    this.#corruptions = new Corruptions(corruptions);
  }

  /** Requests of this kind so far. */
  nrDone(operation: 'read' | 'write'): number {
    return this.#corruptions.nrDone[operation];
  }

  corrupt(corruption: Corruption): void {
    this.#corruptions.add(corruption);
  }

  override read(firstBlockNr: number, into: Uint8Array): void {
    super.read(firstBlockNr, into);
    flipBits(into, this.#corruptions.next('read'));
  }

  override write(firstBlockNr: number, from: Uint8Array): void {
    const struck = landing(from, firstBlockNr, this.#corruptions.next('write'));
    if (struck === undefined || struck.at < 0 || struck.at + from.byteLength / BLOCK_SIZE > this.nrBlocks) return;
    super.write(struck.at, struck.bytes);
  }
}

export class CorruptingDataDevice extends PassingDataDevice {
  readonly #corruptions: Corruptions;

  constructor(inner: DataDevice, ...corruptions: readonly Corruption[]) {
    super(inner);
    this.#corruptions = new Corruptions(corruptions);
  }

  /** Requests of this kind so far. */
  nrDone(operation: 'read' | 'write'): number {
    return this.#corruptions.nrDone[operation];
  }

  corrupt(corruption: Corruption): void {
    this.#corruptions.add(corruption);
  }

  override async read(offset: number, into: Uint8Array): Promise<void> {
    const struck = this.#corruptions.next('read');
    await super.read(offset, into);
    flipBits(into, struck);
  }

  override async write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    const struck = landing(from, offset, this.#corruptions.next('write'));
    if (struck === undefined || struck.at < 0 || struck.at + from.byteLength > this.size) return;
    await super.write(struck.at, struck.bytes, options);
  }
}

/** What lands, and where; undefined for a write that is lost. */
function landing(
  from: Uint8Array,
  at: number,
  corruptions: readonly Corruption[],
): { readonly at: number; readonly bytes: Uint8Array } | undefined {
  if (corruptions.some(({ kind }) => kind === 'lost')) return undefined;
  const by = corruptions.reduce(
    (sum, corruption) => (corruption.kind === 'misdirected' ? sum + corruption.by : sum),
    0,
  );
  if (!corruptions.some(({ kind }) => kind === 'flip')) return { at: at + by, bytes: from };
  const bytes = new Uint8Array(from); // the caller's stay as they are
  flipBits(bytes, corruptions);
  return { at: at + by, bytes };
}

function flipBits(bytes: Uint8Array, corruptions: readonly Corruption[]): void {
  for (const corruption of corruptions) {
    if (corruption.kind !== 'flip') continue;
    const at = corruption.bit >>> 3;
    if (at < bytes.byteLength) bytes[at] = (bytes[at] as number) ^ (1 << (corruption.bit & 7));
  }
}
