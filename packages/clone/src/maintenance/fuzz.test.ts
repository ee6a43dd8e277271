/**
 * Images that are damaged at random, with checksums left wrong or made right: nothing may hang, throw anything but a StoreError,
 * call bad metadata good, or take a region for hydrated that is not.
 */
import { BLOCK_SIZE, MemoryMetadataDevice, StoreError } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { type BlockKind, CloneImage, expectSound } from '../../test/clone-image.js';
import { commit, newClone, REGION_SIZE } from '../../test/clones.js';
import { checked, dumped, finish, verdictOf } from '../../test/runs.js';
import { CloneMetadata } from '../metadata/clone-metadata.js';
import { repairClone } from './repair.js';

const NR_RUNS = process.env.PDATA_LONG === '1' ? 20_000 : 300;
const seed = 20_261_128;
const TARGET_SIZE = 70_000 * REGION_SIZE;

/** Three array blocks, several commits. */
const original = (() => {
  const random = seededRandom(seed);
  const { device, metadata } = newClone({ nrBlocks: 48, targetSize: TARGET_SIZE });
  for (let nr = 0; nr < 4; nr++) {
    for (let i = 0; i < 20; i++) {
      const begin = Math.floor(random() * 69_000);
      metadata.setRangeHydrated(begin, begin + 1 + Math.floor(random() * 90));
    }
    commit(metadata);
  }
  metadata.close();
  return new CloneImage(device.bytes);
})();
const HYDRATED = new Set(original.hydrated());
const REACHABLE = original.reachable();

/** The result of `work`, or the StoreError that it threw; any other error fails the test. */
function outcomeOf<T>(work: () => T, about: string): { readonly value?: T; readonly error?: StoreError } {
  try {
    return { value: work() };
  } catch (error) {
    if (error instanceof StoreError) return { error };
    throw new Error(`${about}: ${error}`, { cause: error });
  }
}

const repaired = (image: CloneImage, target: MemoryMetadataDevice) =>
  finish(repairClone(image.device({ readOnly: true }), target, { regionSize: REGION_SIZE, targetSize: TARGET_SIZE }))
    .summary;

describe(`damage at random (seed ${seed})`, () => {
  it('is never clean with one bit flipped in a block in use; a repair marks no region that was not hydrated', () => {
    const random = seededRandom(seed + 1);
    for (let run = 0; run < NR_RUNS / 2; run++) {
      const image = original.copy();
      const blockNr = REACHABLE[Math.floor(random() * REACHABLE.length)] as number;
      const at = Math.floor(random() * BLOCK_SIZE);
      image.block(blockNr)[at] = (image.block(blockNr)[at] as number) ^ (1 << Math.floor(random() * 8));
      const about = `run ${run}: byte ${at} of block ${blockNr}`;
      expect(verdictOf(checked(image)), about).toBe('fatal');
      const target = new MemoryMetadataDevice({ nrBlocks: 48 });
      const { inDoubt } = repaired(image, target);
      const found = new Set(expectSound(target, about).hydrated());
      for (const regionNr of found)
        if (!HYDRATED.has(regionNr)) expect.fail(`${about}: region ${regionNr} was not hydrated`);
      for (const regionNr of HYDRATED) {
        if (found.has(regionNr) || inDoubt.some(({ begin, end }) => regionNr >= begin && regionNr < end)) continue;
        // A search finds an older commit at worst, and says so.
        if (![0, original.bitsetRoot].includes(blockNr)) expect.fail(`${about}: region ${regionNr} was lost silently`);
      }
    }
  });

  it('stays clean with any bytes in a block that is free', () => {
    const random = seededRandom(seed + 2);
    const inUse = new Set(REACHABLE);
    const image = original.copy();
    for (let nr = 0; nr < 48; nr++) {
      if (!inUse.has(nr)) for (let at = 0; at < BLOCK_SIZE; at++) image.block(nr)[at] = Math.floor(random() * 256);
    }
    expect(verdictOf(checked(image))).toBe('clean');
    expect(dumped(image.device()).text).toBe(dumped(original.device()).text);
  });

  it('ends in a verdict and in sound metadata, whatever is changed under right checksums', () => {
    const random = seededRandom(seed + 3);
    const below = (end: number): number => Math.floor(random() * end);
    const verdicts = new Map<string, number>();
    for (let run = 0; run < NR_RUNS; run++) {
      const image = original.copy();
      const about = `run ${run}`;
      for (let i = 0; i < 1 + below(4); i++) {
        const blockNr = REACHABLE[below(REACHABLE.length)] as number;
        const kind = original.kindOf(blockNr) as BlockKind;
        const at = 4 * (1 + below(random() < 0.8 ? 60 : 1023));
        const words = [0, 1, below(48), below(2 ** 16), 2 ** 32 - 1, below(2 ** 32), image.u32(blockNr, at) + 1];
        if (random() < 0.1) image.block(blockNr).set(image.block(REACHABLE[below(REACHABLE.length)] as number));
        else image.put32(blockNr, at, words[below(words.length)] as number);
        image.seal(blockNr, kind);
      }
      const check = checked(image);
      const verdict = verdictOf(check);
      verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
      const dump = outcomeOf(() => dumped(image.device()), about);
      const opened = outcomeOf(() => CloneMetadata.open(image.device({ readOnly: true })), about);
      if (verdict !== 'fatal') {
        expect(dump.value?.summary.nrHydrated, about).toBe(check.summary.nrHydrated);
        expect(opened.value?.nrHydrated, about).toBe(check.summary.nrHydrated);
      }
      const target = new MemoryMetadataDevice({ nrBlocks: 48 });
      const repair = outcomeOf(() => repaired(image, target), about);
      if (repair.value !== undefined) {
        expect(expectSound(target, about).hydrated().length, about).toBe(repair.value.nrHydrated);
        if (dump.value !== undefined) expect(repair.value.nrHydrated, about).toBe(dump.value.summary.nrHydrated);
      } else {
        expect(['ERR_GEOMETRY', 'ERR_UNSUPPORTED_METADATA'], about).toContain(repair.error?.code);
      }
    }
    expect(Object.fromEntries(verdicts)).toMatchObject({ fatal: expect.any(Number), clean: expect.any(Number) });
  });
});
