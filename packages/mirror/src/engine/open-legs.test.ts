import { MemoryDataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import { CoreLog, DiskLog, MirrorDevice, type MirrorOptions } from '../index.js';

const SECTORS = 64;
const device = (name: string, sectors = SECTORS): MemoryDataDevice =>
  new MemoryDataDevice({ name, size: sectors * 512 });
const legs = (nr: number): MirrorOptions['legs'] =>
  Array.from({ length: nr }, (_, at) => ({ device: device(`leg${at}`) }));
const log = (length = SECTORS): CoreLog => new CoreLog({ length, regionSize: 8 });

const same = device('same');
const cases: [string, () => Partial<MirrorOptions>, string][] = [
  ['one leg', () => ({ legs: legs(1) }), 'mirror is to have 1 legs: a mirror has 2 to 9'],
  ['ten legs', () => ({ legs: legs(10) }), 'mirror is to have 10 legs: a mirror has 2 to 9'],
  [
    'a leg that is too small',
    () => ({ legs: [...legs(1), { device: device('small', 63) }], length: SECTORS }),
    'leg 1 of mirror is too small: small has 63 sectors, and needs 64',
  ],
  [
    'a leg with no room behind its offset',
    () => ({ legs: [...legs(1), { device: device('b'), offset: 8 }], length: SECTORS }),
    'leg 1 of mirror is too small: b has 64 sectors, 8 of them before the mirror, which needs 64',
  ],
  [
    'one device as two legs',
    () => ({ legs: [{ device: same }, { device: same }] }),
    'legs 1 and 0 of mirror are the same: same',
  ],
  [
    'a leg that its log is on',
    () => ({ legs: [{ device: same }, ...legs(1)], log: new DiskLog(same, { length: SECTORS, regionSize: 8 }) }),
    'leg 0 of mirror and its log are on the same part of same',
  ],
  [
    'a leg that is read-only',
    () => ({
      legs: [...legs(1), { device: new MemoryDataDevice({ name: 'fixed', size: SECTORS * 512, readOnly: true }) }],
    }),
    'leg 1 of mirror cannot be written to: fixed is read-only',
  ],
  [
    'a log for another length',
    () => ({ log: log(128) }),
    'the log of mirror is for 16 regions of 8 sectors, but a mirror of 64 sectors has 8',
  ],
  ['a good leg that is none', () => ({ goodLeg: 2 }), 'there is no leg 2: they are 0 to 1'],
  [
    'an offset that is no number of sectors',
    () => ({ legs: [...legs(1), { device: device('b'), offset: 0.5 }] }),
    'the offset of leg 1 of mirror is a whole number',
  ],
  ['keepLog alone', () => ({ keepLog: true }), 'keepLog is only possible with handleErrors'],
  ['no rate', () => ({ resyncRate: 0 }), 'resyncRate is a number of bytes a second, above 0, not 0'],
  ['too little memory', () => ({ copyMemory: 4096 }), 'copyMemory is a whole number from 1048576'],
  ['no regions at once', () => ({ resyncRegions: 0 }), 'resyncRegions is a whole number from 1'],
];

it.each(cases)('a mirror is refused: %s', async (_, options, says) => {
  await expect(MirrorDevice.open({ legs: legs(2), log: log(), goodLeg: 0, ...options() })).rejects.toThrow(says);
});

it('the log may be on a device of which a leg has another part; never on the part that a leg has, also when it is brought later', async () => {
  const shared = new MemoryDataDevice({ name: 'shared', size: 200 * 512 });
  const onShared = new DiskLog(shared, { length: SECTORS, regionSize: 8 });
  const mirror = await MirrorDevice.open({
    legs: [{ device: shared, offset: 100 }, ...legs(1)],
    length: SECTORS,
    log: onShared,
    goodLeg: 0,
  });
  await mirror.untilResynced();
  await mirror.detachLeg(1);
  await expect(mirror.attachLeg(1, shared, { resync: 'full' })).rejects.toThrow('are on the same part of shared');
  await expect(mirror.attachLeg(1, device('b'), { resync: 'all' as never })).rejects.toThrow(
    "resync is 'written' or 'full'",
  );
  await mirror.close();
});

it('legs may be parts of devices, of one device even', async () => {
  const bytes = new Uint8Array(200 * 512).fill(1, 0, 100 * 512);
  const whole = new MemoryDataDevice({ bytes });
  const both = [
    { device: whole, offset: 4 },
    { device: whole, offset: 100 },
  ];
  const mirror = await MirrorDevice.open({ legs: both, length: SECTORS, log: log(), goodLeg: 1 });
  expect(await mirror.untilResynced()).toBe(true);
  expect(bytes.subarray(3 * 512, 4 * 512).every((byte) => byte === 1)).toBe(true);
  expect(bytes.subarray(4 * 512, 68 * 512).every((byte) => byte === 0)).toBe(true);
  expect(bytes.subarray(68 * 512, 100 * 512).every((byte) => byte === 1)).toBe(true);
  expect(mirror.tableLine()).toBe('core 1 8 2 memory 4 memory 100');
  await mirror.close();
});
