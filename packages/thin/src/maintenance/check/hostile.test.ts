/** Images made to keep a check busy for ever, or to exhaust its memory: circles, bombs, and sizes that nothing backs. */
import { BLOCK_SIZE } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import { checked, verdictOf } from '../../../test/check-runs.js';
import { ImageEditor } from '../../../test/image-editor.js';
import { ThinMetadata } from '../../metadata/thin-metadata.js';

const NR_BLOCKS = 2048;

/** An empty pool with device 0, whose root is replaced by what `build` makes in the blocks from `FREE` on. */
const FREE = 100;
function poolWithTree(build: (image: ImageEditor) => number): ImageEditor {
  const image = emptyPool();
  const root = build(image);
  image.put64(image.mappingRoot, image.valueAt(image.mappingRoot, 0), root).seal(image.mappingRoot, 'node');
  return image;
}

function emptyPool(): ImageEditor {
  const image = new ImageEditor(new Uint8Array(NR_BLOCKS * BLOCK_SIZE));
  const pool = ThinMetadata.format(image.device(), { dataBlockSize: 128, nrDataBlocks: 100_000 });
  pool.createThin(0);
  pool.commit();
  pool.close();
  return image;
}

const leafOf = (first: number, nr: number) => ({
  isLeaf: true,
  entries: Array.from({ length: nr }, (_, i) => [first + i, BigInt(first + i) << 24n] as const),
});
const spread = (nr: number, step: number, child: (i: number) => number) => ({
  isLeaf: false,
  entries: Array.from({ length: nr }, (_, i) => [i * step, child(i)] as const),
});

/** Checks within a second and some; returns what was found. */
function judge(image: ImageEditor) {
  const start = performance.now();
  const run = checked(image, { maxFindings: 10_000 });
  expect(performance.now() - start).toBeLessThan(3000);
  expect(verdictOf(run)).toBe('fatal');
  return run.findings.map(({ message }) => message).join('\n');
}

describe('circles', () => {
  it('finds a node that points to itself', () => {
    const image = poolWithTree((i) => {
      i.putNode(
        FREE,
        spread(100, 252, () => FREE),
      );
      return FREE;
    });
    expect(judge(image)).toContain(`points back to block ${FREE} above it: the tree runs in a circle`);
  });

  it('finds nodes that point to each other', () => {
    const image = poolWithTree((i) => {
      i.putNode(
        FREE,
        spread(100, 1000, () => FREE + 1),
      );
      i.putNode(
        FREE + 1,
        spread(100, 10, () => FREE + 2),
      );
      i.putNode(
        FREE + 2,
        spread(100, 1, () => FREE),
      );
      return FREE;
    });
    expect(judge(image)).toContain('the tree runs in a circle');
  });

  it('finds a top level that lists itself', () => {
    const image = emptyPool();
    const { mappingRoot } = image;
    image.put64(mappingRoot, image.valueAt(mappingRoot, 0), mappingRoot).seal(mappingRoot, 'node');
    expect(judge(image)).toContain('in use as a node of the top-level mapping tree');
  });
});

describe('bombs', () => {
  it('visits a node once that is reached on 252 to the power of 20 paths', () => {
    const layers = 20;
    const image = poolWithTree((i) => {
      for (let layer = 0; layer < layers; layer++)
        i.putNode(
          FREE + layer,
          spread(252, 1, () => FREE + layer + 1),
        );
      i.putNode(FREE + layers, leafOf(0, 252));
      return FREE;
    });
    expect(judge(image)).toContain('but a parent sends only keys');
  });

  it('does the same in the top level and in the details, whose leaves are also read in order', () => {
    for (const at of [320, 328]) {
      const image = emptyPool();
      const layers = 20;
      for (let layer = 0; layer < layers; layer++)
        image.putNode(
          FREE + layer,
          spread(252, 1, () => FREE + layer + 1),
        );
      image.putNode(FREE + layers, { isLeaf: true, entries: [] });
      image.superblock64(at, FREE);
      expect(judge(image)).toContain('but a parent sends only keys');
    }
  });

  it('stops following a tree that is deeper than any can be', () => {
    const image = poolWithTree((i) => {
      const depth = 1500;
      for (let layer = 0; layer < depth; layer++)
        i.putNode(
          FREE + layer,
          spread(1, 1, () => FREE + layer + 1),
        );
      i.putNode(FREE + depth, leafOf(0, 100));
      return FREE;
    });
    expect(judge(image)).toMatch(/is more than \d+ levels below its root/);
  });

  it('finds leaves at different depths', () => {
    const image = poolWithTree((i) => {
      i.putNode(FREE, {
        isLeaf: false,
        entries: [
          [0, FREE + 1],
          [100, FREE + 2],
        ],
      });
      i.putNode(FREE + 1, leafOf(0, 100));
      i.putNode(FREE + 2, {
        isLeaf: false,
        entries: [
          [100, FREE + 3],
          [200, FREE + 4],
        ],
      });
      i.putNode(FREE + 3, leafOf(100, 100));
      i.putNode(FREE + 4, leafOf(200, 100));
      return FREE;
    });
    expect(judge(image)).toContain(`the leaves below block ${FREE} are at different depths`);
  });
});

describe('sharing', () => {
  /** Two devices that share a leaf; `second` says where the second one's parent puts it. */
  const shared = (second: readonly (readonly [number, number])[]): ImageEditor => {
    const image = emptyPool();
    const pool = ThinMetadata.open(image.device());
    pool.createThin(1);
    pool.commit();
    pool.close();
    image.putNode(FREE, {
      isLeaf: false,
      entries: [
        [0, FREE + 2],
        [100, FREE + 3],
      ],
    });
    image.putNode(FREE + 1, { isLeaf: false, entries: second });
    image
      .putNode(FREE + 2, leafOf(0, 100))
      .putNode(FREE + 3, leafOf(100, 100))
      .putNode(FREE + 4, leafOf(300, 100));
    const top = image.mappingRoot;
    image
      .put64(top, image.valueAt(top, 0), FREE)
      .put64(top, image.valueAt(top, 1), FREE + 1)
      .seal(top, 'node');
    return image;
  };
  const misplaced = (image: ImageEditor): boolean =>
    checked(image).findings.some(({ message }) => message.includes('but a parent sends only keys'));

  it('of a leaf is fine where both parents agree, though their keys differ', () => {
    expect(
      misplaced(
        shared([
          [50, FREE + 3],
          [300, FREE + 4],
        ]),
      ),
    ).toBe(false);
  });

  it('of a leaf is found out where one parent would look for other keys in it', () => {
    expect(
      misplaced(
        shared([
          [101, FREE + 3],
          [300, FREE + 4],
        ]),
      ),
    ).toBe(true);
    expect(
      misplaced(
        shared([
          [50, FREE + 3],
          [199, FREE + 4],
        ]),
      ),
    ).toBe(true);
  });
});

describe('sizes that nothing backs', () => {
  it.each([
    { what: '2^40 data blocks', at: 64, value: 2n ** 40n },
    { what: '2^50 data blocks', at: 64, value: 2n ** 50n },
    { what: '2^64 - 1 data blocks', at: 64, value: 2n ** 64n - 1n },
    { what: '2^50 metadata blocks', at: 192, value: 2n ** 50n },
    { what: '2^64 - 1 metadata blocks', at: 192, value: 2n ** 64n - 1n },
    { what: 'no metadata blocks', at: 192, value: 0n },
  ])('$what take no memory', ({ at, value }) => {
    const image = emptyPool();
    image.superblock64(at, value);
    const before = process.memoryUsage();
    judge(image);
    const after = process.memoryUsage();
    expect(after.arrayBuffers + after.heapUsed - before.arrayBuffers - before.heapUsed).toBeLessThan(50e6);
  });

  it('nor do mappings all over them', () => {
    const image = poolWithTree((i) => {
      const nrLeaves = 250;
      i.putNode(
        FREE,
        spread(nrLeaves, 252, (n) => FREE + 1 + n),
      );
      for (let n = 0; n < nrLeaves; n++) {
        i.putNode(FREE + 1 + n, {
          isLeaf: true,
          entries: Array.from({ length: 252 }, (_, e) => [n * 252 + e, BigInt((n * 252 + e) * 16_320) << 24n] as const),
        });
      }
      return FREE;
    });
    image.superblock64(64, 2n ** 40n);
    const before = process.memoryUsage().arrayBuffers;
    judge(image);
    // One chunk of counts is 16 KiB: were there one per mapping, it would be a gigabyte.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100e6);
  });
});
