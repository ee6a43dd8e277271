/**
 * What programs' records may hold, wherever they are kept in msgpack.
 *
 * The encoder, msgpackr, takes everything, and returns some of it as something else: a Map as an object, a Float64Array as bytes of
 * whatever memory held. What would not come back is refused before it is encoded.
 */

/**
 * Encodes a record.
 * @param pack the encoder
 * @throws TypeError for what would not come back as it is: functions, maps, typed arrays other than bytes, cycles…
 */
export function packedRecord(value: unknown, pack: (value: unknown) => Uint8Array): Uint8Array {
  if (value === undefined) throw new TypeError('a record is anything but undefined, which means that there is none');
  let why: string | undefined;
  try {
    why = unsayable(value);
    if (why === undefined) return pack(value);
  } catch (cause) {
    // The stack of calls has an end; a value that contains itself has none.
    const isEndless = cause instanceof RangeError && cause.message.includes('call stack');
    throw new TypeError(`a record cannot be stored: ${isEndless ? 'it contains itself' : (cause as Error).message}`, {
      cause,
    });
  }
  throw new TypeError(
    `a record holds what JSON can say, and bytes, dates and big integers; of this one ${why}, which would not come back`,
  );
}

/** What in `value` cannot be stored, and where: "the value at .tags[2] is a Map"; undefined when all of it can. */
function unsayable(value: unknown): string | undefined {
  const found = strangerIn(value);
  return found === undefined ? undefined : `the value${found.at === '' ? '' : ` at ${found.at}`} is ${found.what}`;
}

interface Stranger {
  readonly at: string;
  readonly what: string;
}

/** Called for objects and what may be strange; the rest is passed over where it is met, because that is quicker. */
function strangerIn(value: unknown): Stranger | undefined {
  if (typeof value !== 'object' || value === null) {
    const isStrange = typeof value === 'function' || typeof value === 'symbol';
    return isStrange ? { at: '', what: `a ${typeof value}` } : undefined;
  }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const found = isPlain(value[i]) ? undefined : strangerIn(value[i]);
      if (found !== undefined) return { ...found, at: `[${i}]${found.at}` };
    }
    return undefined;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    const kind = Object.prototype.toString.call(value).slice(8, -1);
    if (kind === 'Uint8Array' || kind === 'Date') return undefined;
    if (kind !== 'Object') return { at: '', what: `of type ${kind}` };
  }
  for (const name in value) {
    if (name === '__proto__') return { at: '', what: 'an object with a property __proto__' };
    const property = (value as Record<string, unknown>)[name];
    const found = isPlain(property) || !Object.hasOwn(value, name) ? undefined : strangerIn(property);
    if (found !== undefined) return { ...found, at: `.${name}${found.at}` };
  }
  return undefined;
}

const isPlain = (value: unknown): boolean => typeof value === 'string' || typeof value === 'number';
