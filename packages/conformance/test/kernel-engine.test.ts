/**
 * The same random operations through the kernel's thin-pool target and through our engine: what each message answers, every
 * status line, every volume's content and every mapping must be the same.
 *
 * Data blocks are compared by what they are to each other, not by number: the kernel also commits by a timer, and after a
 * commit both look for free blocks from the beginning.
 */
import { createHash } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { MemoryDataDevice, MemoryMetadataDevice } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { PoolMessageError, ThinMetadata, ThinPool, type ThinVolume } from '@pdata/thin';
import { describe, expect, it } from 'vitest';
import { written } from '../src/iogen.js';
import { requireKernel, runGuest } from '../src/kernel.js';
import { runsLong } from '../src/nbd-tools.js';
import { openScratch } from '../src/scratch.js';

const SECTOR = 512;
const NR_METADATA_BLOCKS = 1024;
const POOL_SECTORS = 524_288; // 256 MiB
const VOLUME_SECTORS = 32_768; // 16 MiB
const DATA_BLOCK_SIZE = 128;

/** One in every run; with PDATA_LONG=1 twenty. */
const SEEDS = Array.from({ length: runsLong() ? 20 : 1 }, (_, nr) => 20261120 + nr);

/** Lines of guests/engine-twin.sh: plausible work on up to five volumes, and requests that make no sense. */
function operations(seed: number): string[] {
  const random = seededRandom(seed);
  const below = (nr: number): number => Math.floor(random() * nr);
  const open = new Set<number>();
  const lines: string[] = ['message create_thin 0', 'open 0', 'write 0 1 40 65536', 'write 0 2 40 4096'];
  open.add(0);
  let nextId = 1;
  const one = (): number => [...open][below(open.size)] as number;
  for (let i = 3; i < 70; i++) {
    const what = below(20);
    if (what < 7) lines.push(`write ${one()} ${i} ${1 + below(12)} ${[4096, 12_288, 65_536, 262_144][below(4)]}`);
    else if (what < 11) lines.push(`discard ${one()} ${i} ${1 + below(4)} ${[65_536, 163_840, 524_288][below(3)]}`);
    else if (what < 14 && open.size < 5) {
      lines.push(`message create_snap ${nextId} ${one()}`, `open ${nextId}`);
      open.add(nextId++);
    } else if (what < 15 && open.size > 2) {
      const id = one();
      lines.push(`message delete ${id}`, `close ${id}`, `message Delete ${id}`, `message delete ${id}`);
      open.delete(id);
    } else if (what === 15) lines.push('message reserve_metadata_snap', 'message reserve_metadata_snap');
    else if (what === 16) lines.push('message release_metadata_snap', 'message release_metadata_snap');
    else if (what === 17) lines.push(`message set_transaction_id ${below(2)} ${below(3)}`);
    else if (what === 18) lines.push(`message ${SENSELESS[below(SENSELESS.length)]}`);
    else lines.push('status');
  }
  return [...lines, ...SENSELESS.map((line) => `message ${line}`), 'status'];
}

/** Volumes that are opened and not closed. */
function openAtTheEnd(lines: readonly string[]): number[] {
  const open = new Set<number>();
  for (const line of lines) {
    const [what, id] = line.split(' ');
    if (what === 'open') open.add(Number(id));
    else if (what === 'close') open.delete(Number(id));
  }
  return [...open];
}

const SENSELESS = [
  'create_thin 0',
  'create_thin',
  'create_thin x',
  'create_thin 16777216',
  'create_thin 1 2',
  'create_snap 900 901',
  'create_snap 0 1',
  'create_snap 900 -1',
  'delete 902',
  'DELETE',
  'set_transaction_id 77 78',
  'set_transaction_id a 1',
  'set_transaction_id 0 b',
  'create_thick 1',
  'release_metadata_snap now',
];

/** How dmsetup words an errno. */
const IN_WORDS: Readonly<Record<string, string>> = {
  EINVAL: 'Invalid argument',
  EEXIST: 'File exists',
  ENODATA: 'No data available',
  EBUSY: 'Device or resource busy',
  EOPNOTSUPP: 'Operation not supported',
  ENOSPC: 'No space left on device',
};

interface Outcome {
  readonly messages: readonly string[];
  readonly log: readonly string[];
  readonly status: readonly string[];
  readonly sums: ReadonlyMap<number, string>;
  readonly metadata: Uint8Array;
}

/** What guests/engine-twin.sh does, with our engine. */
async function throughOurEngine(lines: readonly string[]): Promise<Outcome> {
  const metadata = new MemoryMetadataDevice({ nrBlocks: NR_METADATA_BLOCKS });
  const data = new MemoryDataDevice({ size: POOL_SECTORS * SECTOR });
  const pool = await ThinPool.format(metadata, data, { dataBlockSize: DATA_BLOCK_SIZE });
  const open = new Map<number, ThinVolume>();
  const volumeOf = (id: string | undefined): ThinVolume => open.get(Number(id)) as ThinVolume;
  const [messages, log, status]: [string[], string[], string[]] = [[], [], []];
  for (const line of lines) {
    const [what, id, ...rest] = line.split(' ');
    const [seed, count, size] = rest.map(Number) as [number, number, number];
    if (what === 'message') {
      try {
        await pool.message(line.slice('message '.length));
        messages.push('OK');
      } catch (error) {
        if (!(error instanceof PoolMessageError)) throw error;
        messages.push(`ERROR ${IN_WORDS[error.errno]}`);
        log.push(...error.log);
      }
    } else if (what === 'open')
      open.set(Number(id), await pool.openVolume(Number(id), { size: VOLUME_SECTORS * SECTOR }));
    else if (what === 'close') {
      await volumeOf(id).close();
      open.delete(Number(id));
    } else if (what === 'status') {
      status.push(`pool: 0 ${POOL_SECTORS} thin-pool ${pool.statusLine()}`);
      for (const [thinId, volume] of [...open].sort(([a], [b]) => (`v${a}:` < `v${b}:` ? -1 : 1)))
        status.push(`v${thinId}: 0 ${VOLUME_SECTORS} thin ${volume.statusLine()}`);
    } else {
      const volume = volumeOf(id);
      for (const { offset, bytes } of written(seed, count, size, volume.size)) {
        if (what === 'write') await volume.write(offset, bytes);
        else await volume.discard(offset, size);
      }
      await volume.flush();
    }
  }
  const sums = new Map<number, string>();
  for (const [thinId, volume] of open) {
    const bytes = new Uint8Array(volume.size);
    await volume.read(0, bytes);
    sums.set(thinId, createHash('sha256').update(bytes).digest('hex'));
    await volume.close();
  }
  await pool.close();
  return { messages, log, status, sums, metadata: metadata.bytes };
}

/** Every device with its record and its mappings; data blocks numbered in the order in which they are first met. */
function shown(bytes: Uint8Array): object {
  const metadata = ThinMetadata.open(new MemoryMetadataDevice({ bytes, readOnly: true }));
  const numbers = new Map<number, number>();
  const numberOf = (dataBlock: number): number => {
    if (!numbers.has(dataBlock)) numbers.set(dataBlock, numbers.size);
    return numbers.get(dataBlock) as number;
  };
  const devices = Array.from(metadata.devices(), ({ thinId, details }) => ({
    thinId,
    details,
    mappings: Array.from(metadata.mappedRanges(thinId)).flatMap(({ begin, end }) =>
      Array.from({ length: end - begin }, (_, i) => {
        const mapping = metadata.find(thinId, begin + i);
        return `${begin + i} ${numberOf(mapping?.dataBlock ?? -1)} ${mapping?.time} ${mapping?.shared}`;
      }),
    ),
  }));
  const { time, transactionId, nrDataBlocks, nrFreeDataBlocks, nrFreeMetadataBlocks, heldRoot } = metadata;
  const held = heldRoot !== undefined;
  return { devices, time, transactionId, nrDataBlocks, nrFreeDataBlocks, nrFreeMetadataBlocks, held };
}

describe.runIf(requireKernel())('beside the kernel', () => {
  it.each(SEEDS)(
    'the engine answers, reports, maps and stores the same (seed %i)',
    { timeout: 900_000 },
    async (seed) => {
      const lines = operations(seed);
      expect(lines.length).toBeGreaterThan(90);
      using scratch = openScratch();
      const [metadata, data] = [scratch.path('metadata.img'), scratch.path('data.img')];
      writeFileSync(metadata, '');
      truncateSync(metadata, NR_METADATA_BLOCKS * 4096);
      writeFileSync(data, '');
      truncateSync(data, POOL_SECTORS * SECTOR);
      const { all, sums } = await runGuest({
        guest: 'engine-twin',
        disks: [metadata, data],
        env: { POOL_SECTORS, VOLUME_SECTORS, FEATURES: '', OPERATIONS: lines.join('\n') },
      });
      const ours = await throughOurEngine(lines);

      expect(ours.messages).toEqual(all('message'));
      expect(new Set(ours.messages).size).toBeGreaterThan(4);
      expect(ours.log).toEqual(all('log'));
      expect(withoutHeldRoot(ours.status)).toEqual(withoutHeldRoot(all('status')));
      expect(ours.sums).toEqual(sums);
      expect([...ours.sums.keys()].sort()).toEqual(openAtTheEnd(lines).sort());
      expect(shown(ours.metadata)).toEqual(shown(new Uint8Array(readFileSync(metadata))));
    },
  );
});

/** Which block the metadata snapshot is at depends on when commits happened. */
const withoutHeldRoot = (lines: readonly string[]): string[] =>
  lines.map((line) => line.trimEnd().replace(/^(pool: .* thin-pool \d+ \S+ \S+) \d+ /, '$1 HELD '));
