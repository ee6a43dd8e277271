/**
 * The pool's engine under the crash explorer, metadata and data at one moment: what a volume was flushed to hold it holds, a block
 * that appears was zeroed or copied before, and a snapshot shows what it was taken of, for ever.
 *
 * Each write has a number of its own, which fills its sectors. A crash may leave in a sector what the last flush promised or
 * anything written since, in a volume that was there at one of these moments. Looked at are a few sectors of each block: some that
 * are written, and one that never is, and so has to be zero although the data device was full of something else.
 */
import { NoSpaceError } from '@pdata/persistent-data';
import { type CrashMoment, type CrashSubject, sectorsOf } from '@pdata/testing';
import { checkThin, ThinPool, type ThinVolume } from '@pdata/thin';

export type PoolOperation =
  | { readonly op: 'write'; readonly volume: number; readonly places: readonly number[]; readonly fua: boolean }
  | { readonly op: 'discard' | 'zero'; readonly volume: number; readonly block: number }
  | { readonly op: 'snapshot' | 'delete'; readonly volume: number }
  | { readonly op: 'create' | 'flush' | 'commit' };

/** Thin id → the value of each sector looked at. */
export type Volumes = ReadonlyMap<number, readonly number[]>;

const SECTOR = 512;
export const BLOCK_SECTORS = 128;
const NR_BLOCKS = 3;
export const VOLUME_SIZE = NR_BLOCKS * BLOCK_SECTORS * SECTOR;
/** Fewer than all volumes together may want. */
const NR_DATA_BLOCKS = 9;
const MOST_VOLUMES = 4;
/** Of each block. Nobody writes to the last. */
const LOOKED_AT = [0, 1, 127, 64] as const;
const PER_BLOCK = LOOKED_AT.length;
const NOTHING = new Array<number>(NR_BLOCKS * PER_BLOCK).fill(0);
export const GARBAGE = 0xdddddddd;

const MEDIA = { metadata: { nrBlocks: 64 }, data: { size: NR_DATA_BLOCKS * BLOCK_SECTORS * SECTOR } } as const;
export const OPTIONS = { errorIfNoSpace: true, noSpaceTimeout: 0, commitPeriod: 0, cacheBlocks: 64 } as const;

export const subject: CrashSubject<PoolOperation, typeof MEDIA, Volumes> = {
  name: 'thin-pool',
  media: MEDIA,
  operations,
  async prepare({ metadata, data }) {
    await data.write(0, new Uint8Array(new Uint32Array(data.size / 4).fill(GARBAGE).buffer));
    const pool = await ThinPool.format(metadata, data, { ...OPTIONS, dataBlockSize: BLOCK_SECTORS });
    await pool.createThin(0);
    await pool.close();
  },
  async run(list, { devices: { metadata, data }, begins, promises }) {
    const pool = await ThinPool.open(metadata, data, OPTIONS);
    const run = new PoolRun(pool, begins);
    begins(run.volumes);
    promises(run.volumes);
    for (const operation of list) {
      const isCommitted = await run.apply(operation);
      if (isCommitted) promises(run.volumes);
    }
  },
  async recover({ metadata, data }, { thorough }) {
    if (thorough) for (const { message } of checkThin(metadata)) throw new Error(`the check says: ${message}`);
    const pool = await ThinPool.open(metadata, data, OPTIONS);
    const found = await volumesOf(pool);
    await pool.close();
    return found;
  },
  judge,
};

function operations(random: () => number): PoolOperation[] {
  const pick = (below: number): number => Math.floor(random() * below);
  return Array.from({ length: 10 + pick(10) }, (): PoolOperation => {
    const dice = random();
    const volume = pick(MOST_VOLUMES);
    if (dice < 0.5) {
      const places = Array.from({ length: 1 + pick(3) }, () => pick(NR_BLOCKS) * PER_BLOCK + pick(PER_BLOCK - 1));
      return { op: 'write', volume, places: [...new Set(places)], fua: random() < 0.1 };
    }
    if (dice < 0.6) return { op: 'discard', volume, block: pick(NR_BLOCKS) };
    if (dice < 0.64) return { op: 'zero', volume, block: pick(NR_BLOCKS) };
    if (dice < 0.74) return { op: 'snapshot', volume };
    if (dice < 0.79) return { op: 'delete', volume };
    if (dice < 0.82) return { op: 'create' };
    return { op: random() < 0.5 ? 'flush' : 'commit' };
  });
}

/** Offset of a place in its volume. */
export function offsetOf(place: number): number {
  return (Math.floor(place / PER_BLOCK) * BLOCK_SECTORS + (LOOKED_AT[place % PER_BLOCK] as number)) * SECTOR;
}

/** What every volume shows. */
export async function volumesOf(pool: ThinPool): Promise<Volumes> {
  const found = new Map<number, number[]>();
  for (const { thinId } of [...pool.thins()]) {
    const volume = await pool.openVolume(thinId, { size: VOLUME_SIZE });
    found.set(thinId, await valuesOf(volume));
    await volume.close();
  }
  return found;
}

async function valuesOf(volume: ThinVolume): Promise<number[]> {
  const values: number[] = [];
  const sector = new Uint32Array(SECTOR / 4);
  const bytes = new Uint8Array(sector.buffer);
  for (let place = 0; place < NR_BLOCKS * PER_BLOCK; place++) {
    await volume.read(offsetOf(place), bytes);
    const [value = 0, ...others] = sector;
    if (others.some((other) => other !== value))
      throw new Error(`volume ${volume.name} has a torn sector at ${offsetOf(place)}`);
    values.push(value);
  }
  return values;
}

class PoolRun {
  volumes: Volumes = new Map([[0, NOTHING]]);
  readonly #pool: ThinPool;
  readonly #begins: (state: Volumes) => void;
  readonly #opened = new Map<number, ThinVolume>();
  #nextId = 1;
  #nextValue = 1;

  constructor(pool: ThinPool, begins: (state: Volumes) => void) {
    this.#pool = pool;
    this.#begins = begins;
  }

  /** Whether all that was done up to here is durable now. */
  async apply(operation: PoolOperation): Promise<boolean> {
    const ids = [...this.volumes.keys()];
    switch (operation.op) {
      case 'create': {
        if (ids.length >= MOST_VOLUMES) return false;
        const thinId = this.#nextId++;
        this.#put(thinId, NOTHING);
        await this.#pool.createThin(thinId);
        return true;
      }
      case 'commit':
        await this.#pool.commit();
        return true;
      case 'flush':
        // A flush promises what was written to its own volume.
        await Promise.all([...this.#opened.values()].map((volume) => volume.flush()));
        return true;
      default:
        if (ids.length === 0) return false;
        return await this.#applyTo(ids[operation.volume % ids.length] as number, operation);
    }
  }

  async #applyTo(
    thinId: number,
    operation: Exclude<PoolOperation, { op: 'create' | 'flush' | 'commit' }>,
  ): Promise<boolean> {
    const before = this.volumes.get(thinId) ?? NOTHING;
    switch (operation.op) {
      case 'snapshot': {
        if (this.volumes.size >= MOST_VOLUMES) return false;
        const snapshotId = this.#nextId++;
        this.#put(snapshotId, before);
        await this.#pool.createSnapshot(snapshotId, thinId);
        return true;
      }
      case 'delete': {
        if (this.volumes.size === 1) return false;
        await this.#opened.get(thinId)?.close();
        this.#opened.delete(thinId);
        this.#begin(new Map([...this.volumes].filter(([id]) => id !== thinId)));
        await this.#pool.deleteThin(thinId);
        return true;
      }
      case 'write':
        await this.#write(thinId, operation.places, operation.fua);
        return false; // force unit access makes this one write durable, and what was before it in no case less
      case 'discard':
      case 'zero': {
        const volume = await this.#volume(thinId);
        const at = operation.block * BLOCK_SECTORS * SECTOR;
        const length = BLOCK_SECTORS * SECTOR;
        this.#put(
          thinId,
          before.map((value, place) => (Math.floor(place / PER_BLOCK) === operation.block ? 0 : value)),
        );
        if (operation.op === 'discard') await volume.discard(at, length);
        else await volume.writeZeroes(at, length);
        return false;
      }
    }
  }

  /** All at once. What finds no space is not there, or was before. */
  async #write(thinId: number, places: readonly number[], fua: boolean): Promise<void> {
    const volume = await this.#volume(thinId);
    const before = (this.volumes.get(thinId) ?? NOTHING).slice();
    const values = before.slice();
    for (const place of places) values[place] = this.#nextValue++;
    this.#put(thinId, values);
    const done = await Promise.allSettled(
      places.map((place) => volume.write(offsetOf(place), sectorsOf(values[place] as number, 1), { fua })),
    );
    const landed = values.slice();
    done.forEach((result, index) => {
      if (result.status === 'fulfilled') return;
      if (!(result.reason instanceof NoSpaceError)) throw result.reason;
      const place = places[index] as number;
      landed[place] = before[place] as number;
    });
    if (done.some(({ status }) => status === 'rejected')) this.#put(thinId, landed);
  }

  async #volume(thinId: number): Promise<ThinVolume> {
    const volume = this.#opened.get(thinId) ?? (await this.#pool.openVolume(thinId, { size: VOLUME_SIZE }));
    this.#opened.set(thinId, volume);
    return volume;
  }

  #put(thinId: number, values: readonly number[]): void {
    this.#begin(new Map(this.volumes).set(thinId, values));
  }

  #begin(volumes: Volumes): void {
    this.volumes = volumes;
    this.#begins(volumes);
  }
}

function judge(found: Volumes, { promised, begun }: CrashMoment<Volumes>): string | undefined {
  const allowed = [promised, ...begun];
  const ids = [...found.keys()].join(' ');
  const alike = allowed.filter((volumes) => [...volumes.keys()].sort((a, b) => a - b).join(' ') === ids);
  if (alike.length === 0)
    return `there are volumes ${ids || 'none'}; allowed: ${allowed.map((v) => [...v.keys()].join(' ')).join(', or ')}`;
  for (const [thinId, values] of found) {
    for (const [place, value] of values.entries()) {
      const may = new Set(allowed.flatMap((volumes) => volumes.get(thinId)?.[place] ?? []));
      if (!may.has(value))
        return `volume ${thinId} has ${value} at byte ${offsetOf(place)}; allowed: ${[...may].join(', ')}`;
    }
  }
  return undefined;
}
