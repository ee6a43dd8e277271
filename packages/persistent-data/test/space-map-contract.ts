/**
 * What both kinds of space map do, whatever they count: one suite, run for each. A plain map of counts is the model; the
 * audit is the judge of everything that is not a count.
 *
 * "Ours" are blocks that the test was given by `newBlock`: a metadata map also counts the blocks it is made of, and those
 * come and go by themselves.
 */
import { CountRangeError, NoSpaceError, type SpaceMap } from '@pdata/persistent-data';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

/** References that are ours: block → count above 0. */
export type Counts = ReadonlyMap<number, number>;

export interface SpaceMapUnderTest {
  /** Not to be kept over an abort. */
  readonly map: SpaceMap;
  commit(): void;
  abort(): void;
  /** Makes room for `nr` more blocks (a larger device, if it takes one) and extends the map. */
  extend(nr: number): void;
  /** Right after a commit: holds `ours` against everything. */
  audit(ours: Counts): void;
  /** Opens what a crash now would leave, and audits that against `ours`, the counts of the last commit. */
  auditAfterCrash(ours: Counts): void;
}

type Step =
  | { readonly do: 'newBlock' | 'inc' | 'dec'; readonly at: number; readonly nr: number }
  | { readonly do: 'setCount'; readonly at: number; readonly count: number }
  | { readonly do: 'commit' | 'abort' | 'crash' };

const steps = fc.array(
  fc.oneof(
    { weight: 30, arbitrary: fc.record({ do: fc.constant('newBlock' as const), at: fc.nat(), nr: fc.nat(12) }) },
    {
      weight: 60,
      arbitrary: fc.record({ do: fc.constantFrom('inc' as const, 'dec' as const), at: fc.nat(), nr: fc.nat(20) }),
    },
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant('setCount' as const), at: fc.nat(), count: fc.nat(6) }),
    },
    {
      weight: 10,
      arbitrary: fc.record({
        do: fc.constantFrom('commit' as const, 'commit' as const, 'abort' as const, 'crash' as const),
      }),
    },
  ),
  { maxLength: 250, size: 'max' },
);

/** Runs `steps` on a map and on a model of it. */
function runModel(under: SpaceMapUnderTest, run: readonly Step[]): void {
  let model = new Map<number, number>();
  let committed = new Map<number, number>();
  const pick = (at: number): number | undefined => [...model.keys()][at % Math.max(1, model.size)];
  const change = (nr: number, delta: number): void => {
    const count = (model.get(nr) ?? 0) + delta;
    if (count === 0) model.delete(nr);
    else model.set(nr, count);
  };
  /** -1 when there is none that is free now and was free in the last commit. */
  const newBlock = (): number => {
    try {
      return under.map.newBlock();
    } catch (error) {
      if (!(error instanceof NoSpaceError)) throw error;
      // A data map's nrFree counts what this transaction freed; a metadata map's does not, and always has RESERVE left.
      for (let nr = 0; nr < under.map.nrBlocks; nr++) {
        if (under.map.count(nr) === 0 && !committed.has(nr)) expect.fail(`block ${nr} could have been handed out`);
      }
      return -1;
    }
  };
  for (const step of run) {
    switch (step.do) {
      case 'newBlock':
        for (let i = 0; i <= step.nr && under.map.nrFree > RESERVE; i++) {
          const nr = newBlock();
          if (nr < 0) break;
          expect(model.has(nr), `block ${nr} is in use, and was handed out`).toBe(false);
          expect(committed.has(nr), `block ${nr} was in use by the last commit, and was handed out`).toBe(false);
          expect(under.map.count(nr)).toBe(1);
          model.set(nr, 1);
        }
        break;
      case 'inc':
      case 'dec':
        for (let i = 0; i <= step.nr && under.map.nrFree > RESERVE; i++) {
          const nr = pick(step.at + i);
          if (nr === undefined) break;
          const delta = step.do === 'inc' ? 1 : -1;
          if (delta === 1 && (model.get(nr) as number) >= 6) continue;
          under.map[step.do](nr);
          change(nr, delta);
        }
        break;
      case 'setCount': {
        const nr = pick(step.at);
        if (nr === undefined || under.map.nrFree <= RESERVE) break;
        under.map.setCount(nr, step.count);
        change(nr, step.count - (model.get(nr) as number));
        break;
      }
      case 'commit':
        under.commit();
        committed = new Map(model);
        break;
      case 'abort':
        under.abort();
        model = new Map(committed);
        break;
      case 'crash':
        under.auditAfterCrash(committed);
        break;
    }
    for (const [nr, count] of model) {
      if (under.map.count(nr) !== count) expect(under.map.count(nr), `count of block ${nr}`).toBe(count);
      if (under.map.isShared(nr) !== count > 1) expect(under.map.isShared(nr), `block ${nr} shared`).toBe(count > 1);
    }
  }
  under.commit();
  under.audit(model);
}

/** Blocks left alone, so that a metadata map can always finish what it has begun. */
const RESERVE = 20;

export function itBehavesLikeASpaceMap(create: (nrBlocks: number) => SpaceMapUnderTest): void {
  describe.each([
    { nrBlocks: 80, numRuns: 40, seed: 1 }, // nearly full: the search wraps all the time
    { nrBlocks: 1500, numRuns: 25, seed: 2 },
    { nrBlocks: 16_400, numRuns: 10, seed: 3 }, // two bitmaps
  ])('of $nrBlocks blocks', ({ nrBlocks, numRuns, seed }) => {
    it('counts like a plain array after any sequence of operations, commits, aborts and crashes', () => {
      fc.assert(
        fc.property(steps, (run) => runModel(create(nrBlocks), run)),
        { seed, numRuns, interruptAfterTimeLimit: 20_000, markInterruptAsFailure: true },
      );
    });
  });

  it('does not hand out a freed block before the commit', () => {
    const under = create(100);
    const freed = under.map.newBlock();
    under.commit();
    under.map.dec(freed);
    expect(under.map.count(freed)).toBe(0);
    const ours = new Map<number, number>();
    while (under.map.nrFree > RESERVE) {
      const nr = under.map.newBlock();
      expect(nr).not.toBe(freed);
      ours.set(nr, 1);
    }
    under.auditAfterCrash(new Map([[freed, 1]]));
    under.commit();
    under.audit(ours);
  });

  it('hands out a block that was allocated, freed and allocated in one transaction, and the committed state stays', () => {
    const under = create(60);
    const kept = new Map<number, number>();
    for (let i = 0; i < 10; i++) kept.set(under.map.newBlock(), 1);
    under.commit();
    const seen = new Set<number>();
    // Around the whole map, several times: what is given up at once may come back, what was committed may not.
    for (let i = 0; i < 200; i++) {
      const nr = under.map.newBlock();
      expect(kept.has(nr)).toBe(false);
      seen.add(nr);
      under.map.dec(nr);
      expect(under.map.count(nr)).toBe(0);
    }
    expect(seen.size).toBeLessThan(60);
    under.auditAfterCrash(kept);
    under.commit();
    under.audit(kept);
  });

  it('is full until the commit makes freed blocks free, and no longer', () => {
    const under = create(100);
    const ours: number[] = [];
    const fill = (): number => {
      for (let nr = 0; ; nr++) {
        try {
          ours.push(under.map.newBlock());
        } catch (error) {
          expect(error).toBeInstanceOf(NoSpaceError);
          return nr;
        }
      }
    };
    // Given back in the transaction that took them, so free in both: for the map to commit with.
    const giveBack = (nr: number): void => {
      for (const block of ours.splice(-nr)) under.map.dec(block);
    };
    expect(fill()).toBeGreaterThan(80);
    giveBack(10);
    under.commit();
    const freed = ours.shift() as number;
    under.map.dec(freed);
    const nrMore = fill();
    expect(ours).not.toContain(freed);
    expect(under.map.count(freed)).toBe(0);
    expect(() => under.map.newBlock()).toThrow(/^(no data block is free|the metadata device .* is full): all \d+/);
    giveBack(nrMore);
    under.commit();
    fill();
    expect(ours).toContain(freed);
    expect(new Set(ours).size).toBe(ours.length);
    giveBack(10);
    under.commit();
    under.audit(new Map(ours.map((nr) => [nr, 1])));
  });

  it('keeps counts of 0, 1, 2, 3 and more through every step up and down, and over a commit', () => {
    const under = create(200);
    const nr = under.map.newBlock();
    const counts = [1, 2, 3, 4, 5, 6, 5, 4, 3, 4, 3, 2, 3, 2, 1, 2, 1];
    counts.forEach((count, i) => {
      if (i > 0) under.map[count > (counts[i - 1] as number) ? 'inc' : 'dec'](nr);
      expect(under.map.count(nr), `step ${i}`).toBe(count);
      expect(under.map.isShared(nr), `step ${i}`).toBe(count > 1);
      if (i % 2 === 0) under.commit();
    });
    under.commit();
    under.audit(new Map([[nr, 1]]));
    under.map.dec(nr);
    expect(under.map.count(nr)).toBe(0);
  });

  it.each([0, 1, 2, 3, 4, 2 ** 31, 2 ** 32 - 1])('sets a count from anything to %d', (to) => {
    for (const from of [0, 1, 2, 3, 6, 2 ** 32 - 1]) {
      const under = create(200);
      const nr = under.map.newBlock();
      const { nrAllocated } = under.map;
      under.map.setCount(nr, from);
      expect(under.map.count(nr)).toBe(from);
      under.commit();
      under.map.setCount(nr, to);
      under.commit();
      expect(under.map.count(nr)).toBe(to);
      expect(under.map.nrAllocated).toBe(nrAllocated - (to === 0 ? 1 : 0));
      if (to < 10) under.audit(new Map(to === 0 ? [] : [[nr, to]]));
    }
  });

  it.each([-1, 0.5, 2 ** 32, Number.NaN, Number.POSITIVE_INFINITY])('refuses %d as a count', (count) => {
    const under = create(100);
    const nr = under.map.newBlock();
    expect(() => under.map.setCount(nr, count)).toThrow(RangeError);
    expect(under.map.count(nr)).toBe(1);
    under.commit();
    under.audit(new Map([[nr, 1]]));
  });

  it('counts ranges, begin inclusive and end exclusive', () => {
    const under = create(300);
    const ours = Array.from({ length: 60 }, () => under.map.newBlock()).sort((a, b) => a - b);
    const first = ours.findIndex((nr, i) => ours[i + 20] === nr + 20);
    const begin = ours[first] as number;
    under.map.inc(begin, begin + 20);
    under.map.inc(begin + 5, begin + 10);
    under.map.inc(begin + 7, begin + 7);
    under.map.dec(begin, begin + 2);
    const model = new Map(ours.map((nr) => [nr, 1]));
    for (let nr = begin; nr < begin + 20; nr++) model.set(nr, 2 + (nr >= begin + 5 && nr < begin + 10 ? 1 : 0));
    model.set(begin, 1);
    model.set(begin + 1, 1);
    for (const [nr, count] of model) expect(under.map.count(nr), `block ${nr}`).toBe(count);
    under.commit();
    under.audit(model);
  });

  it('refuses a count below 0 and above 2^32 - 1, and is itself again after an abort', () => {
    const under = create(100);
    const [full, low] = [under.map.newBlock(), under.map.newBlock()];
    under.map.setCount(full, 2 ** 32 - 2);
    under.map.inc(full);
    under.commit();
    expect(() => under.map.inc(full)).toThrow(CountRangeError);
    under.abort();
    expect(under.map.count(full)).toBe(2 ** 32 - 1);
    under.map.dec(low);
    expect(() => under.map.dec(low)).toThrow(/block \d+ has no reference left to give up/);
    under.abort();
    under.map.dec(full);
    expect([under.map.count(full), under.map.count(low)]).toEqual([2 ** 32 - 2, 1]);
    under.map.setCount(full, 3);
    under.commit();
    under.audit(
      new Map([
        [full, 3],
        [low, 1],
      ]),
    );
  });

  it('lets nothing of a refused change be committed, unless it is whole', () => {
    const under = create(100);
    const nr = under.map.newBlock();
    under.commit();
    under.map.dec(nr);
    under.commit();
    expect(() => under.map.dec(nr)).toThrow(CountRangeError);
    try {
      under.commit();
    } catch {
      under.abort();
    }
    const another = under.map.newBlock();
    under.commit();
    under.audit(new Map([[another, 1]]));
  });

  it('refuses block numbers outside the map, and ranges that leave it, and is unharmed', () => {
    const under = create(100);
    const { map } = under;
    const nr = map.newBlock();
    for (const outside of [100, 101, -1, 0.5, Number.NaN, 2 ** 32, 2 ** 53, Number.POSITIVE_INFINITY]) {
      for (const refused of [
        () => map.count(outside),
        () => map.inc(outside),
        () => map.dec(outside),
        () => map.inc(nr, outside === 0.5 || outside === -1 ? outside : 101),
        () => map.setCount(outside, 1),
      ]) {
        expect(refused).toThrow(RangeError);
      }
    }
    expect(() => map.inc(nr + 1, nr)).toThrow(RangeError);
    expect(map.count(nr)).toBe(1);
    under.commit();
    under.audit(new Map([[nr, 1]]));
  });

  it('grows: the old counts stay, the new blocks are free after the commit', () => {
    const under = create(100);
    const ours = new Map<number, number>();
    for (let i = 0; i < 30; i++) ours.set(under.map.newBlock(), 1);
    under.commit();
    for (const nr of [1, 50, 16_000, 16_319, 16_320, 1, 20_000]) {
      const before = under.map.nrBlocks;
      under.extend(nr);
      expect(under.map.nrBlocks).toBe(before + nr);
      under.auditAfterCrash(ours);
      under.commit();
      expect(under.map.nrFree).toBe(under.map.nrBlocks - under.map.nrAllocated);
      under.audit(ours);
    }
    const last = under.map.nrBlocks - 1;
    expect(under.map.count(last)).toBe(0);
    under.map.inc(last);
    under.commit();
    under.audit(new Map([...ours, [last, 1]]));
  });

  it('says how many blocks are free: after a commit, all that are not in use', () => {
    const under = create(100);
    expect(under.map.nrFree).toBe(100 - under.map.nrAllocated);
    const first = under.map.newBlock();
    under.commit();
    expect(under.map.nrFree).toBe(100 - under.map.nrAllocated);
    under.extend(50);
    while (under.map.nrFree > RESERVE) under.map.newBlock();
    under.map.dec(first);
    under.commit();
    expect(under.map.nrFree).toBe(150 - under.map.nrAllocated);
  });

  it.each([-1, 0.5, Number.NaN])('refuses to grow by %d', (nr) => {
    const under = create(100);
    expect(() => under.map.extend(nr)).toThrow(RangeError);
    expect(under.map.nrBlocks).toBe(100);
  });
}
