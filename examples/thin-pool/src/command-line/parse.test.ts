import { describe, expect, it } from 'vitest';
import { commands } from '../commands/registry.js';
import { helpText } from './help-text.js';
import { parseCommandLine } from './parse.js';

const parse = (...argv: string[]) => parseCommandLine(commands, argv);

describe('a command line', () => {
  it('has a command of one word or two, operands in order, options anywhere', () => {
    expect(parse('volume', 'create', 'pool', 'disk', '1G')).toMatchObject({
      wants: 'run',
      command: { name: 'volume create' },
      args: { operands: { DIR: 'pool', NAME: 'disk', SIZE: '1G' } },
    });
    for (const words of [
      ['create', '--size', '1G', 'pool'],
      ['create', 'pool', '--size=1G'],
    ]) {
      expect(parse(...words)).toMatchObject({ args: { operands: { DIR: 'pool' }, values: { size: '1G' } } });
    }
    expect(parse('send', 'p', 's', '-b', 'base', '-o=out')).toMatchObject({
      args: { values: { base: 'base', output: 'out' } },
    });
    expect(parse('volume', 'remove', 'p', '--', '--odd')).toMatchObject({ args: { operands: { NAME: '--odd' } } });
  });

  it.each([
    [['stauts', 'p'], 'there is no command "stauts"; did you mean "status"?'],
    [['volum', 'create'], 'there is no command "volum"; did you mean "volume"?'],
    [['volume', 'lsit', 'p'], 'there is no command "volume lsit"; did you mean "volume list"?'],
    [['volume'], '"thin-pool volume" wants one more word: create, list, rename, resize, remove'],
    [['frobnicate'], 'there is no command "frobnicate"; see: thin-pool --help'],
    [['--size', '1G', 'create'], 'the command comes first'],
    [['status'], 'DIR is missing: thin-pool status DIR [OPTION…]'],
    [['status', ''], 'DIR is empty: thin-pool status DIR [OPTION…]'],
    [['status', 'a', 'b'], '"b" is one word too many'],
    [['status', 'a', '--jsn'], 'there is no option "--jsn"; did you mean "--json"?'],
    [['status', 'a', '-j'], 'there is no option "-j"; thin-pool status DIR [OPTION…]'],
    [['create', 'a', '--size'], '--size wants a value: --size SIZE'],
    [['create', 'a', '--size', '1G', '--size', '2G'], '--size is given twice'],
    [['create', 'a', '--raw=yes'], '--raw takes no value'],
    [['constructor'], 'there is no command "constructor"'],
    [['status', 'a', '--toString'], 'there is no option "--toString"'],
  ])('%j is refused: %s', (argv, why) => {
    expect(() => parse(...argv)).toThrow(expect.objectContaining({ name: 'UsageError' }));
    expect(() => parse(...argv)).toThrow(why);
  });

  it('asks for help in every way people do', () => {
    for (const argv of [[], ['help'], ['--help'], ['-h']]) expect(parse(...argv)).toEqual({ wants: 'help' });
    for (const argv of [
      ['create', '--help'],
      ['create', 'x', '-h'],
      ['help', 'create'],
    ]) {
      expect(parse(...argv)).toMatchObject({ wants: 'help', command: { name: 'create' } });
    }
  });
});

it.each(commands.map((command) => [command.name, command] as const))(
  '%s has a help text that says it all',
  (name, command) => {
    const text = helpText(command);
    expect(text).toContain(`Usage: thin-pool ${name}`);
    for (const { name: operand } of command.operands) expect(text).toContain(operand);
    for (const option of Object.keys(command.options)) expect(text).toContain(`--${option}`);
    expect(text.split('\n').filter((line) => line.length > 140)).toEqual([]);
  },
);
