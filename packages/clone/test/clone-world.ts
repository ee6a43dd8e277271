/**
 * A clone in use, and what it should hold: requests of all kinds are begun at random and overlap, while it hydrates; which of those
 * that wait for a device goes on next is random too; and at any moment the power may fail. Everything follows from the seed.
 */
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import {
  Clock,
  FaultyDataDevice,
  ManualTimers,
  RandomSchedule,
  RecordingDataDevice,
  sectorsOf,
  seededRandom,
  turned,
  VolatileMetadataDevice,
  VolumeModel,
  valuesIn,
} from '@pdata/testing';
import { CloneDevice, checkClone } from '../src/index.js';

const SECTOR = 512;
const REGION_SECTORS = 8;
const NR_REGIONS = 48;
/** Not whole regions. */
const NR_SECTORS = NR_REGIONS * REGION_SECTORS - 3;
/** What each sector of the source holds, less its number. */
const OF_SOURCE = 1_000_000;
/** What the destination holds before anything is written to it. */
const GARBAGE = 0xdddddddd;
/** In the model: whatever the destination holds, which is what a discard leaves. */
const ANYTHING = -1;

export interface CloneWorldOptions {
  readonly seed: number;
  readonly crashes?: boolean;
  readonly discards?: boolean;
  /** A destination whose flush does nothing. */
  readonly lyingFlush?: boolean;
  /** Now and then a read of the source fails, which fails what waits for it and is tried again. */
  readonly badSource?: boolean;
}

class LyingDevice extends RecordingDataDevice {
  override async flush(): Promise<void> {}
}

export class CloneWorld {
  readonly seed: number;
  readonly counts: Record<string, number> = {};
  readonly #options: CloneWorldOptions;
  readonly #random: () => number;
  readonly #schedule: RandomSchedule;
  readonly #clock = new Clock();
  readonly #timers = new ManualTimers();
  readonly #sourceBytes: Uint8Array;
  readonly #source: FaultyDataDevice;
  #model!: VolumeModel;
  #clone!: CloneDevice;
  #metadata!: VolatileMetadataDevice;
  #destination!: RecordingDataDevice;
  #nrInFlight = 0;
  #generation = 0;
  #nextValue = 1;
  #problem: unknown;

  private constructor(options: CloneWorldOptions) {
    this.#options = options;
    this.seed = options.seed;
    this.#random = seededRandom(options.seed);
    this.#schedule = new RandomSchedule(this.#random);
    const source = new Uint32Array((NR_SECTORS * SECTOR) / 4).map((_, word) => OF_SOURCE + Math.floor(word / 128));
    this.#sourceBytes = new Uint8Array(source.buffer);
    this.#source = new FaultyDataDevice(
      new MemoryDataDevice({ name: 'source', bytes: this.#sourceBytes, readOnly: true }),
      [],
      { delay: () => this.#schedule.wait() },
    );
  }

  static async make(options: CloneWorldOptions): Promise<CloneWorld> {
    const world = new CloneWorld(options);
    await world.#begins();
    return world;
  }

  /** Begins something, or lets something that waits for a device go on. */
  async step(): Promise<void> {
    const busy = this.#schedule.nrWaiting;
    if (this.#options.crashes && this.#random() < 0.012) await this.#crash();
    else if (this.#random() < 0.02) this.#timers.pass(1000);
    else if (this.#nrInFlight < 8 && this.#random() < (busy === 0 ? 0.7 : 0.15)) this.#begin();
    else if (busy > 0) this.#schedule.letGo();
    await turned();
    if (this.#problem !== undefined) throw this.#problem;
    if (this.#clone.isComplete && this.#nrInFlight === 0) await this.#startAnew();
  }

  /**
   * What a loss of power at this moment could leave, looked at without disturbing anything: of what the destination was not flushed
   * for nothing, some or all, and of the metadata any part.
   */
  async lookAtCrash(seed: number, lands: 'none' | 'some' | 'all'): Promise<void> {
    const metadata = new MemoryMetadataDevice({ bytes: this.#soundMetadata(seed) });
    const destination = this.#destination.crash({ seed, lands });
    const source = new MemoryDataDevice({ bytes: this.#sourceBytes, readOnly: true });
    const clone = await CloneDevice.open(metadata, { source, destination }, { noHydration: true });
    const into = new Uint8Array(NR_SECTORS * SECTOR);
    await clone.read(0, into);
    this.#compare(valuesIn(into), `crash image ${seed} (${lands} landed)`, (sector) => this.#model.crashable(sector));
    this.#count('crash images');
    if (clone.status().nrHydrated > 0) this.#count('crash images with hydrated regions');
    await clone.close();
  }

  /** Lets everything end, and looks at all of it: from the clone, and when it has been opened again. */
  async end(): Promise<void> {
    while (this.#nrInFlight > 0) await this.#schedule.until(turned());
    await this.#readAll('at the end');
    if (this.#problem !== undefined) throw this.#problem;
    await this.#schedule.until(this.#clone.close());
  }

  get #about(): string {
    return `seed ${this.seed}, crash ${this.counts.crash ?? 0}`;
  }

  /** A new clone, nothing of it hydrated. */
  async #begins(): Promise<void> {
    this.#model = new VolumeModel(this.#clock);
    this.#model.settle(Array.from({ length: NR_SECTORS }, (_, sector) => OF_SOURCE + sector));
    const garbage = new Uint8Array(NR_SECTORS * SECTOR).fill(GARBAGE & 0xff);
    await this.#open(new Uint8Array(64 * 4096), new MemoryDataDevice({ bytes: garbage }));
  }

  async #startAnew(): Promise<void> {
    this.#count('complete');
    await this.#readAll('complete');
    await this.#schedule.until(this.#clone.close());
    await this.#begins();
  }

  async #open(metadata: Uint8Array, destination: MemoryDataDevice): Promise<void> {
    this.#schedule.forget();
    const { wait } = this.#schedule;
    this.#metadata = new VolatileMetadataDevice(new MemoryMetadataDevice({ bytes: metadata }), wait);
    const Recording = this.#options.lyingFlush ? LyingDevice : RecordingDataDevice;
    this.#destination = new Recording(new FaultyDataDevice(destination, [], { delay: wait }), {
      initial: destination.copy(),
    });
    this.#clone = await this.#schedule.until(
      CloneDevice.openOrFormat(
        this.#metadata,
        { source: this.#source, destination: this.#destination },
        {
          regionSize: REGION_SECTORS,
          hydrationThreshold: 5,
          hydrationBatchSize: 3,
          timers: this.#timers,
          noDiscardPassdown: this.seed % 3 === 0,
        },
      ),
    );
  }

  /** What a loss of power leaves of the metadata: the state before a commit or after it, whole. */
  #soundMetadata(seed: number): Uint8Array {
    const bytes = this.#metadata.crash(seed);
    const [finding] = checkClone(new MemoryMetadataDevice({ bytes: bytes.slice() }));
    if (finding !== undefined) throw new Error(`${this.#about}: ${JSON.stringify(finding)}`);
    return bytes;
  }

  #count(kind: string): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }

  #begin(): void {
    const [begin, end] = this.#range();
    const dice = this.#random();
    if (this.#options.badSource && dice > 0.9) this.#failARead();
    else if (dice < 0.15) this.#request('read', () => this.#read(begin, end));
    else if (dice < 0.3) this.#flush();
    else if (dice < 0.4) this.#zero(begin, end);
    else if (dice < 0.5 && this.#options.discards) this.#discard(begin, end);
    else if (dice < 0.55) this.#changeHydration();
    else this.#write(begin, end);
  }

  #range(): [number, number] {
    const most = this.#random() < 0.6 ? REGION_SECTORS : this.#random() < 0.8 ? 3 * REGION_SECTORS : NR_SECTORS / 3;
    let begin = Math.floor(this.#random() * NR_SECTORS);
    let end = Math.min(NR_SECTORS, begin + 1 + Math.floor(this.#random() * most));
    if (this.#random() < 0.4) {
      begin -= begin % REGION_SECTORS;
      end = Math.min(NR_SECTORS, Math.max(begin + REGION_SECTORS, end - (end % REGION_SECTORS)));
    }
    return [begin, end];
  }

  /** Runs in the background; what it says after a crash does not count. */
  #request(kind: string, work: () => Promise<void>): void {
    this.#count(kind);
    const generation = this.#generation;
    this.#nrInFlight++;
    work()
      .catch((error) => {
        if (generation === this.#generation) this.#problem ??= error;
      })
      .finally(() => {
        if (generation === this.#generation) this.#nrInFlight--;
      });
  }

  #write(begin: number, end: number): void {
    const value = this.#nextValue++;
    const fua = this.#random() < 0.1;
    this.#change('write', begin, end, value, fua, () =>
      this.#clone.write(begin * SECTOR, sectorsOf(value, end - begin), { fua }),
    );
  }

  #zero(begin: number, end: number): void {
    this.#change('zero', begin, end, 0, false, () => this.#clone.writeZeroes(begin * SECTOR, (end - begin) * SECTOR));
  }

  #discard(begin: number, end: number): void {
    const first = Math.ceil(begin / REGION_SECTORS) * REGION_SECTORS;
    const last = Math.floor(end / REGION_SECTORS) * REGION_SECTORS;
    this.#change('discard', first, Math.max(first, last), ANYTHING, false, () =>
      this.#clone.discard(begin * SECTOR, (end - begin) * SECTOR),
    );
  }

  #change(kind: string, begin: number, end: number, value: number, fua: boolean, work: () => Promise<void>): void {
    const model = this.#model;
    const writing = model.begin(begin, end, value);
    this.#request(kind, async () => {
      let well = true;
      try {
        await work();
      } catch (error) {
        if (!this.#options.badSource || (error as { code?: string }).code !== 'ERR_HYDRATION') throw error;
        this.#count('not hydrated');
        well = false;
      }
      model.end(writing, well);
      if (well && fua) model.durable(writing);
    });
  }

  #flush(): void {
    const model = this.#model;
    const called = this.#clock.tick();
    this.#request('flush', async () => {
      await this.#clone.flush();
      model.flushed(called);
    });
  }

  #changeHydration(): void {
    if (this.#random() < 0.3) this.#clone.disableHydration();
    else this.#clone.enableHydration();
    this.#clone.setHydrationThreshold(Math.floor(this.#random() * 8));
    this.#clone.setHydrationBatchSize(Math.floor(this.#random() * 5));
  }

  #failARead(): void {
    this.#source.heal();
    this.#source.inject({ operation: 'read', nth: this.#source.nrDone('read') + 1 });
  }

  async #read(begin: number, end: number): Promise<void> {
    const model = this.#model;
    const since = model.look();
    const into = new Uint8Array((end - begin) * SECTOR);
    try {
      await this.#clone.read(begin * SECTOR, into);
    } catch (error) {
      if (!this.#options.badSource) throw error;
      model.looked(since);
      return;
    }
    valuesIn(into).forEach((value, index) => {
      const allowed = model.readable(begin + index, since);
      if (!isAllowed(value, allowed))
        throw new Error(`${this.#about}: sector ${begin + index} reads as ${value}, allowed: ${allowed}`);
    });
    model.looked(since);
  }

  async #readAll(when: string): Promise<void> {
    this.#source.heal();
    const since = this.#model.look();
    const into = new Uint8Array(NR_SECTORS * SECTOR);
    await this.#schedule.until(this.#clone.read(0, into));
    this.#compare(valuesIn(into), when, (sector) => this.#model.readable(sector, since));
    this.#model.looked(since);
  }

  #compare(values: readonly number[], when: string, allowedIn: (sector: number) => readonly number[]): void {
    values.forEach((value, sector) => {
      const allowed = allowedIn(sector);
      if (!isAllowed(value, allowed))
        throw new Error(`${this.#about}, ${when}: sector ${sector} is ${value}, allowed: ${allowed}`);
    });
  }

  /** The power fails, now: whatever was on its way is cut off. */
  async #crash(): Promise<void> {
    this.#count('crash');
    this.#generation++;
    this.#nrInFlight = 0;
    this.#source.heal();
    const seed = Math.floor(this.#random() * 2 ** 31);
    const metadata = this.#soundMetadata(seed);
    const medium = this.#destination.crash({ seed });
    const bytes = new Uint8Array(medium.size);
    await medium.read(0, bytes);
    const model = this.#model;
    await this.#open(metadata, new MemoryDataDevice({ bytes }));
    const { nrHydrated } = this.#clone.status();
    if (nrHydrated > 0) this.#count('hydrated after a crash');
    const into = new Uint8Array(NR_SECTORS * SECTOR);
    await this.#schedule.until(this.#clone.read(0, into));
    const values = valuesIn(into);
    this.#compare(values, 'after it', (sector) => model.crashable(sector));
    this.#model = new VolumeModel(this.#clock);
    const isLoose = (sector: number): boolean => model.crashable(sector).includes(ANYTHING);
    this.#model.settle(values.map((value, sector) => (isLoose(sector) ? ANYTHING : value)));
  }
}

const isAllowed = (value: number, allowed: readonly number[]): boolean =>
  allowed.includes(value) || allowed.includes(ANYTHING);
