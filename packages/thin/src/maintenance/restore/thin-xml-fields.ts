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

/** The table once more, in the form that is looked at for every tag. */
const FIELDS_OF = new Map(
  Object.entries<Record<string, Field>>(ELEMENTS).map(([element, fields]) => [
    element,
    Object.entries(fields).map(([name, { optional = false, max }]) => ({ name, optional, max })),
  ]),
);

/** More digits may exceed 2^53, and are compared as bigints. */
const MAX_PLAIN_DIGITS = 15;

/** The attributes of one tag, checked against the table above. */
export class TagFields {
  readonly #window: XmlWindow;
  readonly #attributes: readonly XmlAttribute[];

  /** @throws {@link ThinXmlError} for an unknown attribute, or one that is missing */
  constructor(window: XmlWindow, element: ElementName, { attributes }: XmlTag) {
    this.#window = window;
    this.#attributes = attributes;
    const fields = FIELDS_OF.get(element) ?? [];
    for (const { name, nameAt } of attributes) {
      if (!fields.some((field) => field.name === name))
        window.fail(nameAt, `unknown attribute '${name}' in <${element}>`);
    }
    for (const { name, optional, max } of fields) {
      const attribute = this.#find(name);
      if (attribute !== undefined) {
        if (max !== undefined) this.#requireNumber(attribute, max);
      } else if (!optional) window.fail(window.at, `attribute '${name}' is missing in <${element}>`);
    }
  }

  text(name: string): string {
    return this.#find(name)?.value ?? '';
  }

  /** For fields that take at most 2^53 - 1; 0 for an optional one that is not there. */
  number(name: string): number {
    return Number(this.text(name));
  }

  bigint(name: string): bigint {
    return BigInt(this.text(name));
  }

  #find(name: string): XmlAttribute | undefined {
    for (const attribute of this.#attributes) if (attribute.name === name) return attribute;
    return undefined;
  }

  #requireNumber({ name, value, valueAt }: XmlAttribute, max: number | bigint): void {
    if (!/^[0-9]+$/.test(value)) {
      this.#window.fail(valueAt, `${name} is '${value}', expected a decimal number`);
    }
    const isTooLarge = value.length <= MAX_PLAIN_DIGITS ? Number(value) > max : BigInt(value) > BigInt(max);
    if (isTooLarge) this.#window.fail(valueAt, `${name} is ${value}, expected at most ${max}`);
  }
}
