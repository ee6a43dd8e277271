/**
 * thin_ls: a pool's thin devices, each with how much it maps and how much of that it shares.
 *
 * A data block is exclusive when it is mapped once in all the trees looked at, whatever the space map says; so a metadata
 * snapshot, whose blocks the live devices use as well, can be listed by itself.
 *
 *   1. Each device's leaves are walked without being read; how many devices reach a leaf is counted.
 *   2. Each leaf is read once: its data blocks are counted (as shared at once where several devices reach it), its number
 *      of mappings and its last key remembered.
 *   3. The leaves that one device alone reaches are read again, for the data blocks counted once.
 *   4. Each device's leaves are walked again, and what is known of them is added up.
 *
 * Memory: 17 bytes for each metadata block, 16 KiB for every 16 320 neighbouring data blocks in use. Time does not grow with
 * sharing: a hundred snapshots of a full volume cost little more than the volume.
 *
 * Format: docs/format/thin.md, section 2; docs/format/tools.md, section 6.
 */
import { CorruptBlockError, type MetadataDevice } from '@pdata/device';
import { type Block, ENTRIES_PER_BITMAP, keyAt, nrBitmapsFor, nrEntries, valuesOffset } from '@pdata/persistent-data';
import type { WorkOptions } from '@pdata/persistent-data/maintenance';
import { ReferenceCounts } from '@pdata/persistent-data/maintenance';
import { dataBlockAt } from '../../format/block-time.js';
import { LeafWalk } from '../dump/leaf-walk.js';
import { MAX_CHILDREN, NodeReader, requireMappingLeaf } from '../dump/node-reader.js';
import { readOutline } from '../dump/outline.js';
import { type PoolDevice, readRoots } from '../dump/pool-roots.js';
import { ThinDamageError, virtualBlocksInWords } from '../dump/thin-damage.js';

export interface ListOptions extends WorkOptions {
  /** The devices of the metadata snapshot, whose trees do not change while the pool is in use. */
  readonly metadataSnapshot?: boolean;
  /** Default true. False leaves {@link ListedThin.mappings} out; only the details are read then, and far faster. */
  readonly mappings?: boolean;
}

export interface ListedThin {
  readonly thinId: number;
  /** What the details tree says; the mappings themselves are counted in `mappings`. */
  readonly mappedBlocks: bigint;
  /** The pool's transaction id when the device was created. */
  readonly transactionId: bigint;
  /** The pool's time then. */
  readonly creationTime: number;
  /** The pool's time at the last snapshot taken of the device. */
  readonly snapshottedTime: number;
  readonly mappings?: ThinMappings;
}

/** In data blocks. `mapped` is `exclusive` + `shared`. */
export interface ThinMappings {
  readonly mapped: number;
  /** Mapped here and nowhere else. */
  readonly exclusive: number;
  /** Mapped by another device too, or twice by this one. */
  readonly shared: number;
  /** Highest virtual block that is mapped; undefined when none is. */
  readonly highest: number | undefined;
}

export interface ListSummary {
  readonly nrDevices: number;
  /** Sectors. */
  readonly dataBlockSize: number;
}

/**
 * Tells about each thin device of the pool on `device`, by ascending thin id. Nothing comes before all is known.
 *
 * @throws {@link ThinDamageError} when a block that is needed contradicts the format
 * @throws {@link CorruptBlockError} when that block is the superblock
 * @throws {@link NoMetadataSnapshotError} when `metadataSnapshot` is asked for and the pool holds none
 * @throws {@link DeviceError} when the device cannot be read
 */
export function* listThin(device: MetadataDevice, options: ListOptions = {}): Generator<ListedThin, ListSummary> {
  const reader = new NodeReader(device);
  const { devices, superblock } = readOutline(device, reader, { metadataSnapshot: options.metadataSnapshot ?? false });
  const survey = options.mappings === false ? undefined : new Survey(device, reader, options);
  survey?.run(devices);
  for (const thin of devices) {
    const { thinId, mappedBlocks, transactionId, creationTime, snapshottedTime } = thin.printed;
    const details = { thinId, mappedBlocks, transactionId, creationTime, snapshottedTime };
    yield survey === undefined ? details : { ...details, mappings: survey.mappingsOf(thin) };
  }
  return { nrDevices: devices.length, dataBlockSize: superblock.dataBlockSize };
}

class Survey {
  readonly #reader: NodeReader;
  readonly #options: ListOptions;
  readonly #walk: LeafWalk;
  readonly #nrDataBlocks: number;
  readonly #counts: ReferenceCounts;
  #walked: PoolDevice | undefined;
  #nrLeavesRead = 0;
  #nrLeaves = 0;

  // What is known of each metadata block that is a leaf; a device or a file has too many to keep an object each.
  /** Devices that reach it. */
  readonly #users: Uint32Array;
  readonly #nrMappings: Uint16Array;
  readonly #nrExclusive: Uint16Array;
  readonly #lastKey: Float64Array;
  /** Whether it has been read in the pass that is going on. */
  #isRead: Uint8Array;

  constructor(device: MetadataDevice, reader: NodeReader, options: ListOptions) {
    this.#reader = reader;
    this.#options = options;
    this.#nrDataBlocks = nrDataBlocks(device);
    this.#counts = new ReferenceCounts(this.#nrDataBlocks, nrBitmapsFor(this.#nrDataBlocks));
    this.#walk = new LeafWalk(reader, (error, _blockNr, low, high) => this.#damaged(error, low, high));
    this.#users = new Uint32Array(device.nrBlocks);
    this.#nrMappings = new Uint16Array(device.nrBlocks);
    this.#nrExclusive = new Uint16Array(device.nrBlocks);
    this.#lastKey = new Float64Array(device.nrBlocks);
    this.#isRead = new Uint8Array(device.nrBlocks);
  }

  run(devices: readonly PoolDevice[]): void {
    for (const thin of devices) {
      for (const { nr, blockNrs } of this.#batches(thin)) {
        for (let i = 0; i < nr; i++) {
          if (this.#users[blockNrs[i]!]!++ === 0) this.#nrLeaves++;
        }
      }
    }
    this.#readEachLeaf(devices, 1, (leaf) => this.#countDataBlocks(leaf));
    this.#isRead = new Uint8Array(this.#isRead.length);
    this.#readEachLeaf(devices, 2, (leaf) => this.#countExclusive(leaf));
  }

  mappingsOf(thin: PoolDevice): ThinMappings {
    let mapped = 0;
    let exclusive = 0;
    let highest: number | undefined;
    for (const { nr, blockNrs } of this.#batches(thin)) {
      for (let i = 0; i < nr; i++) {
        const leafNr = blockNrs[i]!;
        if (this.#nrMappings[leafNr] === 0) continue;
        mapped += this.#nrMappings[leafNr]!;
        exclusive += this.#nrExclusive[leafNr]!;
        highest = this.#lastKey[leafNr]!;
      }
    }
    return { mapped, exclusive, shared: mapped - exclusive, highest };
  }

  /** Pass 1 reads every leaf, pass 2 those that one device alone reaches. */
  #readEachLeaf(devices: readonly PoolDevice[], pass: 1 | 2, visit: (leaf: Block) => void): void {
    const due = new Float64Array(MAX_CHILDREN);
    const lows = new Float64Array(MAX_CHILDREN);
    const highs = new Float64Array(MAX_CHILDREN);
    for (const thin of devices) {
      for (const batch of this.#batches(thin)) {
        let nrDue = 0;
        for (let i = 0; i < batch.nr; i++) {
          const leafNr = batch.blockNrs[i]!;
          if (this.#isRead[leafNr] !== 0 || (pass === 2 && this.#users[leafNr] !== 1)) continue;
          this.#isRead[leafNr] = 1;
          due[nrDue] = leafNr;
          lows[nrDue] = batch.lows[i]!;
          highs[nrDue++] = batch.lows[i + 1]!;
        }
        if (nrDue === 0) continue;
        this.#reader.readLeaves(due, nrDue);
        for (let i = 0; i < nrDue; i++) this.#visit(i, lows[i]!, highs[i]!, visit);
        this.#report(nrDue);
      }
    }
  }

  #visit(i: number, low: number, high: number, visit: (leaf: Block) => void): void {
    try {
      visit(this.#reader.leaf(i, low, high));
    } catch (error) {
      if (!(error instanceof CorruptBlockError)) throw error;
      this.#damaged(error, low, high);
    }
  }

  #countDataBlocks(leaf: Block): void {
    requireMappingLeaf(leaf);
    const nr = nrEntries(leaf);
    const isShared = this.#users[leaf.nr]! > 1;
    for (let i = 0, at = valuesOffset(leaf); i < nr; i++, at += 8) {
      const dataBlock = dataBlockAt(leaf.view, at);
      if (dataBlock >= this.#nrDataBlocks) this.#refuseDataBlock(leaf, i, dataBlock);
      this.#counts.inc(dataBlock);
      if (isShared) this.#counts.inc(dataBlock); // twice is as good as once for each of them
    }
    this.#nrMappings[leaf.nr] = nr;
    if (nr > 0) this.#lastKey[leaf.nr] = keyAt(leaf, nr - 1);
  }

  #countExclusive(leaf: Block): void {
    const nr = nrEntries(leaf);
    let exclusive = 0;
    for (let i = 0, at = valuesOffset(leaf); i < nr; i++, at += 8) {
      if (this.#counts.count(dataBlockAt(leaf.view, at)) === 1) exclusive++;
    }
    this.#nrExclusive[leaf.nr] = exclusive;
  }

  #batches(thin: PoolDevice): ReturnType<LeafWalk['batches']> {
    this.#walked = thin;
    return this.#walk.batches(thin.rootNr);
  }

  #refuseDataBlock(leaf: Block, index: number, dataBlock: number): never {
    const field = `data block of key ${keyAt(leaf, index)}`;
    const expected = `below ${this.#nrDataBlocks}, the pool's number of data blocks`;
    throw new CorruptBlockError({ structure: 'btree node', blockNr: leaf.nr, field, found: dataBlock, expected });
  }

  #damaged(error: CorruptBlockError, low: number, high: number): never {
    const thinId = this.#walked?.printed.thinId;
    throw new ThinDamageError(error.detail, {
      thinId,
      effect: `${virtualBlocksInWords(low, high)} of thin device ${thinId} cannot be read, so sharing cannot be counted`,
      nextStep: 'run thin_check to see the whole damage; the details alone can still be listed',
    });
  }

  #report(nrLeaves: number): void {
    this.#options.signal?.throwIfAborted();
    this.#nrLeavesRead += nrLeaves;
    // Pass 2 reads at most as many again.
    this.#options.onProgress?.({ stage: 'data mappings', done: this.#nrLeavesRead, total: 2 * this.#nrLeaves });
  }
}

/**
 * The live superblock's figure: that of a metadata snapshot is zero. Every data block needs its two bits in a bitmap of
 * the space map, so a figure that the device has no room for is damage, and would let us count in memory without end.
 */
function nrDataBlocks(device: MetadataDevice): number {
  const nr = readRoots(device, false).superblock.nrDataBlocks;
  const most = device.nrBlocks * ENTRIES_PER_BITMAP;
  if (nr <= most) return Number(nr);
  throw new ThinDamageError(
    {
      structure: 'thin superblock',
      blockNr: 0,
      field: 'number of data blocks',
      found: nr,
      expected: `at most ${most}, what ${device.nrBlocks} metadata blocks have room for`,
    },
    {
      thinId: undefined,
      effect: 'mappings cannot be told from garbage',
      nextStep: 'check that the metadata device has its whole size, then run thin_check',
    },
  );
}
