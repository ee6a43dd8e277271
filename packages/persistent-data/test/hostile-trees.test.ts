/**
 * Trees that somebody has damaged on purpose, every checksum right: each operation ends, soon, with a result or with a
 * CorruptBlockError (or a CountRangeError, where only the counts give the lie away), and never with anything else.
 */
import { CorruptBlockError, MemoryMetadataDevice, StoreError } from '@pdata/device';
import { BTree, nodeValidator, setU64At, type TransactionManager } from '@pdata/persistent-data';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { layersOf, rewrite } from './nodes.js';
import { SmallTarget } from './small-target.js';
import { numbers, sized } from './values.js';

/** A committed tree of `nr` keys 0, 10, 20 … and its device. */
function committed(nr: number, size = 8): { device: MemoryMetadataDevice; root: number } {
  const device = new MemoryMetadataDevice({ nrBlocks: 200 });
  const target = SmallTarget.format(device);
  const tree = BTree.create(target.tm, size === 8 ? numbers : sized(size));
  for (let i = 0; i < nr; i++) tree.insert(10 * i, i);
  target.roots = [tree.root];
  target.commit();
  return { device, root: tree.root };
}

const open = (device: MemoryMetadataDevice, size = 8): BTree<number> => {
  const target = SmallTarget.open(device, { cacheBlocks: 32 });
  return new BTree(target.tm, size === 8 ? numbers : sized(size), target.roots[0] as number);
};

/** Every operation, each on a freshly opened tree. */
const OPERATIONS: Record<string, (tree: BTree<number>) => unknown> = {
  lookup: (tree) => tree.lookup(500),
  floor: (tree) => tree.floor(505),
  ceiling: (tree) => tree.ceiling(505),
  first: (tree) => tree.first(),
  last: (tree) => tree.last(),
  insert: (tree) => tree.insert(505, 1),
  'insert at the start': (tree) => tree.insert(0, 1),
  remove: (tree) => tree.remove(500),
  removeRange: (tree) => tree.removeRange(100, 5000),
  delete: (tree) => tree.delete(),
  walk: (tree) => {
    let nr = 0;
    tree.walk(() => {
      nr++;
    });
    return nr;
  },
  iterate: (tree) => [...tree].length,
  'insert under a snapshot': (tree) => {
    tree.tm.inc(tree.root);
    return tree.insert(505, 1);
  },
};

/** Runs all operations; returns what became of each: its result, or the code of its error. */
function outcomes(device: MemoryMetadataDevice, size = 8): Record<string, unknown> {
  const image = device.bytes.slice();
  return Object.fromEntries(
    Object.entries(OPERATIONS).map(([name, operation]) => {
      const tree = open(new MemoryMetadataDevice({ bytes: image.slice() }), size);
      const start = performance.now();
      let outcome: unknown;
      try {
        outcome = operation(tree);
      } catch (error) {
        if (!(error instanceof StoreError)) throw new Error(`${name} threw no typed error`, { cause: error });
        outcome = error.code;
      }
      expect(performance.now() - start, `time for ${name}`).toBeLessThan(3000);
      return [name, outcome];
    }),
  );
}

const CORRUPT = 'ERR_CORRUPT_BLOCK';

describe('a child that points at the root: a cycle', () => {
  it.each([0, 1, 3])('through child %d ends with an error', (index) => {
    const { device, root } = committed(900);
    rewrite(device, root, (view) => setU64At(view, 2048 + 8 * index, root));
    const found = outcomes(device);
    expect(found.walk).toBe(CORRUPT);
    expect(found.iterate).toBe(CORRUPT);
    expect(found.delete).toMatch(/^ERR_/);
    if (index === 0) {
      expect(found).toMatchObject({ lookup: CORRUPT, first: CORRUPT, removeRange: CORRUPT });
      expect(found.insert).toMatch(/^ERR_(CORRUPT_BLOCK|COUNT_RANGE)$/); // its own way down may meet the counts first
    }
  });

  it('is told as a depth no tree has', () => {
    const { device, root } = committed(900);
    rewrite(device, root, (view) => setU64At(view, 2048, root));
    expect(() => open(device).lookup(0)).toThrow(
      `btree in block ${root}: depth is 24 or more (a cycle?), expected less`,
    );
  });
});

describe('a separator above the first key of its leaf', () => {
  it('ends a search for what comes next: it would lead back, again and again', () => {
    const { device, root } = committed(900);
    const second = layersOf(open(device).tm, root)[1]?.[1];
    const first = second?.keys[0] as number;
    rewrite(device, root, (view) => setU64At(view, 40, first + 2));
    const expected = `btree node in block ${second?.nr}: key 0 is ${first}, expected above ${first + 1}, for its parents place it there`;
    expect(() => open(device).ceiling(first + 1)).toThrow(expected);
    expect(() => open(device).cursor(first + 1)).toThrow(expected);
    expect(open(device).ceiling(first - 5)?.key).toBe(first);
    expect(open(device).cursor(first - 5).key).toBe(first);
    expect(outcomes(device)).toMatchObject({ walk: 900, iterate: 900 });
  });
});

describe('nodes that are reached twice', () => {
  it('do not multiply: a lattice of 20 layers, each pointing twice at the next', () => {
    const { device, root } = committed(10);
    const target = SmallTarget.open(device);
    const { tm } = target;
    // From the leaf up: each node has two entries, both of them the node below.
    let below = root;
    for (let layer = 0; layer < 20; layer++) {
      const lower = BTree.create(tm, numbers).root;
      const nr = lower;
      const child = below;
      rewriteInCache(tm, nr, (view) => {
        view.setUint32(4, 1, true);
        view.setUint32(16, 2, true);
        setU64At(view, 32, 0);
        setU64At(view, 40, 1000);
        setU64At(view, 2048, child);
        setU64At(view, 2056, child);
      });
      below = nr;
    }
    target.roots = [below];
    target.commit();
    const found = outcomes(device);
    expect(found).toMatchObject({ walk: CORRUPT, iterate: CORRUPT, delete: 'ERR_COUNT_RANGE' });
  });

  it('are no lattice of empty leaves either', () => {
    const { device, root } = committed(0);
    const target = SmallTarget.open(device);
    let below = root;
    for (let layer = 0; layer < 20; layer++) {
      const nr = BTree.create(target.tm, numbers).root;
      const child = below;
      rewriteInCache(target.tm, nr, (view) => {
        view.setUint32(4, 1, true);
        view.setUint32(16, 2, true);
        setU64At(view, 32, 0);
        setU64At(view, 40, 1000);
        setU64At(view, 2048, child);
        setU64At(view, 2056, child);
      });
      below = nr;
    }
    target.roots = [below];
    target.commit();
    const found = outcomes(device);
    expect(found).toMatchObject({ walk: CORRUPT, iterate: CORRUPT });
  });
});

function rewriteInCache(tm: TransactionManager, nr: number, change: (view: DataView) => void): void {
  change(tm.shadow(nr, nodeValidator, undefined).view); // a block of this transaction: in place
}

describe('children outside the device', () => {
  it.each([200, 2 ** 32, 2 ** 53 - 1, 1.8e19])(
    '(block %d) are corrupt for every operation that meets them',
    (child) => {
      const { device, root } = committed(900);
      rewrite(device, root, (view) => {
        for (let i = 0; i < 4; i++) view.setBigUint64(2048 + 8 * i, BigInt(child), true);
      });
      const found = outcomes(device);
      for (const [name, outcome] of Object.entries(found)) expect(outcome, name).toBe(CORRUPT);
    },
  );

  it('are found when their references are to be counted', () => {
    const { device, root } = committed(900);
    rewrite(device, root, (view) => setU64At(view, 2048 + 8 * 3, 5000));
    const tree = open(device);
    tree.tm.inc(tree.root);
    expect(() => tree.insert(5, 5)).toThrow(CorruptBlockError);
  });
});

describe('leaves of another shape', () => {
  it('whose values have another size are refused by every operation', () => {
    const { device } = committed(100, 16);
    for (const [name, outcome] of Object.entries(outcomes(device, 24))) expect(outcome, name).toBe(CORRUPT);
    expect(() => open(device, 8).lookup(0)).toThrow(/valueSize is 16, expected 8/);
  });

  it('than their siblings are refused where entries would move between them', () => {
    const { device, root } = committed(600);
    const layers = layersOf(open(device).tm, root);
    const victim = layers[1]?.[1]?.nr as number;
    rewrite(device, victim, (view, bytes) => {
      // 249 entries at most, values moved accordingly: a node the kernel reads.
      bytes.copyWithin(32 + 8 * 249, 2048, 2048 + 8 * 200);
      view.setUint32(16, 200, true);
      view.setUint32(20, 249, true);
    });
    expect(open(device).lookup(10 * 248)).toBe(248);
    expect(() => open(device).remove(20)).toThrow(/maxEntries is 249, expected 252, as in its sibling, block \d+/);
  });

  it('or depth, in one parent, are refused', () => {
    const { device, root } = committed(900);
    const target = SmallTarget.open(device);
    const layers = layersOf(target.tm, root);
    const first = layers[1]?.[0]?.nr as number;
    const last = layers[1]?.[2]?.nr as number;
    rewrite(device, first, (view) => {
      view.setUint32(4, 1, true); // internal: points at leaf `last`
      view.setUint32(16, 1, true);
      setU64At(view, 2048, last);
    });
    expect(() => open(device).remove(10 * 300)).toThrow(/flags is (1|2), expected (2|1), as in its sibling/);
  });
});

it('keys of a root that lie above the keys of its only child do not lead to stale slots', () => {
  const { device } = committed(900);
  const target = SmallTarget.open(device);
  const leaf = layersOf(target.tm, target.roots[0] as number)[1]?.[0]?.nr as number;
  // A root with one entry, over an internal node with one entry of a higher key.
  const [upper, middle] = [BTree.create(target.tm, numbers).root, BTree.create(target.tm, numbers).root];
  for (const [nr, key, child] of [
    [upper, 0, middle],
    [middle, 50, leaf],
  ] as const) {
    rewriteInCache(target.tm, nr, (view) => {
      view.setUint32(4, 1, true);
      view.setUint32(16, 1, true);
      setU64At(view, 32, key);
      setU64At(view, 2048, child);
      setU64At(view, 2040, 3); // the last key slot: what lies in front of the first child
    });
  }
  target.roots = [upper];
  target.commit();
  const tree = open(device);
  expect(tree.lookup(20)).toBe(2);
  expect(tree.remove(20)).toBe(false);
  expect(tree.removeRange(0, 45)).toBe(5); // by now the leaf itself has taken the root's place
});

it('no header field, and no child pointer, makes anything but a typed error of an operation', () => {
  const random = seededRandom(892851);
  const tally = new Map<unknown, number>();
  for (let round = 0; round < 120; round++) {
    const { device, root } = committed(round % 2 === 0 ? 300 : 700);
    const nodes = layersOf(open(device).tm, root).flat();
    const victim = nodes[Math.floor(random() * nodes.length)] as { nr: number };
    rewrite(device, victim.nr, (view) => {
      for (let i = 1 + Math.floor(random() * 2); i > 0; i--) {
        const field = [4, 16, 20, 24, 32, 40, 2048, 2056, 2052][Math.floor(random() * 9)] as number;
        const value = [0, 1, 2, 3, 5, 8, 60, 252, 253, 2000, 2 ** 31, 2 ** 32 - 1][Math.floor(random() * 12)] as number;
        view.setUint32(field, value, true);
      }
    });
    for (const outcome of Object.values(outcomes(device))) {
      const kind = typeof outcome === 'string' ? outcome : 'a result';
      tally.set(kind, (tally.get(kind) ?? 0) + 1);
    }
  }
  expect([...tally.keys()].sort()).toEqual(expect.arrayContaining(['ERR_CORRUPT_BLOCK', 'a result']));
});
