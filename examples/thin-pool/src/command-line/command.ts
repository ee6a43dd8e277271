/**
 * What a command is: what it accepts, as data (parser and help are made from it), and what it does.
 */
import type { Readable } from 'node:stream';

/** Where a command reads, writes and is told to stop. Tests give their own. */
export interface Io {
  out(text: string): Promise<void>;
  /** Bytes for whoever reads them: a stream, an image. */
  outBytes(bytes: Uint8Array): Promise<void>;
  /** For people: what goes on, what went wrong. */
  err(text: string): void;
  readonly stdin: Readable;
  readonly outIsTerminal: boolean;
  readonly errIsTerminal: boolean;
  /** Whether `out` may be coloured. */
  readonly colors: boolean;
  /** Aborted by the first SIGINT or SIGTERM, with an error to throw; who never looks at it is ended by them as usual. */
  readonly signal: AbortSignal;
}

export interface Operand {
  readonly name: string;
  readonly help: string;
  readonly optional?: boolean;
}

export interface Option {
  readonly kind: 'flag' | 'value';
  /** One letter. */
  readonly short?: string;
  /** For a value: what it is, as in the help: `SIZE`. */
  readonly placeholder?: string;
  readonly help: string;
}

export interface Arguments {
  /** By name; what is not optional is there. */
  readonly operands: Readonly<Record<string, string>>;
  readonly flags: ReadonlySet<string>;
  readonly values: Readonly<Record<string, string | undefined>>;
}

export interface Command {
  /** As it is typed: `create`, `volume create`. */
  readonly name: string;
  /** One line: what it is for. */
  readonly summary: string;
  readonly operands: readonly Operand[];
  readonly options: Readonly<Record<string, Option>>;
  /** Behind the options in the help: what to know, and examples. */
  readonly notes?: string;
  /** @returns the exit code: 0, or 1 when the answer is "no" (a check that found something) */
  run(args: Arguments, io: Io): Promise<number>;
}

/** The command line makes no sense: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export const usageLine = ({ name, operands, options }: Command): string =>
  [
    'thin-pool',
    name,
    ...operands.map((operand) => (operand.optional === true ? `[${operand.name}]` : operand.name)),
    ...(Object.keys(options).length > 0 ? ['[OPTION…]'] : []),
  ].join(' ');
