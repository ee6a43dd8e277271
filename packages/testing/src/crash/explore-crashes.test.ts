/**
 * The explorer explored: a little store over two devices that is right, and the same store with each of the mistakes that
 * stores make, every one of which has to be found, shrunk, and had again by its token.
 */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { FlushlessMetadataDevice } from '../lying-devices.js';
import type { CrashMedia, CrashSubject } from './crash-subject.js';
import { exploreCrashes, replayCrash } from './explore-crashes.js';

const SECTOR = 512;

interface Mistakes {
  readonly noFlushBeforeSuperblock?: boolean;
  readonly superblockFirst?: boolean;
  readonly inPlace?: boolean;
  readonly promisesEarly?: boolean;
  readonly noDataFlush?: boolean;
  readonly largeSuperblock?: boolean;
}

/** What is committed: a number, in a block of metadata and at the same place of the data device. */
const MEDIA = { metadata: { nrBlocks: 4 }, data: { size: 4 * SECTOR } } as const satisfies CrashMedia;

const blockOf = (value: number): Uint8Array => new Uint8Array(BLOCK_SIZE).fill(value);

/** The superblock names the block in use (1 or 2), and the value, so that it can be told whether they belong together. */
function subject(mistakes: Mistakes = {}): CrashSubject<number, typeof MEDIA, string> {
  return {
    name: 'little-store',
    media: MEDIA,
    operations: (random) => Array.from({ length: 6 }, () => 1 + Math.floor(random() * 250)),
    async run(values, { devices: { metadata, data }, begins, promises }) {
      begins('0 0');
      promises('0 0');
      let nr = 1;
      for (const value of values) {
        if (!mistakes.inPlace) nr = 3 - nr;
        begins(`${value} ${value}`);
        if (mistakes.promisesEarly) promises(`${value} ${value}`);
        const superblock = blockOf(0);
        superblock[0] = nr;
        superblock[mistakes.largeSuperblock ? 3000 : 1] = value;
        await data.write(nr * SECTOR, new Uint8Array(SECTOR).fill(value));
        if (!mistakes.noDataFlush) await data.flush();
        if (mistakes.superblockFirst) metadata.write(0, superblock);
        metadata.write(nr, blockOf(value));
        if (!mistakes.noFlushBeforeSuperblock) metadata.flush();
        if (!mistakes.superblockFirst) metadata.write(0, superblock);
        metadata.flush();
        if (!mistakes.promisesEarly) promises(`${value} ${value}`);
      }
    },
    async recover({ metadata, data }) {
      const superblock = read(metadata, 0);
      const nr = superblock[0] as number;
      const sector = new Uint8Array(SECTOR);
      await data.read(nr * SECTOR, sector);
      const block = nr === 0 ? blockOf(0) : read(metadata, nr);
      if (block.some((byte) => byte !== block[0])) throw new Error('a block of two writes');
      if (superblock[mistakes.largeSuperblock ? 3000 : 1] !== block[0]) throw new Error('half a commit');
      return `${block[0]} ${sector[0]}`;
    },
  };
}

function read(device: MetadataDevice, nr: number): Uint8Array {
  const bytes = new Uint8Array(BLOCK_SIZE);
  device.read(nr, bytes);
  return bytes;
}

it('finds nothing where there is nothing to find', async () => {
  const report = await exploreCrashes({ subject: subject(), seed: 3, states: 5000 });
  expect(report.violation).toBeUndefined();
  expect(report.nrStates).toBeGreaterThanOrEqual(5000);
  expect(report.nrDistinct).toBeGreaterThan(report.nrStates / 50);
  expect(report.nrDistinct).toBeLessThan(report.nrStates);
  expect(report.summary).toMatch(
    /^little-store: \d+ crash states \(\d+ distinct images\) of \d+ workloads, seed 3: no violation$/,
  );
});

it('explores the same from the same seed, and something else from another', async () => {
  const [a, b, c] = await Promise.all(
    [3, 3, 4].map((seed) => exploreCrashes({ subject: subject({ promisesEarly: true }), seed })),
  );
  expect(a?.violation?.message).toBe(b?.violation?.message);
  expect(a?.violation?.token).not.toBe(c?.violation?.token);
});

describe('a store that', () => {
  it.each<[string, Mistakes, RegExp]>([
    ['writes the superblock without a flush before', { noFlushBeforeSuperblock: true }, /half a commit|a block of two/],
    ['writes the superblock first', { superblockFirst: true }, /half a commit|a block of two/],
    ['writes in place', { inPlace: true }, /half a commit|a block of two|found/],
    ['promises before the flush', { promisesEarly: true }, /found "?0 0"?; allowed is the promised/],
    ['commits before its data is durable', { noDataFlush: true }, /^found \d+ 0; allowed/],
    ['believes that 4096 bytes are written at once', { largeSuperblock: true }, /half a commit/],
  ])('%s, is found out, in its smallest form', async (_, mistakes, says) => {
    const report = await exploreCrashes({
      subject: subject(mistakes),
      seed: 7,
      replayCommand: (token) => `again ${token}`,
    });
    const { violation } = report;
    expect(violation?.problem).toMatch(says);
    expect(violation?.operations.length).toBeLessThanOrEqual(2);
    expect(violation?.nrLanded).toBeLessThanOrEqual(1);
    expect(violation?.message).toContain(`replay: again ${violation?.token}`);
    const again = await replayCrash({ subject: subject(mistakes) }, violation?.token ?? '');
    expect(again?.problem).toBe(violation?.problem);
    expect(await replayCrash({ subject: subject() }, violation?.token ?? '')).toBeUndefined();
  });

  it('is right but stands on a device that does not flush, is found out', async () => {
    const report = await exploreCrashes({
      subject: subject(),
      seed: 7,
      disguise: { metadata: (device) => new FlushlessMetadataDevice(device) },
    });
    expect(report.violation).toBeDefined();
  });
});

it('says when a workload promises nothing, instead of finding nothing wrong', async () => {
  const silent = { ...subject(), run: (): void => {} };
  await expect(exploreCrashes({ subject: silent, seed: 0 })).rejects.toThrow('workload 0 promises nothing');
});

it('refuses seeds and tokens that are none', async () => {
  await expect(exploreCrashes({ subject: subject(), seed: -1 })).rejects.toThrow(RangeError);
  await expect(replayCrash({ subject: subject() }, 'little-store/1')).rejects.toThrow(
    'is no crash that was printed here',
  );
  await expect(replayCrash({ subject: subject() }, 'other/1/0/1/none')).rejects.toThrow('is a crash of other');
  const { name } = subject();
  await expect(replayCrash({ subject: subject() }, `${name}/1/999/1/none`)).rejects.toThrow(
    'none of them 999: the crash',
  );
  await expect(replayCrash({ subject: subject() }, `${name}/1/0/9999/none`)).rejects.toThrow(
    /events, none of them 9999/,
  );
});
