/**
 * The numbers of the NBD protocol: magics, options, replies, commands, flags, errors.
 *
 * Every integer on the wire is big-endian. 64-bit magics are kept as two 32-bit halves, because that is how they are compared.
 * Format: docs/format/nbd.md, sections 1 to 6 and 11.
 */

/** A u64 in two halves. */
export interface Halves {
  readonly high: number;
  readonly low: number;
}

/** "NBDMAGIC": the first eight bytes a server says. */
export const NBD_MAGIC: Halves = { high: 0x4e42444d, low: 0x41474943 };
/** "IHAVEOPT": follows it, and opens each option of the client. */
export const OPTION_MAGIC: Halves = { high: 0x49484156, low: 0x454f5054 };
/** Opens each reply to an option. */
export const OPTION_REPLY_MAGIC: Halves = { high: 0x0003e889, low: 0x045565a9 };

export const REQUEST_MAGIC = 0x25609513;
export const EXTENDED_REQUEST_MAGIC = 0x21e41c71;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;
export const EXTENDED_REPLY_MAGIC = 0x6e8a278c;

/** Bytes of each message without its payload. */
export const GREETING_SIZE = 18;
export const CLIENT_FLAGS_SIZE = 4;
export const OPTION_HEADER_SIZE = 16;
export const OPTION_REPLY_HEADER_SIZE = 20;
export const REQUEST_SIZE = 28;
export const EXTENDED_REQUEST_SIZE = 32;
export const SIMPLE_REPLY_SIZE = 16;
export const STRUCTURED_REPLY_SIZE = 20;
export const EXTENDED_REPLY_SIZE = 32;
/** The zeros after the answer to EXPORT_NAME, unless both sides agreed on none. */
export const EXPORT_NAME_PADDING = 124;

/** The longest name, query or description that may be sent. */
export const MAX_STRING_SIZE = 4096;
/** Payload of one request or reply when nothing else was said: 32 MiB. */
export const DEFAULT_MAX_PAYLOAD = 33_554_432;
/** Block sizes when nothing else was said. */
export const DEFAULT_PREFERRED_BLOCK_SIZE = 4096;
/** Descriptors that one block-status chunk may hold. */
export const MAX_EXTENTS_PER_CHUNK = 2 ** 20;
export const NBD_DEFAULT_PORT = 10_809;

/** Flags of the server's greeting; the client answers with the same bits, four bytes wide. */
export const HANDSHAKE_FLAG = { FIXED_NEWSTYLE: 1 << 0, NO_ZEROES: 1 << 1 } as const;

export const OPTION = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  PEEK_EXPORT: 4,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
  EXTENDED_HEADERS: 11,
} as const;

export const OPTION_REPLY = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x8000_0001,
  ERR_POLICY: 0x8000_0002,
  ERR_INVALID: 0x8000_0003,
  ERR_PLATFORM: 0x8000_0004,
  ERR_TLS_REQD: 0x8000_0005,
  ERR_UNKNOWN: 0x8000_0006,
  ERR_SHUTDOWN: 0x8000_0007,
  ERR_BLOCK_SIZE_REQD: 0x8000_0008,
  ERR_TOO_BIG: 0x8000_0009,
  ERR_EXT_HEADER_REQD: 0x8000_000a,
} as const;
/** Replies from this number on are errors. */
export const FIRST_OPTION_ERROR = 0x8000_0000;

export const INFO = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;

/** What an export can do: sent with its size. */
export const TRANSMISSION_FLAG = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  ROTATIONAL: 1 << 4,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_RESIZE: 1 << 9,
  SEND_CACHE: 1 << 10,
  SEND_FAST_ZERO: 1 << 11,
  BLOCK_STATUS_PAYLOAD: 1 << 12,
} as const;

export const COMMAND = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
  RESIZE: 8,
} as const;

export const COMMAND_FLAG = {
  FUA: 1 << 0,
  NO_HOLE: 1 << 1,
  DF: 1 << 2,
  REQ_ONE: 1 << 3,
  FAST_ZERO: 1 << 4,
  PAYLOAD_LEN: 1 << 5,
} as const;

/** Flag of a structured or extended reply: no chunk of this request follows. */
export const REPLY_FLAG_DONE = 1;

export const CHUNK = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  BLOCK_STATUS_EXT: 6,
  ERROR: 32_769,
  ERROR_OFFSET: 32_770,
} as const;
/** Chunk types with this bit are errors. */
export const CHUNK_ERROR_BIT = 0x8000;

/** Error numbers on the wire; they are Linux's, whatever the system. */
export const NBD_ERROR = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

/** The metadata context every server knows, and its two bits. */
export const BASE_ALLOCATION = 'base:allocation';
export const STATE_HOLE = 1 << 0;
export const STATE_ZERO = 1 << 1;
