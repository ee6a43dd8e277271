/**
 * Power cuts: whatever part of the writes since the last flush reaches the medium, in whatever order, torn or whole, the state
 * of the last commit that returned is found, or of the one under way, and a full audit agrees.
 */
import { MemoryMetadataDevice } from '@pdata/device';
import { BTree, type DataSpaceMap } from '@pdata/persistent-data';
import { crashImages, RecordingMetadataDevice, seededRandom } from '@pdata/testing';
import { expect, it } from 'vitest';
import { audit } from './audit.js';
import { SmallTarget } from './small-target.js';
import { numbers } from './values.js';

const NR_BLOCKS = 260;

interface State {
  readonly trees: string;
  readonly dataBlocks: readonly number[];
}
const BEFORE: State = { trees: '[]', dataBlocks: [] };

it.each([1, 2, 3])('leave the last commit or the next, whole (seed %i)', (seed) => {
  const random = seededRandom(seed);
  const initial = new Uint8Array(NR_BLOCKS * 4096);
  const formatted = new MemoryMetadataDevice({ bytes: initial });
  SmallTarget.format(formatted, { dataBlocks: 500 });
  const device = new RecordingMetadataDevice(new MemoryMetadataDevice({ bytes: initial.slice() }));
  const target = SmallTarget.open(device, { cacheBlocks: 32 });
  const states: State[] = [];
  const describe = (trees: BTree<number>[]): string => JSON.stringify(trees.map((tree) => [...tree]));

  const data = target.data as DataSpaceMap;
  const trees = [BTree.create(target.tm, numbers)];
  const ours: number[] = [];
  for (let commit = 0; commit < 8; commit++) {
    for (let i = 0; i < 120; i++) {
      const tree = trees[Math.floor(random() * trees.length)] as BTree<number>;
      const key = Math.floor(random() * 3000);
      if (random() < 0.75) for (let j = 0; j < 8; j++) tree.insert(key + j, commit);
      else tree.removeRange(key, key + 200);
    }
    if (trees.length < 4) {
      const [first] = trees as [BTree<number>];
      target.tm.inc(first.root);
      trees.push(new BTree(target.tm, numbers, first.root));
    } else trees.splice(1, 1).at(0)?.delete();
    ours.push(data.newBlock(), data.newBlock());
    if (commit % 2 === 1) data.dec(ours.shift() as number);
    target.roots = trees.map(({ root }) => root);
    states.push({ trees: describe(trees), dataBlocks: [...ours] });
    target.commit();
    device.promise(`${commit}`);
  }

  let nrImages = 0;
  for (const image of crashImages({ initial, operations: device.operations, seed, imagesPerInterval: 8 })) {
    nrImages++;
    try {
      const reopened = SmallTarget.open(new MemoryMetadataDevice({ bytes: image.bytes }), { cacheBlocks: 64 });
      const found = describe(reopened.roots.map((root) => new BTree(reopened.tm, numbers, root)));
      const state = [image.lastPromise, image.nextPromise]
        .map((label) => (label === undefined ? BEFORE : (states[Number(label)] as State)))
        .find(({ trees }) => trees === found);
      if (state === undefined) return expect.fail('neither the one state nor the other');
      audit(
        reopened.tm,
        [
          ...reopened.roots.map((root) => ({ root, kind: { valueSize: 8 } })),
          (auditor) => {
            for (const nr of state.dataBlocks) auditor.dataBlock(nr);
          },
        ],
        (reopened.data as DataSpaceMap).root,
      );
    } catch (error) {
      throw new Error(`after a ${image.description}`, { cause: error });
    }
  }
  expect(nrImages).toBeGreaterThan(100);
});
