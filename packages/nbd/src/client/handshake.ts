/**
 * The client's side of the handshake: from the server's greeting to an export in transmission.
 *
 *   greeting → STARTTLS (when asked) → STRUCTURED_REPLY → SET_META_CONTEXT → GO, or EXPORT_NAME for servers without GO
 *
 * Everything may be refused by a server but the last, and then is done without: simple replies instead of structured ones,
 * "all data" instead of an allocation. TLS is never done without when it was asked for, and a server that demands it is told
 * apart from one that lacks the export. What the server sends has bounds, in bytes and in number, and must add up.
 *
 * A refusal is a `DeviceOpenError` with the server's own words; a contradiction an {@link NbdProtocolError}.
 * Format: docs/format/nbd.md, sections 1 to 3.
 */
import { DeviceOpenError } from '@pdata/device';
import {
  DEFAULT_MAX_PAYLOAD,
  DEFAULT_PREFERRED_BLOCK_SIZE,
  EXPORT_NAME_PADDING,
  FIRST_OPTION_ERROR,
  GREETING_SIZE,
  HANDSHAKE_FLAG,
  INFO,
  MAX_STRING_SIZE,
  NBD_MAGIC,
  OPTION,
  OPTION_MAGIC,
  OPTION_REPLY,
  OPTION_REPLY_HEADER_SIZE,
  OPTION_REPLY_MAGIC,
  TRANSMISSION_FLAG,
} from '../protocol/constants.js';
import { u64At } from '../protocol/integers.js';
import {
  decodeInfo,
  decodeMetaContextReply,
  decodeServerReply,
  encodeInfoRequest,
  encodeMetaContextRequest,
  encodeOption,
  type ListedExport,
  MalformedOption,
} from '../protocol/options.js';
import { NbdProtocolError } from './errors.js';
import type { Incoming } from './incoming.js';
import { readableText } from './reply-parser.js';

/** An option's reply is a name, a text and a few numbers. */
const MAX_REPLY_DATA = 65_536;
/** Replies to one option: exports of a list, contexts. */
const MAX_REPLIES = 65_536;
const MAX_REPLY_DATA_IN_ALL = 2 ** 24;
/** How the oldest servers go on after "NBDMAGIC"; they have one export and no options. */
const OLDSTYLE_MAGIC = { high: 0x00004202, low: 0x81861253 };

/** What both sides know when transmission begins. */
export interface Negotiated {
  /** Bytes of the export. */
  readonly size: number;
  /** Transmission flags. */
  readonly flags: number;
  readonly structured: boolean;
  /** Ids of the metadata contexts that each block status is answered for, by name. */
  readonly contexts: ReadonlyMap<string, number>;
  readonly blockSize: BlockSizes;
  readonly description: string;
}

export interface BlockSizes {
  /** Requests are multiples of it. */
  readonly minimum: number;
  readonly preferred: number;
  /** The longest payload of one request or reply. */
  readonly maximum: number;
}

export interface ExportWish {
  readonly exportName: string;
  /** Metadata contexts, by exact name; those that the server lacks are missing in the result. */
  readonly contexts: readonly string[];
}

interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

/** Errors an option may end with, in words. */
const REFUSALS: Readonly<Record<number, string>> = {
  [OPTION_REPLY.ERR_UNSUP]: 'does not know how',
  [OPTION_REPLY.ERR_POLICY]: 'does not allow it',
  [OPTION_REPLY.ERR_INVALID]: 'calls the request invalid',
  [OPTION_REPLY.ERR_PLATFORM]: 'cannot do it on its platform',
  [OPTION_REPLY.ERR_TLS_REQD]: 'wants TLS first; connect with TLS (nbds://…, or the option tls)',
  [OPTION_REPLY.ERR_UNKNOWN]: 'has no such export; listNbdExports tells which there are',
  [OPTION_REPLY.ERR_SHUTDOWN]: 'is shutting down',
  [OPTION_REPLY.ERR_BLOCK_SIZE_REQD]: 'wants its block size obeyed',
  [OPTION_REPLY.ERR_TOO_BIG]: 'calls the request too big',
  [OPTION_REPLY.ERR_EXT_HEADER_REQD]: 'wants extended headers, which this client does not speak',
};

export class Handshake {
  readonly #incoming: Incoming;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #name: string;
  #isFixed = false;
  #withoutZeros = false;

  /** @param name of the server, for messages */
  constructor(incoming: Incoming, send: (bytes: Uint8Array) => void, name: string) {
    this.#incoming = incoming;
    this.#send = send;
    this.#name = name;
  }

  /** Reads the greeting and answers it. */
  async greet(): Promise<void> {
    const greeting = await this.#incoming.take(GREETING_SIZE);
    if (!isMagic(greeting, 0, NBD_MAGIC))
      throw new NbdProtocolError(
        `what answers at ${this.#name} is not an NBD server: it does not begin with "NBDMAGIC"`,
      );
    if (isMagic(greeting, 8, OLDSTYLE_MAGIC))
      throw new DeviceOpenError(
        `${this.#name} speaks the NBD protocol of before 2011, without names of exports; use a newer server`,
      );
    if (!isMagic(greeting, 8, OPTION_MAGIC)) this.#violated('its greeting does not go on with "IHAVEOPT"');
    const flags = greeting.readUInt16BE(16) & (HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES);
    this.#isFixed = (flags & HANDSHAKE_FLAG.FIXED_NEWSTYLE) !== 0;
    this.#withoutZeros = (flags & HANDSHAKE_FLAG.NO_ZEROES) !== 0;
    const answer = Buffer.alloc(4);
    answer.writeUInt32BE(flags);
    this.#send(answer);
  }

  /** Asks for TLS; afterwards the caller begins it on the socket at once. */
  async startTls(): Promise<void> {
    if (!this.#isFixed) throw this.#refused('TLS', OPTION_REPLY.ERR_UNSUP, '');
    const refusal = await this.#ask(OPTION.STARTTLS);
    if (refusal !== undefined) throw this.#refused('TLS', refusal.type, textIn(refusal));
    // Whoever sits between us and the server may have put them there, to be taken for the server's own.
    if (this.#incoming.nrWaiting > 0) this.#violated('bytes follow its agreement to TLS that are not TLS');
  }

  /** This handshake, continued over TLS; what was agreed on before is forgotten by both sides, but not the greeting. */
  over(incoming: Incoming, send: (bytes: Uint8Array) => void): Handshake {
    const continued = new Handshake(incoming, send, this.#name);
    continued.#isFixed = this.#isFixed;
    continued.#withoutZeros = this.#withoutZeros;
    return continued;
  }

  /** The exports that the server lists. */
  async list(): Promise<ListedExport[]> {
    const exports: ListedExport[] = [];
    if (!this.#isFixed) throw this.#refused('the list of exports', OPTION_REPLY.ERR_UNSUP, '');
    const refusal = await this.#ask(OPTION.LIST, undefined, ({ type, data }) => {
      if (type !== OPTION_REPLY.SERVER) this.#violated(`a list of exports contains a reply of type ${type}`);
      exports.push(this.#decoded(() => decodeServerReply(data)));
    });
    if (refusal !== undefined) throw this.#refused('the list of exports', refusal.type, textIn(refusal));
    return exports;
  }

  /** Ends the handshake without an export. The server hangs up. */
  abort(): void {
    if (this.#isFixed) this.#send(encodeOption(OPTION.ABORT));
  }

  /** Enters transmission. */
  async enter(wish: ExportWish): Promise<Negotiated> {
    if (Buffer.byteLength(wish.exportName) > MAX_STRING_SIZE)
      throw new DeviceOpenError(`the name of an export has at most ${MAX_STRING_SIZE} bytes; this one has more`);
    const structured = this.#isFixed && (await this.#ask(OPTION.STRUCTURED_REPLY)) === undefined;
    const contexts = structured ? await this.#setContexts(wish) : new Map<string, number>();
    const gone = this.#isFixed ? await this.#go(wish.exportName) : undefined;
    const { size, flags, blockSize, description } = gone ?? (await this.#exportName(wish.exportName));
    if (size > Number.MAX_SAFE_INTEGER)
      throw new DeviceOpenError(`${this.#name} is larger than 2^53 bytes, more than can be addressed here`);
    if ((flags & TRANSMISSION_FLAG.HAS_FLAGS) === 0)
      this.#violated('its transmission flags lack the one that says they are flags');
    return { size, flags, structured, contexts, blockSize, description };
  }

  async #setContexts(wish: ExportWish): Promise<Map<string, number>> {
    const contexts = new Map<string, number>();
    if (wish.contexts.length === 0) return contexts;
    const data = encodeMetaContextRequest({ name: wish.exportName, queries: wish.contexts });
    const refusal = await this.#ask(OPTION.SET_META_CONTEXT, data, (reply) => {
      if (reply.type !== OPTION_REPLY.META_CONTEXT)
        this.#violated(`a list of contexts contains a reply of type ${reply.type}`);
      const { id, name } = this.#decoded(() => decodeMetaContextReply(reply.data));
      if (!wish.contexts.includes(name))
        this.#violated(`it agrees on the context "${readable(name)}", which was not asked for`);
      if (contexts.has(name) || [...contexts.values()].includes(id))
        this.#violated('it names a context or an id twice');
      contexts.set(name, id);
    });
    // What failed selects nothing; why will be told by GO, if it matters to the export.
    return refusal === undefined ? contexts : new Map();
  }

  /** @returns undefined when the server does not know GO */
  async #go(exportName: string): Promise<Omit<Negotiated, 'structured' | 'contexts'> | undefined> {
    let found: { size: number; flags: number } | undefined;
    let blockSize: BlockSizes | undefined;
    let description = '';
    const data = encodeInfoRequest({ name: exportName, infoTypes: [INFO.BLOCK_SIZE, INFO.DESCRIPTION] });
    const refusal = await this.#ask(OPTION.GO, data, ({ type, data }) => {
      if (type !== OPTION_REPLY.INFO) this.#violated(`what it tells of an export contains a reply of type ${type}`);
      const info = this.#decoded(() => decodeInfo(data));
      if (info.type === 'export') found = info;
      else if (info.type === 'blockSize') blockSize = info;
      else if (info.type === 'description') description = readable(info.text);
    });
    if (refusal?.type === OPTION_REPLY.ERR_UNSUP) return undefined;
    if (refusal !== undefined) throw this.#refused(`the export "${exportName}"`, refusal.type, textIn(refusal));
    if (found === undefined) return this.#violated('it agrees to an export without telling its size');
    if (blockSize !== undefined) this.#checkBlockSize(blockSize, found.size);
    return { ...found, blockSize: blockSize ?? UNTOLD_BLOCK_SIZES, description };
  }

  async #exportName(exportName: string): Promise<Omit<Negotiated, 'structured' | 'contexts'>> {
    this.#send(encodeOption(OPTION.EXPORT_NAME, Buffer.from(exportName)));
    let answer: Buffer;
    try {
      answer = await this.#incoming.take(10);
    } catch (cause) {
      // This old way has no other answer than to hang up.
      throw new DeviceOpenError(`${this.#name} has no export "${exportName}", or does not let us have it`, { cause });
    }
    if (!this.#withoutZeros) await this.#incoming.take(EXPORT_NAME_PADDING);
    return { size: u64At(answer, 0), flags: answer.readUInt16BE(8), blockSize: UNTOLD_BLOCK_SIZES, description: '' };
  }

  #checkBlockSize({ minimum, preferred, maximum }: BlockSizes, size: number): void {
    const isPowerOfTwo = (value: number): boolean => value > 0 && Number.isInteger(Math.log2(value));
    if (!isPowerOfTwo(minimum) || minimum > 65_536)
      this.#violated(`its smallest block is ${minimum} bytes, which is not a power of two of at most 65536`);
    if (!isPowerOfTwo(preferred) || preferred < Math.max(512, minimum))
      this.#violated(
        `its preferred block is ${preferred} bytes, which is not a power of two of at least ${Math.max(512, minimum)}`,
      );
    if (maximum < minimum || maximum < Math.min(preferred, size))
      this.#violated(`its largest payload is ${maximum} bytes, less than its preferred block of ${preferred}`);
  }

  /** Sends an option and takes its replies. @returns the error it ended with; undefined when it was acknowledged */
  async #ask(option: number, data?: Uint8Array, each?: (reply: OptionReply) => void): Promise<OptionReply | undefined> {
    this.#send(encodeOption(option, data));
    let nrBytes = 0;
    for (let nrReplies = 0; nrReplies < MAX_REPLIES; nrReplies++) {
      const reply = await this.#takeReply(option);
      nrBytes += reply.data.length;
      if (reply.type >= FIRST_OPTION_ERROR) return reply;
      if (reply.type === OPTION_REPLY.ACK) return undefined;
      if (each === undefined) return this.#violated(`it answers option ${option} with a reply of type ${reply.type}`);
      each(reply);
      if (nrBytes > MAX_REPLY_DATA_IN_ALL) break;
    }
    return this.#violated(`its answer to option ${option} does not end`);
  }

  async #takeReply(option: number): Promise<OptionReply> {
    const header = await this.#incoming.take(OPTION_REPLY_HEADER_SIZE);
    if (!isMagic(header, 0, OPTION_REPLY_MAGIC))
      this.#violated('a reply to an option does not begin with its magic number');
    const [about, type, length] = [header.readUInt32BE(8), header.readUInt32BE(12), header.readUInt32BE(16)];
    if (about !== option) this.#violated(`it answers option ${about}, and was asked for option ${option}`);
    if (length > MAX_REPLY_DATA)
      this.#violated(`its reply to option ${option} has ${length} bytes, more than any needs`);
    return { type, data: await this.#incoming.take(length) };
  }

  #decoded<Result>(decode: () => Result): Result {
    try {
      return decode();
    } catch (error) {
      if (error instanceof MalformedOption) return this.#violated(error.message);
      throw error;
    }
  }

  #refused(what: string, type: number, text: string): DeviceOpenError {
    const why = REFUSALS[type] ?? `answers with the error 0x${type.toString(16)}`;
    const words = text === '' ? '' : ` (it says: ${text})`;
    return new DeviceOpenError(`${this.#name} refuses ${what}: the server ${why}${words}`);
  }

  #violated(what: string): never {
    throw new NbdProtocolError(`${this.#name}: the server broke the NBD protocol in the handshake: ${what}`);
  }
}

/** What holds when a server does not tell. */
const UNTOLD_BLOCK_SIZES: BlockSizes = {
  minimum: 1,
  preferred: DEFAULT_PREFERRED_BLOCK_SIZE,
  maximum: DEFAULT_MAX_PAYLOAD,
};

const isMagic = (bytes: Buffer, at: number, { high, low }: { high: number; low: number }): boolean =>
  bytes.readUInt32BE(at) === high && bytes.readUInt32BE(at + 4) === low;

const textIn = ({ data }: OptionReply): string => readableText(data);
const readable = (text: string): string => readableText(Buffer.from(text));
