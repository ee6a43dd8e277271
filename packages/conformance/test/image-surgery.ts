/**
 * Spoils an image with a purpose: changes a field and signs the block again, so that only the lie is wrong. Checksums and
 * offsets are written out here once more, from docs/format: what judges our code must not share it.
 */

const BLOCK = 4096;
const CHECKSUM_XOR = { superblock: 160_774, node: 121_107, bitmap: 240_779, index: 160_478 } as const;
export type BlockKind = keyof typeof CHECKSUM_XOR;

const CRC32C_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export class ImageSurgery {
  readonly #view: DataView;
  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u32(blockNr: number, at: number): number {
    return this.#view.getUint32(blockNr * BLOCK + at, true);
  }
  u64(blockNr: number, at: number): number {
    return Number(this.#view.getBigUint64(blockNr * BLOCK + at, true));
  }
  setU32(blockNr: number, kind: BlockKind, at: number, value: number): this {
    this.#view.setUint32(blockNr * BLOCK + at, value, true);
    return this.sign(blockNr, kind);
  }
  setU64(blockNr: number, kind: BlockKind, at: number, value: number): this {
    this.#view.setBigUint64(blockNr * BLOCK + at, BigInt(value), true);
    return this.sign(blockNr, kind);
  }
  /** Flips a bit without signing: the checksum is wrong afterwards. */
  flip(blockNr: number, at: number): this {
    this.bytes[blockNr * BLOCK + at]! ^= 1;
    return this;
  }
  sign(blockNr: number, kind: BlockKind): this {
    let crc = 0xffffffff;
    for (let at = blockNr * BLOCK + 4; at < (blockNr + 1) * BLOCK; at++) {
      crc = CRC32C_TABLE[(crc ^ this.bytes[at]!) & 0xff]! ^ (crc >>> 8);
    }
    this.#view.setUint32(blockNr * BLOCK, (crc ^ CHECKSUM_XOR[kind]) >>> 0, true);
    return this;
  }

  /** Block of entry `index` in a node of 8-byte values. */
  child(nodeNr: number, index: number): number {
    return this.u64(nodeNr, 32 + 8 * 252 + 8 * index);
  }
  get mappingRoot(): number {
    return this.u64(0, 320);
  }
  get detailsRoot(): number {
    return this.u64(0, 328);
  }
  /** Index trees of the fixtures have one leaf and one bitmap. */
  get dataIndex(): number {
    return this.u64(0, 64 + 16);
  }
  get dataOverflow(): number {
    return this.u64(0, 64 + 24);
  }
  get dataBitmap(): number {
    return this.u64(this.dataIndex, 32 + 8 * 168);
  }
  get metadataIndex(): number {
    return this.u64(0, 192 + 16);
  }
  get metadataOverflow(): number {
    return this.u64(0, 192 + 24);
  }
  get metadataBitmap(): number {
    return this.u64(this.metadataIndex, 16);
  }

  /** The two bits of a block in a bitmap as a count; 3 stands for three or more. */
  count(bitmapNr: number, blockNr: number): number {
    const pair = (this.bytes[bitmapNr * BLOCK + 16 + (blockNr >> 2)]! >> (2 * (blockNr & 3))) & 3;
    return [0, 2, 1, 3][pair]!;
  }
  setCount(bitmapNr: number, blockNr: number, count: 0 | 1 | 2): this {
    const at = bitmapNr * BLOCK + 16 + (blockNr >> 2);
    const shift = 2 * (blockNr & 3);
    this.bytes[at] = (this.bytes[at]! & ~(3 << shift)) | ([0, 2, 1][count]! << shift);
    return this.sign(bitmapNr, 'bitmap');
  }
  /** The first block with that count, looking from block `from` on. */
  firstWithCount(bitmapNr: number, count: number, nrBlocks: number, from = 0): number {
    for (let blockNr = from; blockNr < nrBlocks; blockNr++) if (this.count(bitmapNr, blockNr) === count) return blockNr;
    throw new Error(`no block has the count ${count}`);
  }
}
