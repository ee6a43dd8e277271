/**
 * The kernel finishes a resync that our engine began; and legs fail in the kernel's mirror and in ours, step by step, in each of the three
 * ways to treat errors: what each request comes to, and every status line, must be the same.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { MemoryDataDevice } from '@pdata/device';
import { CoreLog, DiskLog, MirrorDevice, type MirrorOptions } from '@pdata/mirror';
import { FaultyDataDevice, ManualTimers, seededRandom, turned } from '@pdata/testing';
import { expect, it, vi } from 'vitest';
import { openScratch, requireKernel, runGuest } from '../src/index.js';

vi.setConfig({ testTimeout: 600_000 });
const LENGTH = 32_768;
const SMALL = 4096;
const KIB4 = 4096;

/** Two legs of different content of which our engine has copied 100 regions or more, with writes to others; and the log. */
async function interrupted(): Promise<{ readonly log: Uint8Array; readonly legs: readonly [Uint8Array, Uint8Array] }> {
  const random = seededRandom(20261128);
  const [first, second] = [1, 2].map(() => new Uint8Array(LENGTH * 512).map(() => random() * 256)) as [
    Uint8Array,
    Uint8Array,
  ];
  const log = new Uint8Array(64 * 1024);
  const mirror = await MirrorDevice.open({
    log: new DiskLog(new MemoryDataDevice({ bytes: log }), { length: LENGTH, regionSize: 64 }),
    legs: [first, second].map((bytes) => ({ device: new MemoryDataDevice({ bytes }) })),
    goodLeg: 0,
  });
  const enough = new Promise<void>((resolve) => {
    mirror.on('resync', ({ syncCount }) => {
      if (syncCount === 100) mirror.setResyncRate(1);
      if (syncCount >= 100) resolve();
    });
  });
  await enough;
  for (const nr of [3, 200, 511]) await mirror.write(nr * 32_768, new Uint8Array(KIB4).fill(nr & 0xff));
  await mirror.close();
  return { log, legs: [first, second] };
}

/** guests/mirror-engine.sh, line by line, with our engine. */
class OurMirror {
  readonly steps: string[] = [];
  readonly did: string[] = [];
  legs: FaultyDataDevice[] = [];
  mirror!: MirrorDevice;

  async up(sync: 'sync' | 'nosync', options: Partial<MirrorOptions>): Promise<void> {
    this.legs = ['a', 'b'].map((name) => new FaultyDataDevice(new MemoryDataDevice({ name, size: SMALL * 512 })));
    const log = new CoreLog({ length: SMALL, regionSize: 64, sync });
    const legs = this.legs.map((device) => ({ device }));
    this.mirror = await MirrorDevice.open({ log, legs, goodLeg: 0, timers: new ManualTimers(), ...options });
  }

  noWrites(nr: number): void {
    const leg = this.legs[nr] as FaultyDataDevice;
    leg.inject({ operation: 'write', nth: leg.nrDone('write') + 1, andLater: true });
  }

  noReads(nr: number): void {
    const leg = this.legs[nr] as FaultyDataDevice;
    leg.inject({ operation: 'read', nth: leg.nrDone('read') + 1, andLater: true });
  }

  step(name: string): void {
    this.steps.push(`${name}: ${shortened(this.mirror.statusLine())}`);
  }

  async attempt(name: string, work: Promise<unknown>): Promise<void> {
    this.did.push(
      `${name} ${await work.then(
        () => 'OK',
        () => 'Input/output error',
      )}`,
    );
  }

  write = (block: number): Promise<void> => this.mirror.write(block * KIB4, new Uint8Array(KIB4));
  read = (block: number): Promise<void> => this.mirror.read(block * KIB4, new Uint8Array(KIB4));

  async run(): Promise<void> {
    for (const [mode, options] of [
      ['none', {}],
      ['handle', { handleErrors: true }],
      ['keep', { handleErrors: true, keepLog: true }],
    ] as const) {
      await this.up('nosync', options);
      this.step(`${mode}-fresh`);
      this.noWrites(1);
      if (mode === 'handle') {
        const held = this.write(0).then(
          () => 0,
          () => 1,
        );
        while (this.mirror.status().nrHeldWrites === 0) await turned();
        this.step(`${mode}-held`);
        await this.attempt(`${mode}-read`, this.read(0));
        this.legs[1]?.heal();
        await this.mirror.suspend();
        this.did.push(`${mode}-held ${await held}`);
        await this.mirror.resume();
        await this.mirror.untilResynced();
      } else {
        await this.attempt(`${mode}-write`, this.write(0));
        this.step(`${mode}-write`);
        await this.attempt(`${mode}-again`, this.write(0));
        await this.attempt(`${mode}-read`, this.read(0));
        this.step(`${mode}-again`);
        await this.attempt(`${mode}-other`, this.write(80));
        this.step(`${mode}-other`);
      }
      this.step(`${mode}-end`);
      await this.mirror.close();

      await this.up('nosync', options);
      this.noReads(0);
      await this.attempt(`${mode}-read-default`, this.read(8));
      this.step(`${mode}-read-default`);
      await this.mirror.close();

      await this.up('nosync', options);
      this.noWrites(0);
      this.noWrites(1);
      await this.attempt(`${mode}-dead`, this.write(0));
      this.step(`${mode}-dead`);
      await this.mirror.close();
    }
    await this.up('sync', { handleErrors: true, resyncRate: 1 });
    await this.mirror.close();
    this.noReads(0);
    const log = new CoreLog({ length: SMALL, regionSize: 64, sync: 'sync' });
    this.mirror = await MirrorDevice.open({
      log,
      legs: this.legs.map((device) => ({ device })),
      goodLeg: 0,
      handleErrors: true,
    });
    await this.mirror.untilResynced();
    this.step('first-sync');
    await this.attempt('first-sync-read', this.read(0));
    await this.mirror.close();
  }
}

/** Without what names devices: `64/64 1 AA 1 core`. */
const shortened = (line: string): string => /\d+\/\d+ 1 .*$/.exec(line)?.[0].trim() ?? line;

it.runIf(requireKernel())(
  'beside the kernel the engine reports and answers the same, and the kernel finishes what it began',
  async () => {
    using scratch = openScratch();
    const paths = ['log', 'leg0', 'leg1', 'd', 'e'].map((name) => scratch.path(name)) as [
      string,
      string,
      string,
      string,
      string,
    ];
    const { log, legs } = await interrupted();
    const nrClean = log
      .subarray(1024, 1088)
      .reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
    expect(nrClean).toBeGreaterThanOrEqual(100);
    expect(nrClean).toBeLessThan(512);
    const expected = legs[0].slice();
    for (const [nr, bytes] of [log, ...legs, new Uint8Array(SMALL * 512), new Uint8Array(SMALL * 512)].entries())
      writeFileSync(paths[nr] as string, bytes);
    const { all } = await runGuest({ guest: 'mirror-engine', disks: paths });

    expect(all('finished')).toEqual([expect.stringContaining(' 512/512 1 AA 3 disk ')]);
    expect(all('differing-bytes')).toEqual(['0']);
    for (const path of [paths[1], paths[2]]) expect(Buffer.compare(readFileSync(path), expected)).toBe(0);

    const ours = new OurMirror();
    await ours.run();
    const theirs = all('step').map((line) => `${line.split(': ')[0]}: ${shortened(line)}`);
    expect(ours.steps).toEqual(theirs);
    expect(ours.did).toEqual(all('did'));
    expect(theirs.length).toBeGreaterThan(15);
  },
);
