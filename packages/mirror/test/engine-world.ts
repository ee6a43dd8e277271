/**
 * A mirror in use, and what it should hold: requests of all kinds are begun at random and overlap; which of those that wait for a leg or
 * for the log goes on next is random too; legs fail, are taken away, brought back and replaced; the mirror is suspended and restarted; and at
 * any moment the power may fail for all devices at once. Everything follows from the seed.
 *
 * After each loss of power the mirror is opened again on what it left, once to go on with it, and often besides only to look: when the
 * resync has ended all legs must be the same, byte for byte, and each sector must be what it was last flushed with, or newer.
 */
import { type DataDevice, MemoryDataDevice } from '@pdata/device';
import {
  Clock,
  FaultyDataDevice,
  ManualTimers,
  RandomSchedule,
  RecordingDataDevice,
  sectorsOf,
  seededRandom,
  turned,
  VolumeModel,
  valuesIn,
} from '@pdata/testing';
import { type DirtyLog, DiskLog, MirrorDevice, type MirrorOptions, type SuspendOptions } from '../src/index.js';

const SECTOR = 512;
const REGION_SIZE = 8;
const NR_REGIONS = 6;
/** Not whole regions. */
const NR_SECTORS = NR_REGIONS * REGION_SIZE - 3;
const LOG_BYTES = 1536;

export interface WorldOptions {
  readonly seed: number;
  readonly nrLegs?: number;
  readonly mode?: Pick<MirrorOptions, 'handleErrors' | 'keepLog' | 'balanceReads' | 'clearPeriod' | 'resyncRegions'>;
  /** A log of which a rule has been taken out. Default: none. */
  readonly makeLog?: (device: DataDevice, sizes: { length: number; regionSize: number }) => DirtyLog;
  /** Legs whose flush does nothing. */
  readonly lyingFlush?: boolean;
}

class WorldLeg {
  /** What the mirror has. */
  device!: FaultyDataDevice;
  recorded!: RecordingDataDevice;
  isAway = false;
  isBad = false;
}

class LyingDevice extends RecordingDataDevice {
  override async flush(): Promise<void> {}
}

export class MirrorWorld {
  readonly seed: number;
  readonly counts: Record<string, number> = {};
  readonly #options: WorldOptions;
  readonly #random: () => number;
  readonly #schedule: RandomSchedule;
  readonly #clock = new Clock();
  #timers = new ManualTimers();
  #model = new VolumeModel(this.#clock);
  #legs: WorldLeg[] = [];
  #log!: RecordingDataDevice;
  #mirror!: MirrorDevice;
  #nrInFlight = 0;
  #generation = 0;
  #isChanging = false;
  #nextValue = 1;
  #problems: unknown[] = [];

  private constructor(options: WorldOptions) {
    this.#options = options;
    this.seed = options.seed;
    this.#random = seededRandom(options.seed);
    this.#schedule = new RandomSchedule(this.#random);
  }

  /** A new mirror, whose legs are full of different values. */
  static async make(options: WorldOptions): Promise<MirrorWorld> {
    const world = new MirrorWorld(options);
    const nrLegs = options.nrLegs ?? 2;
    world.#legs = Array.from({ length: nrLegs }, () => new WorldLeg());
    world.#devices(
      world.#legs.map((_, nr) => fullOf(2 ** 31 + nr)),
      new MemoryDataDevice({ name: 'log', bytes: new Uint8Array(LOG_BYTES) }),
    );
    world.#model.settle(Array.from({ length: NR_SECTORS }, () => 2 ** 31));
    await world.#open(0);
    return world;
  }

  /** Begins something, or lets something that waits for a device go on. */
  async step(): Promise<void> {
    const dice = this.#random();
    const { nrWaiting } = this.#schedule;
    if (dice < 0.004) await this.#crash();
    else if (dice < 0.012) await this.#look();
    else if (dice < 0.02 && !this.#isChanging) this.#change();
    else if (dice < 0.05) this.#timers.pass(1000);
    else if (this.#nrInFlight < 8 && this.#random() < (nrWaiting === 0 ? 1 : 0.35)) this.#begin();
    else if (nrWaiting > 0) this.#schedule.letGo();
    else this.#timers.pass(1000);
    await turned();
    this.#complain();
  }

  /** Lets everything end, closes the mirror and compares the legs. */
  async end(): Promise<void> {
    for (const leg of this.#legs) this.#heal(leg);
    while (this.#nrInFlight > 0) {
      this.#timers.pass(1000);
      await this.#schedule.until(turned());
      if (this.#schedule.nrWaiting === 0) await this.#schedule.until(this.#suspend({ noflush: false })); // held writes have no end of their own
    }
    for (const [nr, leg] of this.#legs.entries())
      if (leg.isAway) await this.#schedule.until(this.#mirror.attachLeg(nr, leg.device, { resync: 'written' }));
    await this.#schedule.until(this.#mirror.suspend());
    await this.#schedule.until(this.#mirror.resume());
    await this.#schedule.until(this.#untilSynced(this.#mirror, 'at the end'));
    await this.#schedule.until(this.#read(0, NR_SECTORS));
    this.#complain();
    await this.#schedule.until(this.#mirror.close());
    const legs = this.#legs.map(({ recorded }) => recorded.crash({ seed: 1, lands: 'all' }));
    await this.#compare(legs, `seed ${this.seed}, closed`);
  }

  #devices(legs: readonly MemoryDataDevice[], log: MemoryDataDevice): void {
    this.#schedule.forget();
    for (const [nr, leg] of this.#legs.entries())
      Object.assign(leg, this.#devicesOver(legs[nr] as MemoryDataDevice), { isAway: false, isBad: false });
    const delay = this.#schedule.wait;
    this.#log = new RecordingDataDevice(new FaultyDataDevice(log, [], { delay }), { initial: log.copy() });
    this.#timers = new ManualTimers();
  }

  async #open(goodLeg: number): Promise<void> {
    this.#mirror = await this.#schedule.until(
      MirrorDevice.open(
        this.#mirrorOptions(
          this.#legs.map(({ device }) => device),
          this.#log,
          goodLeg,
        ),
      ),
    );
  }

  #mirrorOptions(legs: readonly DataDevice[], log: DataDevice, goodLeg: number): MirrorOptions {
    const sizes = { length: NR_SECTORS, regionSize: REGION_SIZE };
    return {
      ...(this.#options.mode ?? { handleErrors: true, keepLog: true }),
      log: this.#options.makeLog?.(log, sizes) ?? new DiskLog(log, sizes),
      legs: legs.map((device) => ({ device })),
      length: NR_SECTORS,
      goodLeg,
      timers: this.#timers,
      copyMemory: 2 ** 20,
    };
  }

  #begin(): void {
    const begin = Math.floor(this.#random() * NR_SECTORS);
    const most = this.#random() < 0.6 ? 4 : NR_SECTORS;
    const end = Math.min(NR_SECTORS, begin + 1 + Math.floor(this.#random() * most));
    const dice = this.#random();
    if (dice < 0.25) this.#request('read', () => this.#read(begin, end));
    else if (dice < 0.33) {
      this.#writing('zero', begin, end, 0, (mirror) =>
        mirror.writeZeroes(begin * SECTOR, (end - begin) * SECTOR, { keepAllocated: this.#random() < 0.5 }),
      );
    } else if (dice < 0.4)
      this.#writing('discard', begin, end, 0, (mirror) => mirror.discard(begin * SECTOR, (end - begin) * SECTOR));
    else if (dice < 0.5) this.#flush();
    else {
      const value = this.#nextValue++;
      const fua = this.#random() < 0.1;
      const bytes = sectorsOf(value, end - begin);
      this.#writing('write', begin, end, value, (mirror) => mirror.write(begin * SECTOR, bytes, { fua }), fua);
    }
  }

  #change(): void {
    const dice = this.#random();
    const nr = Math.floor(this.#random() * this.#legs.length);
    const leg = this.#legs[nr] as WorldLeg;
    const { isInSync } = this.#mirror.status();
    const away = this.#legs.findIndex(({ isAway }) => isAway);
    const bad = this.#legs.findIndex(({ isBad }) => isBad);
    if (dice < 0.25) this.#changing('suspend', () => this.#suspend());
    else if (bad >= 0 && away < 0 && dice < 0.5) this.#takeAway(bad);
    else if (bad >= 0 && away < 0) this.#changing('heal', () => this.#healed(bad));
    else if (away >= 0) this.#changing('attach', () => this.#attach(away));
    else if (!isInSync) return;
    else if (dice < 0.6) this.#fail(leg);
    else if (dice < 0.75) this.#takeAway(nr);
    else if (dice < 0.85) this.#changing('default', () => this.#mirror.setDefaultLeg(nr));
    else this.#changing('replace', () => this.#replace(nr));
  }

  /** From now on the leg fails for what it is asked now and then. What it was told to write may have landed, in part. */
  #fail(leg: WorldLeg): void {
    this.#count('fail');
    leg.isBad = true;
    const kinds = (['write', 'read', 'flush', 'writeZeroes'] as const).filter(() => this.#random() < 0.6);
    for (const operation of kinds) {
      const nth = leg.device.nrDone(operation) + 1 + Math.floor(this.#random() * 4);
      const isWrite = operation === 'write';
      leg.device.inject({
        operation,
        nth,
        andLater: this.#random() < 0.7,
        ...(isWrite ? { landsPartly: this.#random() < 0.5 } : {}),
      });
    }
  }

  #heal(leg: WorldLeg): void {
    leg.device.heal();
    leg.isBad = false;
  }

  async #healed(nr: number): Promise<void> {
    this.#heal(this.#legs[nr] as WorldLeg);
    await this.#suspend();
  }

  async #suspend(options: SuspendOptions = { noflush: this.#random() < 0.5 }): Promise<void> {
    await this.#mirror.suspend(options);
    await this.#mirror.resume();
  }

  #takeAway(nr: number): void {
    const { isInSync, defaultLeg } = this.#mirror.status();
    if (defaultLeg === nr && !isInSync) return;
    this.#changing('detach', async () => {
      await this.#mirror.detachLeg(nr);
      (this.#legs[nr] as WorldLeg).isAway = true;
    });
  }

  /** The leg comes back as it was, or as a loss of its own power has left it; or another comes. */
  async #attach(nr: number): Promise<void> {
    const leg = this.#legs[nr] as WorldLeg;
    this.#heal(leg);
    const dice = this.#random();
    const seed = Math.floor(this.#random() * 2 ** 31);
    if (dice < 0.4) Object.assign(leg, this.#devicesOver(leg.recorded.crash({ seed })));
    const fresh = dice < 0.6 ? undefined : this.#devicesOver(fullOf(2 ** 31 + 9));
    const resync = fresh === undefined ? 'written' : 'full';
    this.#count(`attach ${resync}`);
    await this.#mirror.attachLeg(nr, (fresh ?? leg).device, { resync });
    Object.assign(leg, fresh, { isAway: false });
  }

  async #replace(nr: number): Promise<void> {
    if (!this.#mirror.status().isInSync) return;
    const fresh = this.#devicesOver(fullOf(2 ** 31 + 8));
    await this.#mirror.replaceLeg(nr, fresh.device);
    Object.assign(this.#legs[nr] as WorldLeg, fresh);
  }

  #devicesOver(memory: MemoryDataDevice): Pick<WorldLeg, 'device' | 'recorded'> {
    const Recording = this.#options.lyingFlush ? LyingDevice : RecordingDataDevice;
    const slow = new FaultyDataDevice(memory, [], { delay: this.#schedule.wait });
    const recorded = new Recording(slow, { initial: memory.copy() });
    // What a write that failed has put down is a write of its own: it does not land later, after it has been read and flushed.
    return { recorded, device: new FaultyDataDevice(recorded) };
  }

  #flush(): void {
    const called = this.#clock.tick();
    this.#request('flush', async () => {
      try {
        await this.#mirror.flush();
      } catch (error) {
        this.#countFailure(error);
        return;
      }
      this.#model.flushed(called);
    });
  }

  async #read(begin: number, end: number): Promise<void> {
    const since = this.#model.look();
    const generation = this.#generation;
    const into = new Uint8Array((end - begin) * SECTOR);
    try {
      await this.#mirror.read(begin * SECTOR, into);
    } catch (error) {
      this.#countFailure(error);
      return;
    }
    if (generation !== this.#generation) return;
    for (const [nr, value] of valuesIn(into).entries()) {
      const allowed = this.#model.readable(begin + nr, since);
      if (!allowed.includes(value))
        throw new Error(`seed ${this.seed}: sector ${begin + nr} reads as ${value}, allowed: ${allowed}`);
    }
    this.#model.looked(since);
  }

  #writing(
    kind: string,
    begin: number,
    end: number,
    value: number,
    work: (mirror: MirrorDevice) => Promise<void>,
    fua = false,
  ): void {
    const writing = this.#model.begin(begin, end, value);
    this.#request(kind, async () => {
      let isWell = true;
      try {
        await work(this.#mirror);
      } catch (error) {
        this.#countFailure(error);
        isWell = false;
      }
      this.#model.end(writing, isWell);
      if (isWell && fua) this.#model.durable(writing);
    });
  }

  #countFailure(error: unknown): void {
    const { code } = error as { code?: string };
    if (code !== 'ERR_DEVICE' && code !== 'ERR_HELD_WRITE') throw error;
    this.#count('request failed');
  }

  #count(kind: string): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }

  #changing(kind: string, work: () => Promise<void>): void {
    this.#isChanging = true;
    const generation = this.#generation;
    this.#request(kind, async () => {
      try {
        await work();
      } catch (error) {
        // What was planned when all was in sync may be refused when it is its turn.
        if ((error as { code?: string }).code !== 'ERR_LEG') throw error;
        this.#count('change refused');
      } finally {
        if (generation === this.#generation) this.#isChanging = false;
      }
    });
  }

  /** Runs in the background; what it says after a crash does not count. */
  #request(kind: string, work: () => Promise<void>): void {
    this.#count(kind);
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

  #complain(): void {
    const [problem] = this.#problems;
    if (problem !== undefined) throw problem;
  }

  /** The power fails, now: whatever was on its way is cut off. */
  async #crash(): Promise<void> {
    this.#count('crash');
    const about = `seed ${this.seed}, crash ${this.counts.crash}`;
    const { legs, log } = this.#crashed();
    const { defaultLeg } = this.#mirror.status();
    this.#generation++;
    this.#nrInFlight = 0;
    this.#isChanging = false;
    this.#devices(legs, log);
    await this.#open(defaultLeg);
    await this.#schedule.until(this.#untilSynced(this.#mirror, about));
    await this.#mirrorIsSound(
      this.#mirror,
      this.#legs.map(({ recorded }) => recorded),
      about,
      (reading) => this.#schedule.until(reading),
    );
  }

  /** What a loss of power would leave now, without one: opened again, copied and compared. */
  async #look(): Promise<void> {
    for (let nr = 0; nr < 4; nr++) {
      this.#count('look');
      const about = `seed ${this.seed}, look ${this.counts.look}`;
      const { legs, log } = this.#crashed();
      const mirror = await MirrorDevice.open(this.#mirrorOptions(legs, log, this.#mirror.status().defaultLeg));
      await this.#untilSynced(mirror, about);
      await this.#compare(legs, about);
      this.#requireAllowed(await contentOf(mirror), about);
      await mirror.close();
    }
  }

  #crashed(): { readonly legs: readonly MemoryDataDevice[]; readonly log: MemoryDataDevice } {
    const seed = Math.floor(this.#random() * 2 ** 31);
    return {
      legs: this.#legs.map(({ recorded }, nr) => recorded.crash({ seed: seed + nr })),
      log: this.#log.crash({ seed: seed + 99 }),
    };
  }

  async #untilSynced(mirror: MirrorDevice, about: string): Promise<void> {
    if (!(await mirror.untilResynced())) throw new Error(`${about}: not in sync: ${mirror.statusLine()}`);
  }

  async #mirrorIsSound(
    mirror: MirrorDevice,
    legs: readonly RecordingDataDevice[],
    about: string,
    run: <T>(work: Promise<T>) => Promise<T>,
  ): Promise<void> {
    await this.#compare(
      legs.map((leg) => leg.crash({ seed: 1, lands: 'all' })),
      about,
    );
    const values = await run(contentOf(mirror));
    this.#requireAllowed(values, about);
    this.#model = new VolumeModel(this.#clock);
    this.#model.settle(values);
  }

  #requireAllowed(values: readonly number[], about: string): void {
    for (const [sector, value] of values.entries()) {
      const allowed = this.#model.crashable(sector);
      if (!allowed.includes(value)) throw new Error(`${about}: sector ${sector} is ${value}, allowed: ${allowed}`);
    }
  }

  async #compare(legs: readonly MemoryDataDevice[], about: string): Promise<void> {
    const [first, ...others] = await Promise.all(legs.map(contentOf));
    for (const [nr, other] of others.entries()) {
      const sector = other.findIndex((value, at) => value !== first?.[at]);
      if (sector < 0) continue;
      const values = [first?.[sector], other[sector]].join(' and ');
      throw new Error(`${about}: legs 0 and ${nr + 1} differ in sector ${sector}: ${values}`);
    }
  }
}

const fullOf = (value: number): MemoryDataDevice =>
  new MemoryDataDevice({ name: `leg of ${value}`, bytes: sectorsOf(value, NR_SECTORS) });

async function contentOf(device: MirrorDevice | MemoryDataDevice): Promise<number[]> {
  const bytes = new Uint8Array(NR_SECTORS * SECTOR);
  await device.read(0, bytes);
  return valuesIn(bytes);
}
