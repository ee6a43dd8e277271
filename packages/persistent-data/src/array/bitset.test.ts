import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { auditArrays, TestStore } from '../../test/arrays.js';
import { PersistentArray } from './array.js';
import { Bitset, wordType } from './bitset.js';

const bitsOf = (set: Bitset): number[] => [...set];

it('keeps bit r as bit r mod 64 of word floor(r / 64), across two array blocks', () => {
  const bits = [0, 1, 5, 63, 64, 130, 700, 32_575, 32_576, 40_959, 40_960];
  const store = new TestStore(256);
  const set = Bitset.create(store.tm, 40_961);
  for (const bit of bits) set.set(bit);
  const root = set.flush();
  store.commit();
  store.reopen();

  const words = new PersistentArray(store.tm, wordType, root, 641);
  expect(words.get(0)).toEqual({ low: 0b100011, high: 0x80000000 });
  expect(words.get(1)).toEqual({ low: 1, high: 0 });
  expect(words.get(2)).toEqual({ low: 4, high: 0 });
  expect(words.get(508)).toEqual({ low: 0, high: 0x80000000 }); // the last word of array block 0
  expect(words.get(509)).toEqual({ low: 1, high: 0 });
  expect(words.get(640)).toEqual({ low: 1, high: 0 });

  const again = new Bitset(store.tm, root, 40_961);
  expect(bitsOf(again)).toEqual(bits);
  expect(again.countSet()).toBe(bits.length);
  expect(auditArrays(store.tm, [root]).arrayBlocks.length).toBe(2);
});

describe('whole words at once', () => {
  it('are set in any range, across array blocks, and keep the bits that are there', () => {
    const store = new TestStore(256);
    const set = Bitset.create(store.tm, 40_961);
    for (const bit of [3, 32_574, 40_960]) set.set(bit); // the last of them is still in memory
    const bits = new Uint32Array(2 * 641);
    bits[2 * 508 + 1] = 0x80000000; // 32 575
    bits[2 * 509] = 1; // 32 576
    bits[2 * 507] = 1; // not in the range
    set.setInWords(bits, 508, 641);
    expect(bitsOf(set)).toEqual([3, 32_574, 32_575, 32_576, 40_960]);
    expect(auditArrays(store.tm, [set.root]).arrayBlocks).toHaveLength(2);
    set.setInWords(bits, 507, 507);
    expect(set.countSet()).toBe(5);
    expect(() => set.setInWords(bits, 640, 642)).toThrow(RangeError);
  });
});

describe('the word in memory', () => {
  it('reaches the array when another word is changed, and by a flush', () => {
    const store = new TestStore(256);
    const set = Bitset.create(store.tm, 200);
    for (const bit of [1, 100, 2, 101]) set.set(bit);
    expect(bitsOf(new Bitset(store.tm, set.root, 200))).toEqual([1, 2, 100]); // 101 is still in memory
    expect(bitsOf(new Bitset(store.tm, set.flush(), 200))).toEqual([1, 2, 100, 101]);
  });

  it('is seen by every way of reading before it is flushed', () => {
    const store = new TestStore(256);
    const set = Bitset.create(store.tm, 200);
    set.set(70);
    expect([set.test(70), set.test(3), set.test(199)]).toEqual([true, false, false]);
    expect([set.countSet(), set.nextSet(), set.nextClear(70)]).toEqual([1, 70, 71]);
    expect(bitsOf(set)).toEqual([70]);
  });

  it('does not move the root when another word is only read', () => {
    const store = new TestStore(256);
    const set = Bitset.create(store.tm, 200);
    store.commit();
    const { root } = set;
    set.set(70);
    expect(set.test(3)).toBe(false);
    expect(set.root).toBe(root);
    expect(set.flush()).not.toBe(root);
  });

  it('is forgotten by an abort', () => {
    const store = new TestStore(256);
    const set = Bitset.create(store.tm, 200);
    set.set(1);
    const root = set.flush();
    store.commit();
    set.set(2);
    set.set(130);
    set.drop(root);
    expect(bitsOf(set)).toEqual([1]);
    expect(set.flush()).toBe(root);
  });

  it('is not written by a flush when nothing was changed', () => {
    const store = new TestStore(256);
    const set = Bitset.create(store.tm, 200);
    store.commit();
    const { root } = set;
    set.test(100);
    expect(set.flush()).toBe(root);
  });
});

describe('bits past the end', () => {
  const withGarbage = (store: TestStore): Bitset => {
    const words = PersistentArray.create(store.tm, wordType, 2, () => ({ low: 0xffffffff, high: 0xffffffff }));
    return new Bitset(store.tm, words.root, 70);
  };

  it('are ignored, whatever a kernel left there', () => {
    const set = withGarbage(new TestStore(256));
    expect(set.countSet()).toBe(70);
    expect(bitsOf(set)).toHaveLength(70);
    expect([set.nextSet(69), set.nextClear(), set.nextSet(70)]).toEqual([69, undefined, undefined]);
    expect([...set.runs()]).toEqual([{ begin: 0, end: 70 }]);
    expect(() => set.test(70)).toThrow('bit 70 is outside the set of 70');
  });

  it('are set as asked when the set grows over them', () => {
    const store = new TestStore(256);
    const clear = withGarbage(store);
    clear.resize(140);
    expect(clear.countSet()).toBe(70);
    const ones = Bitset.create(store.tm, 70);
    ones.resize(140, true);
    expect([...ones.runs()]).toEqual([{ begin: 70, end: 140 }]);
    auditArrays(store.tm, [clear.root, ones.root]);
  });

  it('are left clear, when growing and when shrinking', () => {
    const store = new TestStore(256);
    const set = Bitset.create(store.tm, 300, true);
    set.resize(70);
    expect(new PersistentArray(store.tm, wordType, set.root, 2).get(1)).toEqual({ low: 0b111111, high: 0 });
    set.resize(100, true);
    expect(new PersistentArray(store.tm, wordType, set.root, 2).get(1)).toEqual({ low: 0xffffffff, high: 0xf });
  });
});

it.each([0, 1, 63, 64, 65, 32_576, 32_577])('starts with all of %i bits clear, set, or as told', (nrBits) => {
  const store = new TestStore(256);
  const sets = [false, true, (bit: number) => bit % 3 === 0].map((initial) => Bitset.create(store.tm, nrBits, initial));
  expect(sets.map((set) => set.countSet())).toEqual([0, nrBits, Math.ceil(nrBits / 3)]);
  expect([...(sets[1] as Bitset).runs(false)]).toEqual([]);
  auditArrays(
    store.tm,
    sets.map((set) => set.root),
  );
  for (const set of sets) set.delete();
  auditArrays(store.tm, []);
});

it.each([-1, 0.5, 128, Number.NaN])('refuses bit %d of 128', (bit) => {
  const set = Bitset.create(new TestStore(256).tm, 128);
  for (const use of [() => set.test(bit), () => set.set(bit), () => set.clear(bit)]) {
    expect(use).toThrow(`bit ${bit} is outside the set of 128`);
  }
});

it('does after any sequence of operations what a plain array does', () => {
  const nearBorders = fc.oneof(fc.nat(33_000), fc.constantFrom(0, 31, 32, 63, 64, 32_575, 32_576));
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.tuple(fc.constantFrom('set' as const, 'clear' as const), nearBorders) },
    { weight: 2, arbitrary: fc.tuple(fc.constantFrom('ones' as const, 'zeros' as const), nearBorders) },
    {
      weight: 2,
      arbitrary: fc.tuple(fc.constantFrom('flush' as const, 'commit' as const, 'abort' as const), fc.nat(0)),
    },
    { weight: 1, arbitrary: fc.tuple(fc.constant('share' as const), fc.nat(0)) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const store = new TestStore(256, 32);
      let set = Bitset.create(store.tm, 32_600);
      let model = new Array<boolean>(32_600).fill(false);
      /** Roots that others hold, and what they must go on showing. */
      let others: { root: number; model: boolean[] }[] = [];
      store.commit();
      let committed = { root: set.root, model: [...model], others: [...others] };

      for (const [operation, argument] of steps) {
        if (operation === 'set' || operation === 'clear') {
          if (model.length === 0) continue;
          const bit = argument % model.length;
          expect(set.test(bit)).toBe(model[bit]);
          set[operation](bit);
          model[bit] = operation === 'set';
        } else if (operation === 'ones' || operation === 'zeros') {
          set.resize(argument, operation === 'ones');
          const { length } = model;
          model.length = argument;
          if (argument > length) model.fill(operation === 'ones', length);
        } else if (operation === 'flush') set.flush();
        else if (operation === 'share') {
          store.tm.inc(set.flush());
          others.push({ root: set.root, model: [...model] });
        } else if (operation === 'commit') {
          set.flush();
          store.commit();
          committed = { root: set.root, model: [...model], others: [...others] };
        } else {
          store.reopen();
          model = [...committed.model];
          others = [...committed.others];
          set = new Bitset(store.tm, committed.root, model.length);
        }
      }
      expectToBe(set, model);
      set.flush();
      auditArrays(store.tm, [set.root, ...others.map(({ root }) => root)]);
      for (const other of others) expectToBe(new Bitset(store.tm, other.root, other.model.length), other.model);
    }),
    { numRuns: 60, seed: 20261120 },
  );

  function expectToBe(set: Bitset, model: boolean[]): void {
    const setBits = model.flatMap((value, bit) => (value ? [bit] : []));
    expect(set.nrBits).toBe(model.length);
    expect(bitsOf(set)).toEqual(setBits);
    expect(set.countSet()).toBe(setBits.length);
    const clearBits = [...set.runs(false)].reduce((sum, { begin, end }) => sum + end - begin, 0);
    expect(clearBits).toBe(model.length - setBits.length);
  }
});
