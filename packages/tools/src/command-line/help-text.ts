/**
 * The text of `--help`, made from a command's table: what it does, usage, every option, exit codes, examples.
 */
import { type CommandLine, type Option, optionName, usageLine } from './option-table.js';

/** Columns a line may take before it is broken. */
const WIDTH = 110;

export function helpText(command: CommandLine): string {
  const rows = optionRows(command);
  const indent = Math.max(...rows.map(([name]) => name.length)) + 4;
  const lines = [command.summary, '', usageLine(command)];
  if (command.positional !== undefined) {
    const { name, help } = command.positional;
    lines.push('', 'Arguments:', ...described(`  <${name}>`, help, indent));
  }
  lines.push('', 'Options:');
  for (const [name, help] of rows) lines.push(...described(`  ${name}`, help, indent));
  if (command.notes !== undefined) lines.push('', command.notes);
  return `${lines.join('\n')}\n`;
}

function optionRows({ options, version }: CommandLine): [name: string, help: string][] {
  const shown: [string, Pick<Option, 'short' | 'help'>, string][] = Object.entries(options)
    .filter(([, option]) => !option.hidden)
    .map(([long, option]) => [long, option, optionName(long, option)]);
  shown.push(
    ['help', { short: 'h', help: 'Print this text.' }, '--help'],
    [
      'version',
      {
        short: 'V',
        help:
          version === undefined
            ? 'Print the version of thin-provisioning-tools that this command stands in for.'
            : 'Print the version of pdata.',
      },
      '--version',
    ],
  );
  shown.sort(([a], [b]) => (a < b ? -1 : 1));
  return shown.map(([, { short, help }, name]) => [`${short === undefined ? '    ' : `-${short}, `}${name}`, help]);
}

function described(name: string, text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = name.padEnd(indent - 1);
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = ' '.repeat(indent - 1);
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}
