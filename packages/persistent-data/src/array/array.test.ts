import { CorruptBlockError } from '@pdata/device';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { auditArrays, TestStore } from '../../test/arrays.js';
import { nodeValidator } from '../btree/node.js';
import type { ValueType } from '../btree/value-type.js';
import { NoSpaceError } from '../transaction/errors.js';
import { PersistentArray } from './array.js';
import { ARRAY_VALUES_AT, arrayBlockValidator, arrayValueSize, nrArrayEntries } from './array-block.js';

const u32: ValueType<number> = {
  size: 8,
  decode: (view, at) => view.getUint32(at, true),
  encode(view, at, value) {
    view.setUint32(at, value, true);
    view.setUint32(at + 4, 0, true);
  },
};

/** Elements that are references to things, whose counts a plain map keeps. */
function counted(withEqual: boolean): { type: ValueType<number>; counts: Map<number, number> } {
  const counts = new Map<number, number>();
  const change = (view: DataView, at: number, nr: number, by: 1 | -1): void => {
    for (let i = 0; i < nr; i++) {
      const thing = view.getUint32(at + 8 * i, true);
      const count = (counts.get(thing) ?? 0) + by;
      if (count < 0) throw new Error(`thing ${thing} was released once too often`);
      if (count === 0) counts.delete(thing);
      else counts.set(thing, count);
    }
  };
  const type: ValueType<number> = {
    ...u32,
    inc: (view, at, nr) => change(view, at, nr, 1),
    dec: (view, at, nr) => change(view, at, nr, -1),
    ...(withEqual && { equal: (a, atA, b, atB) => a.getUint32(atA, true) === b.getUint32(atB, true) }),
  };
  return { type, counts };
}

const create = (store: TestStore, nr: number, of = (index: number): number => index * 7): PersistentArray<number> =>
  PersistentArray.create(store.tm, u32, nr, of);
const elements = <V>(array: PersistentArray<V>): V[] => [...array];
const blocksFor = (nr: number): number => Math.ceil(nr / 509);

describe('an array of', () => {
  it.each([0, 1, 508, 509, 510, 1018, 1019])(
    '%i elements is read back after a commit, and all of it is freed',
    (nr) => {
      const store = new TestStore(256);
      const { root } = create(store, nr);
      store.commit();
      store.reopen();

      const array = new PersistentArray(store.tm, u32, root, nr);
      expect(elements(array)).toEqual(Array.from({ length: nr }, (_, i) => i * 7));
      if (nr > 0) expect(array.get(nr - 1)).toBe((nr - 1) * 7);
      expect(() => array.get(nr)).toThrow(RangeError);
      expect(auditArrays(store.tm, [root]).arrayBlocks.length).toBe(blocksFor(nr));

      array.delete();
      auditArrays(store.tm, []);
    },
  );

  it('200 000 elements grows through every boundary and shrinks back', () => {
    const store = new TestStore(2048);
    const array = create(store, 0);
    const sizes = [1, 508, 509, 510, 1017, 1018, 1019, 200_000];
    for (const [step, size] of sizes.entries()) {
      array.resize(size, step);
      expect(auditArrays(store.tm, [array.root]).arrayBlocks.length, `${size} elements`).toBe(blocksFor(size));
      store.commit();
    }
    // What each step added is still there, under the index where it was added.
    for (let step = 0, from = 0; step < sizes.length; from = sizes[step++] as number) {
      expect([array.get(from), array.get((sizes[step] as number) - 1)]).toEqual([step, step]);
    }
    for (const size of [...sizes].reverse().slice(1)) {
      array.resize(size, 99);
      expect(auditArrays(store.tm, [array.root]).arrayBlocks.length, `${size} elements`).toBe(blocksFor(size));
      expect(elements(array)).not.toContain(99);
      expect(array.nrElements).toBe(size);
      store.commit();
    }
  });
});

describe('resizing', () => {
  it('drops the block that becomes empty when the new length is a multiple of its capacity (the kernel leaves it)', () => {
    const store = new TestStore(256);
    const array = create(store, 519);
    array.resize(509, 0);
    expect(auditArrays(store.tm, [array.root]).arrayBlocks.length).toBe(1);
  });

  it('replaces a block that the kernel left behind when the array grows over it', () => {
    const store = new TestStore(256);
    const left = create(store, 519);
    store.commit();
    // As the kernel remembers it after shrinking to 509: one element block less than the index has.
    const array = new PersistentArray(store.tm, u32, left.root, 509);
    array.resize(512, 5);
    expect(elements(array).slice(508)).toEqual([508 * 7, 5, 5, 5]);
    expect(auditArrays(store.tm, [array.root]).arrayBlocks.length).toBe(2);
  });

  it('releases exactly the elements that are dropped (the kernel starts at the last one kept)', () => {
    const store = new TestStore(256);
    const { type, counts } = counted(true);
    const array = PersistentArray.create(store.tm, type, 1000, (index) => index);
    array.resize(700, 0);
    expect([...counts].sort(([a], [b]) => a - b)).toEqual(Array.from({ length: 700 }, (_, i) => [i, 1]));
    array.resize(0, 0);
    expect(counts.size).toBe(0);
    auditArrays(store.tm, [array.root]);
  });

  it('counts the default once for each new element', () => {
    const store = new TestStore(256);
    const { type, counts } = counted(true);
    const array = PersistentArray.create(store.tm, type, 3, (index) => index);
    array.resize(1200, 77);
    expect(counts.get(77)).toBe(1197);
  });

  it('refuses a length that the blocks contradict, and says where', () => {
    const store = new TestStore(256);
    const array = new PersistentArray(store.tm, u32, create(store, 10).root, 8);
    expect(() => array.resize(20, 0)).toThrow(/array block in block \d+: nrEntries is 10, expected 8, from the length/);
  });
});

describe('sharing', () => {
  it('leaves the other root its value and its untouched blocks with a count of 2', () => {
    const store = new TestStore(256);
    const array = create(store, 1100);
    store.commit();
    store.tm.inc(array.root);
    const copy = new PersistentArray(store.tm, u32, array.root, 1100);
    copy.set(600, 1);
    expect([array.get(600), copy.get(600)]).toEqual([4200, 1]);

    const { references, arrayBlocks } = auditArrays(store.tm, [array.root, copy.root]);
    expect(arrayBlocks.length).toBe(4);
    expect(arrayBlocks.map((nr) => references.get(nr)).sort()).toEqual([1, 1, 2, 2]);
  });

  it('protects a root that was shared in the transaction that made it', () => {
    // Looking at the array block before its index leaf was copied, one would take it for unshared and write in place.
    const store = new TestStore(256);
    const array = create(store, 10);
    store.tm.inc(array.root);
    const copy = new PersistentArray(store.tm, u32, array.root, 10);
    copy.set(3, 1);
    expect([array.get(3), copy.get(3)]).toEqual([21, 1]);
    auditArrays(store.tm, [array.root, copy.root]);
  });

  it('keeps the references of the elements that live on in a copy (the kernel would release them)', () => {
    const store = new TestStore(256);
    const { type, counts } = counted(true);
    const array = PersistentArray.create(store.tm, type, 600, (index) => index);
    store.commit();
    // Not shared: the block moves, its elements with it, and none changes its count but the one replaced.
    array.set(5, 1000);
    expect(counts.get(5)).toBeUndefined();
    expect(counts.get(1000)).toBe(1);
    expect(counts.size).toBe(600);
    auditArrays(store.tm, [array.root]);
  });

  it('lets either array go first', () => {
    const store = new TestStore(256);
    const { type, counts } = counted(false);
    const array = PersistentArray.create(store.tm, type, 1100, (index) => index % 10);
    store.commit();
    store.tm.inc(array.root);
    const copy = new PersistentArray(store.tm, type, array.root, 1100);
    copy.set(0, 50);
    array.delete();
    expect(elements(copy).slice(0, 3)).toEqual([50, 1, 2]);
    expect(counts.get(50)).toBe(1);
    expect([...counts.values()].reduce((sum, count) => sum + count, 0)).toBe(1100);
    auditArrays(store.tm, [copy.root]);
    copy.delete();
    expect(counts.size).toBe(0);
    auditArrays(store.tm, []);
  });
});

describe('reading in order', () => {
  const store = new TestStore(256);
  const array = create(store, 1100);

  it('starts anywhere, stops when told, and crosses blocks', () => {
    const seen: number[] = [];
    array.walk((index, view, at) => {
      seen.push(index, u32.decode(view, at));
      return index < 510;
    }, 507);
    expect(seen).toEqual([507, 3549, 508, 3556, 509, 3563, 510, 3570]);
    array.walk(() => expect.unreachable(), 1100);
  });

  it('skips from block to block with a cursor', () => {
    const cursor = array.cursor(1);
    const seen: number[] = [];
    for (; !cursor.done; cursor.skip(500)) seen.push(cursor.index, cursor.value);
    expect(seen).toEqual([1, 7, 501, 3507, 1001, 7007]);
    expect(cursor.index).toBe(1100);
    expect(() => cursor.value).toThrow(RangeError);
  });

  it('is done at once with an empty array', () => {
    const empty = new PersistentArray(store.tm, u32, create(store, 0).root, 0);
    expect(empty.cursor().done).toBe(true);
    expect(() => empty.cursor(1)).toThrow('index 1 is outside the array of 0 elements');
  });
});

describe('refusals', () => {
  it.each([-1, 1.5, Number.NaN, 10, 2 ** 53])('index %d of ten elements', (index) => {
    const array = create(new TestStore(256), 10);
    expect(() => array.get(index)).toThrow(`index ${index} is outside the array of 10 elements`);
    expect(() => array.set(index, 0)).toThrow(RangeError);
  });

  it.each([0, 1.5, 4073])('elements of %d bytes', (size) => {
    expect(() => new PersistentArray(new TestStore(256).tm, { ...u32, size }, 5, 10)).toThrow(/1 to 4072 bytes/);
  });

  it.each([
    { lie: 'maxEntries', at: 4, value: 508 },
    { lie: 'nrEntries', at: 8, value: 510 },
    { lie: 'valueSize', at: 12, value: 0 },
    { lie: 'valueSize', at: 12, value: 4 },
  ])('every read of a block with $lie $value', ({ at, value }) => {
    const store = new TestStore(256);
    const { root } = create(store, 600);
    const [first] = auditArrays(store.tm, [root]).arrayBlocks;
    store.commit();
    store.tamper(first as number, at, value, arrayBlockValidator);
    store.reopen();
    const array = new PersistentArray(store.tm, u32, root, 600);
    expect(() => array.get(0)).toThrow(CorruptBlockError);
    expect(() => array.set(0, 1)).toThrow(CorruptBlockError);
    expect(() => array.cursor()).toThrow(CorruptBlockError);
    expect(() => array.walk(() => {})).toThrow(CorruptBlockError);
    expect(array.get(509)).toBe(3563); // the other block is sound
  });

  it('an array of another element size', () => {
    const store = new TestStore(256);
    const { root } = PersistentArray.create(store.tm, { ...u32, size: 16 }, 10, (index) => index);
    const array = new PersistentArray(store.tm, u32, root, 10);
    expect(() => array.get(0)).toThrow(/array block in block \d+: valueSize is 16, expected 8/);
    expect(() => array.set(0, 1)).toThrow(CorruptBlockError);
  });

  it('an array shorter than its owner says: block missing, block too short', () => {
    const store = new TestStore(256);
    const { root } = create(store, 509);
    const tooLong = new PersistentArray(store.tm, u32, root, 510);
    expect(() => tooLong.get(509)).toThrow(/array index in block \d+: array block 1 is missing/);
    expect(() => tooLong.set(509, 0)).toThrow(CorruptBlockError);
    const short = new PersistentArray(store.tm, u32, create(store, 5).root, 6);
    expect(() => short.get(5)).toThrow(/nrEntries is 5, expected 6, for the array to have 6 elements/);
  });

  it('a length for which the device has no room; the last commit stands', () => {
    const store = new TestStore(64);
    const { root } = create(store, 600);
    store.commit();
    const array = new PersistentArray(store.tm, u32, root, 600);
    expect(() => array.resize(200_000, 1)).toThrow(NoSpaceError);
    store.reopen();
    expect(elements(new PersistentArray(store.tm, u32, root, 600))).toEqual(
      Array.from({ length: 600 }, (_, i) => i * 7),
    );
    auditArrays(store.tm, [root]);
  });

  it('an index that leads outside the device', () => {
    const store = new TestStore(256);
    const { root } = create(store, 5);
    store.commit();
    store.tamper(root, 2048, 1_000_000, nodeValidator);
    store.reopen();
    const array = new PersistentArray(store.tm, u32, root, 5);
    const says = /array block in block 1000000: block number is 1000000, expected below 256, the size of the device/;
    expect(() => array.get(0)).toThrow(says);
    store.tm.inc(root);
    expect(() => array.set(0, 1)).toThrow(says); // counting what the copied leaf points at
    store.reopen();
    expect(() => new PersistentArray(store.tm, u32, root, 5).delete()).toThrow(says);
  });
});

it('lays out a new array as the kernel does: index root, then the blocks in order', () => {
  const store = new TestStore(256);
  const array = create(store, 641);
  expect(array.root).toBe(4); // 0 superblock, 1 index, 2 overflow counts, 3 bitmap
  const { arrayBlocks } = auditArrays(store.tm, [array.root]);
  expect(arrayBlocks).toEqual([5, 6]);
  expect([5, 6].map((nr) => nrArrayEntries(store.tm.read(nr, arrayBlockValidator)))).toEqual([509, 132]);
  expect(arrayValueSize(store.tm.read(5, arrayBlockValidator))).toBe(8);
  expect(store.tm.read(5, arrayBlockValidator).view.getUint32(ARRAY_VALUES_AT + 8, true)).toBe(7);
});

describe('any sequence of operations', () => {
  type Step =
    | { do: 'set'; which: number; index: number; value: number }
    | { do: 'resize'; which: number; size: number; value: number }
    | { do: 'share' | 'drop'; which: number }
    | { do: 'commit' | 'abort' };
  const which = fc.nat(3);
  const value = fc.nat(20);
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('set' as const), which, index: fc.nat(2000), value }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('resize' as const),
        which,
        // Around the borders of blocks of 509.
        size: fc.oneof(fc.nat(1100), fc.constantFrom(0, 1, 508, 509, 510, 1017, 1018, 1019, 2036)),
        value,
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('share' as const, 'drop' as const), which }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('commit' as const, 'abort' as const) }) },
  );

  it.each([true, false])('leaves arrays, sharers and all counts as plain arrays say (equal known: %s)', (withEqual) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const store = new TestStore(400, 32);
        const { type, counts } = counted(withEqual);
        let live = [{ array: PersistentArray.create(store.tm, type, 600, (i) => i % 20), model: range(600) }];
        store.commit();
        let committed = save();

        for (const next of steps) {
          const target = 'which' in next ? live[next.which % live.length] : undefined;
          if (next.do === 'commit') {
            store.commit();
            committed = save();
          } else if (next.do === 'abort') {
            store.reopen();
            counts.clear();
            for (const [thing, count] of committed.counts) counts.set(thing, count);
            live = committed.arrays.map(({ root, model }) => ({
              array: new PersistentArray(store.tm, type, root, model.length),
              model: [...model],
            }));
          } else if (target === undefined) {
            break; // all arrays are gone
          } else if (next.do === 'set') {
            const { array, model } = target;
            if (model.length === 0) continue;
            array.set(next.index % model.length, next.value);
            model[next.index % model.length] = next.value;
          } else if (next.do === 'resize') {
            const { array, model } = target;
            array.resize(next.size, next.value);
            const { length } = model;
            model.length = next.size;
            if (next.size > length) model.fill(next.value, length);
          } else if (next.do === 'share') {
            if (live.length >= 4) continue;
            store.tm.inc(target.array.root);
            const copy = new PersistentArray(store.tm, type, target.array.root, target.model.length);
            live.push({ array: copy, model: [...target.model] });
          } else {
            if (live.length === 1) continue;
            target.array.delete();
            live = live.filter((other) => other !== target);
          }
        }
        audit();
        store.commit();
        store.reopen();
        live = live.map(({ array: { root }, model }) => ({
          array: new PersistentArray(store.tm, type, root, model.length),
          model,
        }));
        audit();

        function audit(): void {
          for (const { array, model } of live) expect(elements(array)).toEqual(model);
          const { arrayBlocks } = auditArrays(
            store.tm,
            live.map(({ array }) => array.root),
          );
          // Elements are held by blocks: one reference for each place in each block.
          const held = new Map<number, number>();
          for (const nr of arrayBlocks) {
            const block = store.tm.read(nr, arrayBlockValidator);
            for (let i = 0; i < nrArrayEntries(block); i++) {
              const thing = u32.decode(block.view, ARRAY_VALUES_AT + 8 * i);
              held.set(thing, (held.get(thing) ?? 0) + 1);
            }
          }
          expect(sorted(counts)).toEqual(sorted(held));
        }

        function save(): { counts: Map<number, number>; arrays: { root: number; model: number[] }[] } {
          const arrays = live.map(({ array, model }) => ({ root: array.root, model: [...model] }));
          return { counts: new Map(counts), arrays };
        }
      }),
      { numRuns: 120, seed: 20261120 },
    );
  });
});

const range = (nr: number): number[] => Array.from({ length: nr }, (_, i) => i % 20);
const sorted = (counts: Map<number, number>): [number, number][] => [...counts].sort(([a], [b]) => a - b);
