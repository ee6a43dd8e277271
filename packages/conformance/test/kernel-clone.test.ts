/**
 * Clones beside the kernel's clone target: the same operations through both, on the same images; a clone that each of them goes on
 * with where the other stopped; and what the kernel left of one, through our engine.
 *
 * Covers "How to check an implementation" of docs/format/clone.md: 1 to 7 here; 8 to 11, which need faults, crashes and requests at
 * exact places, in packages/clone/src/engine and packages/clone/test.
 */
import { createHash } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { CloneDevice, CloneMetadata } from '@pdata/clone';
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { openFileDataDevice, openFileMetadataDevice } from '@pdata/device/node';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { cloneFixture } from '../src/clone-fixture.js';
import { randomSlots, written } from '../src/iogen.js';
import { requireKernel, runGuest } from '../src/kernel.js';
import { openScratch, type Scratch } from '../src/scratch.js';
import { throughOurEngine } from './clone-twin.js';

const SECTOR = 512;
const SIZE = 16 * 2 ** 20;
const NR_METADATA_BLOCKS = 1024;
/** The last region is short. */
const SECTORS = SIZE / SECTOR - 5;
const NR_REGIONS = Math.ceil(SECTORS / 8);

/** Bytes without any order to them. */
function noise(seed: number, length: number): Uint8Array {
  const random = seededRandom(seed);
  return new Uint8Array(new Uint32Array(length / 4).map(() => random() * 2 ** 32).buffer);
}

const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('the clone that the kernel left half-way', () => {
  it('reads through our engine as it did through the kernel, and has the same status', async () => {
    const { metadata, source, destination, sum, status } = cloneFixture();
    const clone = await CloneDevice.open(
      new MemoryMetadataDevice({ bytes: metadata() }),
      {
        source: new MemoryDataDevice({ bytes: source(), readOnly: true }),
        destination: new MemoryDataDevice({ bytes: destination() }),
      },
      { noHydration: true },
    );
    const bytes = new Uint8Array(clone.size);
    await clone.read(0, bytes);
    expect(sumOf(bytes)).toBe(sum);
    expect(clone.statusLine()).toBe(status);
    await clone.close();
  });

  it('is finished by our engine, and the destination alone is the device then', async () => {
    const { metadata, source, destination, sum } = cloneFixture();
    const copy = new MemoryDataDevice({ bytes: destination() });
    const clone = await CloneDevice.open(
      new MemoryMetadataDevice({ bytes: metadata() }),
      { source: new MemoryDataDevice({ bytes: source(), readOnly: true }), destination: copy },
      { hydrationThreshold: 64, hydrationBatchSize: 16 },
    );
    const complete = new Promise((resolve) => clone.on('complete', resolve));
    await expect.poll(() => clone.status().nrHydrated).toBe(4096);
    await clone.commit();
    await complete;
    await clone.close();
    expect(sumOf(copy.bytes as Uint8Array)).toBe(sum);
  });
});

/** One clone's life: writes, discards, messages that make sense and that do not, devices that fail, completion. */
const LIFE = [
  `create ${SECTORS} 8 1 no_hydration`,
  'status',
  `write 1 40 4096 0 ${SIZE - 4096}`, // whole regions
  'status',
  `write 2 25 512 0 ${SIZE - 4096}`, // parts
  `write 3 10 12288 0 ${SIZE - 12288}`,
  'status',
  `discard 4 10 65536 0 ${SIZE - 65536}`, // aligned to regions
  `discard 5 10 5120 0 ${SIZE - 8192}`, // not
  `discard 6 5 3584 0 ${SIZE - 8192}`, // less than one
  'status',
  ...[
    'enable_hydrations',
    'hydrate now',
    'Hydrate Now',
    'hydration_threshold',
    'hydration_threshold x',
    'hydration_threshold -1',
  ],
  ...[
    'hydration_threshold 4294967296',
    'hydration_threshold 4294967295',
    'hydration_threshold 0x10',
    'hydration_threshold 1 2',
  ],
  ...[
    'hydration_batch_size',
    'hydration_batch_size 1.5',
    'HYDRATION_batch_size 7',
    'hydration_batch_size +9',
    'hydration_batch_size 0',
  ],
  ...['hydration_threshold 0', 'enable_hydration and more', 'disable_hydration 1 2 3', 'Disable_Hydration', 'status'],
].map((line) => (/^(create|status|write|discard)\b/.test(line) ? line : `message ${line}`));

const FAILING = [
  // A source that fails: what needs it fails and marks nothing; a whole region needs nothing of it, a short last one does.
  'source error',
  `write 7 1 512 8388608 1048576`,
  `write 8 1 4096 8388608 1048576`,
  `write 9 1 ${(SECTORS % 8) * SECTOR} ${(NR_REGIONS - 1) * 4096} ${(SECTORS % 8) * SECTOR}`,
  'source back',
  'status',
  `write 9 1 ${(SECTORS % 8) * SECTOR} ${(NR_REGIONS - 1) * 4096} ${(SECTORS % 8) * SECTOR}`,
  'status',
  'sum',
];

const READ_ONLY = [
  // A flush that fails before a commit: what was marked since the last one is not hydrated any more.
  'remove',
  `create ${SECTORS} 8 2 no_hydration no_discard_passdown`,
  'status',
  'events',
  'destination error',
  'discard 10 1 262144 4194304 262144',
  'status noflush',
  'events',
  'destination back',
  `write 11 1 4096 4194304 4096`, // not hydrated: it cannot be any more
  'discard 12 1 262144 4194304 262144',
  'message hydration_threshold 3',
  'message enable_hydration',
  'status noflush',
  'remove',
];

const COMPLETION = [
  `create ${SECTORS} 8 1 no_hydration 4 hydration_threshold 33 hydration_batch_size 16`,
  'status',
  'message enable_hydration',
  `hydrate ${NR_REGIONS}`,
  'status', // commits
  'events',
  'sum',
  'remove',
  `create ${SECTORS} 8`,
  `write 13 20 512 0 ${SIZE - 4096}`,
  'status',
  'events',
  'sum',
  'remove',
  `create ${SECTORS - 8} 8`, // cannot be resized
  `create ${SECTORS} 16`,
];

describe.runIf(requireKernel())('beside the kernel', () => {
  it('the engine answers, reports, marks and stores the same', { timeout: 900_000 }, async () => {
    const operations = [...LIFE, ...FAILING, ...READ_ONLY, ...COMPLETION];
    using scratch = openScratch();
    const source = noise(20261128, SIZE);
    const disks = newDisks(scratch, source);
    const { console } = await runGuest({ guest: 'clone-twin', disks, env: { OPERATIONS: operations.join('\n') } });
    const theirs = findings(console);

    const metadata = new MemoryMetadataDevice({ nrBlocks: NR_METADATA_BLOCKS });
    // The disks of the machine ignore discards: what is discarded stays.
    const destination = new MemoryDataDevice({ size: SIZE });
    destination.discard = async () => {};
    const ours = await throughOurEngine(
      { metadata, source: new MemoryDataDevice({ bytes: source, readOnly: true }), destination },
      operations,
    );
    expect(ours).toEqual(theirs.map((line) => line.replace(/^(create ERROR).*/, '$1')));
    expect(theirs.filter((line) => line.endsWith(' ro')).length).toBe(2);
    expect(theirs.filter((line) => line.startsWith('message ERROR')).length).toBeGreaterThan(8);

    // What is on the disks is the same as well.
    const kernels = CloneMetadata.open(
      new MemoryMetadataDevice({ bytes: new Uint8Array(readFileSync(disks[0])), readOnly: true }),
    );
    expect([kernels.isComplete, kernels.nrHydrated]).toEqual([true, NR_REGIONS]);
    const copy = new Uint8Array(SIZE);
    await destination.read(0, copy);
    expect(Buffer.compare(copy, readFileSync(disks[2]))).toBe(0);
  });

  it("the kernel and the engine go on with each other's clone, round after round", { timeout: 900_000 }, async () => {
    using scratch = openScratch();
    const source = noise(77, SIZE);
    const disks = newDisks(scratch, source);
    const model = source.slice(0, SECTORS * SECTOR);

    const NR_ROUNDS = 4;
    for (let round = 0; round < NR_ROUNDS; round++) {
      const isLast = round === NR_ROUNDS - 1;
      const operations = roundOf(round, isLast);
      apply(
        model,
        operations,
        round === 0 ? undefined : new Uint8Array(readFileSync(disks[0])),
        new Uint8Array(readFileSync(disks[2])),
      );
      const found =
        round % 2 === 0
          ? await oursOnFiles(disks, operations)
          : findings(
              (await runGuest({ guest: 'clone-twin', disks, env: { OPERATIONS: operations.join('\n') } })).console,
            );
      const who = `round ${round}, ${round % 2 === 0 ? 'ours' : "the kernel's"}`;
      expect(
        found.filter((line) => line.endsWith('ERROR')),
        who,
      ).toEqual([]);
      expect(
        found.filter((line) => line.startsWith('sum')),
        who,
      ).toEqual([`sum 0 ${sumOf(model)}`]);

      // What the other one says of it now, before it does anything.
      const bytes = new Uint8Array(readFileSync(disks[0]));
      const left = CloneMetadata.open(new MemoryMetadataDevice({ bytes, readOnly: true }));
      const [, hydratedAtEnd] =
        / (\d+)\/\d+ 0 /.exec(found.filter((line) => line.startsWith('status')).at(-1) ?? '') ?? [];
      expect(left.nrHydrated, who).toBe(Number(hydratedAtEnd));
      expect(left.isComplete, who).toBe(isLast);
    }
    expect(Buffer.compare(readFileSync(disks[2]).subarray(0, model.length), model)).toBe(0);
    expect(Buffer.compare(readFileSync(disks[1]), source)).toBe(0);
  });
});

/** Blank metadata, the source, an empty destination. */
function newDisks(scratch: Scratch, source: Uint8Array): [string, string, string] {
  const [metadata, image, destination] = [
    scratch.path('metadata'),
    scratch.path('source'),
    scratch.path('destination'),
  ];
  writeFileSync(metadata, new Uint8Array(NR_METADATA_BLOCKS * 4096));
  writeFileSync(image, source);
  writeFileSync(destination, '');
  truncateSync(destination, SIZE);
  return [metadata, image, destination];
}

/** The lines `= KEY VALUE` of a guest, without the kernel's errors for which iogen and dmsetup have words of their own. */
const findings = (console: string): string[] =>
  Array.from(console.matchAll(/^= (.*)$/gm), ([, line]) => line!.trimEnd());

/** A round leaves some more hydrated, by discards, writes and in the background. */
function roundOf(round: number, isLast: boolean): string[] {
  const seed = 100 * (round + 1);
  return [
    `create ${SECTORS} 8 2 no_hydration no_discard_passdown`,
    `discard ${seed} 6 65536 0 ${SIZE - 65536}`,
    `write ${seed + 1} 30 4096 0 ${SIZE - 4096}`,
    `write ${seed + 2} 30 512 0 ${SIZE - 4096}`,
    `write ${seed + 3} 5 65536 0 ${SIZE - 65536}`,
    `message hydration_threshold ${isLast ? 32 : 4}`, // slowly, so that it can be stopped on its way
    `message hydration_batch_size ${1 + 3 * round}`,
    'message enable_hydration',
    `hydrate ${isLast ? NR_REGIONS : 600 * (round + 1)}`,
    'message disable_hydration',
    'sum',
    'status',
    'remove',
  ];
}

/** What the operations of a round make of the device. A region that is discarded before it is hydrated shows what the destination has. */
function apply(
  model: Uint8Array,
  operations: readonly string[],
  metadata: Uint8Array | undefined,
  destination: Uint8Array,
): void {
  const before =
    metadata === undefined
      ? undefined
      : CloneMetadata.open(new MemoryMetadataDevice({ bytes: metadata, readOnly: true }));
  for (const line of operations) {
    const [what, ...args] = line.split(' ');
    const [seed, count, size, start, length] = args.map(Number) as [number, number, number, number, number];
    if (what === 'write')
      for (const { offset, bytes } of written(seed, count, size, length, start)) model.set(bytes, offset);
    if (what !== 'discard') continue;
    for (const slot of randomSlots(seed, count, size, length)) {
      for (let region = (slot * size) / 4096; region < (slot * size + size) / 4096; region++) {
        if (before?.isHydrated(region)) continue;
        model.set(destination.subarray(region * 4096, (region + 1) * 4096), region * 4096);
      }
    }
  }
}

async function oursOnFiles(
  [metadataPath, sourcePath, destinationPath]: readonly [string, string, string],
  operations: readonly string[],
): Promise<string[]> {
  const metadata = openFileMetadataDevice(metadataPath, { mode: 'write' });
  const source = await openFileDataDevice(sourcePath, { mode: 'read' });
  const destination = await openFileDataDevice(destinationPath, { mode: 'write' });
  try {
    return await throughOurEngine({ metadata, source, destination }, operations);
  } finally {
    await destination.close();
    await source.close();
    metadata.close();
  }
}
