/**
 * The two text formats of a dump, and what they share: merging neighbouring mappings into ranges while leaves go by.
 *
 * Mappings follow one another when virtual block, data block are each one more and the time is the same. They are merged
 * across the borders of leaves too, but never across the border of a shared part: `endRun` is called there.
 *
 * Format: docs/format/tools.md, sections 5 (XML) and 6 (human readable).
 */
import { type Block, maxEntries, nrEntries } from '@pdata/persistent-data';
import { Phrase, putNumber, TextBuffer } from '@pdata/persistent-data/maintenance';

/** What a dump says of the pool. Numbers that come straight from the disk are bigints: they are printed, not counted with. */
export interface DumpedSuperblock {
  readonly time: number;
  readonly transactionId: bigint;
  readonly needsCheck: boolean;
  readonly version: number;
  /** Sectors. */
  readonly dataBlockSize: number;
  readonly nrDataBlocks: bigint;
}

/** What a dump says of a device, besides its mappings. */
export interface DumpedDevice {
  readonly thinId: number;
  readonly mappedBlocks: bigint;
  readonly transactionId: bigint;
  readonly creationTime: number;
  readonly snapshottedTime: number;
}

export abstract class DumpWriter {
  readonly buffer = new TextBuffer();
  // The range in the making; none when the length is 0.
  #origin = 0;
  #data = 0;
  #length = 0;
  #time = 0;

  abstract beginSuperblock(superblock: DumpedSuperblock): void;
  abstract endSuperblock(): void;
  abstract beginShared(name: number): void;
  abstract endShared(): void;
  abstract beginDevice(device: DumpedDevice): void;
  abstract endDevice(): void;
  abstract ref(name: number): void;
  /**
   * The dump ends here, in an error. A format that can be valid all the same closes what is open and returns true; the
   * others stay incomplete, which tells a dump that failed from one that did not.
   */
  abandon(): boolean {
    return false;
  }
  /** `length` mappings, from virtual block `origin` to data block `data` on. */
  protected abstract mapping(origin: number, data: number, length: number, time: number): void;

  /** The mappings of one leaf, in order. At most 252 lines. */
  leaf(leaf: Block): void {
    const { view } = leaf;
    const values = 8 * maxEntries(leaf);
    // In locals while the leaf goes by: the loop runs millions of times.
    let origin = this.#origin;
    let data = this.#data;
    let length = this.#length;
    let time = this.#time;
    for (let at = 32, end = 32 + 8 * nrEntries(leaf); at < end; at += 8) {
      const key = view.getUint32(at + 4, true) * 0x100000000 + view.getUint32(at, true);
      const low = view.getUint32(at + values, true);
      const block = view.getUint32(at + values + 4, true) * 256 + (low >>> 24);
      const stamp = low & 0xffffff;
      if (key === origin + length && block === data + length && stamp === time && length > 0) {
        length++;
        continue;
      }
      if (length > 0) this.mapping(origin, data, length, time);
      origin = key;
      data = block;
      length = 1;
      time = stamp;
    }
    this.#origin = origin;
    this.#data = data;
    this.#length = length;
    this.#time = time;
  }

  /** Ends the range in the making: what follows belongs to another part. */
  endRun(): void {
    if (this.#length > 0) this.mapping(this.#origin, this.#data, this.#length, this.#time);
    this.#length = 0;
  }
}

const SINGLE = new Phrase('    <single_mapping origin_block="');
const RANGE = new Phrase('    <range_mapping origin_begin="');
const DATA_BLOCK = new Phrase('" data_block="');
const DATA_BEGIN = new Phrase('" data_begin="');
const LENGTH = new Phrase('" length="');
const TIME = new Phrase('" time="');
const CLOSE = new Phrase('"/>\n');

export class XmlWriter extends DumpWriter {
  beginSuperblock(superblock: DumpedSuperblock): void {
    const { time, transactionId, needsCheck, version, dataBlockSize, nrDataBlocks } = superblock;
    // The uuid is not part of what a dump carries: both versions of thin_dump leave it empty, whatever the disk says.
    this.buffer.text(
      `<superblock uuid="" time="${time}" transaction="${transactionId}"${needsCheck ? ' flags="1"' : ''} ` +
        `version="${version}" data_block_size="${dataBlockSize}" nr_data_blocks="${nrDataBlocks}">\n`,
    );
  }

  endSuperblock(): void {
    this.buffer.text('</superblock>');
  }

  beginShared(name: number): void {
    this.buffer.text(`  <def name="${name}">\n`);
  }

  endShared(): void {
    this.buffer.text('  </def>\n');
  }

  beginDevice({ thinId, mappedBlocks, transactionId, creationTime, snapshottedTime }: DumpedDevice): void {
    this.buffer.text(
      `  <device dev_id="${thinId}" mapped_blocks="${mappedBlocks}" transaction="${transactionId}" ` +
        `creation_time="${creationTime}" snap_time="${snapshottedTime}">\n`,
    );
  }

  endDevice(): void {
    this.buffer.text('  </device>\n');
  }

  ref(name: number): void {
    this.buffer.text(`    <ref name="${name}"/>\n`);
  }

  protected mapping(origin: number, data: number, length: number, time: number): void {
    const { buffer } = this;
    const { view } = buffer;
    let { at } = buffer;
    if (length === 1) {
      at = putNumber(view, SINGLE.put(view, at), origin);
      at = putNumber(view, DATA_BLOCK.put(view, at), data);
    } else {
      at = putNumber(view, RANGE.put(view, at), origin);
      at = putNumber(view, DATA_BEGIN.put(view, at), data);
      at = putNumber(view, LENGTH.put(view, at), length);
    }
    at = putNumber(view, TIME.put(view, at), time);
    buffer.at = CLOSE.put(view, at);
  }
}

/** Ranges are inclusive here, and a single block is a range of one. */
export class HumanReadableWriter extends DumpWriter {
  beginSuperblock(superblock: DumpedSuperblock): void {
    const { time, transactionId, needsCheck, version, dataBlockSize, nrDataBlocks } = superblock;
    this.buffer.text(
      `begin superblock: "", ${time}, ${transactionId}, ${needsCheck ? 1 : 0}, ${version}, ${dataBlockSize}, ${nrDataBlocks}\n`,
    );
  }

  endSuperblock(): void {
    this.buffer.text('end superblock\n');
  }

  beginShared(name: number): void {
    this.buffer.text(`def: ${name}\n`);
  }

  endShared(): void {
    this.buffer.text('\n');
  }

  beginDevice({ thinId, mappedBlocks, transactionId, creationTime, snapshottedTime }: DumpedDevice): void {
    this.buffer.text(
      `device: ${thinId}\nmapped_blocks: ${mappedBlocks}\ntransaction: ${transactionId}\n` +
        `creation time: ${creationTime}\nsnap time: ${snapshottedTime}\n`,
    );
  }

  endDevice(): void {
    this.buffer.text('\n');
  }

  ref(name: number): void {
    this.buffer.text(`    ref: ${name}\n`);
  }

  protected mapping(origin: number, data: number, length: number, time: number): void {
    const last = length - 1;
    this.buffer.text(`    (${origin}..${origin + last}) -> (${data}..${data + last}), ${time}\n`);
  }
}
