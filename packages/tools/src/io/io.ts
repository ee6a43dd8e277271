/**
 * What a command may know of the world around it: two streams of text, whether a person is watching, and a request to stop.
 * The programs run on {@link processIo}; tests and other programs hand in their own.
 */

import { StoreError } from '@pdata/device';

export interface Io {
  /** Data: XML, reports, JSON. Written when this returns. @throws {@link BrokenPipeError} when nobody reads it any more */
  out(data: string | Uint8Array): void;
  /** Titles, progress, warnings, errors. Never fails. */
  err(text: string): void;
  /** Columns of the terminal that `err` writes to; 0 when it is none. */
  readonly errColumns: number;
  /** Aborted when the user asks to stop, with an {@link InterruptedError}; only looked at by commands that write. */
  readonly signal: AbortSignal;
  /** From now on an interrupt aborts `signal` instead of ending the process at once. */
  catchInterrupts(): void;
  /** Calls `listener` when the user asks how things are (SIGUSR1). Returns what ends that. */
  onStatusRequest(listener: () => void): () => void;
  /** Lets a pending interrupt through: the work is synchronous, so it has to step aside now and then. */
  breathe(): Promise<void>;
  /** Milliseconds of a clock that only runs forward. */
  now(): number;
  /** Whether stack traces are wanted: PDATA_DEBUG=1. */
  readonly isDebugging: boolean;
}

/** The reader of standard output has gone away. Not a failure to be reported: `| head -1` is a fair thing to do. */
export class BrokenPipeError extends Error {
  override readonly name = 'BrokenPipeError';
}

/** The user pressed Ctrl-C, or the system asked the process to end. */
export class InterruptedError extends StoreError {
  override readonly name = 'InterruptedError';
  readonly code = 'ERR_INTERRUPTED';
  /** As shells report a process ended by that signal: 130 for SIGINT. */
  readonly exitCode: number;
  constructor(signalNr: number) {
    super('interrupted');
    this.exitCode = 128 + signalNr;
  }
}
