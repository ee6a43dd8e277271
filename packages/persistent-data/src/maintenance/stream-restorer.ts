/**
 * Restores metadata from text that arrives in pieces: whose language it is, and what is built of it, is the target's.
 *
 * The device's superblock is wiped, durably, before anything else is written, and written again last of all, after a flush: a
 * restore that fails or is interrupted when it has begun to write leaves no valid superblock, so nobody takes half of it for
 * the whole. A target that keeps all in memory until the text has proved whole loses nothing to a text that is not.
 */
import { type MetadataDevice, ReadOnlyError } from '@pdata/device';
import { wipeSuperblock } from '../block/unformatted.js';
import { NoSpaceError } from '../transaction/errors.js';
import type { Progress, WorkOptions } from '../work.js';

/** Bytes of text between two reports. */
const REPORT_EVERY = 1 << 20;

export interface RestoreParts<Summary> {
  readonly reader: {
    /** Line that has been reached. */
    readonly line: number;
    push(chunk: Uint8Array): void;
    end(): void;
  };
  /** Whether pushing writes to the device; if not, commit alone does. */
  readonly writesWhileReading: boolean;
  /** Makes what has been read durable, the superblock last. */
  commit(): Summary;
}

export class StreamRestorer<Summary> {
  readonly #device: MetadataDevice;
  readonly #parts: RestoreParts<Summary>;
  readonly #options: WorkOptions;
  #state: 'reading' | 'over' = 'reading';
  #hasBegunToWrite = false;
  #nrBytes = 0;
  #reportAt = 0;

  /** @throws {@link ReadOnlyError}; the device is not touched yet */
  constructor(device: MetadataDevice, parts: RestoreParts<Summary>, options: WorkOptions) {
    if (device.readOnly) throw new ReadOnlyError(`cannot restore to ${device.name}: it is open for reading only`);
    this.#device = device;
    this.#parts = parts;
    this.#options = options;
  }

  /** Whether what the device held is lost. */
  get hasBegunToWrite(): boolean {
    return this.#hasBegunToWrite;
  }

  /** The next piece of the text, of any size; not kept. */
  push(chunk: Uint8Array): Progress {
    this.#proceed(() => {
      if (this.#parts.writesWhileReading) this.#beginToWrite();
      this.#parts.reader.push(chunk);
      this.#nrBytes += chunk.length;
    });
    const progress = { stage: 'restoring', done: this.#nrBytes, total: 0 };
    if (this.#nrBytes >= this.#reportAt) {
      this.#reportAt = this.#nrBytes + REPORT_EVERY;
      this.#options.signal?.throwIfAborted();
      this.#options.onProgress?.(progress);
    }
    return progress;
  }

  /** The text is complete. When this returns, the restored metadata is durable. */
  end(): Summary {
    const summary = this.#proceed(() => {
      if (this.#parts.writesWhileReading) this.#beginToWrite();
      this.#parts.reader.end();
      this.#options.signal?.throwIfAborted();
      this.#beginToWrite();
      return this.#parts.commit();
    });
    this.#state = 'over';
    return summary;
  }

  #proceed<T>(step: () => T): T {
    if (this.#state === 'over') throw new RangeError('this restore is over: it has ended or failed');
    this.#state = 'over'; // unless the step succeeds
    let result: T;
    try {
      result = step();
    } catch (error) {
      throw error instanceof NoSpaceError ? this.#tooSmall(error) : error;
    }
    this.#state = 'reading';
    return result;
  }

  #beginToWrite(): void {
    if (this.#hasBegunToWrite) return;
    this.#hasBegunToWrite = true;
    wipeSuperblock(this.#device);
  }

  #tooSmall(cause: NoSpaceError): NoSpaceError {
    const { name, nrBlocks } = this.#device;
    const error = new NoSpaceError(
      'metadata',
      `${name} is too small for this metadata: its ${nrBlocks} blocks of 4096 bytes were used up at line ` +
        `${this.#parts.reader.line} of the XML. ${this.#hasBegunToWrite ? 'It holds no valid metadata now' : 'Nothing has been written'}; ` +
        'use a larger device',
    );
    error.cause = cause;
    return error;
  }
}
