/**
 * The elements of a thin pool's XML and their attributes: which are required, which numbers they take.
 *
 *   element          inside           attributes
 *   superblock       -                uuid, time, transaction, [flags], [version], data_block_size, nr_data_blocks, [metadata_snap]
 *   def              superblock       name
 *   device           superblock       dev_id, mapped_blocks, transaction, creation_time, snap_time
 *   single_mapping   device, def      origin_block, data_block, time
 *   range_mapping    device, def      origin_begin, data_begin, length, time
 *   ref              device, def      name
 *
 * Format: docs/format/tools.md, section 5.
 */
import { MAX_DATA_BLOCKS, MAX_TIME } from '../../format/block-time.js';
import { MAX_THIN_ID } from '../../format/limits.js';
import type { XmlAttribute, XmlTag } from './xml-tag.js';
import type { XmlWindow } from './xml-window.js';

const MAX_U32 = 2 ** 32 - 1;
const MAX_U64 = 2n ** 64n - 1n;

interface Field {
  readonly optional?: true;
  /** The largest number the field takes; a text when left out. */
  readonly max?: number | bigint;
}
const text: Field = {};
const upTo = (max: number | bigint): Field => ({ max });
const optional = (max: number | bigint): Field => ({ max, optional: true });

const mapping = { time: upTo(MAX_TIME - 1) };
export const ELEMENTS = {
  superblock: {
    uuid: text,
    time: upTo(MAX_TIME - 1),
    transaction: upTo(MAX_U64),
    flags: optional(MAX_U32),
    version: optional(MAX_U32),
    data_block_size: upTo(MAX_U32),
    nr_data_blocks: upTo(MAX_DATA_BLOCKS),
    metadata_snap: optional(MAX_U64),
  },
  def: { name: text },
  device: {
    dev_id: upTo(MAX_THIN_ID),
    mapped_blocks: upTo(Number.MAX_SAFE_INTEGER),
    transaction: upTo(MAX_U64),
    creation_time: upTo(MAX_TIME - 1),
    snap_time: upTo(MAX_TIME - 1),
  },
  single_mapping: {
    origin_block: upTo(Number.MAX_SAFE_INTEGER),
    data_block: upTo(MAX_DATA_BLOCKS - 1),
    ...mapping,
  },
  range_mapping: {
    origin_begin: upTo(Number.MAX_SAFE_INTEGER),
    data_begin: upTo(MAX_DATA_BLOCKS - 1),
    length: upTo(Number.MAX_SAFE_INTEGER),
    ...mapping,
  },
  ref: { name: text },
} as const satisfies Record<string, Record<string, Field>>;

export type ElementName = keyof typeof ELEMENTS;
export const isElementName = (name: string): name is ElementName => Object.hasOwn(ELEMENTS, name);

/** The attributes of one tag, checked against the table above. */
export class TagFields {
  readonly #window: XmlWindow;
  readonly #values = new Map<string, XmlAttribute>();

  /** @throws {@link ThinXmlError} for an unknown attribute, or one that is missing */
  constructor(window: XmlWindow, element: ElementName, tag: XmlTag) {
    this.#window = window;
    const fields: Record<string, Field> = ELEMENTS[element];
    for (const attribute of tag.attributes) {
      const { name, nameAt } = attribute;
      if (!Object.hasOwn(fields, name)) window.fail(nameAt, `unknown attribute '${name}' in <${element}>`);
      this.#values.set(name, attribute);
    }
    for (const [name, { optional, max }] of Object.entries(fields)) {
      const attribute = this.#values.get(name);
      if (attribute === undefined && !optional) {
        window.fail(window.at, `attribute '${name}' is missing in <${element}>`);
      }
      if (attribute !== undefined && max !== undefined) this.#requireNumber(attribute, max);
    }
  }

  text(name: string): string {
    return this.#values.get(name)?.value ?? '';
  }

  /** For fields that take at most 2^53 - 1; 0 for an optional one that is not there. */
  number(name: string): number {
    return Number(this.text(name));
  }

  bigint(name: string): bigint {
    return BigInt(this.text(name));
  }

  #requireNumber({ name, value, valueAt }: XmlAttribute, max: number | bigint): void {
    if (!/^[0-9]+$/.test(value)) {
      this.#window.fail(valueAt, `${name} is '${value}', expected a decimal number`);
    }
    if (BigInt(value) > BigInt(max)) this.#window.fail(valueAt, `${name} is ${value}, expected at most ${max}`);
  }
}
