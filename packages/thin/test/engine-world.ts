/**
 * A pool in use, and what it should hold: requests of all kinds are begun at random and overlap; which of those that wait for
 * a device goes on next is random too; and at any moment the power may fail. Everything follows from the seed.
 */
import { type DataDeviceHints, MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import {
  Clock,
  FaultyDataDevice,
  RandomSchedule,
  RecordingDataDevice,
  sectorsOf,
  seededRandom,
  turned,
  VolatileMetadataDevice,
  VolumeModel,
  valuesIn,
  type Writing,
} from '@pdata/testing';
import { ThinPool, type ThinPoolOptions, type ThinVolume } from '../src/index.js';
import { expectSound } from './pool.js';

const SECTOR = 512;
const BLOCK_SECTORS = 128;
const NR_BLOCKS = 5;
/** Of a volume: not whole blocks. */
const NR_SECTORS = NR_BLOCKS * BLOCK_SECTORS - 40;
const NR_METADATA_BLOCKS = 128;

interface Volume {
  readonly thinId: number;
  readonly model: VolumeModel;
  volume: ThinVolume;
  nrInFlight: number;
  /** Its snapshot has not been read yet: nobody writes before. */
  fresh: boolean;
  deleting: boolean;
  /** Writes that began, for the snapshots that they overlap. */
  readonly writings: Noted[];
}

interface Noted {
  readonly writing: Writing;
  ended: number;
}

const began = ({ entries }: Writing): number => entries[0]?.began ?? 0;

export interface WorldOptions {
  readonly seed: number;
  /** A data device whose flush does nothing: the tests must find that out. */
  readonly lyingFlush?: boolean;
  readonly crashes?: boolean;
  readonly nrDataBlocks?: number;
  /** Writes that find no space wait until there is some, instead of failing. */
  readonly waits?: boolean;
}

/** Every other world's data device is slow to zero. */
class FlushingDevice extends RecordingDataDevice {
  fastZeroes = true;

  override get hints(): DataDeviceHints {
    return { ...super.hints, fastZeroes: this.fastZeroes };
  }
}

class LyingDevice extends FlushingDevice {
  override async flush(): Promise<void> {}
}

export class EngineWorld {
  readonly seed: number;
  readonly random: () => number;
  readonly counts: Record<string, number> = {};
  readonly #options: WorldOptions;
  readonly #clock = new Clock();
  #volumes = new Map<number, Volume>();
  /** Snapshots whose creation has not ended, and what they may hold. */
  #coming = new Map<number, () => number[][]>();
  #pool!: ThinPool;
  #metadata!: VolatileMetadataDevice;
  #memory!: MemoryDataDevice;
  #data!: RecordingDataDevice;
  readonly #schedule: RandomSchedule;
  #nrInFlight = 0;
  #generation = 0;
  #nextId = 0;
  #nextValue = 1;
  #problems: unknown[] = [];

  private constructor(options: WorldOptions) {
    this.#options = options;
    this.seed = options.seed;
    this.random = seededRandom(options.seed);
    this.#schedule = new RandomSchedule(this.random);
  }

  static async make(options: WorldOptions): Promise<EngineWorld> {
    const world = new EngineWorld(options);
    const nrDataBlocks = options.nrDataBlocks ?? 28;
    world.#devices(
      new Uint8Array(NR_METADATA_BLOCKS * 4096),
      new MemoryDataDevice({ bytes: new Uint8Array(nrDataBlocks * BLOCK_SECTORS * SECTOR).fill(0xdd) }),
    );
    await world.#schedule.until(
      ThinPool.format(world.#metadata, world.#data, { dataBlockSize: BLOCK_SECTORS, ...world.#poolOptions }).then(
        (pool) => {
          world.#pool = pool;
        },
      ),
    );
    return world;
  }

  /** Begins something, or lets something that waits for a device go on. */
  async step(): Promise<void> {
    const busy = this.#schedule.nrWaiting;
    if (this.#options.crashes && this.random() < 0.012) await this.#crash();
    else if (this.#nrInFlight < 10 && this.random() < (busy === 0 ? 1 : 0.4)) this.#begin();
    else if (busy > 0) this.#schedule.letGo();
    else if (this.#pool.mode === 'out_of_data_space') this.#grow();
    else throw new Error(`stuck: ${this.#nrInFlight} requests wait for nothing`);
    await turned();
    this.#complain();
  }

  /** Lets everything end, closes the pool and checks what is left. */
  async end(): Promise<void> {
    await this.#schedule.until(Promise.resolve());
    while (this.#nrInFlight > 0) {
      await this.#schedule.until(turned());
      if (this.#schedule.nrWaiting === 0 && this.#pool.mode === 'out_of_data_space') this.#grow();
    }
    for (const volume of this.#volumes.values()) await this.#schedule.until(this.#readAll(volume));
    this.#complain();
    await this.#schedule.until(this.#pool.close());
    expectSound({ bytes: this.#metadata.crash(1) }, `seed ${this.seed}, closed`);
  }

  get #poolOptions(): ThinPoolOptions {
    return { errorIfNoSpace: !this.#options.waits, noSpaceTimeout: 0, commitPeriod: 0 };
  }

  #devices(metadata: Uint8Array, memory: MemoryDataDevice): void {
    this.#schedule.forget();
    const { wait } = this.#schedule;
    this.#metadata = new VolatileMetadataDevice(new MemoryMetadataDevice({ bytes: metadata }), wait);
    this.#memory = memory;
    const Recording = this.#options.lyingFlush ? LyingDevice : FlushingDevice;
    const data = new Recording(new FaultyDataDevice(memory, [], { delay: wait }), { initial: memory.copy() });
    data.fastZeroes = this.seed % 2 === 0;
    this.#data = data;
  }

  #complain(): void {
    const [problem] = this.#problems;
    if (problem !== undefined) throw problem;
  }

  /** Runs in the background; what it says after a crash does not count. */
  #background(kind: string, work: () => Promise<void>): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    const generation = this.#generation;
    this.#nrInFlight++;
    work()
      .catch((error) => {
        if (generation === this.#generation) this.#problems.push(error);
      })
      .finally(() => {
        if (generation === this.#generation) this.#nrInFlight--;
      });
  }

  #pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.random() * from.length)];
  }

  #range(nrSectors: number): [number, number] {
    const most = this.random() < 0.5 ? 16 : this.random() < 0.7 ? BLOCK_SECTORS : nrSectors;
    let begin = Math.floor(this.random() * nrSectors);
    let end = Math.min(nrSectors, begin + 1 + Math.floor(this.random() * most));
    if (this.random() < 0.3) {
      begin -= begin % BLOCK_SECTORS;
      end = Math.min(nrSectors, Math.max(begin + BLOCK_SECTORS, end - (end % BLOCK_SECTORS)));
    }
    return [begin, end];
  }

  #begin(): void {
    const usable = [...this.#volumes.values()].filter(({ fresh, deleting }) => !fresh && !deleting);
    const volume = this.#pick(usable);
    const dice = this.random();
    const room = this.#volumes.size < 7;
    if (volume === undefined || (dice < 0.02 && room)) this.#create();
    else if (dice < 0.06 && room) this.#snapshot(volume);
    else if (dice < 0.08 && this.#volumes.size > 3) this.#delete(volume);
    else if (dice < 0.1) this.#commit();
    else if (dice < 0.11 && this.#memory.size < 60 * BLOCK_SECTORS * SECTOR) this.#grow();
    else if (dice < 0.12) this.#resize(volume);
    else this.#beginIo(volume);
  }

  #beginIo(volume: Volume): void {
    const [begin, end] = this.#range(Math.floor(volume.volume.size / SECTOR));
    const dice = this.random();
    if (dice < 0.2) this.#read(volume, begin, end);
    else if (dice < 0.3) this.#discard(volume, begin, end);
    else if (dice < 0.4) this.#zero(volume, begin, end);
    else if (dice < 0.5) this.#flush(volume);
    else this.#write(volume, begin, end);
  }

  #create(): void {
    const thinId = this.#nextId++;
    const zeros = (): number[][] => Array.from({ length: NR_SECTORS }, () => [0]);
    this.#coming.set(thinId, zeros);
    this.#background('create', async () => {
      await this.#pool.createThin(thinId);
      await this.#arrive(thinId, zeros(), false);
    });
  }

  #snapshot(origin: Volume): void {
    const thinId = this.#nextId++;
    const since = origin.model.look();
    const may = (): number[][] =>
      Array.from({ length: NR_SECTORS }, (_, sector) => origin.model.readable(sector, since));
    this.#coming.set(thinId, may);
    origin.nrInFlight++;
    this.#background('snapshot', async () => {
      await this.#pool.createSnapshot(thinId, origin.thinId);
      origin.nrInFlight--;
      origin.model.looked(since);
      const [candidates, until] = [may(), this.#clock.tick()];
      const writings = origin.writings.filter(({ writing }) => began(writing) < until);
      await this.#arrive(thinId, candidates, true);
      const snapshot = this.#volumes.get(thinId) as Volume;
      const values = await this.#readAll(snapshot);
      this.#expectWhole(values, writings, since, `snapshot ${thinId} of ${origin.thinId}`);
      snapshot.model.settle(values);
      snapshot.fresh = false;
    });
  }

  /** Of each request in flight it has all sectors that no other wrote meanwhile or later, or none. */
  #expectWhole(values: readonly number[], writings: readonly Noted[], since: number, what: string): void {
    for (const { writing, ended } of writings) {
      const inFlightOrDone = ended === Number.POSITIVE_INFINITY || writing.entries.every(({ well }) => well);
      if (this.#options.waits) return; // what waits for space is not waited for, and may be in it in part
      if (writing.value === 0 || ended < since || !inFlightOrDone) continue;
      const others = writings.filter((other) => other.writing !== writing && other.ended > began(writing));
      const alone = [...Array(writing.end - writing.begin).keys()]
        .map((nr) => writing.begin + nr)
        .filter((sector) => others.every(({ writing: { begin, end } }) => sector < begin || sector >= end));
      const nrIn = alone.filter((sector) => values[sector] === writing.value).length;
      if (nrIn > 0 && nrIn < alone.length)
        throw new Error(`seed ${this.seed}: ${what} has ${nrIn} of ${alone.length} sectors of a request in it`);
      const kind = nrIn > 0 ? 'in flight and in' : 'in flight and out';
      if (alone.length > 1) this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    }
  }

  async #arrive(thinId: number, candidates: number[][], fresh: boolean): Promise<void> {
    const volume = await this.#pool.openVolume(thinId, { size: NR_SECTORS * SECTOR });
    const model = new VolumeModel(this.#clock);
    model.settleAmong(candidates);
    this.#coming.delete(thinId);
    this.#volumes.set(thinId, { thinId, model, volume, nrInFlight: 0, fresh, deleting: false, writings: [] });
  }

  #delete(volume: Volume): void {
    if (volume.nrInFlight > 0) return;
    volume.deleting = true;
    this.#background('delete', async () => {
      await volume.volume.close();
      await this.#pool.deleteThin(volume.thinId);
      this.#volumes.delete(volume.thinId);
    });
  }

  #commit(): void {
    const called = this.#clock.tick();
    const volumes = [...this.#volumes.values()];
    this.#background('commit', async () => {
      await this.#pool.commit();
      for (const { model } of volumes) model.flushed(called);
    });
  }

  #grow(): void {
    this.#background('grow', async () => {
      await this.#memory.grow(this.#memory.size + 3 * BLOCK_SECTORS * SECTOR);
      await this.#pool.resume();
    });
  }

  #resize({ volume, nrInFlight }: Volume): void {
    if (nrInFlight > 0) return;
    const nr = this.random() < 0.5 ? NR_SECTORS : 1 + Math.floor(this.random() * NR_SECTORS);
    this.#background('resize', () => volume.resize(nr * SECTOR));
  }

  #read(volume: Volume, begin: number, end: number): void {
    this.#request('read', volume, async () => {
      await this.#readRange(volume, begin, end);
    });
  }

  async #readRange({ thinId, volume, model }: Volume, begin: number, end: number): Promise<number[]> {
    const generation = this.#generation;
    const since = model.look();
    const into = new Uint8Array((end - begin) * SECTOR);
    await volume.read(begin * SECTOR, into);
    if (generation !== this.#generation) return []; // the power failed meanwhile
    const values = valuesIn(into);
    values.forEach((value, index) => {
      const allowed = model.readable(begin + index, since);
      if (!allowed.includes(value))
        throw new Error(
          `seed ${this.seed}: sector ${begin + index} of ${thinId} reads as ${value}, allowed: ${allowed}`,
        );
    });
    model.looked(since);
    return values;
  }

  #readAll(volume: Volume): Promise<number[]> {
    void volume.volume.resize(NR_SECTORS * SECTOR);
    return this.#readRange(volume, 0, NR_SECTORS);
  }

  #write(volume: Volume, begin: number, end: number): void {
    const value = this.#nextValue++;
    const fua = this.random() < 0.05;
    this.#writing('write', volume, begin, end, value, fua, (v) =>
      v.write(begin * SECTOR, sectorsOf(value, end - begin), { fua }),
    );
  }

  #discard(volume: Volume, begin: number, end: number): void {
    const first = Math.ceil(begin / BLOCK_SECTORS) * BLOCK_SECTORS;
    const last = Math.floor(end / BLOCK_SECTORS) * BLOCK_SECTORS;
    this.#writing('discard', volume, first, Math.max(first, last), 0, false, (v) =>
      v.discard(begin * SECTOR, (end - begin) * SECTOR),
    );
  }

  #zero(volume: Volume, begin: number, end: number): void {
    const keepAllocated = this.random() < 0.3;
    this.#writing('zero', volume, begin, end, 0, false, (v) =>
      v.writeZeroes(begin * SECTOR, (end - begin) * SECTOR, { keepAllocated }),
    );
  }

  #writing(
    kind: string,
    volume: Volume,
    begin: number,
    end: number,
    value: number,
    fua: boolean,
    work: (volume: ThinVolume) => Promise<void>,
  ): void {
    const writing = volume.model.begin(begin, end, value);
    const noted = { writing, ended: Number.POSITIVE_INFINITY };
    volume.writings.push(noted);
    if (volume.writings.length > 200) volume.writings.splice(0, 100);
    this.#request(kind, volume, async () => {
      let well = true;
      try {
        await work(volume.volume);
      } catch (error) {
        if (!(error instanceof NoSpaceError)) throw error;
        this.counts['no space'] = (this.counts['no space'] ?? 0) + 1;
        well = false;
      }
      noted.ended = this.#clock.tick();
      volume.model.end(writing, well);
      if (well && fua) volume.model.durable(writing);
    });
  }

  #flush(volume: Volume): void {
    const called = this.#clock.tick();
    this.#request('flush', volume, async () => {
      await volume.volume.flush();
      volume.model.flushed(called);
    });
  }

  #request(kind: string, volume: Volume, work: () => Promise<void>): void {
    volume.nrInFlight++;
    const generation = this.#generation;
    this.#background(kind, async () => {
      try {
        await work();
      } finally {
        if (generation === this.#generation) volume.nrInFlight--;
      }
    });
  }

  /** The power fails, now: whatever was on its way is cut off. */
  async #crash(): Promise<void> {
    this.counts.crash = (this.counts.crash ?? 0) + 1;
    this.#generation++;
    const seed = Math.floor(this.random() * 2 ** 31);
    const about = `seed ${this.seed}, crash ${this.counts.crash}`;
    const metadata = this.#metadata.crash(seed);
    const data = this.#data.crash({ seed });
    const bytes = new Uint8Array(data.size);
    await data.read(0, bytes);
    expectSound({ bytes: metadata }, about);
    this.#nrInFlight = 0;
    this.#devices(metadata, new MemoryDataDevice({ bytes }));
    await this.#schedule.until(
      ThinPool.open(this.#metadata, this.#data, this.#poolOptions).then((pool) => {
        this.#pool = pool;
      }),
    );
    const found = new Set([...this.#pool.thins()].map(({ thinId }) => thinId));
    for (const { thinId, deleting } of this.#volumes.values()) {
      if (!found.has(thinId) && !deleting) throw new Error(`${about}: volume ${thinId} is gone`);
      if (!found.has(thinId)) this.#volumes.delete(thinId);
    }
    for (const thinId of found) await this.#recover(thinId, about);
    this.#coming.clear();
  }

  async #recover(thinId: number, about: string): Promise<void> {
    const known = this.#volumes.get(thinId);
    const coming = this.#coming.get(thinId);
    if (known === undefined && coming === undefined) throw new Error(`${about}: volume ${thinId} is there again`);
    const candidates = coming?.() ?? Array.from({ length: NR_SECTORS }, (_, nr) => known?.model.crashable(nr) ?? []);
    const volume = await this.#pool.openVolume(thinId, { size: NR_SECTORS * SECTOR });
    const into = new Uint8Array(NR_SECTORS * SECTOR);
    await this.#schedule.until(volume.read(0, into));
    const values = valuesIn(into);
    values.forEach((value, sector) => {
      if (!candidates[sector]?.includes(value))
        throw new Error(`${about}: sector ${sector} of ${thinId} is ${value}, allowed: ${candidates[sector]}`);
    });
    const model = new VolumeModel(this.#clock);
    model.settle(values);
    this.#volumes.set(thinId, { thinId, model, volume, nrInFlight: 0, fresh: false, deleting: false, writings: [] });
  }
}
