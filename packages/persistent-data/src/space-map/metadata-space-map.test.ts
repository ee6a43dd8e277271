import { InvariantError } from '@pdata/device';
import { SparseMetadataDevice, seededRandom } from '@pdata/testing';
import { describe, expect, it, vi } from 'vitest';
import { auditIndexBlock } from '../../test/audit.js';
import { SmallTarget, superblockValidator } from '../../test/small-target.js';
import { itBehavesLikeASpaceMap } from '../../test/space-map-contract.js';
import { MetadataMapUnderTest } from '../../test/space-maps-under-test.js';
import { BTree } from '../btree/tree.js';
import { NoSpaceError } from '../transaction/errors.js';
import { BitmapCounts, refCountType } from './bitmap-counts.js';
import { MAX_METADATA_BLOCKS, MetadataSpaceMap } from './metadata-space-map.js';
import { createTransactionManager } from './open.js';

itBehavesLikeASpaceMap((nrBlocks) => new MetadataMapUnderTest(nrBlocks));

const mapOf = (target: SmallTarget): MetadataSpaceMap => target.tm.spaceMap as MetadataSpaceMap;

/** Two bits each for 16 320 blocks (4096 - 16 bytes), 255 bitmaps at most: docs/format/space-maps.md, section 7. */
describe('creating', () => {
  it.each([
    { nrBlocks: 8, bitmaps: [3] },
    { nrBlocks: 2048, bitmaps: [3] },
    { nrBlocks: 16_320, bitmaps: [3] },
    { nrBlocks: 16_321, bitmaps: [3, 4] },
    { nrBlocks: 51_200, bitmaps: [3, 4, 5, 6] },
    { nrBlocks: 4_161_600, bitmaps: Array.from({ length: 255 }, (_, i) => 3 + i) },
    { nrBlocks: 4_161_601, bitmaps: Array.from({ length: 255 }, (_, i) => 3 + i) },
    { nrBlocks: 4_456_448, bitmaps: Array.from({ length: 255 }, (_, i) => 3 + i) }, // 17 GiB
  ])('lays $nrBlocks blocks out as the kernel does', ({ nrBlocks, bitmaps }) => {
    const under = new MetadataMapUnderTest(nrBlocks);
    const map = mapOf(under.target);
    const nrUsed = 3 + bitmaps.length; // superblock, index, reference-count tree
    expect(map.root).toEqual({
      nrBlocks: Math.min(nrBlocks, 4_161_600),
      nrAllocated: nrUsed,
      bitmapRoot: 1,
      refCountRoot: 2,
    });
    expect(map.bitmaps.map(({ blockNr }) => blockNr)).toEqual(bitmaps);
    expect(map.bitmaps.map(({ nrFree }) => nrFree)).toEqual(bitmaps.map((_, i) => 16_320 - (i === 0 ? nrUsed : 0)));
    expect(map.bitmaps.map(({ noneFreeBefore }) => noneFreeBefore)).toEqual(
      bitmaps.map((_, i) => (i === 0 ? nrUsed : 0)),
    );
    under.audit(new Map());
    expect(map.nrFree).toBe(map.nrBlocks - nrUsed);
    expect(under.device.blocks.size).toBe(nrUsed);
  });

  it('counts 2 048 blocks with 8 in use as 16 312 free entries: those behind the end are free, too', () => {
    const under = new MetadataMapUnderTest(2048);
    for (let i = 0; i < 4; i++) under.map.newBlock();
    expect(mapOf(under.target).bitmaps[0]?.nrFree).toBe(16_312);
  });

  it.each([1, 2, 3])('fails for want of space on %d blocks', (nrBlocks) => {
    expect(() => createTransactionManager(new SparseMetadataDevice(nrBlocks))).toThrow(NoSpaceError);
  });

  it('knows how many blocks are free before the first commit', () => {
    const { spaceMap } = createTransactionManager(new SparseMetadataDevice(100));
    expect(spaceMap.nrFree).toBe(96);
    for (let i = 0; i < 10; i++) spaceMap.newBlock();
    expect(spaceMap.nrFree).toBe(86);
  });
});

describe('growing', () => {
  it('from 15 360 to 51 200 blocks puts every block where the kernel puts it', () => {
    const under = new MetadataMapUnderTest(15_360);
    under.extend(51_200 - 15_360);
    under.commit();
    const map = mapOf(under.target);
    expect(map.bitmaps.map(({ blockNr }) => blockNr)).toEqual([15_363, 15_360, 15_361, 15_362]);
    expect(map.root).toEqual({ nrBlocks: 51_200, nrAllocated: 7, bitmapRoot: 15_364, refCountRoot: 2 });
    expect([1, 3].map((nr) => map.count(nr))).toEqual([0, 0]);
    under.audit(new Map());
  });

  // Dropped count changes of bootstrap mode leaked blocks: 6096d91a.
  it('block by block leaks nothing', () => {
    const under = new MetadataMapUnderTest(8);
    const ours = new Map<number, number>();
    for (let nrBlocks = 9; nrBlocks < 120; nrBlocks++) {
      under.extend(1);
      expect(mapOf(under.target).nrBlocks).toBe(nrBlocks);
      if (nrBlocks % 3 === 0 && under.map.nrFree > 8) ours.set(under.map.newBlock(), 1);
      under.commit();
      under.audit(ours);
    }
  });

  it.each([4, 5, 6, 7, 100, 16_320])('across the border of a bitmap in steps of %d leaks nothing', (step) => {
    for (const border of [16_320, 32_640]) {
      const under = new MetadataMapUnderTest(border - 4);
      const ours = new Map<number, number>();
      for (let i = 0; i < 5; i++) {
        under.extend(step);
        under.commit();
        under.audit(ours);
        ours.set(under.map.newBlock(), 1);
      }
    }
  });

  it.each([1, 2, 3])(
    'across the border by %d is refused: the new blocks must hold the new bitmap, and copies',
    (step) => {
      const under = new MetadataMapUnderTest(16_320);
      const ours = new Map([[under.map.newBlock(), 1]]);
      under.commit();
      try {
        under.extend(step);
        under.commit();
        expect(step).toBe(3);
      } catch (error) {
        expect(error).toBeInstanceOf(NoSpaceError);
        expect(String(error)).toContain('adds too few to hold the bitmaps');
        under.abort();
        expect(under.map.nrBlocks).toBe(16_320);
        under.extend(10);
        under.commit();
      }
      under.audit(ours);
    },
  );

  it('several times in one transaction, among other changes, leaks nothing, and nothing before the commit', () => {
    const random = seededRandom(6096);
    for (let round = 0; round < 10; round++) {
      const under = new MetadataMapUnderTest(16_300 + Math.floor(random() * 20));
      const ours = new Map<number, number>();
      for (let i = 0; i < 20; i++) ours.set(under.map.newBlock(), 1);
      under.commit();
      const committed = new Map(ours);
      for (let i = 0; i < 4; i++) {
        for (let j = Math.floor(random() * 5); j > 0; j--) ours.set(under.map.newBlock(), 1);
        for (const nr of [...ours.keys()].slice(0, 3)) {
          under.map.inc(nr);
          ours.set(nr, (ours.get(nr) as number) + 1);
        }
        under.extend(1 + Math.floor(random() * 40));
      }
      under.auditAfterCrash(committed);
      under.commit();
      under.audit(ours);
    }
  });

  it('gives a full map room again', () => {
    const under = new MetadataMapUnderTest(60);
    const ours = new Map<number, number>();
    while (under.map.nrFree > 2) ours.set(under.map.newBlock(), 1);
    under.commit();
    under.extend(40);
    expect(under.map.nrFree).toBeGreaterThanOrEqual(0);
    for (let i = 0; i < 30; i++) {
      ours.set(under.map.newBlock(), 1);
      expect(under.map.nrFree, `after ${i + 1} more`).toBeGreaterThanOrEqual(0);
    }
    under.commit();
    under.audit(ours);
  });

  it('stops at 255 bitmaps, and at the end of the device', () => {
    const under = new MetadataMapUnderTest(4_161_590);
    expect(() => under.extend(11)).toThrow('a metadata device has at most 4161600 usable blocks, not 4161601');
    under.map.extend(10);
    under.commit();
    expect(mapOf(under.target).nrBlocks).toBe(MAX_METADATA_BLOCKS);
    under.audit(new Map());
    const small = new MetadataMapUnderTest(100);
    expect(() => small.map.extend(1)).toThrow('the device has 100 blocks, fewer than 101');
    small.commit();
    small.audit(new Map());
  });
});

describe('allocating', () => {
  it('never hands out a block whose counting is still pending, when the search wraps in a nearly full map', () => {
    for (let nrLeft = 0; nrLeft < 12; nrLeft++) {
      const under = new MetadataMapUnderTest(64);
      const ours = new Map<number, number>();
      while (under.map.nrFree > nrLeft + 6) ours.set(under.map.newBlock(), 1);
      under.commit();
      // Each transaction needs a bitmap of its own before its first block: from the same few blocks.
      for (let round = 0; round < 12; round++) {
        const taken: number[] = [];
        try {
          for (let i = 0; i < 4; i++) {
            const nr = under.map.newBlock();
            expect(ours.has(nr) || taken.includes(nr), `block ${nr} handed out twice`).toBe(false);
            taken.push(nr);
          }
          for (const nr of taken) under.map.dec(nr);
          under.commit();
          under.audit(ours);
        } catch (error) {
          if (!(error instanceof NoSpaceError)) throw error;
          under.abort();
          under.auditAfterCrash(ours);
        }
      }
    }
  });

  it('does not take for its own bitmap the very block it is about to hand out', () => {
    // Two bitmaps. Of the second, not yet copied in this transaction, one block is free, and it is the last of all.
    const under = new MetadataMapUnderTest(16_330);
    const ours = new Map<number, number>();
    const free = (): number[] =>
      Array.from({ length: 16_330 }, (_, nr) => nr).filter((nr) => under.map.count(nr) === 0);
    for (let round = 0; round < 6; round++) {
      under.target.abort(); // the search starts at 0 again, so that copies come to lie there
      const nrsFree = free();
      const keep = new Set([...nrsFree.filter((nr) => nr < 16_320).slice(0, 12), nrsFree.find((nr) => nr >= 16_320)]);
      if (round === 0) for (let nr = 16_320; nr < 16_330; nr++) keep.add(nr);
      for (const nr of nrsFree) {
        if (keep.has(nr)) continue;
        under.map.setCount(nr, 1);
        ours.set(nr, 1);
      }
      under.commit();
    }
    under.audit(ours);
    under.target.abort();
    expect(free().filter((nr) => nr >= 16_320).length).toBe(1);
    const taken: number[] = [];
    expect(() => {
      for (;;) taken.push(under.map.newBlock());
    }).toThrow(NoSpaceError);
    expect(taken.length).toBeGreaterThan(5);
    const own = mapOf(under.target).bitmaps.map(({ blockNr }) => blockNr);
    for (const nr of taken) expect(own, `block ${nr} is a bitmap, and was handed out`).not.toContain(nr);
    under.abort();
    under.auditAfterCrash(ours);
  });

  it('of the last free block fails: counting it needs another for the bitmap', () => {
    const under = new MetadataMapUnderTest(20);
    const ours = new Map<number, number>();
    while (under.map.nrFree > 3) ours.set(under.map.newBlock(), 1);
    under.commit();
    const { nrFree } = under.map; // one more than before the commit: the old bitmap
    expect(nrFree).toBe(4);
    ours.set(under.map.newBlock(), 1);
    expect(() => {
      for (;;) ours.set(under.map.newBlock(), 1);
    }).toThrow(NoSpaceError);
    expect(() => under.commit()).toThrow(NoSpaceError); // nor is there one for the index
    under.abort();
    expect(under.map.nrFree).toBe(nrFree);
  });

  it('goes on behind the block it handed out last, over a commit; from the start after an abort', () => {
    const under = new MetadataMapUnderTest(1000);
    const first = under.map.newBlock();
    under.map.dec(first);
    const second = under.map.newBlock();
    expect(second).toBeGreaterThan(first);
    under.commit();
    const third = under.map.newBlock();
    expect(third).toBeGreaterThan(second);
    under.abort();
    expect(under.map.newBlock()).toBeLessThan(third);
  });

  it('finds free blocks in spite of hints that a foreign tool left wrong', () => {
    const under = new MetadataMapUnderTest(50);
    for (const state of mapOf(under.target).bitmaps as readonly { nrFree: number; noneFreeBefore: number }[]) {
      state.nrFree = 0;
      state.noneFreeBefore = 40;
    }
    const ours = new Set<number>();
    for (let i = 0; i < 30; i++) ours.add(under.map.newBlock());
    expect(ours.size).toBe(30);
  });
});

describe('settling', () => {
  it('allocates no more blocks than nrBlocksToSettle says, whichever bitmaps were touched', () => {
    const random = seededRandom(5);
    const seen = new Set<number>();
    const device = new SparseMetadataDevice(80_000); // 5 bitmaps
    const target = SmallTarget.format(device);
    for (let round = 0; round < 120; round++) {
      const { spaceMap } = target.tm;
      for (let i = Math.floor(random() * 4); i > 0; i--) {
        const nr = 30 + Math.floor(random() * 79_000);
        if (spaceMap.count(nr) === 0) spaceMap.setCount(nr, 1 + Math.floor(random() * 4));
        else spaceMap.inc(nr);
      }
      if (random() < 0.3) spaceMap.newBlock();
      const most = spaceMap.nrBlocksToSettle;
      const before = spaceMap.nrFree;
      target.tm.preCommit();
      const allocated = before - spaceMap.nrFree;
      expect(allocated).toBeLessThanOrEqual(most);
      seen.add(allocated);
      target.tm.commit(superblockValidator, () => {});
    }
    expect(Math.max(...seen)).toBeGreaterThan(0);
    expect(seen).toContain(0);
  });
});

describe('the threshold', () => {
  it('is told once when it is reached, and again only after there was more free', () => {
    const under = new MetadataMapUnderTest(200);
    const told: number[] = [];
    const { spaceMap } = under.target.tm;
    spaceMap.setThreshold(100, () => told.push(spaceMap.nrFree));
    const ours: number[] = [];
    while (under.map.nrFree > 101) ours.push(under.map.newBlock());
    expect(told).toEqual([]);
    ours.push(under.map.newBlock());
    expect(told).toEqual([100]);
    for (let i = 0; i < 20; i++) ours.push(under.map.newBlock());
    under.commit();
    for (let i = 0; i < 20; i++) ours.push(under.map.newBlock());
    expect(told).toEqual([100]);
    for (const nr of ours.splice(-80)) under.map.dec(nr);
    under.commit();
    expect(under.map.nrFree).toBeGreaterThan(100);
    while (under.map.nrFree > 101) ours.push(under.map.newBlock());
    expect(told).toEqual([100]);
    ours.push(under.map.newBlock());
    expect(told.length).toBe(2);
  });
});

/**
 * Why first in, first out. Giving up a reference to a block with a count of 3 removes it from the reference-count tree. The
 * removal shadows two sibling leaves, and merges them:
 *
 *   shadow L to L'     inc L'   dec L
 *   shadow R to R'     inc R'   dec R
 *   merge R' into L'   dec R'
 *
 * In this order R' goes 0 → 1 → 0. Newest first, `dec R'` comes before `inc R'`, on a block whose count is 0. The kernel's
 * stack did that; its pools went read-only (cebc2de4, docs/format/space-maps.md, section 5.1).
 */
describe('changes that arrive while the map is being changed', () => {
  /** More blocks with a count of exactly 3 than a leaf of the reference-count tree holds: 336. */
  const withManyThrees = (nr: number): { under: MetadataMapUnderTest; ours: Map<number, number> } => {
    const under = new MetadataMapUnderTest(4000);
    const ours = new Map<number, number>();
    for (let i = 0; i < nr; i++) {
      const block = under.map.newBlock();
      under.map.inc(block);
      under.map.inc(block);
      ours.set(block, 3);
    }
    under.commit();
    under.audit(ours);
    return { under, ours };
  };

  it.each(['ascending', 'descending', 'random'])(
    'are applied oldest first: 500 blocks with a count of 3 are decremented one at a time, %s',
    (order) => {
      const { under, ours } = withManyThrees(500);
      const blocks = [...ours.keys()].sort((a, b) => (order === 'descending' ? b - a : a - b));
      const random = seededRandom(336);
      if (order === 'random') blocks.sort(() => random() - 0.5);
      const threes = new BTree(under.target.tm, refCountType, 0);
      let [nrOverflow, sum] = [500, 1500];
      blocks.forEach((nr, i) => {
        // Committed in between, so that each removal meets leaves that it has to copy before it merges them.
        under.commit();
        under.map.dec(nr);
        ours.set(nr, 2);
        nrOverflow--;
        sum--;
        threes.root = under.target.tm.spaceMap.root.refCountRoot;
        expect(under.map.count(nr)).toBe(2);
        if (i % 9 === 0) {
          const found = blocks.reduce((total, block) => total + under.map.count(block), 0);
          expect(found, 'sum of all counts').toBe(sum);
        }
        if (i % 97 === 96) {
          let nrFound = 0;
          threes.walk(() => {
            nrFound++;
          });
          expect(nrFound).toBe(nrOverflow);
          under.commit();
          under.audit(ours);
        }
      });
      under.commit();
      under.audit(ours);
      threes.root = under.target.tm.spaceMap.root.refCountRoot;
      expect([...threes]).toEqual([]);
    },
  );

  it('include a block that is counted and given up again, so that no other order would do', () => {
    const { under, ours } = withManyThrees(400);
    // What is asked for, in this order (allocations count their block) …
    const asked: [delta: number, nr: number][] = [];
    const newBlock = vi.spyOn(MetadataSpaceMap.prototype, 'newBlock');
    const requests = [newBlock];
    const dec = MetadataSpaceMap.prototype.dec;
    const spyDec = vi.spyOn(MetadataSpaceMap.prototype, 'dec').mockImplementation(function (
      this: MetadataSpaceMap,
      begin,
      end = begin + 1,
    ) {
      for (const { value } of newBlock.mock.results.splice(0)) asked.push([1, value as number]);
      for (let nr = begin; nr < end; nr++) asked.push([-1, nr]);
      dec.call(this, begin, end);
    });
    // … and what is done to the bitmaps, in this.
    const done: [delta: number, nr: number][] = [];
    const spies = (['inc', 'dec'] as const).map((name) => {
      const original = BitmapCounts.prototype[name];
      return vi.spyOn(BitmapCounts.prototype, name).mockImplementation(function (this: BitmapCounts, nr) {
        done.push([name === 'inc' ? 1 : -1, nr]);
        original.call(this, nr);
      });
    });
    const unorderable: number[] = [];
    try {
      for (const [i, nr] of [...ours.keys()].entries()) {
        if (i > 150) under.commit(); // so that a merge meets leaves that it has to copy first
        const before = new Map<number, number>();
        asked.length = 0;
        done.length = 0;
        newBlock.mock.results.length = 0;
        under.map.dec(nr);
        for (const { value } of newBlock.mock.results.splice(0)) asked.push([1, value as number]);
        expect(done).toEqual(asked);
        // The same changes, newest first after the one that asked for them: does a count fall below 0?
        for (const [delta, block] of done) before.set(block, (before.get(block) ?? under.map.count(block)) - delta);
        for (const [delta, block] of done.slice(1).reverse()) {
          const count = (before.get(block) as number) + delta;
          before.set(block, count);
          if (count < 0) unorderable.push(block);
        }
      }
    } finally {
      for (const spy of [...requests, spyDec, ...spies]) spy.mockRestore();
    }
    expect(unorderable.length, 'merges of a leaf copied in the same change').toBeGreaterThan(0);
  });

  it('may not be a setCount', () => {
    const under = new MetadataMapUnderTest(100);
    const nr = under.map.newBlock();
    const inc = BitmapCounts.prototype.inc;
    const spy = vi.spyOn(BitmapCounts.prototype, 'inc').mockImplementation(function (this: BitmapCounts, block) {
      under.map.setCount(nr, 5);
      inc.call(this, block);
    });
    try {
      expect(() => under.map.newBlock()).toThrow(InvariantError);
    } finally {
      spy.mockRestore();
    }
  });
});

describe('opening', () => {
  it('refuses a map that is larger than its device', () => {
    const under = new MetadataMapUnderTest(20_000);
    const cut = new SparseMetadataDevice(19_000);
    const bytes = new Uint8Array(4096);
    for (let nr = 0; nr < 20; nr++) {
      under.device.read(nr, bytes);
      cut.write(nr, bytes);
    }
    expect(() => SmallTarget.open(cut)).toThrow(
      'metadata space map in block 1: nrBlocks is 20000, expected at most 19000, the size of the device (cut short?)',
    );
  });

  it('reads the index block back as it was written', () => {
    const under = new MetadataMapUnderTest(40_000);
    for (let i = 0; i < 100; i++) under.map.newBlock();
    under.commit();
    auditIndexBlock(SmallTarget.open(under.device).tm);
  });
});
