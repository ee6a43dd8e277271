/** Looking at, and damaging, single nodes of a tree. */
import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';
import {
  Block,
  type BlockValidator,
  childAt,
  isLeaf,
  keyAt,
  nodeValidator,
  nrEntries,
  type TransactionManager,
} from '@pdata/persistent-data';

export interface SeenNode {
  readonly nr: number;
  readonly leaf: boolean;
  readonly keys: readonly number[];
  /** Of an internal node. */
  readonly children: readonly number[];
}

/** The nodes of a tree, layer by layer from the root down, each layer in key order. */
export function layersOf(tm: TransactionManager, root: number): SeenNode[][] {
  const layers: SeenNode[][] = [];
  for (let numbers = [root]; numbers.length > 0; ) {
    const layer = numbers.map((nr) => {
      const node = tm.read(nr, nodeValidator);
      const indices = Array.from({ length: nrEntries(node) }, (_, i) => i);
      const leaf = isLeaf(node);
      return {
        nr,
        leaf,
        keys: indices.map((i) => keyAt(node, i)),
        children: leaf ? [] : indices.map((i) => childAt(node, i)),
      };
    });
    layers.push(layer);
    numbers = layer.flatMap(({ children }) => children);
  }
  return layers;
}

/** How many entries each leaf holds, in order. */
export const leafSizes = (tm: TransactionManager, root: number): number[] =>
  (layersOf(tm, root).at(-1) ?? []).map(({ keys }) => keys.length);

/** Changes block `nr` on the device and seals it again: damage that no checksum shows. Caches have to be dropped. */
export function rewrite(
  device: MetadataDevice,
  nr: number,
  change: (view: DataView, bytes: Uint8Array) => void,
  validator: BlockValidator = nodeValidator,
): void {
  const block = new Block(new Uint8Array(BLOCK_SIZE), nr);
  device.read(nr, block.bytes);
  change(block.view, block.bytes);
  validator.prepare(block);
  device.write(nr, block.bytes);
}
