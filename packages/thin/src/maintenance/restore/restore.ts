/**
 * thin_restore: new metadata from the XML of a dump.
 *
 * The target's superblock is wiped, durably, before anything else is written, and written again last of all, after a flush:
 * a restore that fails or is interrupted, for whatever reason, leaves no valid superblock, so nobody takes half a pool for
 * a whole one. The XML is read as it arrives (thin-xml-reader.ts) and built into metadata as it is read (pool-build.ts).
 *
 * Format: docs/format/tools.md, sections 2 and 5.
 */
import { type MetadataDevice, ReadOnlyError } from '@pdata/device';
import { NoSpaceError, wipeSuperblock } from '@pdata/persistent-data';
import type { Progress } from '../work.js';
import { PoolBuild } from './pool-build.js';
import { type RestoreOptions, type RestoreSummary, refuseOverrides } from './restore-options.js';
import { ThinXmlReader } from './thin-xml-reader.js';

/** Bytes of XML between two reports. */
const REPORT_EVERY = 1 << 20;

/**
 * Restores `xml`, given in pieces, onto `device`, whose content is lost from the first step on.
 *
 * @returns progress after each piece: `done` is the bytes read, `total` unknown (0)
 * @throws {@link ThinXmlError} where the XML cannot be restored, with line and column
 * @throws {@link NoSpaceError} when `device` is too small for it
 * @throws {@link DeviceError} when the device fails
 * @throws {RangeError} when an option is out of its range: nothing is written then
 */
export function* restoreThin(
  xml: Iterable<Uint8Array>,
  device: MetadataDevice,
  options: RestoreOptions = {},
): Generator<Progress, RestoreSummary> {
  const restorer = new ThinRestorer(device, options);
  for (const chunk of xml) yield restorer.push(chunk);
  return restorer.end();
}

/**
 * As {@link restoreThin}, for XML that arrives by itself: `push` each piece, then `end`. After an error, or when `end` is
 * never called, the target has no valid superblock.
 */
export class ThinRestorer {
  readonly #device: MetadataDevice;
  readonly #options: RestoreOptions;
  readonly #reader: ThinXmlReader;
  readonly #build: PoolBuild;
  #state: 'new' | 'reading' | 'over' = 'new';
  #nrBytes = 0;
  #reportAt = 0;

  /** @throws {RangeError}, {@link ReadOnlyError}; the device is not touched yet */
  constructor(device: MetadataDevice, options: RestoreOptions = {}) {
    if (device.readOnly) throw new ReadOnlyError(`cannot restore to ${device.name}: it is open for reading only`);
    refuseOverrides(options);
    this.#device = device;
    this.#options = options;
    this.#build = new PoolBuild(device, options);
    this.#reader = new ThinXmlReader(this.#build);
  }

  /** The next piece of the XML, of any size; not kept. */
  push(chunk: Uint8Array): Progress {
    this.#proceed(() => {
      this.#reader.push(chunk);
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

  /** The XML is complete. When this returns, the restored metadata is durable. */
  end(): RestoreSummary {
    const summary = this.#proceed(() => {
      this.#reader.end();
      this.#options.signal?.throwIfAborted();
      return this.#build.commit();
    });
    this.#state = 'over';
    return summary;
  }

  #proceed<T>(step: () => T): T {
    if (this.#state === 'over') throw new RangeError('this restore is over: it has ended or failed');
    const isFirst = this.#state === 'new';
    this.#state = 'over'; // unless the step succeeds
    if (isFirst) wipeSuperblock(this.#device);
    let result: T;
    try {
      result = step();
    } catch (error) {
      throw error instanceof NoSpaceError ? this.#tooSmall(error) : error;
    }
    this.#state = 'reading';
    return result;
  }

  #tooSmall(cause: NoSpaceError): NoSpaceError {
    const { name, nrBlocks } = this.#device;
    const error = new NoSpaceError(
      'metadata',
      `${name} is too small for this metadata: its ${nrBlocks} blocks of 4096 bytes were used up at line ` +
        `${this.#reader.line} of the XML. It holds no valid metadata now; use a larger device`,
    );
    error.cause = cause;
    return error;
  }
}
