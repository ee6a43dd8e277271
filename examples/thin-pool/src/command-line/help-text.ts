/** The texts of `--help`, made from the commands themselves. */
import { type Command, usageLine } from './command.js';

const WIDTH = 100;

export function overview(groups: Readonly<Record<string, readonly Command[]>>): string {
  const all = Object.values(groups).flat();
  const indent = Math.max(...all.map((command) => short(command).length)) + 4;
  const lines = [
    'Thin volumes and instant snapshots in a directory, without root.',
    '',
    'Usage: thin-pool COMMAND DIR …      DIR is the directory of the pool',
  ];
  for (const [title, commands] of Object.entries(groups)) {
    lines.push('', `${title}:`);
    for (const command of commands) lines.push(...described(`  ${short(command)}`, command.summary, indent));
  }
  lines.push(
    '',
    'Help for one command: thin-pool COMMAND --help',
    'Exit codes: 0 done, 1 failed (or a check found something), 2 the command line makes no sense.',
  );
  return `${lines.join('\n')}\n`;
}

const short = ({ name, operands }: Command): string =>
  [name, ...operands.map((operand) => (operand.optional === true ? `[${operand.name}]` : operand.name))].join(' ');

export function helpText(command: Command): string {
  const operands = command.operands.map(({ name, help }) => [`  ${name}`, help] as const);
  const options = [
    ...Object.entries(command.options).map(([long, option]) => {
      const letter = option.short === undefined ? '' : `-${option.short}, `;
      const value = option.kind === 'value' ? ` ${option.placeholder}` : '';
      return [`  ${letter}--${long}${value}`, option.help] as const;
    }),
    ['  -h, --help', 'Show this text.'] as const,
  ];
  const indent = Math.max(...[...operands, ...options].map(([name]) => name.length)) + 2;
  const lines = [command.summary, '', `Usage: ${usageLine(command)}`];
  if (operands.length > 0) lines.push('', ...operands.flatMap(([name, help]) => described(name, help, indent)));
  lines.push('', 'Options:', ...options.flatMap(([name, help]) => described(name, help, indent)));
  if (command.notes !== undefined) lines.push('', command.notes);
  return `${lines.join('\n')}\n`;
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
