/**
 * How large a pool's metadata device should be: the estimate of thin_metadata_size 1.1.0.
 *
 * A leaf of a mapping tree holds 252 mappings when full and half as many after splits, so a pool whose every data block is
 * mapped once needs one leaf for each 126 of them; each thin device needs a root of its own; the superblock is one more.
 * What is left of the data device behind its last whole block is not used, and not counted.
 * Sharing, space maps and internal nodes are not counted: they fit into the slack of leaves that are fuller than half.
 *
 * Format: docs/format/tools.md, section 2 (the formula), docs/format/space-maps.md, section 1 (the largest device).
 */
import { MAX_METADATA_BLOCKS } from '@pdata/persistent-data';

/** Mappings in a leaf that has just been split. */
const MAPPINGS_PER_LEAF = 126n;
export interface PoolShape {
  /** Size of the data device. */
  readonly poolBytes: bigint;
  /** Size of a data block, above 0. */
  readonly dataBlockBytes: bigint;
  /** Thin devices and snapshots the pool will hold at most. */
  readonly maxThins: bigint;
}

/**
 * @returns blocks of 4096 bytes, at most {@link MAX_METADATA_BLOCKS}
 * @throws RangeError when the data block size is not above 0
 */
export function estimateMetadataBlocks({ poolBytes, dataBlockBytes, maxThins }: PoolShape): number {
  if (dataBlockBytes <= 0n) throw new RangeError(`a data block has at least one byte, not ${dataBlockBytes}`);
  const nrDataBlocks = poolBytes / dataBlockBytes;
  const nrLeaves = (nrDataBlocks + MAPPINGS_PER_LEAF - 1n) / MAPPINGS_PER_LEAF;
  const nrBlocks = 1n + nrLeaves + maxThins;
  return nrBlocks > MAX_METADATA_BLOCKS ? MAX_METADATA_BLOCKS : Number(nrBlocks);
}
