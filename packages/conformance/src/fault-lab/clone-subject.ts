/**
 * A clone under the crash explorer, metadata and destination at one moment: what was flushed is there, and a region that the metadata
 * calls hydrated holds what the source holds, although the destination was full of something else.
 */

import { CloneDevice, checkClone } from '@pdata/clone';
import { MemoryDataDevice, SECTOR_SIZE } from '@pdata/device';
import { type CrashSubject, sectorsOf, valuesIn } from '@pdata/testing';
import { ANYTHING, judgeSectors, type SectorState } from './sector-states.js';

export type CloneOperation =
  | { readonly op: 'write'; readonly sector: number; readonly length: number; readonly fua: boolean }
  | { readonly op: 'discard' | 'zero'; readonly sector: number; readonly length: number }
  /** Background hydration gets so many turns of the event loop. */
  | { readonly op: 'hydrate'; readonly turns: number }
  | { readonly op: 'flush' };

export const REGION_SECTORS = 8;
const NR_REGIONS = 12;
/** Not whole regions. */
export const NR_SECTORS = NR_REGIONS * REGION_SECTORS - 3;
export const SIZE = NR_SECTORS * SECTOR_SIZE;
/** What a sector of the source holds, less its number. */
const OF_SOURCE = 1_000_000;
export const GARBAGE = 0xdddddddd;
const MOST_TURNS = 1000;

/** Hydration goes on while something is flushed. */
const FLUSH_TURNS = 8;
export const MEDIA = {
  metadata: { nrBlocks: 32, flushTurns: FLUSH_TURNS },
  destination: { size: SIZE, flushTurns: FLUSH_TURNS },
} as const;
const SOURCE_STATE: SectorState = Array.from({ length: NR_SECTORS }, (_, sector) => OF_SOURCE + sector);
export const OPTIONS = {
  regionSize: REGION_SECTORS,
  noHydration: true,
  commitPeriod: 0,
  hydrationThreshold: 2,
  hydrationBatchSize: 2,
} as const;

function source(): MemoryDataDevice {
  const words = new Uint32Array(SIZE / 4).map((_, word) => OF_SOURCE + Math.floor((4 * word) / SECTOR_SIZE));
  return new MemoryDataDevice({ name: 'source', bytes: new Uint8Array(words.buffer), readOnly: true });
}
export const SOURCE = source();

export const subject: CrashSubject<CloneOperation, typeof MEDIA, SectorState> = {
  name: 'clone',
  media: MEDIA,
  operations,
  async prepare({ metadata, destination }) {
    await destination.write(0, sectorsOf(GARBAGE, NR_SECTORS));
    const clone = await CloneDevice.format(metadata, { source: SOURCE, destination }, OPTIONS);
    await clone.close();
  },
  async run(list, { devices: { metadata, destination }, begins, promises }) {
    const clone = await CloneDevice.open(metadata, { source: SOURCE, destination }, OPTIONS);
    let state = SOURCE_STATE;
    let nextValue = 1;
    const change = (begin: number, end: number, value: number): void => {
      state = state.map((old, sector) => (sector >= begin && sector < end ? value : old));
      begins(state);
    };
    begins(state);
    promises(state);
    for (const operation of list) {
      switch (operation.op) {
        case 'write': {
          const { sector, length, fua } = operation;
          const value = nextValue++;
          change(sector, sector + length, value);
          await clone.write(sector * SECTOR_SIZE, sectorsOf(value, length), { fua });
          break;
        }
        case 'zero':
          change(operation.sector, operation.sector + operation.length, 0);
          await clone.writeZeroes(operation.sector * SECTOR_SIZE, operation.length * SECTOR_SIZE);
          break;
        case 'discard': {
          const first = Math.ceil(operation.sector / REGION_SECTORS) * REGION_SECTORS;
          const last = Math.floor((operation.sector + operation.length) / REGION_SECTORS) * REGION_SECTORS;
          change(first, last, ANYTHING);
          await clone.discard(operation.sector * SECTOR_SIZE, operation.length * SECTOR_SIZE);
          break;
        }
        case 'hydrate':
          clone.enableHydration();
          for (let turn = 0; turn < operation.turns; turn++) await undefined;
          clone.disableHydration();
          break;
        case 'flush':
          await clone.flush();
          promises(state);
      }
    }
  },
  async recover({ metadata, destination }, { thorough }) {
    for (const { message } of checkClone(metadata)) throw new Error(`the check says: ${message}`);
    const clone = await CloneDevice.open(metadata, { source: SOURCE, destination }, OPTIONS);
    const bytes = new Uint8Array(SIZE);
    await clone.read(0, bytes);
    const found = valuesIn(bytes);
    if (thorough) await finish(clone, destination, found);
    await clone.close();
    return found;
  },
  judge: judgeSectors,
};

/** Copies the rest: nothing that can be read may change by it, and the destination alone is the device then. */
async function finish(
  clone: CloneDevice,
  destination: { read(offset: number, into: Uint8Array): Promise<void> },
  found: SectorState,
): Promise<void> {
  clone.enableHydration();
  for (let turn = 0; !clone.isComplete; turn++) {
    if (turn > MOST_TURNS) throw new Error('hydration does not end');
    await new Promise((resolve) => setImmediate(resolve));
    await clone.flush();
  }
  const bytes = new Uint8Array(SIZE);
  await destination.read(0, bytes);
  const copied = valuesIn(bytes);
  const sector = copied.findIndex((value, index) => value !== found[index]);
  if (sector >= 0)
    throw new Error(
      `sector ${sector} was ${found[sector]} after the crash, and is ${copied[sector]} when all is copied`,
    );
}

function operations(random: () => number): CloneOperation[] {
  const pick = (below: number): number => Math.floor(random() * below);
  return Array.from({ length: 10 + pick(12) }, (): CloneOperation => {
    const dice = random();
    const sector = pick(NR_SECTORS);
    const range = { sector, length: Math.min(NR_SECTORS - sector, 1 + pick(dice < 0.2 ? 24 : 4)) };
    if (dice < 0.45) return { op: 'write', ...range, fua: random() < 0.1 };
    if (dice < 0.53)
      return {
        op: 'discard',
        sector: sector - (sector % REGION_SECTORS),
        length: Math.min(NR_SECTORS - sector + (sector % REGION_SECTORS), 16),
      };
    if (dice < 0.57) return { op: 'zero', ...range };
    if (dice < 0.75) return { op: 'hydrate', turns: 1 + pick(60) };
    return { op: 'flush' };
  });
}
