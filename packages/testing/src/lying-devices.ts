/**
 * Devices that do not do what they say: what a program must be shown to be caught by, so that its tests are known to look.
 *
 * As a `disguise` of the crash explorer they make a program that is right into one with a classic mistake, without a line of it
 * being changed: flushes left out, the superblock written first.
 */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';
import { PassingDataDevice, PassingMetadataDevice } from './passing-devices.js';

/** Says that it flushed, and did not: a cache that lies, or a program that forgot. */
export class FlushlessMetadataDevice extends PassingMetadataDevice {
  readonly #which: (nr: number) => boolean;
  #nr = 0;

  /** @param which whether the flush with this number, counted from 1, is left out; default: all are */
  constructor(inner: MetadataDevice, which: (nr: number) => boolean = () => true) {
    super(inner);
    this.#which = which;
  }

  override flush(): void {
    if (!this.#which(++this.#nr)) super.flush();
  }

  override async flushAsync(): Promise<void> {
    if (!this.#which(++this.#nr)) await super.flushAsync();
  }
}

/** As {@link FlushlessMetadataDevice}; force unit access is not kept either. */
export class FlushlessDataDevice extends PassingDataDevice {
  override async flush(): Promise<void> {}

  override write(offset: number, from: Uint8Array): Promise<void> {
    return super.write(offset, from);
  }

  override writeZeroes(offset: number, length: number): Promise<void> {
    return super.writeZeroes(offset, length);
  }

  override discard(offset: number, length: number): Promise<void> {
    return super.discard(offset, length);
  }
}

/**
 * Keeps what is written back, until block 0 (the superblock) is: then writes that first, and flushes before the rest follows. Reads
 * see what was written all the while.
 */
export class SuperblockFirstDevice extends PassingMetadataDevice {
  #kept = new Map<number, Uint8Array>();

  override read(firstBlockNr: number, into: Uint8Array): void {
    super.read(firstBlockNr, into);
    for (let nr = 0; nr * BLOCK_SIZE < into.byteLength; nr++) {
      const kept = this.#kept.get(firstBlockNr + nr);
      if (kept !== undefined) into.set(kept, nr * BLOCK_SIZE);
    }
  }

  override write(firstBlockNr: number, from: Uint8Array): void {
    for (let nr = 0; nr * BLOCK_SIZE < from.byteLength; nr++) {
      this.#kept.set(firstBlockNr + nr, new Uint8Array(from.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE)));
    }
  }

  override flush(): void {
    this.#writeSuperblockFirst();
  }

  override async flushAsync(): Promise<void> {
    this.#writeSuperblockFirst();
  }

  #writeSuperblockFirst(): void {
    const superblock = this.#kept.get(0);
    if (superblock === undefined) return;
    super.write(0, superblock);
    super.flush();
    for (const [nr, block] of this.#kept) if (nr !== 0) super.write(nr, block);
    super.flush();
    this.#kept = new Map();
  }
}
