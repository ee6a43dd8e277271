/**
 * JSON as `--json` prints it. Numbers of 64 bits are numbers as long as every JSON reader gets them right, up to 2^53 - 1,
 * and strings of digits above. What is undefined is left out.
 */

export function jsonText(document: object): string {
  return `${JSON.stringify(document, (_, member) => (typeof member === 'bigint' ? jsonNumber(member) : member), 2)}\n`;
}

export const jsonNumber = (number: bigint): number | string =>
  number <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(number) : number.toString();
