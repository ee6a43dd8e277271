import { MemoryDataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import {
  DiskLog,
  type RegionDifference,
  type VerifyMirrorOptions,
  type VerifySummary,
  verifyMirror,
} from '../index.js';

const REGION_SIZE = 8;
const REGION = REGION_SIZE * 512;
const NR_REGIONS = 10;
/** The last region is short. */
const SIZE = NR_REGIONS * REGION - 1024;

const legOf = (change: (bytes: Uint8Array) => void = () => {}): MemoryDataDevice => {
  const bytes = new Uint8Array(SIZE).map((_, at) => (at * 7) & 0xff);
  change(bytes);
  return new MemoryDataDevice({ bytes });
};

async function verify(
  legs: readonly MemoryDataDevice[],
  options: Partial<VerifyMirrorOptions> = {},
): Promise<{ readonly found: RegionDifference[]; readonly summary: VerifySummary }> {
  const found: RegionDifference[] = [];
  const work = verifyMirror({ legs: legs.map((device) => ({ device })), regionSize: REGION_SIZE, ...options });
  for (;;) {
    const step = await work.next();
    if (step.done) return { found, summary: step.value };
    found.push(step.value);
  }
}

/** A log that calls all regions clean but those. */
async function logWithout(...dirty: number[]): Promise<MemoryDataDevice> {
  const bytes = new Uint8Array(1536);
  const log = new DiskLog(new MemoryDataDevice({ bytes }), {
    length: SIZE / 512,
    regionSize: REGION_SIZE,
    sync: 'nosync',
  });
  await log.resume(async () => []);
  for (const nr of dirty) log.mark(nr);
  await log.flush();
  return new MemoryDataDevice({ bytes, readOnly: true });
}

describe('legs', () => {
  it('that are the same have no differences; they are only read', async () => {
    const readOnly = (leg: MemoryDataDevice): MemoryDataDevice =>
      new MemoryDataDevice({ bytes: leg.bytes as Uint8Array, readOnly: true });
    const { found, summary } = await verify([readOnly(legOf()), readOnly(legOf()), readOnly(legOf())]);
    expect(found).toEqual([]);
    expect(summary).toEqual({ nrRegions: 10, nrDiffering: 0, nrUnexpected: 0, nrRepaired: 0 });
  });

  it('that differ are told region by region, to the last sector', async () => {
    const second = legOf((bytes) => bytes.fill(0, 2 * REGION + 512, 2 * REGION + 1536));
    const third = legOf((bytes) => {
      bytes[2 * REGION + 4095] = 0;
      bytes[SIZE - 1] = 0;
    });
    const { found, summary } = await verify([legOf(), second, third]);
    expect(found).toEqual([
      { regionNr: 2, firstSector: 17, nrSectors: 3, legs: [1, 2], isExpected: false, isRepaired: false },
      { regionNr: 9, firstSector: SIZE / 512 - 1, nrSectors: 1, legs: [2], isExpected: false, isRepaired: false },
    ]);
    expect(summary).toEqual({ nrRegions: 10, nrDiffering: 2, nrUnexpected: 2, nrRepaired: 0 });
  });

  it('may differ where the log does not call them clean, and nowhere else', async () => {
    const other = legOf((bytes) => {
      for (const nr of [3, 4]) bytes[nr * REGION] = 255;
    });
    const { found, summary } = await verify([legOf(), other], { log: await logWithout(4, 7) });
    expect(found.map(({ regionNr, isExpected }) => [regionNr, isExpected])).toEqual([
      [3, false],
      [4, true],
    ]);
    expect(summary).toMatchObject({ nrDiffering: 2, nrUnexpected: 1 });
  });

  it('are made the same from the one that is chosen, and from no other', async () => {
    const legs = [
      legOf((bytes) => bytes.fill(1, 0, 512)),
      legOf(),
      legOf((bytes) => bytes.fill(2, 5 * REGION, 6 * REGION)),
    ];
    const { found, summary } = await verify(legs, { repairFrom: 1 });
    expect(found.map(({ regionNr, legs: which, isRepaired }) => [regionNr, which, isRepaired])).toEqual([
      [0, [0], true],
      [5, [2], true],
    ]);
    expect(summary.nrRepaired).toBe(2);
    for (const leg of legs) expect(leg.bytes).toEqual(legOf().bytes);
  });

  it('are compared at their offsets, as far as the mirror goes', async () => {
    const shifted = new Uint8Array(SIZE + 1024);
    shifted.set(legOf().bytes as Uint8Array, 1024);
    const legs = [
      { device: legOf((bytes) => (bytes[SIZE - 1] = 0)) },
      { device: new MemoryDataDevice({ bytes: shifted }), offset: 2 },
    ];
    const work = verifyMirror({ legs, regionSize: REGION_SIZE, length: SIZE / 512 - 1 });
    expect(await work.next()).toEqual({
      done: true,
      value: { nrRegions: 10, nrDiffering: 0, nrUnexpected: 0, nrRepaired: 0 },
    });
  });
});

it('can be stopped', async () => {
  const stopped = new AbortController();
  const onProgress = ({ done }: { done: number }): void => {
    if (done === 4) stopped.abort(new Error('enough'));
  };
  await expect(verify([legOf(), legOf()], { onProgress, signal: stopped.signal })).rejects.toThrow('enough');
});

it('refuses what makes no sense', async () => {
  const small = new MemoryDataDevice({ size: 4096 });
  await expect(verify([legOf()])).rejects.toThrow('1 legs: a mirror has 2 to 9');
  const one = legOf();
  await expect(verify([legOf(), one, one])).rejects.toThrow('legs 2 and 1 are the same: ');
  await expect(verify([legOf(), legOf()], { repairFrom: 2 })).rejects.toThrow('there is no leg 2: they are 0 to 1');
  await expect(verify([legOf(), small], { length: 64 })).rejects.toThrow(
    'leg 1 is too small: it has room for 8 sectors',
  );
  await expect(verify([legOf(), legOf()], { regionSize: 7 })).rejects.toThrow('region size of 7 sectors');
  await expect(verify([legOf(), legOf()], { log: small })).rejects.toMatchObject({ code: 'ERR_LOG_DAMAGE' });
});
