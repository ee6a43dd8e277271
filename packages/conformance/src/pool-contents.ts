/**
 * What the volumes of a pool hold, worked out from a dump and the data image alone: a second opinion that shares no code
 * with the library or the kernel. A volume reads as its mapped data blocks, and zeros between them.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';

export interface DumpedMapping {
  readonly virtualBlock: number;
  readonly dataBlock: number;
  readonly length: number;
  readonly time: number;
}

export interface DumpedDevice {
  readonly devId: number;
  readonly mappedBlocks: number;
  readonly mappings: readonly DumpedMapping[];
}

export interface DumpedPool {
  /** Attributes of the superblock element. */
  readonly superblock: Readonly<Record<string, string>>;
  /** In sectors. */
  readonly dataBlockSize: number;
  readonly devices: ReadonlyMap<number, DumpedDevice>;
}

/** Reads thin_dump's XML, either version's, with defs and refs resolved. For tests: it trusts its input's form. */
export function readDump(xml: string): DumpedPool {
  const definitions = new Map<string, DumpedMapping[]>();
  const devices = new Map<number, DumpedDevice>();
  let superblock: Record<string, string> = {};
  let mappings: DumpedMapping[] = [];
  for (const [, tag, text] of xml.matchAll(/<([a-z_]+)([^>]*?)\/?>/g)) {
    const attributes = Object.fromEntries(
      Array.from(text!.matchAll(/([a-z_]+)="([^"]*)"/g), ([, name, value]) => [name!, value!]),
    );
    const number = (name: string): number => Number(attributes[name]);
    if (tag === 'superblock') superblock = attributes;
    else if (tag === 'def') {
      mappings = [];
      definitions.set(attributes.name!, mappings);
    } else if (tag === 'ref') mappings.push(...definitions.get(attributes.name!)!);
    else if (tag === 'device') {
      mappings = [];
      devices.set(number('dev_id'), { devId: number('dev_id'), mappedBlocks: number('mapped_blocks'), mappings });
    } else {
      const single = tag === 'single_mapping';
      mappings.push({
        virtualBlock: number(single ? 'origin_block' : 'origin_begin'),
        dataBlock: number(single ? 'data_block' : 'data_begin'),
        length: single ? 1 : number('length'),
        time: number('time'),
      });
    }
  }
  return { superblock, dataBlockSize: Number(superblock.data_block_size), devices };
}

/** One line a mapped block, `device virtual data time`: the same for the same mappings however they are grouped. */
export function mappingLines(pool: DumpedPool): string[] {
  return Array.from(pool.devices.values()).flatMap(({ devId, mappings }) =>
    mappings.flatMap(({ virtualBlock, dataBlock, length, time }) =>
      Array.from({ length }, (_, at) => `${devId} ${virtualBlock + at} ${dataBlock + at} ${time}`),
    ),
  );
}

/** sha256 of a volume of `sectors`, as a reader of it would compute. @param dataImage path of the pool's data device */
export function volumeSum(pool: DumpedPool, devId: number, sectors: number, dataImage: string): string {
  const blockBytes = pool.dataBlockSize * 512;
  const dataBlockOf = new Map<number, number>();
  for (const { virtualBlock, dataBlock, length } of pool.devices.get(devId)!.mappings) {
    for (let at = 0; at < length; at++) dataBlockOf.set(virtualBlock + at, dataBlock + at);
  }
  const hash = createHash('sha256');
  const block = Buffer.alloc(blockBytes);
  const file = openSync(dataImage, 'r');
  try {
    for (let virtualBlock = 0, left = sectors * 512; left > 0; virtualBlock++, left -= blockBytes) {
      const dataBlock = dataBlockOf.get(virtualBlock);
      const used = Math.min(blockBytes, left);
      block.fill(0);
      if (dataBlock !== undefined) readSync(file, block, 0, used, dataBlock * blockBytes);
      hash.update(block.subarray(0, used));
    }
  } finally {
    closeSync(file);
  }
  return hash.digest('hex');
}
