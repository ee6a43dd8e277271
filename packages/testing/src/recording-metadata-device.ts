/**
 * A metadata device that passes everything on to another and remembers it: to count the writes of a commit, to show their
 * order, and as the raw material of {@link crashImages}.
 *
 * Operations are noted when they have succeeded, in the order in which they did. A flush notes besides how much it
 * covers, because writes that came while an asynchronous flush was running are not made durable by it.
 */
import { BLOCK_SIZE, blocksInWords, type MetadataDevice } from '@pdata/device';

export type RecordedOperation =
  | { readonly op: 'read'; readonly firstBlockNr: number; readonly nrBlocks: number }
  | {
      readonly op: 'write';
      readonly firstBlockNr: number;
      readonly nrBlocks: number;
      /** What was written, copied; undefined when the device was told not to keep bytes. */
      readonly bytes: Uint8Array | undefined;
    }
  | {
      readonly op: 'flush';
      /** Writes among the first `nrCovered` operations of the recording are durable when this one is over. */
      readonly nrCovered: number;
    }
  | { readonly op: 'grow'; readonly nrBlocks: number }
  /** What the program under test has promised by now: see `promise`. */
  | { readonly op: 'promise'; readonly label: string };

export interface RecordingOptions {
  /** Keep a copy of what is written: needed for crash images, dear for large workloads. Default true. */
  readonly keepBytes?: boolean;
  /** Note reads as well. Default false. */
  readonly reads?: boolean;
  /** Called when an operation has been noted: the place to stop the world at the n-th one. */
  readonly onOperation?: (operation: RecordedOperation) => void;
}

export class RecordingMetadataDevice implements MetadataDevice {
  readonly #inner: MetadataDevice;
  readonly #keepBytes: boolean;
  readonly #reads: boolean;
  readonly #onOperation: ((operation: RecordedOperation) => void) | undefined;
  #operations: RecordedOperation[] = [];

  constructor(inner: MetadataDevice, options: RecordingOptions = {}) {
    this.#inner = inner;
    this.#keepBytes = options.keepBytes ?? true;
    this.#reads = options.reads ?? false;
    this.#onOperation = options.onOperation;
  }

  /** Everything since the beginning, or the last `clear`. */
  get operations(): readonly RecordedOperation[] {
    return this.#operations;
  }

  /** The operations in words, for comparing: `write blocks 3..4`, `flush`, `write block 0`, `flush`. */
  get summary(): string[] {
    return this.#operations.map(inWords);
  }

  /** Requests of this kind. */
  nrOf(op: RecordedOperation['op']): number {
    return this.#operations.filter((operation) => operation.op === op).length;
  }

  /** Blocks moved by all requests of this kind; a block written twice counts twice. */
  nrBlocksOf(op: 'read' | 'write'): number {
    return this.#operations.reduce((sum, operation) => (operation.op === op ? sum + operation.nrBlocks : sum), 0);
  }

  /** Notes that from here on `label` must survive any crash: for instance that commit 7 has returned. */
  promise(label: string): void {
    this.#note({ op: 'promise', label });
  }

  /** Forgets what was recorded. Not while an asynchronous flush is running: what it covers would be counted wrongly. */
  clear(): void {
    this.#operations = [];
  }

  get name(): string {
    return this.#inner.name;
  }

  get nrBlocks(): number {
    return this.#inner.nrBlocks;
  }

  get readOnly(): boolean {
    return this.#inner.readOnly;
  }

  read(firstBlockNr: number, into: Uint8Array): void {
    this.#inner.read(firstBlockNr, into);
    if (this.#reads) this.#note({ op: 'read', firstBlockNr, nrBlocks: into.byteLength / BLOCK_SIZE });
  }

  write(firstBlockNr: number, from: Uint8Array): void {
    this.#inner.write(firstBlockNr, from);
    const bytes = this.#keepBytes ? new Uint8Array(from) : undefined; // a copy: slice() of a Buffer would be none
    this.#note({ op: 'write', firstBlockNr, nrBlocks: from.byteLength / BLOCK_SIZE, bytes });
  }

  flush(): void {
    this.#inner.flush();
    this.#note({ op: 'flush', nrCovered: this.#operations.length });
  }

  async flushAsync(): Promise<void> {
    const nrCovered = this.#operations.length;
    await this.#inner.flushAsync();
    this.#note({ op: 'flush', nrCovered });
  }

  grow(nrBlocks: number): void {
    this.#inner.grow(nrBlocks);
    this.#note({ op: 'grow', nrBlocks: this.#inner.nrBlocks });
  }

  close(): void {
    this.#inner.close();
  }

  #note(operation: RecordedOperation): void {
    this.#operations.push(operation);
    this.#onOperation?.(operation);
  }
}

function inWords(operation: RecordedOperation): string {
  switch (operation.op) {
    case 'read':
    case 'write':
      return `${operation.op} ${blocksInWords(operation.firstBlockNr, operation.nrBlocks)}`;
    case 'flush':
      return 'flush';
    case 'grow':
      return `grow to ${operation.nrBlocks} blocks`;
    case 'promise':
      return `promise ${operation.label}`;
  }
}
