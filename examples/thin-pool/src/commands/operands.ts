/** Operands and options that many commands have. */
import type { Arguments, Operand, Option } from '../command-line/command.js';
import { UsageError } from '../command-line/command.js';
import { parseSize } from '../words/sizes.js';

export const DIR: Operand = { name: 'DIR', help: 'The directory of the pool.' };
export const JSON_FLAG: Option = { kind: 'flag', help: 'Print JSON: all there is to know, sizes in bytes.' };

/** An operand that is not optional. */
export const operand = ({ operands }: Arguments, name: string): string => operands[name] ?? '';

export function sizeOption({ values }: Arguments, name: string, otherwise?: string): number | undefined {
  const text = values[name] ?? otherwise;
  return text === undefined ? undefined : parseSize(text, `--${name}`);
}

export function portOption({ values }: Arguments, name: string): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new UsageError(`--${name} ${text} is no port: 0 to 65535`);
  return port;
}

export const asJson = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;
