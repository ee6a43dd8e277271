/**
 * A metadata device with a cache that a loss of power empties: `crash` tells what it could leave at this very moment, of the
 * blocks written since the last flush any part, one of them torn. Its asynchronous flush takes as long as it is told.
 *
 * It keeps all of what is durable in memory: small devices are meant.
 */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';
import { seededRandom } from './seeded-random.js';

const SECTOR_SIZE = 512;

interface BlockWrite {
  readonly blockNr: number;
  readonly bytes: Uint8Array;
}

export class VolatileMetadataDevice implements MetadataDevice {
  readonly #inner: MetadataDevice;
  readonly #delay: () => Promise<void>;
  #durable: Uint8Array;
  #inDoubt: BlockWrite[] = [];

  constructor(inner: MetadataDevice, delay: () => Promise<void> = async () => {}) {
    this.#inner = inner;
    this.#delay = delay;
    this.#durable = new Uint8Array(inner.nrBlocks * BLOCK_SIZE);
    inner.read(0, this.#durable);
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
  }

  write(firstBlockNr: number, from: Uint8Array): void {
    this.#inner.write(firstBlockNr, from);
    for (let at = 0; at < from.byteLength; at += BLOCK_SIZE) {
      this.#inDoubt.push({
        blockNr: firstBlockNr + at / BLOCK_SIZE,
        bytes: new Uint8Array(from.subarray(at, at + BLOCK_SIZE)),
      });
    }
  }

  flush(): void {
    this.#inner.flush();
    this.#settle(this.#inDoubt.length);
  }

  async flushAsync(): Promise<void> {
    const nrCovered = this.#inDoubt.length;
    await this.#delay();
    this.#inner.flush();
    this.#settle(nrCovered);
  }

  grow(nrBlocks: number): void {
    this.#inner.grow(nrBlocks);
    const durable = new Uint8Array(this.#inner.nrBlocks * BLOCK_SIZE);
    durable.set(this.#durable);
    this.#durable = durable;
  }

  close(): void {
    this.#inner.close();
  }

  /** What a loss of power now could leave; the same seed and history give the same. */
  crash(seed: number): Uint8Array {
    const random = seededRandom(seed);
    const density = random();
    const bytes = this.#durable.slice();
    for (const { blockNr, bytes: written } of this.#inDoubt) {
      const torn = random() < 0.1;
      if (!torn && random() >= density) continue;
      for (let at = 0; at < BLOCK_SIZE; at += SECTOR_SIZE) {
        if (!torn || random() < 0.5) bytes.set(written.subarray(at, at + SECTOR_SIZE), blockNr * BLOCK_SIZE + at);
      }
    }
    return bytes;
  }

  #settle(nr: number): void {
    for (const { blockNr, bytes } of this.#inDoubt.splice(0, nr)) this.#durable.set(bytes, blockNr * BLOCK_SIZE);
  }
}
