/**
 * One request from its header to the moment its reply has been handed to the system. Objects are used again: a request costs
 * no allocation of ours, and no closure, because the two functions a promise wants are made once per object.
 */
import type { Answered } from '../protocol/replies.js';
import type { PoolBuffer } from './buffer-pool.js';
import type { OrderedWrite } from './write-order.js';

/** Who carries requests out and hears of their end. */
export interface RequestOwner {
  succeeded(request: Request): void;
  failed(request: Request, error: unknown): void;
  admitted(request: Request): void;
}

export class Request implements Answered, OrderedWrite {
  command = 0;
  flags = 0;
  cookieHigh = 0;
  cookieLow = 0;
  offsetHigh = 0;
  offsetLow = 0;
  /** Bytes; see protocol/integers.ts for numbers from 2^53 on. */
  offset = 0;
  length = 0;
  /** What a WRITE brought; whole when the request starts. */
  payload: Uint8Array | undefined;
  /** Holds the payload, or what was read. */
  buffer: PoolBuffer | undefined;
  /** Where in `buffer.bytes` the data of a READ begins. */
  dataStart = 0;
  /** Bytes it counts for among those in flight. */
  cost = 0;

  begin = 0;
  end = 0;
  exclusive = false;
  isOrdered = false;
  orderPrevious: OrderedWrite | undefined;
  orderNext: OrderedWrite | undefined;

  readonly done: () => void;
  readonly failed: (error: unknown) => void;

  constructor(private readonly owner: RequestOwner) {
    this.done = () => owner.succeeded(this);
    this.failed = (error) => owner.failed(this, error);
  }

  admitted(): void {
    this.owner.admitted(this);
  }
}
