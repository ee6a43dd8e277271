/**
 * The options of a client, one after the other, until one of them starts transmission.
 *
 * This is the state that options build up, and the answer to each. Where the bytes come from, and when the next option may, is the
 * connection's business (connection.ts).
 *
 * Invariants:
 *   1. Each option is answered by replies that end with one ACK or one error. EXPORT_NAME alone has no replies: what it cannot serve
 *      ends the connection.
 *   2. STARTTLS forgets everything that was agreed on before: an attacker in the middle may have said it (CVE-2021-3716).
 *   3. An export is opened only by an option that names it, and held only from SET_META_CONTEXT to the next option that replaces it,
 *      or to transmission.
 *   4. Metadata contexts hold for the export they were selected on, and for no other.
 *
 * Format: docs/format/nbd.md, section 2.
 */
import {
  BASE_ALLOCATION,
  EXPORT_NAME_PADDING,
  HANDSHAKE_FLAG,
  MAX_STRING_SIZE,
  OPTION,
  OPTION_REPLY,
} from '../protocol/constants.js';
import { setU64 } from '../protocol/integers.js';
import {
  decodeInfoRequest,
  decodeMetaContextRequest,
  encodeMetaContextReply,
  encodeOptionReply,
  encodeServerReply,
  MalformedOption,
  textOf,
} from '../protocol/options.js';
import { errorTextOf } from './error-numbers.js';
import type { MetaContext } from './export.js';
import { exportInfos, transmissionFlags } from './export-info.js';
import { allocationContext } from './extents.js';
import type { SharedExport, SharedExports } from './shared-exports.js';
import type { Negotiated } from './transmission.js';

/** What the connection does after an option was answered. `bytes` go out first. */
export type Answer =
  | { readonly after: 'next' | 'close' | 'tls'; readonly bytes: Buffer }
  /** The export is the connection's now: it gives it back. */
  | {
      readonly after: 'transmission';
      readonly bytes: Buffer;
      readonly shared: SharedExport;
      readonly agreed: Negotiated;
    };

export interface HagglingOptions {
  readonly exports: SharedExports;
  readonly maxPayload: number;
  readonly tls: 'none' | 'allow' | 'require';
  readonly isShuttingDown: () => boolean;
  readonly log: (line: string) => void;
}

interface Selection {
  readonly shared: SharedExport;
  readonly contexts: ReadonlyMap<number, MetaContext>;
}

export class Haggling {
  clientFlags = 0;
  #isEncrypted = false;
  #structured = false;
  #extended = false;
  #selection: Selection | undefined;

  constructor(private readonly options: HagglingOptions) {}

  get isEncrypted(): boolean {
    return this.#isEncrypted;
  }

  /** TLS has been set up: nothing that was said before counts. */
  async encrypted(): Promise<void> {
    this.#isEncrypted = true;
    this.#structured = false;
    this.#extended = false;
    await this.#dropSelection();
  }

  /** Gives back what haggling holds: the client has left, or transmission has begun. */
  async end(): Promise<void> {
    await this.#dropSelection();
  }

  /** Answers an option whose data came whole. Never rejects. */
  async answer(option: number, data: Buffer): Promise<Answer> {
    try {
      return await this.#answer(option, data);
    } catch (error) {
      if (option === OPTION.EXPORT_NAME) return close();
      if (error instanceof MalformedOption) return refusal(option, OPTION_REPLY.ERR_INVALID, error.message);
      this.options.log(`option ${option} failed: ${error instanceof Error ? error.message : String(error)}`);
      return refusal(option, OPTION_REPLY.ERR_PLATFORM, errorTextOf(error));
    }
  }

  /** Answers an option whose data were too long to be kept. */
  answerTooBig(option: number, length: number): Answer {
    if (option === OPTION.EXPORT_NAME) return close();
    if (option === OPTION.ABORT) return { after: 'close', bytes: ack(option) };
    const early = this.#earlyRefusal(option);
    if (early !== undefined) return early;
    if (!KNOWN_OPTIONS.has(option)) return unsupported(option);
    if (TAKES_NO_DATA.has(option)) return refusal(option, OPTION_REPLY.ERR_INVALID, 'this option takes no data');
    return refusal(option, OPTION_REPLY.ERR_TOO_BIG, `${length} bytes of data are too many`);
  }

  /** What stands against any option, whatever its data. */
  #earlyRefusal(option: number): Answer | undefined {
    const { tls, isShuttingDown } = this.options;
    if ((this.clientFlags & HANDSHAKE_FLAG.FIXED_NEWSTYLE) === 0 && option !== OPTION.EXPORT_NAME) return close();
    if (isShuttingDown()) {
      if (option === OPTION.EXPORT_NAME) return close();
      const { bytes } = refusal(option, OPTION_REPLY.ERR_SHUTDOWN, 'the server is shutting down');
      return { after: 'close', bytes };
    }
    if (tls === 'require' && !this.#isEncrypted && option !== OPTION.STARTTLS) {
      if (option === OPTION.EXPORT_NAME) return close();
      return refusal(option, OPTION_REPLY.ERR_TLS_REQD, 'this server talks over TLS only');
    }
    return undefined;
  }

  async #answer(option: number, data: Buffer): Promise<Answer> {
    if (option === OPTION.ABORT) return { after: 'close', bytes: ack(option) };
    const early = this.#earlyRefusal(option);
    if (early !== undefined) return early;
    if (TAKES_NO_DATA.has(option) && data.length > 0) {
      return refusal(option, OPTION_REPLY.ERR_INVALID, 'this option takes no data');
    }
    switch (option) {
      case OPTION.EXPORT_NAME:
        return this.#exportName(data);
      case OPTION.LIST:
        return this.#list();
      case OPTION.STARTTLS:
        return this.#startTls();
      case OPTION.INFO:
      case OPTION.GO:
        return this.#infoOrGo(option, data);
      case OPTION.STRUCTURED_REPLY:
        return this.#structuredReply();
      case OPTION.EXTENDED_HEADERS:
        if (this.#extended) return refusal(option, OPTION_REPLY.ERR_INVALID, 'extended headers are agreed on already');
        this.#extended = true;
        return next(ack(option));
      case OPTION.LIST_META_CONTEXT:
        return this.#listMetaContext(data);
      case OPTION.SET_META_CONTEXT:
        return this.#setMetaContext(data);
      default:
        return unsupported(option);
    }
  }

  async #exportName(data: Buffer): Promise<Answer> {
    if (this.#extended) return close();
    const shared = await this.options.exports.acquire(textOf(data, 'export name'));
    if (shared === undefined) return close();
    const agreed = await this.#agree(shared);
    const hasPadding = (this.clientFlags & HANDSHAKE_FLAG.NO_ZEROES) === 0;
    const bytes = Buffer.alloc(10 + (hasPadding ? EXPORT_NAME_PADDING : 0));
    setU64(bytes, 0, shared.device.size);
    bytes.writeUInt16BE(this.#flags(shared, agreed.contexts.size > 0), 8);
    return { after: 'transmission', bytes, shared, agreed };
  }

  async #list(): Promise<Answer> {
    const replies: Buffer[] = [];
    for (const { name, description } of await this.options.exports.list()) {
      if (Buffer.byteLength(name) > MAX_STRING_SIZE) continue; // no client could ask for it
      const listed = { name, description: cut(description ?? '') };
      replies.push(encodeOptionReply(OPTION.LIST, OPTION_REPLY.SERVER, encodeServerReply(listed)));
    }
    return next(...replies, ack(OPTION.LIST));
  }

  #startTls(): Answer {
    const { tls } = this.options;
    if (tls === 'none') return refusal(OPTION.STARTTLS, OPTION_REPLY.ERR_POLICY, 'this server has no TLS');
    if (this.#isEncrypted) return refusal(OPTION.STARTTLS, OPTION_REPLY.ERR_INVALID, 'TLS is on already');
    return { after: 'tls', bytes: ack(OPTION.STARTTLS) };
  }

  #structuredReply(): Answer {
    const option = OPTION.STRUCTURED_REPLY;
    if (this.#extended) {
      return refusal(option, OPTION_REPLY.ERR_EXT_HEADER_REQD, 'extended headers are agreed on already');
    }
    if (this.#structured) return refusal(option, OPTION_REPLY.ERR_INVALID, 'structured replies are agreed on already');
    this.#structured = true;
    return next(ack(option));
  }

  async #infoOrGo(option: number, data: Buffer): Promise<Answer> {
    const { name } = decodeInfoRequest(data);
    const { exports, maxPayload } = this.options;
    const shared = await exports.acquire(name);
    if (shared === undefined) return unknownExport(option, name);
    const hasContexts = this.#selection?.shared === shared && this.#selection.contexts.size > 0;
    const infos = exportInfos(shared, this.#flags(shared, hasContexts), maxPayload);
    const replies = infos.map((info) => encodeOptionReply(option, OPTION_REPLY.INFO, info));
    if (option === OPTION.INFO) {
      await exports.release(shared);
      return next(...replies, ack(option));
    }
    const agreed = await this.#agree(shared);
    return { after: 'transmission', bytes: Buffer.concat([...replies, ack(option)]), shared, agreed };
  }

  async #listMetaContext(data: Buffer): Promise<Answer> {
    const option = OPTION.LIST_META_CONTEXT;
    const { name, queries } = decodeMetaContextRequest(data);
    const { exports } = this.options;
    const shared = await exports.acquire(name);
    if (shared === undefined) return unknownExport(option, name);
    const exact = new Set(queries);
    const prefixes = [...exact].filter((query) => query.endsWith(':'));
    const replies: Buffer[] = [];
    for (const context of contextsOf(shared)) {
      const isWanted =
        queries.length === 0 || exact.has(context.name) || prefixes.some((prefix) => context.name.startsWith(prefix));
      if (!isWanted) continue;
      const reply = encodeMetaContextReply({ id: 0, name: context.name });
      replies.push(encodeOptionReply(option, OPTION_REPLY.META_CONTEXT, reply));
    }
    await exports.release(shared);
    return next(...replies, ack(option));
  }

  async #setMetaContext(data: Buffer): Promise<Answer> {
    const option = OPTION.SET_META_CONTEXT;
    await this.#dropSelection(); // whatever comes of it
    if (!this.#structured && !this.#extended) {
      return refusal(option, OPTION_REPLY.ERR_INVALID, 'metadata contexts need structured replies');
    }
    const { name, queries } = decodeMetaContextRequest(data);
    const shared = await this.options.exports.acquire(name);
    if (shared === undefined) return unknownExport(option, name);
    const wanted = new Set(queries);
    const contexts = new Map<number, MetaContext>();
    const replies: Buffer[] = [];
    for (const context of contextsOf(shared)) {
      if (!wanted.delete(context.name)) continue;
      const id = contexts.size + 1;
      contexts.set(id, context);
      const reply = encodeMetaContextReply({ id, name: context.name });
      replies.push(encodeOptionReply(option, OPTION_REPLY.META_CONTEXT, reply));
    }
    this.#selection = { shared, contexts };
    return next(...replies, ack(option));
  }

  #flags(shared: SharedExport, hasContexts: boolean): number {
    return transmissionFlags(shared, { structured: this.#structured, extended: this.#extended, hasContexts });
  }

  /** What holds for transmission on `shared`, which the caller has acquired. */
  async #agree(shared: SharedExport): Promise<Negotiated> {
    const contexts = this.#selection?.shared === shared ? this.#selection.contexts : NO_CONTEXTS;
    await this.#dropSelection();
    return { structured: this.#structured, extended: this.#extended, contexts };
  }

  async #dropSelection(): Promise<void> {
    const selection = this.#selection;
    this.#selection = undefined;
    if (selection !== undefined) await this.options.exports.release(selection.shared);
  }
}

const NO_CONTEXTS: ReadonlyMap<number, MetaContext> = new Map();
const KNOWN_OPTIONS: ReadonlySet<number> = new Set(
  Object.values(OPTION).filter((option) => option !== OPTION.PEEK_EXPORT),
);
const TAKES_NO_DATA: ReadonlySet<number> = new Set([
  OPTION.LIST,
  OPTION.STARTTLS,
  OPTION.STRUCTURED_REPLY,
  OPTION.EXTENDED_HEADERS,
]);

/** `base:allocation`, then the export's own; one of each name. */
function contextsOf(shared: SharedExport): MetaContext[] {
  const byName = new Map<string, MetaContext>([[BASE_ALLOCATION, allocationContext(shared.device)]]);
  for (const context of shared.contexts) if (!byName.has(context.name)) byName.set(context.name, context);
  return [...byName.values()];
}

const ack = (option: number): Buffer => encodeOptionReply(option, OPTION_REPLY.ACK);
const next = (...replies: Buffer[]): Answer => ({ after: 'next', bytes: Buffer.concat(replies) });
const close = (): Answer => ({ after: 'close', bytes: Buffer.alloc(0) });
const refusal = (option: number, type: number, text: string): Answer =>
  next(encodeOptionReply(option, type, Buffer.from(cut(text), 'utf8')));
const unsupported = (option: number): Answer =>
  refusal(option, OPTION_REPLY.ERR_UNSUP, `option ${option} is not supported`);
const unknownExport = (option: number, name: string): Answer =>
  refusal(option, OPTION_REPLY.ERR_UNKNOWN, `there is no export "${name}"`);

/** `text` with at most the bytes a string may have, cut between characters. */
function cut(text: string): string {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= MAX_STRING_SIZE) return text;
  let end = MAX_STRING_SIZE;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}
