/**
 * What all commands have in common: reading the command line, `--help`, `-V`, `--json`, `-q`, and turning whatever is
 * thrown into one report and one exit code. A command itself is a table of options and a function.
 */
import { helpText } from '../command-line/help-text.js';
import {
  type CommandLine,
  count,
  flag,
  type OptionTable,
  type ParsedOptions,
  value,
} from '../command-line/option-table.js';
import { parseCommandLine, UsageError } from '../command-line/parse.js';
import { anyText } from '../command-line/value-types.js';
import { FAILURE, SUCCESS, USAGE } from '../exit-codes.js';
import { type FailureReport, failureReport, failureText } from '../failure/failure-report.js';
import { ToolError } from '../failure/tool-error.js';
import { BrokenPipeError, InterruptedError, type Io } from '../io/io.js';
import { printable } from '../io/printable.js';
import { ProgressDisplay } from '../io/progress-display.js';
import { COMPATIBLE_VERSION } from '../version.js';
import { jsonText } from './json-text.js';

/** Members of a `--json` document besides those every one has. */
export type Facts = Record<string, unknown>;

/** What a command's function is given. */
export interface Job<Table extends OptionTable> {
  readonly options: ParsedOptions<Table>;
  readonly positional: string;
  readonly io: Io;
  readonly progress: ProgressDisplay;
  /** A line of plain data on standard output; nothing with `-q` or `--json`. */
  print(line: string): void;
  /** Goes into the document; filled as facts become known, so that a failed run's document has those it got to. */
  readonly facts: Facts;
  /** Says that the command has begun to stream a document of its own, so that no other may follow. */
  streamsDocument(): void;
}

export interface Command {
  readonly commandLine: CommandLine;
  /** @param argv the words after the command's name. @returns the exit code; never throws */
  run(argv: readonly string[], io: Io): Promise<number>;
}

/** Every command has it. */
export const jsonOption = {
  json: flag({ help: 'Print one JSON document on standard output instead of text.' }),
} as const;

export const quietOption = {
  quiet: flag({ short: 'q', help: 'Print nothing on standard error; the exit code tells.' }),
} as const;

/** Accepted because the tools that read devices accept them; they change nothing here. */
export const hiddenOptions = {
  verbose: count({ short: 'v', help: 'Accepted for compatibility.', hidden: true }),
  'io-engine': value(anyText, { placeholder: 'IO_ENGINE', help: 'Accepted for compatibility.', hidden: true }),
} as const;
const IO_ENGINES: readonly unknown[] = [undefined, 'sync', 'spindle', 'async'];

/** @param work returns the exit code, or throws what is to be reported */
export function defineCommand<Table extends OptionTable & typeof jsonOption>(
  commandLine: CommandLine<Table>,
  work: (job: Job<Table>) => Promise<number> | number,
): Command {
  return { commandLine, run: (argv, io) => new Run(commandLine, work, argv, io).exitCode() };
}

class Run<Table extends OptionTable> {
  readonly #facts: Facts = {};
  readonly #progress: ProgressDisplay;
  #wantsJson: boolean;
  #isQuiet = false;
  #isStreaming = false;

  constructor(
    readonly commandLine: CommandLine<Table>,
    readonly work: (job: Job<Table>) => Promise<number> | number,
    readonly argv: readonly string[],
    readonly io: Io,
  ) {
    // Looked for in the words themselves, so that a command line in error is answered in JSON too.
    this.#wantsJson = argv.includes('--json');
    this.#progress = new ProgressDisplay(io, () => this.#isQuiet);
  }

  async exitCode(): Promise<number> {
    try {
      return await this.#attempt();
    } catch (error) {
      this.#progress.clear();
      return error instanceof BrokenPipeError ? FAILURE : this.#report(error);
    }
  }

  async #attempt(): Promise<number> {
    const { commandLine, io } = this;
    const parsed = parseCommandLine(commandLine, this.argv);
    if (parsed.wants !== 'run') {
      io.out(parsed.wants === 'help' ? helpText(commandLine) : `${commandLine.version ?? COMPATIBLE_VERSION}\n`);
      return SUCCESS;
    }
    const { options, positional } = parsed;
    const { json, quiet, 'io-engine': engine } = options as Record<string, unknown>;
    this.#wantsJson = json === true;
    this.#isQuiet = quiet === true;
    if (!IO_ENGINES.includes(engine)) {
      throw new ToolError('ERR_USAGE', `unknown io engine type '${engine}'`, { nextStep: 'leave --io-engine out' });
    }
    const exitCode = await this.work({
      options,
      positional,
      io,
      progress: this.#progress,
      facts: this.#facts,
      print: (line) => {
        if (!this.#isQuiet && !this.#wantsJson) io.out(`${line}\n`);
      },
      streamsDocument: () => {
        this.#isStreaming = true;
      },
    });
    this.#progress.clear();
    this.#printDocument(exitCode, []);
    return exitCode;
  }

  #report(error: unknown): number {
    const { io } = this;
    const isUsage = error instanceof UsageError;
    const report = isUsage
      ? { code: error.code, message: error.message.split('\n\nUsage:')[0] as string }
      : failureReport(error, io.isDebugging);
    const hasExitCode = error instanceof ToolError || error instanceof InterruptedError;
    const exitCode = isUsage ? USAGE : hasExitCode ? error.exitCode : FAILURE;
    if (!this.#isQuiet) io.err(printable(isUsage ? `${error.message}\n` : failureText(report)));
    try {
      this.#printDocument(exitCode, [report]);
    } catch {
      // Standard output takes nothing any more; standard error and the exit code have said what there is to say.
    }
    return exitCode;
  }

  #printDocument(exitCode: number, errors: readonly FailureReport[]): void {
    if (!this.#wantsJson || this.#isStreaming) return;
    this.io.out(documentText(this.commandLine.name, exitCode, this.#facts, errors));
  }
}

/** The document of `--json`: who speaks, how it went, the command's own facts, what went wrong. */
function documentText(tool: string, exitCode: number, facts: Facts, errors: readonly FailureReport[]): string {
  return jsonText({ tool, ok: exitCode === SUCCESS, exitCode, ...facts, errors });
}
