/** The trees of a pool's metadata without the numbers of their blocks: what two implementations can be compared by. */
import { MemoryMetadataDevice } from '@pdata/device';
import {
  BlockManager,
  childAt,
  isLeaf,
  keyAt,
  nodeValidator,
  nrEntries,
  u64At,
  valueOffset,
} from '@pdata/persistent-data';
import { readThinSuperblock, type ThinSuperblock, thinSuperblockValidator } from '@pdata/thin';

/** A node: its keys, and below each the value (in hexadecimal, or a subtree) or the child. */
export type Shape = readonly (readonly [key: number, below: string | Shape])[];

export interface PoolShape {
  readonly superblock: ThinSuperblock;
  readonly details: Shape;
  /** Two levels: the values of the upper tree are trees. */
  readonly mappings: Shape;
  /** Data blocks with three references or more, and how many, in order. */
  readonly manyReferences: readonly (readonly [dataBlock: number, count: string])[];
}

export function shapeOf(metadata: Uint8Array): PoolShape {
  const blocks = new BlockManager(new MemoryMetadataDevice({ bytes: metadata }));
  const superblock = readThinSuperblock(blocks.read(0, thinSuperblockValidator));

  const shape = (nr: number, valueSize: number, subtree?: (root: number) => Shape): Shape => {
    const node = blocks.read(nr, nodeValidator);
    return Array.from({ length: nrEntries(node) }, (_, i) => {
      const { bytes, view } = blocks.read(nr, nodeValidator);
      const key = keyAt(node, i);
      if (!isLeaf(node)) return [key, shape(childAt(node, i), valueSize, subtree)] as const;
      const at = valueOffset(node, i);
      if (subtree !== undefined) return [key, subtree(u64At(view, at))] as const;
      return [key, Buffer.from(bytes.subarray(at, at + valueSize)).toString('hex')] as const;
    });
  };
  const entries = (tree: Shape): (readonly [number, string])[] =>
    tree.flatMap(([key, below]) => (typeof below === 'string' ? [[key, below] as const] : entries(below)));

  return {
    superblock,
    details: shape(superblock.detailsRoot, 24),
    mappings: shape(superblock.mappingRoot, 8, (root) => shape(root, 8)),
    manyReferences: entries(shape(superblock.dataSpaceMap.refCountRoot, 4)),
  };
}
