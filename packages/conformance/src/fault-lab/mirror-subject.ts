/**
 * A mirror under the crash explorer, its log and both legs at one moment: what was flushed is read, and when the mirror has recovered
 * the legs are equal; a region that the log called clean although the legs differ would stay as it is.
 */
import type { DataDevice } from '@pdata/device';
import { SECTOR_SIZE } from '@pdata/device';
import { DiskLog, MirrorDevice } from '@pdata/mirror';
import { type CrashSubject, sectorsOf, valuesIn } from '@pdata/testing';
import { judgeSectors, type SectorState } from './sector-states.js';

export type MirrorOperation =
  /** All at once. */
  | { readonly op: 'write'; readonly sectors: readonly number[]; readonly fua: boolean }
  | { readonly op: 'zero'; readonly sector: number; readonly length: number }
  /** Resync, and clearing of marks, get so many turns of the event loop. */
  | { readonly op: 'wait'; readonly turns: number }
  | { readonly op: 'flush' | 'suspend' | 'resync' };

const REGION_SECTORS = 8;
const NR_REGIONS = 8;
const NR_SECTORS = NR_REGIONS * REGION_SECTORS;
const SIZE = NR_SECTORS * SECTOR_SIZE;
/** Resync and clearing of marks go on while something is flushed. */
const FLUSH_TURNS = 8;
const MEDIA = {
  log: { size: 2048, flushTurns: FLUSH_TURNS },
  leg0: { size: SIZE, flushTurns: FLUSH_TURNS },
  leg1: { size: SIZE, flushTurns: FLUSH_TURNS },
} as const;
/** Leg 0 is the good one. */
const ON_LEG_0: SectorState = Array.from({ length: NR_SECTORS }, (_, sector) => 1_000_000 + sector);
/** No timer goes off by itself: whatever is done after a while is done at a suspend, and by `clearPeriod: 0` at once. */
const NO_TIMERS = { set: () => undefined, clear: () => {} };

type Devices = { readonly log: DataDevice; readonly leg0: DataDevice; readonly leg1: DataDevice };

function open({ log, leg0, leg1 }: Devices): Promise<MirrorDevice> {
  return MirrorDevice.open({
    log: new DiskLog(log, { length: NR_SECTORS, regionSize: REGION_SECTORS }),
    legs: [{ device: leg0 }, { device: leg1 }],
    goodLeg: 0,
    clearPeriod: 0,
    timers: NO_TIMERS,
  });
}

export const subject: CrashSubject<MirrorOperation, typeof MEDIA, SectorState> = {
  name: 'mirror',
  media: MEDIA,
  operations,
  async prepare({ leg0, leg1 }) {
    const words = new Uint32Array(SIZE / 4).map((_, word) => ON_LEG_0[Math.floor((4 * word) / SECTOR_SIZE)] as number);
    await leg0.write(0, new Uint8Array(words.buffer));
    await leg1.write(0, sectorsOf(0xdddddddd, NR_SECTORS));
  },
  async run(list, { devices, begins, promises }) {
    let state = ON_LEG_0;
    let nextValue = 1;
    begins(state);
    promises(state);
    const mirror = await open(devices);
    const change = (to: ReadonlyMap<number, number>): void => {
      state = state.map((old, sector) => to.get(sector) ?? old);
      begins(state);
    };
    for (const operation of list) {
      switch (operation.op) {
        case 'write': {
          const values = new Map(operation.sectors.map((sector) => [sector, nextValue++]));
          change(values);
          await Promise.all(
            [...values].map(([sector, value]) =>
              mirror.write(sector * SECTOR_SIZE, sectorsOf(value, 1), { fua: operation.fua }),
            ),
          );
          break;
        }
        case 'zero': {
          const { sector, length } = operation;
          change(new Map(Array.from({ length }, (_, i) => [sector + i, 0])));
          await mirror.writeZeroes(sector * SECTOR_SIZE, length * SECTOR_SIZE);
          break;
        }
        case 'wait':
          for (let turn = 0; turn < operation.turns; turn++) await undefined;
          break;
        case 'resync':
          await mirror.untilResynced();
          break;
        case 'suspend':
          await mirror.suspend();
          await mirror.resume();
          break;
        case 'flush':
          await mirror.flush();
          promises(state);
      }
    }
  },
  async recover(devices) {
    const mirror = await open(devices);
    const bytes = new Uint8Array(SIZE);
    await mirror.read(0, bytes);
    const found = valuesIn(bytes);
    if (!(await mirror.untilResynced())) throw new Error('the mirror is not in sync although all has been copied');
    await mirror.close();
    const [first, second] = (await Promise.all(
      [devices.leg0, devices.leg1].map(async (leg) => {
        const content = new Uint8Array(SIZE);
        await leg.read(0, content);
        return valuesIn(content);
      }),
    )) as [number[], number[]];
    const sector = first.findIndex((value, index) => value !== second[index]);
    if (sector >= 0)
      throw new Error(`in sync, but sector ${sector} is ${first[sector]} on leg 0 and ${second[sector]} on leg 1`);
    return found;
  },
  judge: judgeSectors,
};

function operations(random: () => number): MirrorOperation[] {
  const pick = (below: number): number => Math.floor(random() * below);
  return Array.from({ length: 8 + pick(14) }, (): MirrorOperation => {
    const dice = random();
    const sector = pick(NR_SECTORS);
    if (dice < 0.45)
      return {
        op: 'write',
        sectors: [...new Set(Array.from({ length: 1 + pick(3) }, () => pick(NR_SECTORS)))],
        fua: random() < 0.1,
      };
    if (dice < 0.5) return { op: 'zero', sector, length: Math.min(NR_SECTORS - sector, 1 + pick(10)) };
    if (dice < 0.65) return { op: 'wait', turns: 1 + pick(40) };
    if (dice < 0.72) return { op: 'resync' };
    if (dice < 0.78) return { op: 'suspend' };
    return { op: 'flush' };
  });
}
