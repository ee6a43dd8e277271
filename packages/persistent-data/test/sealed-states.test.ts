/** States that are kept: what only they have in use is not handed out, however many there are, until they are released. */

import { MemoryMetadataDevice } from '@pdata/device';
import { BTree, type DataSpaceMap, type SealableSpaceMap, type SealedCounts } from '@pdata/persistent-data';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { SmallTarget } from './small-target.js';
import { numbers } from './values.js';

const kinds = ['metadata', 'data'] as const;

function mapOf(
  kind: (typeof kinds)[number],
  nr = 120,
): { target: SmallTarget; map: SealableSpaceMap; seal: () => SealedCounts } {
  const nrBlocks = kind === 'metadata' ? nr : 3000;
  const target = SmallTarget.format(new MemoryMetadataDevice({ nrBlocks }), {
    cacheBlocks: 64,
    ...(kind === 'data' ? { dataBlocks: nr } : {}),
  });
  target.commit();
  const map = kind === 'metadata' ? target.tm.spaceMap : (target.data as DataSpaceMap);
  const seal = (): SealedCounts => {
    target.data?.settle();
    const metadata = target.tm.seal(true);
    const data = target.data?.seal();
    return {
      release: () => {
        metadata.release();
        data?.release();
      },
    };
  };
  return { target, map, seal };
}

describe.each(kinds)('a %s space map', (kind) => {
  it('does not hand out what a sealed state has in use, though it is free now and in every later state', () => {
    const { map, seal } = mapOf(kind);
    const kept = map.newBlock();
    const first = seal();
    map.dec(kept);
    seal().release();
    seal().release();
    expect(takeAll(map)).not.toContain(kept);
    first.release();
    expect(takeAll(map)).toContain(kept);
  });

  it('hands out what came and went since a state was sealed', () => {
    const { map, seal } = mapOf(kind);
    const reader = seal();
    const passing = map.newBlock();
    seal().release();
    map.dec(passing);
    seal().release();
    seal().release();
    expect(takeAll(map)).toContain(passing);
    reader.release();
  });

  it.each([1, 2, 3])('keeps to that with states sealed and released in any order (seed %i)', (seed) => {
    const random = seededRandom(seed);
    const { map, seal } = mapOf(kind, 400);
    const inUse = new Set<number>();
    const states: { sealed: SealedCounts; inUse: Set<number> }[] = [];
    for (let step = 0; step < 400; step++) {
      const what = random();
      if (what < 0.5 && inUse.size < 60) {
        const nr = map.newBlock();
        for (const state of states)
          expect(state.inUse.has(nr), `block ${nr}, which a sealed state has in use`).toBe(false);
        inUse.add(nr);
      } else if (what < 0.85) {
        const [nr] = [...inUse].sort(() => random() - 0.5);
        if (nr === undefined) continue;
        map.dec(nr);
        inUse.delete(nr);
      } else if (what < 0.93 && states.length < 5) states.push({ sealed: seal(), inUse: new Set(inUse) });
      else states.splice(Math.floor(random() * states.length), 1)[0]?.sealed.release();
    }
  });
});

it('tells what can be handed out from below, and exactly after it was counted', () => {
  const { target, seal } = mapOf('metadata', 300);
  const { spaceMap } = target.tm;
  const reader = seal();
  for (let i = 0; i < 30; i++) {
    const nr = spaceMap.newBlock();
    seal().release();
    spaceMap.dec(nr);
    seal().release();
  }
  const before = spaceMap.nrObtainable;
  spaceMap.countFree();
  const counted = spaceMap.nrObtainable;
  expect(before).toBeLessThan(counted);
  expect(takeAll(spaceMap).length).toBeLessThanOrEqual(counted);
  reader.release();
});

it('shows a reader the sealed state, while the tree goes on', () => {
  const { target, seal } = mapOf('metadata', 400);
  const tree = BTree.create(target.tm, numbers);
  for (let key = 0; key < 3000; key++) tree.insert(key, key);
  const reader = new BTree(target.tm, numbers, tree.root);
  const sealed = seal();
  for (let round = 0; round < 20; round++) {
    for (let key = 0; key < 3000; key += 7) tree.insert(key, round);
    seal().release();
  }
  expect([...reader].every(({ key, value }) => key === value)).toBe(true);
  sealed.release();
});

/** Everything that can be handed out; put back. */
function takeAll(map: SealableSpaceMap): number[] {
  const taken: number[] = [];
  try {
    for (;;) taken.push(map.newBlock());
  } catch {
    for (const nr of taken) map.dec(nr);
    return taken;
  }
}
