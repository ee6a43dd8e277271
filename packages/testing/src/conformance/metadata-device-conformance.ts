/**
 * What every `MetadataDevice` must do, whatever it stands on: the contract of @pdata/device's metadata-device.ts as cases that
 * any test runner can run. Nothing but the interface is used, and nothing but JavaScript.
 *
 * A case throws a `ContractViolation` when the contract is broken. What it cannot show, because it does not pull plugs:
 * that a flush makes anything durable; it shows that what was flushed is there when the device is opened again.
 */
import { BLOCK_SIZE, ClosedError, type MetadataDevice, ReadOnlyError } from '@pdata/device';
import { seededRandom } from '../seeded-random.js';
import { ContractViolation, demand, demandRejection } from './demand.js';
import type { ConformanceCase } from './device-case.js';

export interface MetadataDeviceConformanceOptions {
  /** A new device of zeroes, open for writing. */
  readonly create: (nrBlocks: number) => MetadataDevice;
  /** What a flushed and closed device of `create` left behind, opened again. */
  readonly reopen: (closed: MetadataDevice, mode: 'read' | 'write') => MetadataDevice;
  /** Random sequences of operations to try, each with a seed of its own. Default 40. */
  readonly nrRandomWorkloads?: number;
}

/** The devices of one case, closed when it ends. */
type Fixture = Pick<MetadataDeviceConformanceOptions, 'create' | 'reopen'>;

/**
 * The cases for one implementation:
 *
 * ```ts no-run
 * for (const { name, run } of metadataDeviceConformance({ create, reopen })) it(name, run);
 * ```
 */
export function metadataDeviceConformance(options: MetadataDeviceConformanceOptions): ConformanceCase[] {
  const { nrRandomWorkloads = 40 } = options;
  const cases: { name: string; on: (fixture: Fixture) => void | Promise<void> }[] = [
    ...TRANSFER_CASES,
    ...REFUSED_RUNS.map((run) => ({
      name: `refuses ${run.what}, naming the device and its size`,
      on: (fixture: Fixture) => refusesRun(fixture, run),
    })),
    ...LIFETIME_CASES,
    {
      name: `holds what a plain array would after any sequence of writes, growing and flushes (${nrRandomWorkloads} of them)`,
      on: (fixture) => behavesLikeAnArray(fixture, nrRandomWorkloads),
    },
  ];
  return cases.map(({ name, on }) => ({ name, run: () => runWith(options, on) }));
}

async function runWith(options: Fixture, on: (fixture: Fixture) => void | Promise<void>): Promise<void> {
  const opened: MetadataDevice[] = [];
  const keep = (device: MetadataDevice): MetadataDevice => {
    opened.push(device);
    return device;
  };
  try {
    await on({
      create: (nrBlocks) => keep(options.create(nrBlocks)),
      reopen: (closed, mode) => keep(options.reopen(closed, mode)),
    });
  } finally {
    for (const device of opened) device.close(); // harmless when the case has closed it
  }
}

const TRANSFER_CASES: { name: string; on: (fixture: Fixture) => void }[] = [
  {
    name: 'has the size it was created with, and reads as zeroes',
    on({ create }) {
      const device = create(5);
      demand(device.nrBlocks === 5, `nrBlocks is ${device.nrBlocks}, not 5`);
      demand(!device.readOnly, 'a new device is read-only');
      demand(device.name !== '', 'name is empty');
      demandBlocks(device, [0, 0, 0, 0, 0]);
    },
  },
  {
    name: 'reads back what was written, and nothing else changes',
    on({ create }) {
      const device = create(6);
      device.write(1, blocks(11, 12, 13));
      device.write(2, blocks(22));
      demandBlocks(device, [0, 11, 22, 13, 0, 0]);
      const run = new Uint8Array(2 * BLOCK_SIZE);
      device.read(2, run);
      demandValues('blocks 2..3', valuesOf(run), [22, 13]);
    },
  },
  {
    name: 'moves exactly the bytes of a view into a larger buffer',
    on({ create }) {
      const device = create(2);
      const buffer = new Uint8Array(3 * BLOCK_SIZE).fill(9);
      const view = buffer.subarray(100, 100 + BLOCK_SIZE); // not aligned to anything
      view.fill(5);
      device.write(1, view);
      demandBlocks(device, [0, 5]);
      device.read(0, view);
      demand(
        view.every((byte) => byte === 0),
        'a read did not fill the whole view',
      );
      demand(buffer[99] === 9 && buffer[100 + BLOCK_SIZE] === 9, 'a read wrote beside the view it was given');
    },
  },
  {
    name: 'keeps the bytes of a write when the caller changes the array afterwards',
    on({ create }) {
      const device = create(1);
      const bytes = blocks(7);
      device.write(0, bytes);
      bytes.fill(8);
      demandBlocks(device, [7]);
    },
  },
  {
    name: 'keeps every byte of blocks of any content',
    on({ create, reopen }) {
      const device = create(12);
      const random = seededRandom(12);
      const written = new Uint8Array(12 * BLOCK_SIZE);
      for (let nr = 0; nr < 12; nr++) {
        // All of it, a part at the beginning, one byte, and zeroes everywhere but at the end.
        const block = written.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
        const [from, to] = [
          [0, BLOCK_SIZE],
          [0, 1 + Math.floor(random() * BLOCK_SIZE)],
          [nr, nr + 1],
          [BLOCK_SIZE - nr, BLOCK_SIZE],
        ][nr % 4] as [number, number];
        for (let at = from; at < to; at++) block[at] = 1 + Math.floor(random() * 255);
      }
      device.write(0, written);
      device.write(11, blocks(3));
      written.fill(3, 11 * BLOCK_SIZE);
      demandBytes(device, written);
      device.flush();
      demandBytes(device, written);
      device.write(3, blocks(0));
      written.fill(0, 3 * BLOCK_SIZE, 4 * BLOCK_SIZE);
      device.flush();
      device.close();
      demandBytes(reopen(device, 'read'), written);
    },
  },
  {
    name: 'moves nothing for an empty run, even at the very end',
    on({ create }) {
      const device = create(3);
      device.write(3, new Uint8Array(0));
      device.read(3, new Uint8Array(0));
      demandBlocks(device, [0, 0, 0]);
    },
  },
];

interface RefusedRun {
  readonly what: string;
  readonly first: number;
  readonly bytes: number;
  readonly says: RegExp;
}

const REFUSED_RUNS: readonly RefusedRun[] = [
  { what: 'a run past the end', first: 3, bytes: 2 * BLOCK_SIZE, says: /blocks 3\.\.4.*has 4 blocks/ },
  { what: 'a block behind the end', first: 4, bytes: BLOCK_SIZE, says: /block 4.*has 4 blocks/ },
  { what: 'an empty run behind the end', first: 5, bytes: 0, says: /block 5.*has 4 blocks/ },
  { what: 'a negative block number', first: -1, bytes: BLOCK_SIZE, says: /block -1.*has 4 blocks/ },
  { what: 'a block number with a fraction', first: 0.5, bytes: BLOCK_SIZE, says: /block 0\.5.*has 4 blocks/ },
  { what: 'a block number past 2^53', first: 2 ** 53, bytes: BLOCK_SIZE, says: /block 9007199254740992.*has 4/ },
  { what: 'NaN for a block number', first: Number.NaN, bytes: BLOCK_SIZE, says: /block NaN.*has 4 blocks/ },
  { what: 'a part of a block', first: 0, bytes: BLOCK_SIZE - 1, says: /4095 bytes.*whole number/ },
];

function refusesRun({ create }: Fixture, { first, bytes, says }: RefusedRun): void {
  const device = create(4);
  const run = new Uint8Array(bytes).fill(1);
  for (const operation of ['read', 'write'] as const) {
    const refusal = demandThrown(operation, RangeError, () => device[operation](first, run));
    demand(says.test(refusal.message), `${operation}: "${refusal.message}" does not match ${says}`);
    for (const part of [operation, device.name]) {
      demand(refusal.message.includes(part), `${operation}: "${refusal.message}" does not say ${part}`);
    }
  }
  demandBlocks(device, [0, 0, 0, 0]);
}

const LIFETIME_CASES: { name: string; on: (fixture: Fixture) => void | Promise<void> }[] = [
  {
    name: 'is found as it was flushed when it is opened again',
    on({ create, reopen }) {
      const device = create(3);
      device.write(0, blocks(1, 2));
      device.flush();
      device.close();
      const again = reopen(device, 'read');
      demand(again.nrBlocks === 3, `nrBlocks is ${again.nrBlocks} when opened again, not 3`);
      demandBlocks(again, [1, 2, 0]);
    },
  },
  {
    name: 'flushes asynchronously, several at once, while writes go on',
    async on({ create }) {
      const device = create(3);
      device.write(0, blocks(1));
      const first = device.flushAsync();
      device.write(1, blocks(2));
      await Promise.all([first, device.flushAsync(), device.flushAsync()]);
      device.flush();
      demandBlocks(device, [1, 2, 0]);
    },
  },
  {
    name: 'flushes at once while an asynchronous flush is under way, and neither undoes the other',
    async on({ create, reopen }) {
      const device = create(4);
      device.write(0, blocks(1, 1));
      const first = device.flushAsync();
      device.write(1, blocks(2, 2));
      device.flush();
      demandBlocks(device, [1, 2, 2, 0]);
      await first;
      demandBlocks(device, [1, 2, 2, 0]);
      device.write(2, blocks(3, 3));
      const second = device.flushAsync();
      device.flush();
      await second;
      demandBlocks(device, [1, 2, 3, 3]);
      device.close();
      demandBlocks(reopen(device, 'read'), [1, 2, 3, 3]);
    },
  },
  {
    name: 'grows, keeping what it holds',
    on({ create, reopen }) {
      const device = create(2);
      device.write(0, blocks(1, 2));
      device.grow(4);
      demand(device.nrBlocks === 4, `nrBlocks is ${device.nrBlocks} after growing, not 4`);
      device.write(3, blocks(4));
      const [first, second, , fourth] = blocksOf(device);
      demandValues('after growing', [first, second, fourth], [1, 2, 4]);
      device.flush();
      device.close();
      const again = reopen(device, 'read');
      demand(again.nrBlocks === 4, `nrBlocks is ${again.nrBlocks} when opened again, not 4`);
    },
  },
  {
    name: 'accepts growing to the size it has, and refuses to shrink',
    on({ create }) {
      const device = create(3);
      device.grow(3);
      for (const size of [2, 0, -1, 3.5, Number.NaN]) {
        const refusal = demandThrown(`grow to ${size}`, RangeError, () => device.grow(size));
        for (const part of [`${size} blocks`, 'at least 3']) {
          demand(refusal.message.includes(part), `grow to ${size}: "${refusal.message}" does not say ${part}`);
        }
      }
      demand(device.nrBlocks === 3, `nrBlocks is ${device.nrBlocks} after refusals, not 3`);
    },
  },
  {
    name: 'refuses writes, flushes and growing when open for reading, and still reads',
    async on({ create, reopen }) {
      const device = create(2);
      device.write(0, blocks(1, 2));
      device.flush();
      device.close();
      const reader = reopen(device, 'read');
      demand(reader.readOnly, 'readOnly is false');
      demandThrown('write', ReadOnlyError, () => reader.write(0, blocks(9)));
      demandThrown('flush', ReadOnlyError, () => reader.flush());
      demandThrown('grow', ReadOnlyError, () => reader.grow(8));
      await demandRejection('flushAsync', ReadOnlyError, () => reader.flushAsync());
      demand(reader.nrBlocks === 2, `nrBlocks is ${reader.nrBlocks}, not 2`);
      demandBlocks(reader, [1, 2]);
    },
  },
  {
    name: 'refuses everything after close, naming itself, except a second close',
    async on({ create }) {
      const device = create(2);
      const { name } = device;
      device.close();
      const uses: [string, () => void][] = [
        ['read', () => device.read(0, blocks(0))],
        ['write', () => device.write(0, blocks(0))],
        ['flush', () => device.flush()],
        ['grow', () => device.grow(5)],
      ];
      for (const [what, use] of uses) {
        const refusal = demandThrown(`${what} after close`, ClosedError, use);
        demand(refusal.message.includes(name), `${what} after close: "${refusal.message}" does not name ${name}`);
      }
      await demandRejection('flushAsync after close', ClosedError, () => device.flushAsync());
      device.close();
    },
  },
];

function behavesLikeAnArray({ create, reopen }: Fixture, nrSeeds: number): void {
  for (let seed = 1; seed <= nrSeeds; seed++) {
    try {
      const random = seededRandom(seed);
      const below = (limit: number): number => Math.floor(random() * limit);
      const device = create(8);
      const model: number[] = new Array(8).fill(0);
      const nrSteps = below(40);
      for (let step = 0; step < nrSteps; step++) {
        const chosen = random();
        if (chosen < 0.125) device.flush();
        else if (chosen < 0.25) {
          const nr = below(5);
          device.grow(device.nrBlocks + nr);
          while (model.length < device.nrBlocks) model.push(0);
          // What new blocks contain is not said, so it is said here.
          for (let blockNr = model.length - nr; blockNr < model.length; blockNr++) device.write(blockNr, blocks(0));
        } else {
          const [at, nr, value] = [below(30), 1 + below(8), step % 5 === 4 ? 0 : step + 1];
          if (at + nr > model.length) continue;
          device.write(at, blocks(...new Array<number>(nr).fill(value)));
          model.fill(value, at, at + nr);
        }
      }
      demandBlocks(device, model);
      device.flush();
      device.close();
      const again = reopen(device, 'read');
      demandBlocks(again, model);
      again.close();
    } catch (error) {
      throw new ContractViolation(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
}

/** One block per value, filled with it. */
function blocks(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * BLOCK_SIZE);
  values.forEach((value, index) => {
    bytes.fill(value, index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE);
  });
  return bytes;
}

/** The value that fills each block; "mixed" where a block is not all one value. */
function valuesOf(bytes: Uint8Array): (number | string)[] {
  return Array.from({ length: bytes.byteLength / BLOCK_SIZE }, (_, nr) => {
    const block = bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
    return block.every((byte) => byte === block[0]) ? (block[0] ?? 0) : 'mixed';
  });
}

/** The whole device, read in one run over bytes that are not zero. */
function bytesOf(device: MetadataDevice): Uint8Array {
  const bytes = new Uint8Array(device.nrBlocks * BLOCK_SIZE).fill(0xa5);
  device.read(0, bytes);
  return bytes;
}

const blocksOf = (device: MetadataDevice): (number | string)[] => valuesOf(bytesOf(device));

function demandBlocks(device: MetadataDevice, expected: readonly number[]): void {
  demandValues('the device', blocksOf(device), expected);
}

function demandValues(what: string, found: readonly unknown[], expected: readonly number[]): void {
  demand(`${found}` === `${expected}`, `${what} holds ${found}, expected ${expected}`);
}

function demandBytes(device: MetadataDevice, expected: Uint8Array): void {
  const found = bytesOf(device);
  const at = found.findIndex((byte, index) => byte !== expected[index]);
  demand(
    at === -1 && found.byteLength === expected.byteLength,
    `block ${Math.floor(at / BLOCK_SIZE)}: byte ${at % BLOCK_SIZE} is ${found[at]}, expected ${expected[at]}`,
  );
}

/** Demands that `action` throws an error of `kind`, and returns it. */
function demandThrown(what: string, kind: abstract new (...parts: never[]) => Error, action: () => void): Error {
  let thrown: unknown;
  try {
    action();
  } catch (error) {
    thrown = error;
  }
  demand(thrown !== undefined, `${what}: expected a ${kind.name}, but it succeeded`);
  demand(thrown instanceof kind, `${what}: expected a ${kind.name}, not ${thrown}`);
  return thrown;
}
