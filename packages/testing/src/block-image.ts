/**
 * A metadata image to damage on purpose: bytes, fields, whole blocks; with the checksum left wrong, or made right again.
 *
 * Written against the format alone (docs/format/conventions.md), with a checksum of its own: a mistake in the code under test must
 * not hide here. What the fields mean is for who extends it.
 */
import { BLOCK_SIZE, MemoryMetadataDevice } from '@pdata/device';

/** Constants of the checksums that every target's blocks have, by kind of block. */
export const BLOCK_XOR = { node: 121107, index: 160478, bitmap: 240779, array: 595846735 } as const;

export class BlockImage<Kind extends string> {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly #xor: Readonly<Record<Kind, number>>;

  /** @param xor constants of the checksums, by kind of block */
  constructor(bytes: Uint8Array, xor: Readonly<Record<Kind, number>>) {
    this.bytes = bytes;
    this.#xor = xor;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get nrBlocks(): number {
    return this.bytes.length / BLOCK_SIZE;
  }

  /** The image as a device that shares its bytes. */
  device(options: { readOnly?: boolean } = {}): MemoryMetadataDevice {
    return new MemoryMetadataDevice({ bytes: this.bytes, name: 'image', ...options });
  }

  u32(blockNr: number, at: number): number {
    return this.view.getUint32(blockNr * BLOCK_SIZE + at, true);
  }

  u64(blockNr: number, at: number): number {
    return Number(this.view.getBigUint64(blockNr * BLOCK_SIZE + at, true));
  }

  put32(blockNr: number, at: number, value: number): this {
    this.view.setUint32(blockNr * BLOCK_SIZE + at, value, true);
    return this;
  }

  put64(blockNr: number, at: number, value: number | bigint): this {
    this.view.setBigUint64(blockNr * BLOCK_SIZE + at, BigInt(value), true);
    return this;
  }

  /** Makes the checksum right for a block of `kind`. */
  seal(blockNr: number, kind: Kind): this {
    return this.put32(blockNr, 0, (register(this.block(blockNr)) ^ this.#xor[kind]) >>> 0);
  }

  /** What a block with a right checksum is. */
  kindOf(blockNr: number): Kind | undefined {
    const constant = (this.u32(blockNr, 0) ^ register(this.block(blockNr))) >>> 0;
    return (Object.keys(this.#xor) as Kind[]).find((kind) => this.#xor[kind] === constant);
  }

  block(blockNr: number): Uint8Array {
    return this.bytes.subarray(blockNr * BLOCK_SIZE, (blockNr + 1) * BLOCK_SIZE);
  }
}

const table = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** The CRC-32C register after bytes 4..4095, not inverted. */
function register(block: Uint8Array): number {
  let crc = -1;
  for (let at = 4; at < BLOCK_SIZE; at++) crc = (crc >>> 8) ^ (table[(crc ^ (block[at] as number)) & 0xff] as number);
  return crc;
}
