/**
 * What a command says that goes on for a long time: events on standard output, as lines of text or, with `--json`, as an object
 * a line; warnings on standard error.
 */
import { SUCCESS } from '../exit-codes.js';
import { ToolError } from '../failure/tool-error.js';
import { BrokenPipeError, type Io } from '../io/io.js';
import { printable } from '../io/printable.js';

export interface TellerOptions {
  readonly tool: string;
  readonly json: boolean;
  readonly quiet: boolean;
  /** As a command's {@link Job}. */
  print(line: string): void;
  streamsDocument(): void;
}

/**
 * What is said while serving. That nobody listens any more, or a disk takes no more of it, is no reason to stop: clients do
 * not depend on it.
 */
export class Teller {
  readonly #io: Io;
  readonly #how: TellerOptions;
  #isStreaming = false;

  constructor(io: Io, how: TellerOptions) {
    this.#io = io;
    this.#how = how;
  }

  /** An event: its facts with `--json`, lines of text without. */
  tell(event: string, facts: object, lines: readonly string[]): void {
    try {
      if (!this.#how.json) for (const line of lines) this.#how.print(line);
      else {
        if (!this.#isStreaming) this.#how.streamsDocument();
        this.#isStreaming = true;
        this.#io.out(`${JSON.stringify({ event, ...facts })}\n`);
      }
    } catch (error) {
      if (!(error instanceof BrokenPipeError || error instanceof ToolError)) throw error;
    }
  }

  warn(message: string): void {
    if (this.#how.json) this.tell('warning', { message }, []);
    if (!this.#how.quiet) this.#io.err(printable(`warning: ${message}\n`));
  }

  /** The last object; before the first there is none, but the document that every command prints. */
  end(exitCode: number, errors: readonly object[]): void {
    if (this.#isStreaming) this.tell('end', { tool: this.#how.tool, ok: exitCode === SUCCESS, exitCode, errors }, []);
  }
}

/** Lines that are handed on in a second: clients cause them, and must not be able to hold the service up with them. */
const MOST_LINES = 5;

/** Hands on some lines a second, and how many were left out. */
export function sparing(io: Pick<Io, 'now'>, line: (text: string) => void): (text: string) => void {
  let second = Number.NEGATIVE_INFINITY;
  let nr = 0;
  let nrLeftOut = 0;
  return (text) => {
    if (io.now() - second >= 1000) {
      second = io.now();
      nr = 0;
      if (nrLeftOut > 0) line(`and ${nrLeftOut} more of that kind before`);
      nrLeftOut = 0;
    }
    if (nr++ < MOST_LINES) line(text);
    else nrLeftOut++;
  };
}

/** Milliseconds between two warnings of the same. */
const SAME_AGAIN = 60_000;
/** Reasons that are remembered; more than there are different ones of, unless somebody makes them up. */
const MOST_REASONS = 100;

/** Hands on what happens again and again for the same reason: at once, and then once a minute, with how often it was. */
export function onceAMinute(io: Pick<Io, 'now'>, line: (text: string) => void): (reason: string, text: string) => void {
  const told = new Map<string, { at: number; nrSince: number }>();
  return (reason, text) => {
    const last = told.get(reason);
    if (last !== undefined && io.now() - last.at < SAME_AGAIN) {
      last.nrSince++;
      return;
    }
    if (told.size >= MOST_REASONS) told.clear();
    told.set(reason, { at: io.now(), nrSince: 0 });
    line(
      last === undefined || last.nrSince === 0 ? text : `${text} (and ${last.nrSince} more like it in the last minute)`,
    );
  };
}
