/**
 * The kernel's pool and our engine are brought into every mode there is, by the same steps: no data space (waiting, failing at
 * once, given some by a discard or by growth), read-only by request, metadata that cannot be written, or not even read, and no
 * metadata space. What each request and message comes to, and every status line, must be the same.
 */
import { truncateSync, writeFileSync } from 'node:fs';
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { FaultyMetadataDevice } from '@pdata/testing';
import { PoolMessageError, ThinPool, type ThinPoolOptions, type ThinVolume } from '@pdata/thin';
import { describe, expect, it } from 'vitest';
import { requireKernel, runGuest } from '../src/kernel.js';
import { openScratch } from '../src/scratch.js';

const BLOCK = 65_536;
/** Sectors of every volume. */
const VOLUME_SECTORS = 8192;

/** How programs word the errno that a request came to. */
function inWords(error: unknown): string {
  if (error instanceof PoolMessageError) return WORDS[error.errno] ?? error.errno;
  const { code } = error as { code?: string };
  return code === 'ERR_NO_SPACE' ? 'No space left on device' : 'Input/output error';
}
const WORDS: Readonly<Record<string, string>> = {
  EBUSY: 'Device or resource busy',
  EOPNOTSUPP: 'Operation not supported',
};

/** Timers that go off when the test says so. */
class HandTimers {
  readonly #works = new Map<object, { work: () => void; ms: number }>();
  set(work: () => void, ms: number): object {
    const timer = {};
    this.#works.set(timer, { work, ms });
    return timer;
  }
  clear(timer: unknown): void {
    this.#works.delete(timer as object);
  }
  /** Lets those that were set for `ms` go off. */
  pass(ms: number): void {
    for (const [timer, due] of this.#works) {
      if (due.ms !== ms) continue;
      this.#works.delete(timer);
      due.work();
    }
  }
}

/** guests/engine-modes.sh, line by line, with our engine. */
class OurModes {
  readonly did: string[] = [];
  readonly steps: string[] = [];
  nrCreated = 0;
  readonly timers = new HandTimers();
  device = new FaultyMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 1024 }));
  data = new MemoryDataDevice({ size: BLOCK });
  pool!: ThinPool;
  readonly volumes = new Map<number, ThinVolume>();

  async fresh(nrMetadataBlocks: number, nrDataBlocks: number, options: ThinPoolOptions = {}): Promise<void> {
    this.device = new FaultyMetadataDevice(new MemoryMetadataDevice({ nrBlocks: nrMetadataBlocks }));
    this.data = new MemoryDataDevice({ size: nrDataBlocks * BLOCK });
    const { timers } = this;
    this.pool = await ThinPool.format(this.device, this.data, { dataBlockSize: 128, timers, ...options });
  }

  async up(options: ThinPoolOptions = {}): Promise<void> {
    this.pool = await ThinPool.open(this.device, this.data, { timers: this.timers, ...options });
  }

  async down(): Promise<void> {
    for (const thinId of this.volumes.keys()) await this.close(thinId);
    await this.pool.close();
  }

  async volume(thinId: number): Promise<void> {
    this.volumes.set(thinId, await this.pool.openVolume(thinId, { size: VOLUME_SECTORS * 512 }));
  }

  async close(thinId: number): Promise<void> {
    await this.volumes.get(thinId)?.close();
    this.volumes.delete(thinId);
  }

  step(name: string): void {
    this.steps.push(`${name}: thin-pool ${this.pool.statusLine()}`.trimEnd());
  }

  async attempt(name: string, work: Promise<unknown>): Promise<void> {
    try {
      await work;
      this.did.push(`${name} OK`);
    } catch (error) {
      this.did.push(`${name} ${inWords(error)}`);
    }
  }

  send = (line: string): Promise<void> => this.pool.message(line);

  async fill(thinId: number, firstBlock: number, nrBlocks: number): Promise<void> {
    const volume = this.volumes.get(thinId) as ThinVolume;
    for (let i = 0; i < nrBlocks; i++)
      await volume.write((firstBlock + i) * BLOCK, new Uint8Array(BLOCK).fill(firstBlock + i + 1));
    await volume.flush();
  }

  async look(thinId: number, firstBlock: number, nrBlocks: number): Promise<void> {
    const volume = this.volumes.get(thinId) as ThinVolume;
    for (let i = 0; i < nrBlocks; i++) await volume.read((firstBlock + i) * BLOCK, new Uint8Array(BLOCK));
    await volume.flush();
  }

  async free(thinId: number, firstBlock: number, nrBlocks: number): Promise<void> {
    const volume = this.volumes.get(thinId) as ThinVolume;
    await volume.discard(firstBlock * BLOCK, nrBlocks * BLOCK);
    await volume.flush();
  }

  /** Resolves when the pool waits for space. */
  outOfSpace(): Promise<void> {
    return new Promise((resolve) => {
      const forget = this.pool.on('mode', ({ to }) => {
        if (to !== 'out_of_data_space') return;
        forget();
        resolve();
      });
    });
  }
}

const NO_SPACE_TIMEOUT = 60_000;

async function throughOurEngine(): Promise<OurModes> {
  const our = new OurModes();
  const { send } = our;

  await our.fresh(1024, 16, { noSpaceTimeout: NO_SPACE_TIMEOUT });
  await our.attempt('create', send('create_thin 0'));
  await our.volume(0);
  await our.attempt('fill', our.fill(0, 0, 16));
  our.step('full');
  const waited = our.outOfSpace();
  const waiting = our.fill(0, 16, 1);
  await waited;
  our.step('waiting');
  await our.attempt('read', our.look(0, 0, 16));
  await our.attempt('overwrite', our.fill(0, 3, 1));
  await our.attempt('free', our.free(0, 4, 2));
  await our.attempt('waited', waiting);
  our.step('freed');
  await our.attempt('fill-again', our.fill(0, 17, 1));
  our.step('full-again');
  const waitedAgain = our.outOfSpace();
  const late = our.fill(0, 20, 1);
  await waitedAgain;
  our.timers.pass(NO_SPACE_TIMEOUT);
  await our.attempt('timed-out', late);
  our.step('timed-out');
  await our.attempt('message', send('create_thin 1'));
  await our.data.grow(24 * BLOCK);
  await our.pool.resume();
  our.step('grown');
  await our.attempt('write-grown', our.fill(0, 20, 1));
  our.step('used');
  await our.down();

  await our.fresh(1024, 4, { errorIfNoSpace: true });
  await our.attempt('create', send('create_thin 0'));
  await our.volume(0);
  await our.attempt('fill', our.fill(0, 0, 4));
  await our.attempt('over', our.fill(0, 4, 1));
  our.step('error');
  await our.attempt('read-over', our.look(0, 0, 1));
  await our.attempt('overwrite-over', our.fill(0, 1, 1));
  await our.attempt('delete', send('delete 0'));
  await our.attempt('free', our.free(0, 2, 1));
  await our.attempt('refill', our.fill(0, 9, 1));
  our.step('refilled');
  await our.close(0);
  await our.attempt('delete', send('delete 0'));
  our.step('empty');
  await our.down();

  await our.fresh(1024, 8);
  await our.attempt('create', send('create_thin 0'));
  await our.volume(0);
  await our.attempt('fill', our.fill(0, 0, 2));
  await our.attempt('snap', send('create_snap 1 0'));
  await our.down();
  await our.up({ readOnly: true });
  await our.volume(0);
  await our.volume(1);
  our.step('read-only');
  await our.attempt('read', our.look(0, 0, 3));
  await our.attempt('unmapped', our.fill(0, 5, 1));
  await our.attempt('shared', our.fill(0, 0, 1));
  await our.attempt('discard', our.free(0, 0, 1));
  await our.attempt('message', send('create_thin 2'));
  our.step('still-read-only');
  await our.down();
  await our.up();
  await our.volume(0);
  our.step('write-again');

  our.device.inject({ operation: 'write', nth: our.device.nrDone('write') + 1, andLater: true });
  await our.attempt('message', send('create_thin 3'));
  our.step('commit-failed');
  await our.attempt('message-after', send('create_thin 4'));
  await our.attempt('read-after', our.look(0, 0, 3));
  await our.attempt('write-after', our.fill(0, 6, 1));
  our.device.heal();
  await our.down();
  await our.up();
  our.step('needs-check');
  await our.down();

  await our.fresh(1024, 8);
  await our.attempt('create', send('create_thin 0'));
  await our.volume(0);
  await our.attempt('fill', our.fill(0, 0, 2));
  for (const operation of ['read', 'write'] as const)
    our.device.inject({ operation, nth: our.device.nrDone(operation) + 1, andLater: true });
  await our.attempt('message', send('create_thin 1'));
  our.step('failed');
  await our.attempt('read-failed', our.look(0, 0, 1));
  our.did.push(`thin-failed thin ${our.volumes.get(0)?.statusLine()}`);
  await our.down().catch(() => {}); // the kernel's pool goes without a word, too

  our.volumes.clear();
  await our.fresh(64, 64);
  let nr = 0;
  try {
    for (; nr < 200; nr++) await send(`create_thin ${nr}`);
  } catch (error) {
    if (!(error instanceof PoolMessageError)) throw error;
  }
  our.nrCreated = nr;
  await our.attempt('next', send('create_thin 999'));
  our.step('no-metadata');
  our.device.grow(512);
  await our.pool.resume();
  our.step('metadata-grown');
  await our.attempt('create-after', send('create_thin 1000'));
  await our.down();
  return our;
}

describe.runIf(requireKernel())('in every mode', () => {
  it('the engine does, and reports, what the kernel does', { timeout: 900_000 }, async () => {
    using scratch = openScratch();
    const [metadata, data] = [scratch.path('metadata.img'), scratch.path('data.img')];
    for (const [path, size] of [
      [metadata, 4 * 2 ** 20],
      [data, 16 * 2 ** 20],
    ] as const) {
      writeFileSync(path, '');
      truncateSync(path, size);
    }
    const { all } = await runGuest({ guest: 'engine-modes', disks: [metadata, data] });
    const our = await throughOurEngine();
    const withoutTable = (line: string): string => line.replace(/(?<= )0 \d+ (?=thin)/, '').trimEnd();
    expect(our.did).toEqual(all('did').map(withoutTable));
    const inWordsOf = (steps: readonly string[]): string[] =>
      steps.map((line) => (line.includes('metadata') ? line.replace(/ \d+(?=\/(64|512) )/, ' SOME') : line));
    expect(inWordsOf(our.steps)).toEqual(inWordsOf(all('step').map(withoutTable)));
    // Where the reserve is as small as here, we refuse a change while the kernel still hopes that it fits.
    const nrByKernel = Number(all('created')[0]);
    expect(our.nrCreated).toBeLessThanOrEqual(nrByKernel);
    expect(our.nrCreated).toBeGreaterThan(nrByKernel - 5);
    expect(our.steps.length).toBeGreaterThan(15);
  });
});
