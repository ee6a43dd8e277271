/**
 * Reads a pool's metadata from its bytes, the slow and obvious way: every structure by the offsets of docs/format, without
 * the trees, caches and space maps under test. What an audit believes, and what a crash test compares.
 *
 * While walking it counts every reference to every block, metadata and data, and notes what contradicts the format:
 * checksums and home numbers, nodes' fill, key order and depth, records that do not match what was found.
 */
import { BLOCK_SIZE } from '@pdata/device';
import { Block } from '@pdata/persistent-data';

export interface ImageMapping {
  readonly dataBlock: number;
  readonly time: number;
}

export interface ImageDevice {
  readonly mappedBlocks: number;
  readonly transactionId: bigint;
  readonly creationTime: number;
  readonly snapshottedTime: number;
  /** Key: virtual block. */
  readonly mappings: ReadonlyMap<number, ImageMapping>;
}

export interface ImageSpaceMap {
  readonly nrBlocks: number;
  readonly nrAllocated: number;
  /** Blocks with a count, and the count. */
  readonly counts: ReadonlyMap<number, number>;
}

export interface PoolImage {
  readonly flags: number;
  readonly time: number;
  readonly transactionId: bigint;
  readonly heldRoot: number;
  readonly dataBlockSize: number;
  readonly devices: ReadonlyMap<number, ImageDevice>;
  /** What the metadata snapshot shows. */
  readonly held: ReadonlyMap<number, ImageDevice> | undefined;
  readonly dataSpaceMap: ImageSpaceMap;
  readonly metadataSpaceMap: ImageSpaceMap;
  /** References found by walking. */
  readonly metadataReferences: ReadonlyMap<number, number>;
  readonly dataReferences: ReadonlyMap<number, number>;
  /** Block → what it is, in the words of docs/format/thin.md, section 3. */
  readonly roles: ReadonlyMap<number, string>;
  readonly problems: readonly string[];
}

const XOR = { superblock: 160774, node: 121107, index: 160478, bitmap: 240779 };
const ENTRIES_PER_BITMAP = 16320;

export function readPoolImage(bytes: Uint8Array): PoolImage {
  return new ImageReader(bytes).read();
}

class ImageReader {
  readonly #bytes: Uint8Array;
  readonly #problems: string[] = [];
  readonly #metadata = new Map<number, number>();
  readonly #data = new Map<number, number>();
  readonly #roles = new Map<number, string>();
  readonly #visited = new Set<number>();
  readonly #subtrees = new Map<number, Map<number, ImageMapping>>();

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  read(): PoolImage {
    const superblock = this.#superblock(0);
    const { view } = superblock;
    const time = view.getUint32(44, true);
    const heldRoot = number64(view, 56);
    const devices = this.#devices(superblock, 'current', time);
    let held: Map<number, ImageDevice> | undefined;
    if (heldRoot !== 0) {
      const heldSuperblock = this.#superblock(heldRoot);
      if (number64(heldSuperblock.view, 56) !== 0) this.#problem(`the metadata snapshot holds another one`);
      for (let at = 64; at < 320; at++) {
        if (heldSuperblock.bytes[at] !== 0) this.#problem(`byte ${at} of the metadata snapshot is not zero`);
      }
      held = this.#devices(heldSuperblock, 'held', time);
    }
    const dataSpaceMap = this.#dataSpaceMap(view);
    const metadataSpaceMap = this.#metadataSpaceMap(view);
    this.#compare('data block', dataSpaceMap, this.#data);
    this.#compare('metadata block', metadataSpaceMap, this.#metadata);
    return {
      flags: view.getUint32(4, true),
      time,
      transactionId: view.getBigUint64(48, true),
      heldRoot,
      dataBlockSize: view.getUint32(336, true),
      devices,
      held,
      dataSpaceMap,
      metadataSpaceMap,
      metadataReferences: this.#metadata,
      dataReferences: this.#data,
      roles: this.#roles,
      problems: this.#problems,
    };
  }

  #superblock(nr: number): Block {
    this.#refer(nr, 'superblock');
    const block = this.#block(nr, XOR.superblock, 'superblock');
    if (number64(block.view, 32) !== 27022010) this.#problem(`superblock ${nr} has no magic`);
    return block;
  }

  #devices({ view }: Block, which: string, poolTime: number): Map<number, ImageDevice> {
    const details = this.#tree(number64(view, 328), 24, `details root`, (node, at) => ({
      mappedBlocks: number64(node, at),
      transactionId: node.getBigUint64(at + 8, true),
      creationTime: node.getUint32(at + 16, true),
      snapshottedTime: node.getUint32(at + 20, true),
    }));
    const roots = this.#tree(number64(view, 320), 8, `mapping root`, number64, (root) =>
      this.#refer(root, 'device root'),
    );
    const devices = new Map<number, ImageDevice>();
    for (const [thinId, record] of details) {
      const where = `${which} device ${thinId}`;
      const root = roots.get(thinId);
      if (root === undefined) {
        this.#problem(`${where} has a record, but no mappings`);
        continue;
      }
      const mappings = this.#mappings(root);
      for (const [virtualBlock, { time }] of mappings) {
        if (time > poolTime) this.#problem(`${where}: block ${virtualBlock} was mapped in the future`);
      }
      if (mappings.size !== record.mappedBlocks) {
        this.#problem(`${where} has ${mappings.size} mappings, and a record of ${record.mappedBlocks}`);
      }
      if (record.creationTime > poolTime || record.snapshottedTime > poolTime) {
        this.#problem(`${where} was made or snapshotted in the future`);
      }
      devices.set(thinId, { ...record, mappings });
    }
    for (const thinId of roots.keys()) {
      if (!details.has(thinId)) this.#problem(`${which} device ${thinId} has mappings, but no record`);
    }
    return devices;
  }

  /** A device's tree is read, and its references counted, once, however many devices name it. */
  #mappings(root: number): Map<number, ImageMapping> {
    const known = this.#subtrees.get(root);
    if (known !== undefined) return known;
    const values = this.#tree(root, 8, undefined, mapping, ({ dataBlock }) =>
      this.#data.set(dataBlock, (this.#data.get(dataBlock) ?? 0) + 1),
    );
    this.#subtrees.set(root, values);
    return values;
  }

  #dataSpaceMap(view: DataView): ImageSpaceMap {
    const entries = this.#tree(number64(view, 64 + 16), 16, 'data index root', indexEntry, ({ blockNr }) =>
      this.#refer(blockNr, 'data bitmap'),
    );
    return this.#spaceMap(
      'data',
      view,
      64,
      [...entries].map(([, entry]) => entry),
      entries.size,
    );
  }

  #metadataSpaceMap(view: DataView): ImageSpaceMap {
    const indexNr = number64(view, 192 + 16);
    this.#refer(indexNr, 'metadata index');
    const index = this.#block(indexNr, XOR.index, 'metadata index');
    const nrBitmaps = Math.ceil(number64(view, 192) / ENTRIES_PER_BITMAP);
    const entries = Array.from({ length: nrBitmaps }, (_, i) => indexEntry(index.view, 16 + 16 * i));
    for (const { blockNr } of entries) this.#refer(blockNr, 'metadata bitmap');
    for (let at = 16 + 16 * nrBitmaps; at < BLOCK_SIZE; at++) {
      if (index.bytes[at] !== 0) this.#problem(`byte ${at} of the metadata index, behind its entries, is not zero`);
    }
    return this.#spaceMap('metadata', view, 192, entries, nrBitmaps);
  }

  #spaceMap(kind: string, view: DataView, at: number, entries: IndexEntry[], nrEntries: number): ImageSpaceMap {
    const nrBlocks = number64(view, at);
    const nrAllocated = number64(view, at + 8);
    for (let i = at + 32; i < at + 128; i++) {
      if (view.getUint8(i) !== 0)
        this.#problem(`byte ${i} of the superblock, behind the ${kind} map's root, is not zero`);
    }
    if (nrEntries !== Math.ceil(nrBlocks / ENTRIES_PER_BITMAP)) {
      this.#problem(`the ${kind} map has ${nrEntries} bitmaps for ${nrBlocks} blocks`);
    }
    const overflow = this.#tree(number64(view, at + 24), 4, `${kind} overflow root`, (node, valueAt) =>
      node.getUint32(valueAt, true),
    );
    const counts = new Map<number, number>();
    entries.forEach(({ blockNr, nrFree, noneFreeBefore }, i) => {
      const { bytes } = this.#block(blockNr, XOR.bitmap, `${kind} bitmap ${i}`);
      let used = 0;
      for (let entry = 0; entry < ENTRIES_PER_BITMAP; entry++) {
        const nr = i * ENTRIES_PER_BITMAP + entry;
        const raw = ((bytes[16 + Math.floor(entry / 4)] as number) >> (2 * (entry % 4))) & 3;
        const pair = raw === 1 ? 2 : raw === 2 ? 1 : raw;
        if (pair === 0) {
          if (entry < noneFreeBefore) {
            this.#problem(`${kind} bitmap ${i}: entry ${entry} is free, below the hint ${noneFreeBefore}`);
          }
          continue;
        }
        used++;
        if (nr >= nrBlocks) this.#problem(`${kind} block ${nr} is counted, and there are only ${nrBlocks}`);
        if (pair < 3) {
          counts.set(nr, pair);
          continue;
        }
        const count = overflow.get(nr);
        if (count === undefined || count < 3)
          this.#problem(`${kind} block ${nr} has 3 in its bitmap, ${count} in the tree`);
        counts.set(nr, count ?? 3);
        overflow.delete(nr);
      }
      if (nrFree !== ENTRIES_PER_BITMAP - used) {
        this.#problem(
          `${kind} bitmap ${i} has ${ENTRIES_PER_BITMAP - used} free entries, its index entry says ${nrFree}`,
        );
      }
    });
    for (const nr of overflow.keys())
      this.#problem(`${kind} block ${nr} is in the overflow tree without a 3 in its bitmap`);
    if (counts.size !== nrAllocated) {
      this.#problem(`the ${kind} map has ${counts.size} blocks in use, its root says ${nrAllocated}`);
    }
    return { nrBlocks, nrAllocated, counts };
  }

  #compare(what: string, map: ImageSpaceMap, references: ReadonlyMap<number, number>): void {
    for (const [nr, found] of references) {
      const counted = map.counts.get(nr) ?? 0;
      if (counted !== found) this.#problem(`${what} ${nr} has ${found} references, counted are ${counted}`);
      if (nr >= map.nrBlocks) this.#problem(`${what} ${nr} is referred to, and there are only ${map.nrBlocks}`);
    }
    for (const [nr, counted] of map.counts) {
      if (!references.has(nr)) this.#problem(`${what} ${nr} is lost: counted ${counted}, and nobody refers to it`);
    }
  }

  /**
   * All entries of a tree. References to its nodes and, by `onValue`, those of its values are counted once a node, however
   * often the node is reached.
   */
  #tree<V>(
    root: number,
    valueSize: number,
    role: string | undefined,
    decode: (view: DataView, at: number) => V,
    onValue?: (value: V) => void,
  ): Map<number, V> {
    const entries = new Map<number, V>();
    const leafDepths = new Set<number>();
    const visit = (nr: number, depth: number, low: number, high: number): void => {
      const node = this.#block(nr, XOR.node, 'node');
      const { view } = node;
      const flags = view.getUint32(4, true);
      const nrEntries = view.getUint32(16, true);
      const maxEntries = view.getUint32(20, true);
      const size = view.getUint32(24, true);
      const leaf = flags === 2;
      if (flags !== 1 && flags !== 2) this.#problem(`node ${nr} has flags ${flags}`);
      if (size !== (leaf ? valueSize : 8)) this.#problem(`node ${nr} has values of ${size} bytes`);
      if (maxEntries !== Math.floor(4064 / (8 + size) / 3) * 3) this.#problem(`node ${nr} has room for ${maxEntries}`);
      if (nrEntries > maxEntries) this.#problem(`node ${nr} has ${nrEntries} of ${maxEntries} entries`);
      if (depth > 0 && nrEntries < maxEntries / 3) {
        this.#problem(`node ${nr} has ${nrEntries} entries, less than a third of ${maxEntries}`);
      }
      if (depth > 20) throw new Error(`the tree at ${root} is too deep`);
      const first = !this.#visited.has(nr);
      this.#visited.add(nr);
      if (leaf) leafDepths.add(depth);
      let previous = -1;
      for (let i = 0; i < nrEntries; i++) {
        const key = number64(view, 32 + 8 * i);
        const at = 32 + 8 * maxEntries + size * i;
        if (key <= previous || key < low || key >= high) this.#problem(`node ${nr}: key ${key} is out of order`);
        previous = key;
        if (leaf) {
          const value = decode(view, at);
          entries.set(key, value);
          if (first) onValue?.(value);
        } else {
          const child = number64(view, at);
          if (first) this.#refer(child, 'node');
          visit(child, depth + 1, key, i + 1 < nrEntries ? number64(view, 32 + 8 * (i + 1)) : high);
        }
      }
    };
    if (role !== undefined) this.#refer(root, role);
    visit(root, 0, 0, Number.POSITIVE_INFINITY);
    if (leafDepths.size > 1) this.#problem(`the tree at ${root} has leaves at different depths`);
    return entries;
  }

  #refer(nr: number, role: string): void {
    this.#metadata.set(nr, (this.#metadata.get(nr) ?? 0) + 1);
    if (!this.#roles.has(nr)) this.#roles.set(nr, role);
  }

  #block(nr: number, xor: number, what: string): Block {
    const bytes = this.#bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
    if (bytes.length !== BLOCK_SIZE) throw new Error(`${what}: block ${nr} is outside the image`);
    const block = new Block(bytes, nr);
    if (number64(block.view, 8) !== nr) this.#problem(`${what} ${nr} says it is ${number64(block.view, 8)}`);
    if (block.view.getUint32(0, true) !== block.checksum(xor)) this.#problem(`${what} ${nr} has a wrong checksum`);
    return block;
  }

  #problem(text: string): void {
    this.#problems.push(text);
  }
}

interface IndexEntry {
  readonly blockNr: number;
  readonly nrFree: number;
  readonly noneFreeBefore: number;
}

const indexEntry = (view: DataView, at: number): IndexEntry => ({
  blockNr: number64(view, at),
  nrFree: view.getUint32(at + 8, true),
  noneFreeBefore: view.getUint32(at + 12, true),
});

/** A u64: data block above, 24 bits of time below. */
const mapping = (view: DataView, at: number): ImageMapping => ({
  dataBlock: view.getUint8(at + 3) + 256 * view.getUint32(at + 4, true),
  time: view.getUint32(at, true) % 2 ** 24,
});

function number64(view: DataView, at: number): number {
  return view.getUint32(at, true) + 2 ** 32 * view.getUint32(at + 4, true);
}
