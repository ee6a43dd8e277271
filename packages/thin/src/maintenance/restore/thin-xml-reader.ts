/**
 * Reads the XML of a thin pool as it arrives, and tells a handler what it says. Nothing is held but the tag being read.
 *
 * Two ways through the text, with the same results and the same errors:
 *   - tags in general: any white space, order of attributes, quotes, comments (`XmlReader`, thin-xml-fields.ts);
 *   - mappings exactly as thin_dump writes them, which is all but a handful of a dump's tags (dumped-mappings.ts). Whatever
 *     deviates in the least is left to the general way.
 * Tests run both over the same mutated texts.
 *
 * Format: docs/format/tools.md, section 5.
 */
import { ContentProblem, type TagFields, XmlReader } from '@pdata/persistent-data/maintenance';
import { DumpedMappings } from './dumped-mappings.js';
import { ThinXmlError } from './thin-xml-error.js';
import { ELEMENTS } from './thin-xml-fields.js';

export interface XmlSuperblock {
  readonly uuid: string;
  readonly time: number;
  readonly transactionId: bigint;
  /** Sectors. */
  readonly dataBlockSize: number;
  readonly nrDataBlocks: number;
}

export interface XmlDevice {
  readonly thinId: number;
  readonly mappedBlocks: number;
  readonly transactionId: bigint;
  readonly creationTime: number;
  readonly snapshottedTime: number;
}

/** Throws a {@link ContentProblem} at what makes no sense; the reader says where it was. */
export interface ThinXmlHandler {
  beginSuperblock(superblock: XmlSuperblock): void;
  beginDef(name: string): void;
  endDef(): void;
  beginDevice(device: XmlDevice): void;
  endDevice(): void;
  /** `length` (at least 1) mappings from virtual block `origin` to data block `data` on. */
  mappings(origin: number, data: number, length: number, time: number): void;
  ref(name: string): void;
  endSuperblock(): void;
}

export interface ThinXmlReaderOptions {
  /** False sends every tag the general way. For tests, which compare the two. */
  readonly fast?: boolean;
}

export class ThinXmlReader {
  readonly #reader: XmlReader;
  readonly #handler: ThinXmlHandler;

  constructor(handler: ThinXmlHandler, { fast = true }: ThinXmlReaderOptions = {}) {
    this.#handler = handler;
    const language = { subject: 'a thin pool', root: 'superblock', elements: ELEMENTS, errorType: ThinXmlError };
    this.#reader = new XmlReader(language, {
      open: (element, fields) => this.#element(element, fields),
      close: (element) => this.#close(element),
      beforeTag: (element) => {
        if (fast && (element === 'device' || element === 'def')) dumped.read();
      },
    });
    const take = (origin: number, data: number, length: number, time: number): void =>
      this.#mappings(origin, data, length, time);
    const dumped = new DumpedMappings(this.#reader.window, take);
  }

  /** Line that has been reached. */
  get line(): number {
    return this.#reader.line;
  }

  /** The next piece of the text, of any size; not kept. @throws {@link ThinXmlError} */
  push(chunk: Uint8Array): void {
    this.#reader.push(chunk);
  }

  /** The text is complete. @throws {@link ThinXmlError} when it is not */
  end(): void {
    this.#reader.end();
  }

  #element(name: string, fields: TagFields): void {
    switch (name) {
      case 'superblock':
        this.#handler.beginSuperblock({
          uuid: fields.text('uuid'),
          time: fields.number('time'),
          transactionId: fields.bigint('transaction'),
          dataBlockSize: fields.number('data_block_size'),
          nrDataBlocks: fields.number('nr_data_blocks'),
        });
        return;
      case 'def':
        this.#handler.beginDef(fields.text('name'));
        return;
      case 'device':
        this.#handler.beginDevice({
          thinId: fields.number('dev_id'),
          mappedBlocks: fields.number('mapped_blocks'),
          transactionId: fields.bigint('transaction'),
          creationTime: fields.number('creation_time'),
          snapshottedTime: fields.number('snap_time'),
        });
        return;
      case 'single_mapping':
        this.#mappings(fields.number('origin_block'), fields.number('data_block'), 1, fields.number('time'));
        return;
      case 'range_mapping':
        this.#mappings(
          fields.number('origin_begin'),
          fields.number('data_begin'),
          fields.number('length'),
          fields.number('time'),
        );
        return;
      case 'ref':
        this.#handler.ref(fields.text('name'));
        return;
    }
  }

  #mappings(origin: number, data: number, length: number, time: number): void {
    if (length === 0) throw new ContentProblem('a range of length 0 maps nothing');
    if (origin + length > Number.MAX_SAFE_INTEGER) {
      throw new ContentProblem(`the range ends behind virtual block ${Number.MAX_SAFE_INTEGER}, the last possible`);
    }
    this.#handler.mappings(origin, data, length, time);
  }

  #close(name: string): void {
    if (name === 'superblock') this.#handler.endSuperblock();
    else if (name === 'def') this.#handler.endDef();
    else if (name === 'device') this.#handler.endDevice();
  }
}
