/**
 * `serve` is killed (SIGKILL) at random moments, while a client writes and flushes over NBD, fio (when it is there) writes to another
 * volume, and commands come and go. After each kill the pool is opened again, and it must hold: everything that was flushed, every
 * command that was answered (and the one under way wholly or not at all), and a clean check without a leaked block.
 *
 * Twelve rounds for each kind of pool; PDATA_LONG=1 runs 100 of them, PDATA_KILL_ROUNDS=N runs N. PDATA_SEED=N begins with another seed.
 */
import { spawn, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectNbd } from '@pdata/nbd';
import { seededRandom } from '@pdata/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { connectToHost } from '../src/control/remote-host.js';
import { LocalPoolHost } from '../src/pool/local-host.js';
import { checkPoolDirectory } from '../src/pool/pool-check.js';
import type { PoolHost } from '../src/pool-host.js';
import { DiskModel, UNIT } from './disk-model.js';
import { buildProgram, openScratch, startServing } from './program.js';

const ROUNDS = Number(process.env.PDATA_KILL_ROUNDS ?? (process.env.PDATA_LONG === '1' ? 100 : 12));
const SEED = Number(process.env.PDATA_SEED ?? 20_261_120);
const DISK_SIZE = 8 * 1024 * 1024;
const MAX_SNAPSHOTS = 4;
const WRITERS = 6;
/** The volume that fio writes to: nobody knows what it holds, but its blocks must not leak. */
const LOAD = 'load';
const HAS_FIO = spawnSync('fio', ['--version']).status === 0;

beforeAll(buildProgram);

describe.each(['lmdb', 'raw'] as const)('a %s pool whose server is killed at any moment', (format) => {
  it('keeps what was flushed and what was answered, and leaks nothing', { timeout: 3_600_000 }, async () => {
    using scratch = openScratch();
    const directory = scratch.path('pool');
    await LocalPoolHost.create(directory, { size: 128 * 1024 * 1024, blockSize: 64 * 1024, format });
    const world = new World(directory, seededRandom(SEED));
    await world.begin();
    for (let nr = 0; nr < ROUNDS; nr++) {
      await world.round().catch((error: unknown) => {
        throw new Error(`round ${nr} of PDATA_SEED=${SEED}: ${error instanceof Error ? error.stack : String(error)}`);
      });
    }
    const { writes, flushes, commands, inFlight, fio, awaited } = world.counts;
    console.log(
      `kill -9, ${format}: ${ROUNDS} rounds, ${writes} writes and ${flushes} flushes answered, ${commands} commands answered, ${inFlight} under way when killed; fio beside it in ${HAS_FIO ? fio : 'no'} rounds${HAS_FIO ? '' : ' (it is not installed)'}`,
    );
    expect(awaited).toBeGreaterThan(ROUNDS / 3);
    for (const [what, count] of Object.entries({ writes, flushes, commands, ...(HAS_FIO ? { fio } : {}) }))
      expect(count, what).toBeGreaterThanOrEqual(awaited);
  });
});

/** Names and what they hold; `other` is never open, so it can be reverted, renamed and removed. */
type Catalogue = Map<string, DiskModel>;

class World {
  readonly counts = { writes: 0, flushes: 0, commands: 0, inFlight: 0, fio: 0, awaited: 0 };
  readonly #directory: string;
  readonly #random: () => number;
  /** What was answered; "disk" is the one that is written to. */
  #certain: Catalogue = new Map();
  /** What there is if the command under way at the kill was done. */
  #possible: Catalogue | undefined;
  #nextNumber = 1;
  #nextName = 1;
  #isDead = false;

  constructor(directory: string, random: () => number) {
    this.#directory = directory;
    this.#random = random;
  }

  async begin(): Promise<void> {
    const host = await LocalPoolHost.open(this.#directory);
    await host.createVolume({ name: 'disk', size: DISK_SIZE });
    await host.createVolume({ name: LOAD, size: 2 * DISK_SIZE });
    await host.close();
    this.#certain.set('disk', new DiskModel(DISK_SIZE));
  }

  async round(): Promise<void> {
    this.#isDead = false;
    this.#possible = undefined;
    const serving = startServing(this.#directory);
    // One round in six is killed while it starts: while it opens the pool, or puts right what the last kill left.
    const isEarly = this.#random() < 1 / 6;
    let work: Promise<unknown> = Promise.resolve();
    let load: Load | undefined;
    if (isEarly) await sleep(this.#random() * 500);
    else {
      await serving.ready;
      if (HAS_FIO) load = startLoad(this.#directory, this.#pick(2 ** 31));
      work = Promise.all([this.#writeAndFlush(), this.#command()]);
      // One in six of the others is killed before anything needs to have been done.
      if (this.#random() < 5 / 6) await Promise.race([work, this.#untilAllHaveDoneSomething(load)]);
      await Promise.race([work, sleep(this.#random() * 500)]);
    }
    this.#isDead = true;
    serving.child.kill('SIGKILL');
    expect(await serving.ended).toBe('SIGKILL');
    await work;
    if ((await load?.ended)?.includes('connected')) this.counts.fio++;
    await this.#verify();
  }

  async #untilAllHaveDoneSomething(load: Load | undefined): Promise<void> {
    const { writes, flushes, commands } = this.counts;
    await load?.connected;
    while (this.counts.writes === writes || this.counts.flushes === flushes || this.counts.commands === commands)
      await sleep(5);
    this.counts.awaited++;
  }

  /** Until the kill: writes of all sizes, at most one at a time to a unit, and a flush now and then. */
  async #writeAndFlush(): Promise<void> {
    const model = this.#certain.get('disk')!;
    const busy = new Set<number>();
    try {
      const device = await connectNbd({ socketPath: `${this.#directory}/nbd.sock` }, { exportName: 'disk' });
      const write = async (): Promise<void> => {
        while (!this.#isDead) {
          const nrUnits = this.#random() < 0.7 ? 1 : 1 + this.#pick(32);
          const unit = this.#pick(model.nrUnits - nrUnits + 1);
          const units = Array.from({ length: nrUnits }, (_, index) => unit + index);
          if (units.some((each) => busy.has(each))) {
            await sleep(0);
            continue;
          }
          for (const each of units) busy.add(each);
          const isZero = this.#random() < 0.1;
          const number = isZero ? 0 : this.#nextNumber++;
          const ended = model.write(unit, nrUnits, number);
          const bytes = new Uint8Array(new Uint32Array((nrUnits * UNIT) / 4).fill(number).buffer);
          if (isZero) await device.writeZeroes(unit * UNIT, bytes.length);
          else await device.write(unit * UNIT, bytes);
          ended();
          this.counts.writes++;
          for (const each of units) busy.delete(each);
        }
      };
      const flush = async (): Promise<void> => {
        while (!this.#isDead) {
          await sleep(this.#random() * 20);
          const ended = model.flush();
          await device.flush();
          ended();
          this.counts.flushes++;
        }
      };
      await Promise.all([...Array.from({ length: WRITERS }, write), flush()]);
    } catch (error) {
      if (!this.#isDead) throw error;
    }
  }

  /** Until the kill: one command after the other. */
  async #command(): Promise<void> {
    try {
      const host = (await connectToHost(this.#directory))!;
      while (!this.#isDead) {
        const after = new Map(this.#certain);
        this.#possible = after;
        await this.#oneCommand(host, after);
        this.#certain = after;
        this.#possible = undefined;
        this.counts.commands++;
        await sleep(this.#random() * 10);
      }
    } catch (error) {
      if (!this.#isDead) throw error;
      if (this.#possible !== undefined) this.counts.inFlight++;
    }
  }

  /** Does something, and to `after` what it does when it is done. */
  async #oneCommand(host: PoolHost, after: Catalogue): Promise<void> {
    const others = [...after.keys()].filter((name) => name !== 'disk');
    const snapshots = others.filter((name) => name.startsWith('snap'));
    const volumes = others.filter((name) => name.startsWith('vol'));
    const other = others[this.#pick(others.length)];
    const snapshot = snapshots[this.#pick(snapshots.length)];
    const volume = volumes[this.#pick(volumes.length)];
    const kind = this.#random();
    if (other !== undefined && (others.length >= MAX_SNAPSHOTS || kind < 0.2)) {
      after.delete(other);
      await host.removeVolume({ name: other });
    } else if (other !== undefined && kind < 0.35) {
      const to = `${other.slice(0, other.indexOf('-'))}-${this.#nextName++}`;
      after.set(to, after.get(other)!);
      after.delete(other);
      await host.renameVolume({ name: other, to });
    } else if (snapshot !== undefined && kind < 0.5) {
      const name = `vol-${this.#nextName++}`;
      after.set(name, after.get(snapshot)!);
      await host.snapshot({ origin: snapshot, name, writable: true });
    } else if (snapshot !== undefined && volume !== undefined && kind < 0.65) {
      after.set(volume, after.get(snapshot)!);
      await host.revertVolume({ name: volume, snapshot });
    } else {
      const name = `snap-${this.#nextName++}`;
      const ended = this.#certain.get('disk')!.snapshot();
      // If it is killed, the snapshot may hold what was written until then.
      this.#pendingSnapshot = { name, ended };
      await host.snapshot({ origin: 'disk', name });
      this.#pendingSnapshot = undefined;
      after.set(name, ended());
    }
  }

  #pendingSnapshot: { readonly name: string; readonly ended: () => DiskModel } | undefined;

  async #verify(): Promise<void> {
    const host = await LocalPoolHost.open(this.#directory);
    try {
      if (this.#pendingSnapshot !== undefined) {
        this.#possible?.set(this.#pendingSnapshot.name, this.#pendingSnapshot.ended());
        this.#pendingSnapshot = undefined;
      }
      const candidates = this.#possible === undefined ? [this.#certain] : [this.#certain, this.#possible];
      const found = new Map<string, Uint8Array>();
      for (const { name } of await host.volumes()) {
        if (name === LOAD) continue;
        found.set(name, await contentOf(host, name));
      }
      const problems = candidates.map((catalogue) => problemOf(catalogue, found));
      const fitting = candidates[problems.indexOf(undefined)];
      if (fitting === undefined) throw new Error(problems.join('\nor '));
      this.#certain = new Map(
        [...found].map(([name, content]) => {
          const model = new DiskModel(DISK_SIZE);
          model.restart(content);
          return [name, model];
        }),
      );
    } finally {
      await host.close();
    }
    const report = await checkPoolDirectory(this.#directory);
    expect(report.findings).toEqual([]);
    expect(report.leaked).toEqual({ data: 0, metadata: 0 });
    expect(report.notes).toEqual([]);
  }

  #pick(nr: number): number {
    return Math.floor(this.#random() * nr);
  }
}

interface Load {
  /** It has begun, or will not any more. */
  readonly connected: Promise<void>;
  /** What fio said, when it has ended: at the latest when its server is gone. */
  readonly ended: Promise<string>;
}

/** Reads, writes and flushes of fio's nbd engine, until the server is killed. */
function startLoad(directory: string, seed: number): Load {
  const child = spawn('fio', [
    '--name=load',
    '--ioengine=nbd',
    `--uri=nbd+unix:///${LOAD}?socket=${directory}/nbd.sock`,
    '--rw=randrw',
    '--bsrange=4k-128k',
    `--size=${2 * DISK_SIZE}`,
    '--iodepth=8',
    '--fsync=32',
    '--time_based',
    '--runtime=60',
    `--randseed=${seed}`,
    '--verify_state_save=0',
  ]);
  let said = '';
  const ended = new Promise<string>((resolve) => child.once('close', () => resolve(said)));
  const connected = new Promise<void>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.includes('connected')) resolve();
      });
    }
    void ended.then(() => resolve());
  });
  return { connected, ended };
}

async function contentOf(host: PoolHost, name: string): Promise<Uint8Array> {
  const device = await host.openVolume({ name, mode: 'read' });
  try {
    const content = new Uint8Array(device.size);
    await device.read(0, content);
    return content;
  } finally {
    await device.close();
  }
}

function problemOf(catalogue: Catalogue, found: ReadonlyMap<string, Uint8Array>): string | undefined {
  const [expected, there] = [[...catalogue.keys()].sort().join(', '), [...found.keys()].sort().join(', ')];
  if (expected !== there) return `there should be ${expected}, and there are ${there}`;
  for (const [name, model] of catalogue) {
    const problem = model.problemOf(found.get(name)!);
    if (problem !== undefined) return `${name}: ${problem}`;
  }
  return undefined;
}
