/**
 * The volumes that somebody uses at the moment: who they are, and what they have done since the pool was opened.
 *
 * Every use gets a device of its own, which counts; all uses of one volume share the engine's state of it.
 */
import type { AllocationExtent, DataDevice, DataDeviceHints, WriteOptions, WriteZeroesOptions } from '@pdata/device';
import type { ThinVolume } from '@pdata/thin';
import type { IoCounters } from '../pool-host.js';

type Counters = { -readonly [Name in keyof IoCounters]: number };

const nothingYet = (): Counters => ({ reads: 0, writes: 0, discards: 0, flushes: 0, bytesRead: 0, bytesWritten: 0 });

export class OpenVolumes {
  readonly #counters = new Map<number, Counters>();
  readonly #open = new Map<number, Set<ThinVolume>>();

  add(thinId: number, volume: ThinVolume, name: string): DataDevice {
    const users = this.#open.get(thinId) ?? new Set();
    this.#open.set(thinId, users.add(volume));
    let counters = this.#counters.get(thinId);
    if (counters === undefined) {
      counters = nothingYet();
      this.#counters.set(thinId, counters);
    }
    return new CountedVolume(volume, name, counters, () => {
      users.delete(volume);
      if (users.size === 0) this.#open.delete(thinId);
    });
  }

  nrUsers(thinId: number): number {
    return this.#open.get(thinId)?.size ?? 0;
  }

  get isEmpty(): boolean {
    return this.#open.size === 0;
  }

  io(thinId: number): IoCounters {
    return { ...(this.#counters.get(thinId) ?? nothingYet()) };
  }

  async resize(thinId: number, size: number): Promise<void> {
    for (const volume of this.#open.get(thinId) ?? []) await volume.resize(size);
  }

  forget(thinId: number): void {
    this.#counters.delete(thinId);
  }

  async closeAll(): Promise<void> {
    await Promise.allSettled([...this.#open.values()].flatMap((users) => [...users].map((volume) => volume.close())));
    this.#open.clear();
  }
}

class CountedVolume implements DataDevice {
  readonly name: string;
  readonly #volume: ThinVolume;
  readonly #counters: Counters;
  readonly #released: () => void;

  constructor(volume: ThinVolume, name: string, counters: Counters, released: () => void) {
    this.#volume = volume;
    this.name = name;
    this.#counters = counters;
    this.#released = released;
  }

  get size(): number {
    return this.#volume.size;
  }

  get readOnly(): boolean {
    return this.#volume.readOnly;
  }

  get hints(): DataDeviceHints {
    return this.#volume.hints;
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    this.#counters.reads++;
    this.#counters.bytesRead += into.length;
    return this.#volume.read(offset, into);
  }

  write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    this.#counters.writes++;
    this.#counters.bytesWritten += from.length;
    return this.#volume.write(offset, from, options);
  }

  writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    this.#counters.discards++;
    return this.#volume.writeZeroes(offset, length, options);
  }

  discard(offset: number, length: number, options?: WriteOptions): Promise<void> {
    this.#counters.discards++;
    return this.#volume.discard(offset, length, options);
  }

  flush(): Promise<void> {
    this.#counters.flushes++;
    return this.#volume.flush();
  }

  allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    return this.#volume.allocation(offset, length);
  }

  async close(): Promise<void> {
    await this.#volume.close();
    this.#released();
  }
}
