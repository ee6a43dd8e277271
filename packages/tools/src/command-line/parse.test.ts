import { describe, expect, it } from 'vitest';
import { count, flag, optionalValue, repeatable, value } from './option-table.js';
import { parseCommandLine } from './parse.js';
import { anyText, oneOf, u32, u64 } from './value-types.js';

/** A command with one option of each kind, and conflicts. */
const command = {
  name: 'tool',
  summary: '',
  positional: { name: 'INPUT', help: '' },
  options: {
    quiet: flag({ short: 'q', help: '' }),
    verbose: count({ short: 'v', help: '', hidden: true }),
    output: value(anyText, { short: 'o', placeholder: 'FILE', help: '' }),
    format: value(oneOf('xml', 'human_readable'), { short: 'f', placeholder: 'TYPE', help: '' }),
    'dev-id': repeatable(u64, { placeholder: 'THIN_ID', help: '' }),
    'data-block-size': value(u32, { placeholder: 'SECTORS', help: '' }),
    'metadata-snap': optionalValue(u64, { short: 'm', placeholder: 'BLOCKNR', help: '' }),
    repair: flag({ short: 'r', conflictsWith: ['metadata-snap'], help: '' }),
  },
} as const;
const none = {
  quiet: false,
  verbose: 0,
  output: undefined,
  format: undefined,
  'dev-id': [],
  'data-block-size': undefined,
  'metadata-snap': undefined,
  repair: false,
};

const parse = (...argv: string[]) => parseCommandLine(command, argv);

describe('a command line that 1.1.0 understands', () => {
  it.each([
    [['x'], {}],
    [['-q', 'x'], { quiet: true }],
    [['x', '--quiet'], { quiet: true }],
    [['-vqv', 'x'], { quiet: true, verbose: 2 }],
    [['-o', 'f', 'x'], { output: 'f' }],
    [['-of', 'x'], { output: 'f' }],
    [['-o=f', 'x'], { output: 'f' }],
    [['-o=', 'x'], { output: '' }],
    [['-o', '', 'x'], { output: '' }],
    [['-o', '-', 'x'], { output: '-' }],
    [['-qo=a=b', 'x'], { quiet: true, output: 'a=b' }],
    [['--output', 'f', 'x'], { output: 'f' }],
    [['--output=f', 'x'], { output: 'f' }],
    [['--output=-f', 'x'], { output: '-f' }],
    [['-m', 'x'], { 'metadata-snap': true }],
    [['-mq', 'x'], { 'metadata-snap': true, quiet: true }],
    [['-m=5', 'x'], { 'metadata-snap': 5n }],
    [['-qm=5', 'x'], { quiet: true, 'metadata-snap': 5n }],
    [['--metadata-snap', 'x'], { 'metadata-snap': true }],
    [['--metadata-snap=18446744073709551615', 'x'], { 'metadata-snap': 18446744073709551615n }],
    [['--dev-id', '1', '--dev-id=+2', '--dev-id', '007', 'x'], { 'dev-id': [1n, 2n, 7n] }],
    [['--data-block-size', '4294967295', 'x'], { 'data-block-size': 4294967295 }],
    [['-f', 'human_readable', 'x'], { format: 'human_readable' }],
  ])('%j', (argv, expected) => {
    expect(parse(...argv)).toEqual({ wants: 'run', options: { ...none, ...expected }, positional: 'x' });
  });

  it('takes what follows -- as arguments, and - and an empty word as arguments anywhere', () => {
    for (const [argv, positional] of [
      [['--', '-q'], '-q'],
      [['-'], '-'],
      [[''], ''],
    ] as const) {
      expect(parse(...argv)).toMatchObject({ positional, options: { quiet: false } });
    }
  });

  it('prints help as soon as it is asked for, whatever follows', () => {
    for (const argv of [['-h'], ['--help'], ['-qh'], ['-hx'], ['-hV'], ['-Vh'], ['--help', '--bogus']]) {
      expect(parse(...argv)).toEqual({ wants: 'help' });
    }
  });

  it('prints the version when nothing else is asked for', () => {
    expect(parse('-V')).toEqual({ wants: 'version' });
    expect(parse('--version')).toEqual({ wants: 'version' });
  });
});

describe('a command line that 1.1.0 refuses', () => {
  it.each([
    [[], 'the following required arguments were not provided:'],
    [['a', 'b'], "unexpected argument 'b' found"],
    [['--', 'a', 'b'], "unexpected argument 'b' found"],
    [['--bogus', '-h'], "unexpected argument '--bogus' found"],
    [['-xh', 'a'], "unexpected argument '-x' found"],
    [['--qui', 'a'], "unexpected argument '--qui' found"],
    [['--QUIET', 'a'], "unexpected argument '--QUIET' found"],
    [['-q', '--quiet', 'a'], "the argument '--quiet' cannot be used multiple times"],
    [['-qq', 'a'], "the argument '--quiet' cannot be used multiple times"],
    [['-o', 'f', '--output=g', 'a'], "the argument '--output <FILE>' cannot be used multiple times"],
    [['-m', '-m=3', 'a'], "the argument '--metadata-snap[=<BLOCKNR>]' cannot be used multiple times"],
    [['-q=1', 'a'], "unexpected argument '-=' found"],
    [['--quiet=1', 'a'], "unexpected value '1' for '--quiet' found; no more were expected"],
    [['-m', '5', 'a'], "unexpected argument 'a' found"],
    [['-m5', 'a'], "unexpected argument '-5' found"],
    [['-m=', 'a'], "invalid value '' for '--metadata-snap[=<BLOCKNR>]': cannot parse integer from empty string"],
    [['-m=5q', 'a'], "invalid value '5q' for '--metadata-snap[=<BLOCKNR>]': invalid digit found in string"],
    [['--dev-id', 'a'], "invalid value 'a' for '--dev-id <THIN_ID>': invalid digit found in string"],
    [['--dev-id', '1,2', 'a'], "invalid value '1,2' for '--dev-id <THIN_ID>': invalid digit found in string"],
    [['--dev-id', '-1', 'a'], "unexpected argument '-1' found"],
    [['--dev-id=-1', 'a'], "invalid value '-1' for '--dev-id <THIN_ID>': invalid digit found in string"],
    [['--dev-id', '-q', 'a'], "a value is required for '--dev-id <THIN_ID>' but none was supplied"],
    [['--dev-id'], "a value is required for '--dev-id <THIN_ID>' but none was supplied"],
    [['a', '-o', '--', 'f'], "a value is required for '--output <FILE>' but none was supplied"],
    [
      ['--dev-id=18446744073709551616', 'a'],
      "invalid value '18446744073709551616' for '--dev-id <THIN_ID>': number too large to fit in target type",
    ],
    [
      ['--data-block-size=4294967296', 'a'],
      "invalid value '4294967296' for '--data-block-size <SECTORS>': 4294967296 is not in 0..=4294967295",
    ],
    [['-f', 'XML', 'a'], "invalid value 'XML' for '--format <TYPE>'"],
    [['-r', '-m', 'a'], "the argument '--repair' cannot be used with '--metadata-snap[=<BLOCKNR>]'"],
    [['-r', '-m=5'], "the argument '--repair' cannot be used with '--metadata-snap[=<BLOCKNR>]'"],
    [['-V', '-V'], "the argument '--version' cannot be used multiple times"],
    [['-V', 'a'], "the argument '--version' cannot be used with one or more of the other specified arguments"],
    [['-V', '-q'], "the argument '--version' cannot be used with one or more of the other specified arguments"],
    [['--constructor', 'a'], "unexpected argument '--constructor' found"],
  ])('%j: %s', (argv, reason) => {
    const refuse = () => parse(...argv);
    expect(refuse).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
    expect(refuse).toThrow(new RegExp(`^error: ${escaped(reason)}\n`));
    expect(refuse).toThrow(/\n\nFor more information, try 'tool --help'\.$/);
  });

  it('says what is missing, and how the command is used', () => {
    expect(() => parse('-q')).toThrow(
      'error: the following required arguments were not provided:\n  <INPUT>\n\nUsage: tool [OPTIONS] <INPUT>\n',
    );
  });

  it('suggests the option that was probably meant, but none that is hidden', () => {
    expect(() => parse('--quit', 'a')).toThrow("\n  tip: a similar argument exists: '--quiet'\n");
    expect(() => parse('--metadata', 'a')).toThrow("\n  tip: a similar argument exists: '--metadata-snap'\n");
    expect(() => parse('--verbos', 'a')).toThrow("\n  tip: to pass '--verbos' as a value, use '-- --verbos'\n");
    expect(() => parse('-f', 'human', 'a')).toThrow(
      "\n  [possible values: xml, human_readable]\n\n  tip: a similar value exists: 'human_readable'\n",
    );
  });
});

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
