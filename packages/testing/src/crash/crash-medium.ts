/**
 * A medium with what is durable on it (`base`), and an image of what a crash leaves, made from it for a moment.
 *
 * Both are flat arrays. An image is the base with some changes landed on it; taking it back copies the touched ranges from
 * the base again. So an image costs what differs in it, not what the device holds.
 */
import {
  BLOCK_SIZE,
  type DataDevice,
  MemoryDataDevice,
  MemoryMetadataDevice,
  type MetadataDevice,
  SECTOR_SIZE,
  type WriteOptions,
  type WriteZeroesOptions,
} from '@pdata/device';
import { type ContentHash, contentHash, placed } from './content-hash.js';
import type { Change } from './crash-recording.js';

/** Which sectors of a change land: all, or those whose byte is not 0. */
export type Landing = 'whole' | Uint8Array;

type Touch = (offset: number, length: number) => void;

export class CrashMediumState {
  #base: Uint8Array;
  #image: Uint8Array;
  #baseHash: ContentHash;
  #imageHash: ContentHash;
  readonly #isMetadata: boolean;
  /** Begin and end of each range in which the image may differ from the base. */
  #touched: number[] = [];
  /** Begin and end, in sectors, likewise of the hashes. */
  #hashed: number[] = [];
  /** Fingerprint of the image. */
  hashA = 0;
  hashB = 0;
  #baseA = 0;
  #baseB = 0;

  constructor(base: Uint8Array, kind: 'metadata' | 'data') {
    this.#base = base;
    this.#image = base.slice();
    this.#isMetadata = kind === 'metadata';
    this.#baseHash = contentHash(base, base.byteLength / SECTOR_SIZE);
    this.#imageHash = this.#baseHash.slice();
    this.#rehash();
  }

  /** Growing is taken to be durable at once. */
  grow(size: number): void {
    if (size <= this.#base.byteLength) return;
    const larger = new Uint8Array(size);
    larger.set(this.#base);
    this.#base = larger;
    this.#image = larger.slice();
    this.#baseHash = contentHash(larger, size / SECTOR_SIZE);
    this.#imageHash = this.#baseHash.slice();
    this.#rehash();
  }

  /** The change cannot be lost any more. */
  makeDurable(change: Change): void {
    forEachRun(change, 'whole', (from, to) => {
      copySectors(this.#base, change, from, to);
      copySectors(this.#image, change, from, to);
    });
    this.landHash(change, 'whole');
    for (let i = 0; i < this.#hashed.length; i += 2) {
      const [from, to] = [this.#hashed[i] as number, this.#hashed[i + 1] as number];
      this.#baseHash.set(this.#imageHash.subarray(2 * from, 2 * to), 2 * from);
    }
    this.#hashed = [];
    this.#baseA = this.hashA;
    this.#baseB = this.hashB;
  }

  /** Brings the image's fingerprint up to date with a change landing on it; `land` does it in fact. */
  landHash(change: Change, landing: Landing): void {
    forEachRun(change, landing, (from, to) => {
      this.#hashed.push(change.firstSector + from, change.firstSector + to);
      for (let nr = from; nr < to; nr++) {
        const sector = change.firstSector + nr;
        const [newA, newB] = [change.hash[2 * nr] as number, change.hash[2 * nr + 1] as number];
        this.hashA ^= placed(this.#imageHash[2 * sector] as number, sector) ^ placed(newA, sector);
        this.hashB ^= placed(this.#imageHash[2 * sector + 1] as number, sector) ^ placed(newB, sector);
        this.#imageHash[2 * sector] = newA;
        this.#imageHash[2 * sector + 1] = newB;
      }
    });
  }

  land(change: Change, landing: Landing): void {
    forEachRun(change, landing, (from, to) => {
      copySectors(this.#image, change, from, to);
      this.#touch((change.firstSector + from) * SECTOR_SIZE, (to - from) * SECTOR_SIZE);
    });
  }

  /** The image as a device. What is written to it is taken back as well. */
  device(name: string): MetadataDevice | DataDevice {
    const touch: Touch = (offset, length) => this.#touch(offset, length);
    if (this.#isMetadata) return new ImageMetadataDevice(name, this.#image, touch);
    return new ImageDataDevice(name, this.#image, touch);
  }

  /** Makes the image the base again. */
  takeBack(): void {
    for (let i = 0; i < this.#touched.length; i += 2) {
      const [from, to] = [this.#touched[i] as number, this.#touched[i + 1] as number];
      this.#image.set(this.#base.subarray(from, to), from);
    }
    this.#touched.length = 0;
    this.takeBackHash();
  }

  takeBackHash(): void {
    for (let i = 0; i < this.#hashed.length; i += 2) {
      const [from, to] = [this.#hashed[i] as number, this.#hashed[i + 1] as number];
      this.#imageHash.set(this.#baseHash.subarray(2 * from, 2 * to), 2 * from);
    }
    this.#hashed.length = 0;
    this.hashA = this.#baseA;
    this.hashB = this.#baseB;
  }

  #touch(offset: number, length: number): void {
    this.#touched.push(offset, Math.min(offset + length, this.#base.byteLength));
  }

  #rehash(): void {
    let [a, b] = [0, 0];
    for (let sector = 0; 2 * sector < this.#baseHash.length; sector++) {
      a ^= placed(this.#baseHash[2 * sector] as number, sector);
      b ^= placed(this.#baseHash[2 * sector + 1] as number, sector);
    }
    this.hashA = a;
    this.#baseA = a;
    this.hashB = b;
    this.#baseB = b;
  }
}

/** Runs of sectors that land, as numbers within the change. */
function forEachRun({ nrSectors, gone }: Change, landing: Landing, visit: (from: number, to: number) => void): void {
  if (landing === 'whole' && gone === undefined) {
    visit(0, nrSectors);
    return;
  }
  const lands = (nr: number): boolean =>
    (landing === 'whole' || landing[nr] !== 0) && (gone === undefined || gone[nr] === 0);
  for (let from = 0; from < nrSectors; from++) {
    if (!lands(from)) continue;
    let to = from + 1;
    while (to < nrSectors && lands(to)) to++;
    visit(from, to);
    from = to;
  }
}

function copySectors(into: Uint8Array, { firstSector, bytes }: Change, from: number, to: number): void {
  const at = (firstSector + from) * SECTOR_SIZE;
  if (bytes === undefined) into.fill(0, at, at + (to - from) * SECTOR_SIZE);
  else into.set(bytes.subarray(from * SECTOR_SIZE, to * SECTOR_SIZE), at);
}

class ImageMetadataDevice extends MemoryMetadataDevice {
  readonly #touch: Touch;

  constructor(name: string, bytes: Uint8Array, touch: Touch) {
    super({ name, bytes });
    this.#touch = touch;
  }

  override write(firstBlockNr: number, from: Uint8Array): void {
    this.#touch(firstBlockNr * BLOCK_SIZE, from.byteLength);
    super.write(firstBlockNr, from);
  }
}

class ImageDataDevice extends MemoryDataDevice {
  readonly #touch: Touch;

  constructor(name: string, bytes: Uint8Array, touch: Touch) {
    super({ name, bytes });
    this.#touch = touch;
  }

  override write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    this.#touch(offset, from.byteLength);
    return super.write(offset, from, options);
  }

  override writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    this.#touch(offset, length);
    return super.writeZeroes(offset, length, options);
  }

  override discard(offset: number, length: number, options?: WriteOptions): Promise<void> {
    this.#touch(offset, length);
    return super.discard(offset, length, options);
  }
}
