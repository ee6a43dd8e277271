import { MemoryDataDevice } from '@pdata/device';
import { FaultyDataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { writeLogHeader } from '../format/log-layout.js';
import { RegionBits } from '../format/region-bits.js';
import { checkMirrorLog, type LogCheckOptions, type LogCheckSummary, type LogFinding } from './check-mirror-log.js';
import { dumpMirrorLog, type LogDumpOptions } from './dump-mirror-log.js';
import { LogDamageError } from './log-damage-error.js';

interface LogShape {
  readonly nrRegions?: number;
  /** Ranges of clean regions, ends excluded. */
  readonly clean?: readonly (readonly [begin: number, end: number])[];
  readonly size?: number;
  readonly change?: (bytes: Uint8Array) => void;
}

/** A read-only log: nothing here may write. */
function log({
  nrRegions = 512,
  clean = [],
  size = 2 ** 20,
  change = () => undefined,
}: LogShape = {}): MemoryDataDevice {
  const bytes = new Uint8Array(size);
  writeLogHeader(bytes, nrRegions);
  const bits = new RegionBits(nrRegions, bytes.subarray(1024));
  for (const [begin, end] of clean) bits.setRange(begin, end, true);
  change(bytes);
  return new MemoryDataDevice({ name: 'log.img', bytes, readOnly: true });
}

async function check(device: MemoryDataDevice, options: LogCheckOptions = {}) {
  const findings: LogFinding[] = [];
  const work = checkMirrorLog(device, options);
  for (;;) {
    const step = await work.next();
    if (step.done) return { findings, summary: step.value };
    findings.push(step.value);
  }
}

async function dump(device: MemoryDataDevice, options: LogDumpOptions = {}): Promise<string> {
  let text = '';
  for await (const chunk of dumpMirrorLog(device, options)) text += new TextDecoder().decode(chunk);
  return text;
}

const GEOMETRY = { regionSize: 128, length: 512 * 128 - 100 };

describe('the check of a log', () => {
  it('tells what is in sync and what a restart copies', async () => {
    const { findings, summary } = await check(log({ clean: [[0, 38]] }));
    expect(findings).toEqual([]);
    expect(summary).toEqual<LogCheckSummary>({
      clean: true,
      fatal: 0,
      shape: 0,
      notices: [],
      version: 2,
      nrRegions: 512,
      nrInSync: 38,
      nrToCopy: 474,
    });
  });

  it('tells it in sectors when it knows how large regions are, the last one short', async () => {
    expect((await check(log({ clean: [[0, 38]] }), { regionSize: 128 })).summary.sectorsToCopy).toBe(474 * 128);
    expect((await check(log({ clean: [[0, 38]] }), GEOMETRY)).summary.sectorsToCopy).toBe(474 * 128 - 100);
    expect((await check(log({ clean: [[38, 512]] }), GEOMETRY)).summary.sectorsToCopy).toBe(38 * 128);
  });

  it('says what growing and shrinking do', async () => {
    const device = log({ nrRegions: 100, clean: [[0, 100]] });
    const grown = (await check(device, { regionSize: 128, length: 512 * 128 })).summary;
    expect(grown).toMatchObject({ clean: true, nrInSync: 100, nrToCopy: 412, sectorsToCopy: 412 * 128 });
    expect(grown.notices.map(({ effect }) => effect)).toEqual([
      'The 412 regions from 100 on are copied when the mirror is activated.',
    ]);
    const shrunk = (await check(device, { regionSize: 128, length: 64 * 128 })).summary;
    expect(shrunk).toMatchObject({ nrInSync: 64, nrToCopy: 0 });
    expect(shrunk.notices.map(({ effect }) => effect)).toEqual([
      'What the log says of regions from 64 on is lost when the mirror is activated.',
    ]);
  });

  it.each<[string, LogShape, LogCheckOptions, Partial<LogFinding>]>([
    [
      'another magic',
      { change: (bytes) => bytes.set([1, 2, 3, 4]) },
      {},
      { field: 'magic', message: 'The magic is 0x04030201, expected 0x4d695272.' },
    ],
    [
      'zeros',
      { change: (bytes) => bytes.fill(0) },
      {},
      {
        field: 'magic',
        effect:
          'This is no log, or a device that has been zeroed for one: the kernel begins a new log here, and copies everything.',
      },
    ],
    [
      'an unknown version',
      { change: (bytes) => bytes.set([3], 4) },
      {},
      { field: 'version', message: 'The version is 3, expected 2, or 1.' },
    ],
    [
      'no regions',
      { change: (bytes) => bytes.fill(0, 8, 16) },
      {},
      { field: 'nr_regions', message: 'The number of regions is 0, expected 1 to 4294967295.' },
    ],
    [
      'more regions than there can be',
      { change: (bytes) => bytes.fill(0xff, 8, 16) },
      {},
      {
        field: 'nr_regions',
        message: 'The number of regions is about 18446744073709552000, expected 1 to 4294967295.',
      },
    ],
    [
      'its end lost',
      { size: 1024 },
      {},
      {
        field: 'size',
        message: 'The log has lost its end: 512 regions need 1536 bytes, and the device has 1024.',
      },
    ],
    [
      'too little room for the mirror',
      { size: 1536 },
      { regionSize: 2, length: 16_384 },
      {
        field: 'size',
        message: 'The log is too small for the mirror: 8192 regions need 2048 bytes, and the device has 1536.',
      },
    ],
  ])('finds %s', async (_, shape, options, expected) => {
    const device = log(shape.size === 1024 ? { ...shape, clean: [] } : shape);
    const { findings, summary } = await check(device, options);
    expect(findings).toMatchObject([{ severity: 'fatal', ...expected }]);
    expect(summary).toEqual({ clean: false, fatal: 1, shape: 0, notices: [] });
    const dumping = dump(device, options);
    await expect(dumping).rejects.toThrow(LogDamageError);
    await expect(dumping).rejects.toThrow(`log.img: ${findings[0]!.structure}: ${findings[0]!.message}`);
  });

  it('finds bits behind the last region, in the last word and nowhere else', async () => {
    const stray = log({ nrRegions: 100, clean: [[0, 100]], change: (bytes) => bytes.set([0x1f], 1024 + 12) });
    expect((await check(stray)).findings).toMatchObject([{ severity: 'shape', field: 'padding' }]);
    const stale = log({ nrRegions: 100, clean: [[0, 100]], change: (bytes) => bytes.fill(0xff, 1040, 1088) });
    expect((await check(stale)).findings).toEqual([]);
  });

  it('takes version 1 for what it is', async () => {
    const { findings, summary } = await check(log({ clean: [[0, 512]], change: (bytes) => bytes.set([1], 4) }));
    expect([findings, summary.nrInSync, summary.notices.length]).toEqual([[], 512, 1]);
  });

  it('refuses a region size that is no power of two, and a length without a region size', async () => {
    await expect(check(log(), { regionSize: 96 })).rejects.toThrow(
      'region size of 96 sectors: expected a power of two',
    );
    await expect(check(log(), { length: 4096 })).rejects.toThrow('says nothing without its region size');
    await expect(dump(log(), { regionSize: 3, length: 512 })).rejects.toThrow(RangeError);
  });

  it('tells how far it is, and stops when it is told to', async () => {
    const nrRegions = 20_000_000; // three pieces
    const device = log({ nrRegions, clean: [[8_388_000, 8_389_000]], size: 4 * 2 ** 20 });
    const told: number[] = [];
    const { summary } = await check(device, { onProgress: ({ done }) => told.push(done) });
    expect(told).toEqual([0, 2 ** 20, 2 ** 21]);
    expect(summary.nrInSync).toBe(1000);
    const stop = new AbortController();
    const checking = check(device, { signal: stop.signal, onProgress: () => stop.abort(new Error('enough')) });
    await expect(checking).rejects.toThrow('enough');
  });
});

describe('the dump of a log', () => {
  const device = log({
    clean: [
      [0, 38],
      [40, 511],
    ],
  });

  it('gives ranges of regions, and of sectors when they are known', async () => {
    expect(await dump(device)).toBe(`<mirror_log version="2" nr_regions="512">
  <regions state="clean" begin="0" length="38"/>
  <regions state="dirty" begin="38" length="2"/>
  <regions state="clean" begin="40" length="471"/>
  <regions state="dirty" begin="511" length="1"/>
</mirror_log>
`);
    expect(
      await dump(device, GEOMETRY),
    ).toBe(`<mirror_log version="2" nr_regions="512" region_size="128" length="65436">
  <regions state="clean" begin="0" length="38" sector="0" sectors="4864"/>
  <regions state="dirty" begin="38" length="2" sector="4864" sectors="256"/>
  <regions state="clean" begin="40" length="471" sector="5120" sectors="60288"/>
  <regions state="dirty" begin="511" length="1" sector="65408" sectors="28"/>
</mirror_log>
`);
  });

  it('has a form for people, and JSON', async () => {
    expect(await dump(device, { format: 'human_readable', regionSize: 128 })).toBe(`mirror log: version 2, 512 regions
regions 0..37 (sectors 0..4863): clean
regions 38..39 (sectors 4864..5119): to be copied
regions 40..510 (sectors 5120..65407): clean
region 511 (sectors 65408..65535): to be copied
`);
    expect(JSON.parse(await dump(device, { format: 'json' }))).toEqual({
      log: { version: 2, nrRegions: 512 },
      regions: [
        [0, 38, 'clean'],
        [38, 2, 'dirty'],
        [40, 471, 'clean'],
        [511, 1, 'dirty'],
      ],
    });
    expect(JSON.parse(await dump(device, { format: 'json', ...GEOMETRY })).regions[3]).toEqual([
      511,
      1,
      'dirty',
      65408,
      28,
    ]);
  });

  it('names what the log does not describe because the mirror has grown', async () => {
    const old = log({ nrRegions: 100, clean: [[0, 100]] });
    expect(
      await dump(old, { format: 'human_readable', regionSize: 128, length: 110 * 128 }),
    ).toBe(`mirror log: version 2, 100 regions
regions 0..99 (sectors 0..12799): clean
regions 100..109 (sectors 12800..14079): to be copied, not in the log
`);
  });

  it('that fails on the way closes what it has opened', async () => {
    const nrRegions = 8_388_608 + 100_000;
    const failing = new FaultyDataDevice(log({ nrRegions, size: 4 * 2 ** 20 }), [{ operation: 'read', nth: 3 }]);
    let text = '';
    const dumping = (async () => {
      for await (const chunk of dumpMirrorLog(failing, { format: 'json' })) text += new TextDecoder().decode(chunk);
    })();
    await expect(dumping).rejects.toThrow('cannot read 12800 bytes at 1049600 of log.img: injected fault');
    expect(JSON.parse(text)).toEqual({ log: { version: 2, nrRegions }, regions: [] });
  });

  it('joins ranges across the pieces that it reads, and gives itself away in pieces', async () => {
    const nrRegions = 8_388_608 + 100_000;
    const big = log({ nrRegions, clean: [[8_388_000, 8_389_000]], size: 4 * 2 ** 20 });
    expect(await dump(big, { format: 'human_readable' })).toBe(`mirror log: version 2, 8488608 regions
regions 0..8387999: to be copied
regions 8388000..8388999: clean
regions 8389000..8488607: to be copied
`);
    const striped = log({ change: (bytes) => bytes.fill(0x55, 1024, 2 ** 20), nrRegions: 80_000 });
    const chunks: number[] = [];
    for await (const chunk of dumpMirrorLog(striped)) chunks.push(chunk.byteLength);
    expect(chunks.length).toBeGreaterThan(20);
    expect(Math.max(...chunks)).toBeLessThan(70_000);
  });
});
