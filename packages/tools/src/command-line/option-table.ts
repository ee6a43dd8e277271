/**
 * What a command accepts, as data: the parser, the help text and the types of the parsed values all come from one table.
 *
 *   flag            --quiet, -q                    true or false
 *   count           -v, -vv                        how often
 *   value           --dev-id N, --dev-id=N, -oF    one value, or a list when `repeatable`
 *   optionalValue   -m, -m=N, --metadata-snap=N    undefined when absent, true without a value; a value only after `=`
 */

/** Turns the text of a value into the value. @throws {@link InvalidValue} */
export type ParseValue<T> = (text: string) => T;

/** Why a value was refused, in a few words; the parser puts option and text before it. */
export class InvalidValue extends Error {
  override readonly name = 'InvalidValue';
  constructor(
    reason: string,
    /** Everything that would have been accepted, where that is a short list. */
    readonly possible: readonly string[] = [],
    /** The part of the text that was refused, where it is not the whole. */
    readonly part?: string,
  ) {
    super(reason);
  }
}

interface Common {
  /** One letter, without the dash. */
  readonly short?: string;
  /** For the help text: what it does, in one sentence. */
  readonly help: string;
  /** Accepted, but not shown in the help text. */
  readonly hidden?: boolean;
  /** Long names of the options that cannot be given with this one. */
  readonly conflictsWith?: readonly string[];
}

export interface Flag extends Common {
  readonly kind: 'flag';
}
export interface Count extends Common {
  readonly kind: 'count';
}
export interface Value<T> extends Common {
  readonly kind: 'value';
  readonly placeholder: string;
  readonly parse: ParseValue<T>;
  readonly required?: boolean;
}
export interface RepeatableValue<T> extends Common {
  readonly kind: 'repeatable';
  readonly placeholder: string;
  readonly parse: ParseValue<T>;
  /** How often it has to be given, for the usage line; the command refuses fewer. */
  readonly least?: number;
}
export interface OptionalValue<T> extends Common {
  readonly kind: 'optionalValue';
  readonly placeholder: string;
  readonly parse: ParseValue<T>;
}
export type Option = Flag | Count | Value<unknown> | RepeatableValue<unknown> | OptionalValue<unknown>;
/** By long name, without the dashes. */
export type OptionTable = Readonly<Record<string, Option>>;

export interface Positional {
  /** As in the usage line: "INPUT". */
  readonly name: string;
  readonly help: string;
}

type ParsedOption<O> = O extends Flag
  ? boolean
  : O extends Count
    ? number
    : O extends Value<infer T> & { readonly required: true }
      ? T
      : O extends Value<infer T>
        ? T | undefined
        : O extends RepeatableValue<infer T>
          ? readonly T[]
          : O extends OptionalValue<infer T>
            ? T | true | undefined
            : never;
/** The values of a table's options, under their long names. */
export type ParsedOptions<Table extends OptionTable> = { readonly [Name in keyof Table]: ParsedOption<Table[Name]> };

export interface CommandLine<Table extends OptionTable = OptionTable> {
  /** The program's name, as the user types it. */
  readonly name: string;
  /** One line: what the command is for. */
  readonly summary: string;
  readonly options: Table;
  /** The one argument without a name, when the command has it; always required. */
  readonly positional?: Positional;
  /** Help text after the options: exit codes, examples. */
  readonly notes?: string;
  /** What `--version` prints; unless given, the release of thin-provisioning-tools that the command stands in for. */
  readonly version?: string;
}

export const flag = <const O extends Omit<Flag, 'kind'>>(option: O) => ({ kind: 'flag', ...option }) as const;
export const count = <const O extends Omit<Count, 'kind'>>(option: O) => ({ kind: 'count', ...option }) as const;
export const value = <T, const O extends Omit<Value<T>, 'kind' | 'parse'>>(parse: ParseValue<T>, option: O) =>
  ({ kind: 'value', parse, ...option }) as const;
export const repeatable = <T, const O extends Omit<RepeatableValue<T>, 'kind' | 'parse'>>(
  parse: ParseValue<T>,
  option: O,
) => ({ kind: 'repeatable', parse, ...option }) as const;
export const optionalValue = <T, const O extends Omit<OptionalValue<T>, 'kind' | 'parse'>>(
  parse: ParseValue<T>,
  option: O,
) => ({ kind: 'optionalValue', parse, ...option }) as const;

/** In the form error messages and help use: `--format <TYPE>`, `--metadata-snap[=<BLOCKNR>]`. */
export function optionName(long: string, option: Option): string {
  switch (option.kind) {
    case 'value':
    case 'repeatable':
      return `--${long} <${option.placeholder}>`;
    case 'optionalValue':
      return `--${long}[=<${option.placeholder}>]`;
    default:
      return `--${long}`;
  }
}

export function usageLine({ name, options, positional }: CommandLine): string {
  const required = Object.entries(options).flatMap(([long, option]) => {
    const least = option.kind === 'repeatable' ? option.least : option.kind === 'value' && option.required ? 1 : 0;
    return Array.from({ length: least ?? 0 }, () => optionName(long, option));
  });
  return ['Usage:', name, '[OPTIONS]', ...required, ...(positional ? [`<${positional.name}>`] : [])].join(' ');
}
