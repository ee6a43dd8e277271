/**
 * The elements that a target's XML may have: what each may stand in, which attributes it takes, which numbers these take.
 */
import type { XmlAttribute, XmlTag } from './xml-tag.js';
import type { XmlWindow } from './xml-window.js';

export interface Field {
  readonly optional?: true;
  /** The largest number the field takes; a text when left out. */
  readonly max?: number | bigint;
}

export interface XmlElement {
  /** What it may stand in; '' is the document. */
  readonly inside: readonly string[];
  readonly fields: Readonly<Record<string, Field>>;
}

/** Elements by name. */
export type ElementTable = Readonly<Record<string, XmlElement>>;

export const text: Field = {};
export const numberUpTo = (max: number | bigint): Field => ({ max });
export const optionalUpTo = (max: number | bigint): Field => ({ max, optional: true });

/** More digits may exceed 2^53, and are compared as bigints. */
const MAX_PLAIN_DIGITS = 15;

/** The attributes of one tag, checked against the table of its language. */
export class TagFields {
  readonly #window: XmlWindow;
  readonly #attributes: readonly XmlAttribute[];

  /**
   * @param fields what `element` takes, by name
   * @throws {@link XmlError} for an unknown attribute, one that is missing, a number out of its range
   */
  constructor(
    window: XmlWindow,
    element: string,
    fields: readonly (readonly [string, Field])[],
    { attributes }: XmlTag,
  ) {
    this.#window = window;
    this.#attributes = attributes;
    for (const { name, nameAt } of attributes) {
      if (!fields.some(([known]) => known === name)) window.fail(nameAt, `unknown attribute '${name}' in <${element}>`);
    }
    for (const [name, { optional = false, max }] of fields) {
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

  has(name: string): boolean {
    return this.#find(name) !== undefined;
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
