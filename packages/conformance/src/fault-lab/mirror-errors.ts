/**
 * A mirror in use under the error explorer: its log and both legs. That a leg fails is what a mirror is there for: most requests may fail, and
 * the operation succeeds; whichever leg is the good one then, what was acknowledged is on it.
 */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { DiskLog, MirrorDevice, type MirrorOptions } from '@pdata/mirror';
import { type ErrorSubject, sectorsOf, valuesIn } from '@pdata/testing';

const REGION_SECTORS = 8;
const NR_REGIONS = 6;
const NR_SECTORS = REGION_SECTORS * NR_REGIONS;
const SIZE = NR_SECTORS * SECTOR_SIZE;
const REGION = REGION_SECTORS * SECTOR_SIZE;
const MEDIA = { log: { size: 2048 }, leg0: { size: SIZE }, leg1: { size: SIZE } } as const;
const LOG_REQUESTS = ['log read', 'log write', 'log flush'];
const LEG_REQUESTS = ['read', 'write', 'writeZeroes', 'discard', 'flush'].flatMap((request) => [
  `leg0 ${request}`,
  `leg1 ${request}`,
]);
const NO_TIMERS = { set: () => undefined, clear: () => {} };

interface Devices {
  readonly log: DataDevice;
  readonly leg0: DataDevice;
  readonly leg1: DataDevice;
}

interface Session {
  readonly mirror: MirrorDevice;
  readonly devices: Devices;
}

/** No log says which leg is the good one: it is for the caller to know, here for as long as a run takes. */
let goodLeg = 0;
const goodLegOf = new WeakMap<DataDevice, number>();

type Handling = Pick<MirrorOptions, 'handleErrors' | 'keepLog'>;

function open({ log, leg0, leg1 }: Devices, handling: Handling): Promise<MirrorDevice> {
  return MirrorDevice.open({
    ...handling,
    log: new DiskLog(log, { length: NR_SECTORS, regionSize: REGION_SECTORS }),
    legs: [{ device: leg0 }, { device: leg1 }],
    goodLeg,
    clearPeriod: 0,
    timers: NO_TIMERS,
  });
}

const doing = (work: (mirror: MirrorDevice, devices: Devices) => Promise<unknown>) => async (session: Session) => {
  await work(session.mirror, session.devices);
  await session.mirror.flush();
};

/** As the kernel's default: writes go on without a log, too. */
export const subject = mirrorSubject('mirror', {});
/** Writes go on with the legs that are good, but not without the log; what is clean may go untold. */
export const handlingErrors = mirrorSubject('mirror handling errors', { handleErrors: true, keepLog: true });

function mirrorSubject(name: string, handling: Handling): ErrorSubject<Session, typeof MEDIA> {
  return {
    name,
    media: MEDIA,
    mayFail: [...LOG_REQUESTS, ...LEG_REQUESTS],
    async prepare(devices) {
      goodLeg = 0;
      await devices.leg1.write(0, sectorsOf(0xdddddddd, NR_SECTORS));
      const mirror = await open(devices, handling);
      await mirror.write(0, sectorsOf(1, NR_SECTORS));
      await mirror.untilResynced();
      await mirror.close();
    },
    async open(devices) {
      goodLeg = goodLegOf.get(devices.leg0) ?? 0;
      const mirror = await open(devices, handling);
      mirror.on('defaultLeg', ({ to }) => {
        goodLeg = to;
        goodLegOf.set(devices.leg0, to);
      });
      return { mirror, devices };
    },
    operations: {
      'write to a part of a region': doing((mirror) => mirror.write(SECTOR_SIZE, sectorsOf(2, 1))),
      'write of a region': doing((mirror) => mirror.write(REGION, sectorsOf(3, REGION_SECTORS))),
      'write with force unit access': ({ mirror }) => mirror.write(REGION, sectorsOf(4, 2), { fua: true }),
      writeZeroes: doing((mirror) => mirror.writeZeroes(2 * REGION, REGION)),
      discard: doing((mirror) => mirror.discard(3 * REGION, REGION)),
      'write, suspend and resume': doing(async (mirror) => {
        await mirror.write(0, sectorsOf(5, 1));
        await mirror.suspend().finally(() => mirror.resume()); // suspended it is in any case
      }),
      'write, and make the other leg the good one': doing(async (mirror) => {
        await mirror.write(0, sectorsOf(6, 1));
        await mirror.setDefaultLeg(1);
      }),
      'take a leg away, write, and bring it back': doing(async (mirror, { leg1 }) => {
        await mirror.detachLeg(1);
        await mirror.write(4 * REGION, sectorsOf(7, 1));
        await mirror.attachLeg(1, leg1, { resync: 'written' });
        await mirror.untilResynced();
      }),
      'write, and replace a leg': doing(async (mirror, { leg1 }) => {
        await mirror.write(4 * REGION, sectorsOf(8, 2));
        await mirror.replaceLeg(1, leg1);
        await mirror.untilResynced();
      }),
    },
    inspect: ({ mirror }) => inWords(mirror),
    close: ({ mirror }) => mirror.close(),
    /** Whatever may differ is copied, and then the legs are equal. */
    async recover(devices) {
      const mirror = await open(devices, handling);
      const state = await inWords(mirror);
      if (!(await mirror.untilResynced())) throw new Error('the mirror is not in sync although all has been copied');
      await mirror.close();
      const [first, second] = await Promise.all([contentOf(devices.leg0), contentOf(devices.leg1)]);
      if (first !== second) throw new Error(`in sync, but the legs differ: ${first} and ${second}`);
      return state;
    },
  };
}

const inWords = contentOf;

async function contentOf(device: DataDevice): Promise<string> {
  const bytes = new Uint8Array(SIZE);
  await device.read(0, bytes);
  return valuesIn(bytes).join(' ');
}
