/**
 * Reads many blocks in few requests: sorted numbers become runs, neighbours and near neighbours in one read of up to 1 MiB.
 *
 * One buffer and one `Block` object per slot of it serve the whole check, so reading allocates nothing per block, and a block
 * handed out is valid only until the next run is read. What lies between two wanted blocks is read along and ignored.
 *
 * A run that the device refuses is read again block by block, so that one bad sector hides one block.
 */
import { BLOCK_SIZE, DeviceError, type MetadataDevice } from '@pdata/device';
import { Block } from '../../block/block.js';

/** 1 MiB: long enough for a disk's full speed, short enough to stay in a processor's cache while it is looked at. */
const RUN_LENGTH = 256;
/** Reading a block that nobody wants costs less than another request, up to about this many in a row (Node 20, 2026-11). */
const LARGEST_GAP = 16;

export class BlockReader {
  readonly device: MetadataDevice;
  readonly #bytes: Uint8Array;
  readonly #blocks: Block[] = [];
  readonly #failures = new Map<number, DeviceError>();
  #firstNr = 0;

  constructor(device: MetadataDevice) {
    this.device = device;
    this.#bytes = new Uint8Array(Math.min(RUN_LENGTH, device.nrBlocks) * BLOCK_SIZE);
  }

  /**
   * Reads the blocks `numbers` (ascending, all on the device) run by run, and after each says how many of them are now
   * there: `numbers[from]` to `numbers[to - 1]`, to be fetched by {@link block}.
   */
  *runs(numbers: Uint32Array): Generator<{ readonly from: number; readonly to: number }, void> {
    const run = { from: 0, to: 0 };
    const nr = numbers.length;
    const longest = this.#bytes.length / BLOCK_SIZE;
    while (run.from < nr) {
      const first = numbers[run.from] as number;
      let to = run.from + 1;
      let last = first;
      while (to < nr) {
        const next = numbers[to] as number;
        if (next - last > LARGEST_GAP + 1 || next - first >= longest) break;
        last = next;
        to++;
      }
      run.to = to;
      this.#load(first, last - first + 1);
      yield run;
      run.from = to;
    }
  }

  /** Block `blockNr` of the current run, or why it could not be read. */
  block(blockNr: number): Block | DeviceError {
    if (this.#failures.size > 0) {
      const failure = this.#failures.get(blockNr);
      if (failure !== undefined) return failure;
    }
    return this.#blocks[blockNr - this.#firstNr] as Block;
  }

  /** Reads a single block, as a run of its own. */
  readOne(blockNr: number): Block | DeviceError {
    this.#load(blockNr, 1);
    return this.block(blockNr);
  }

  #load(firstNr: number, nr: number): void {
    this.#firstNr = firstNr;
    this.#failures.clear();
    for (let i = 0; i < nr; i++) this.#slot(i).nr = firstNr + i;
    try {
      this.device.read(firstNr, this.#bytes.subarray(0, nr * BLOCK_SIZE));
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      if (nr === 1) this.#failures.set(firstNr, error);
      else this.#loadOneByOne(firstNr, nr);
    }
  }

  #slot(i: number): Block {
    const known = this.#blocks[i];
    if (known !== undefined) return known;
    const block = new Block(this.#bytes.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE), 0);
    this.#blocks.push(block);
    return block;
  }

  #loadOneByOne(firstNr: number, nr: number): void {
    for (let i = 0; i < nr; i++) {
      try {
        this.device.read(firstNr + i, this.#bytes.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE));
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        this.#failures.set(firstNr + i, error);
      }
    }
  }
}
