/** Reading messages as the kernel does. */

/** The words of a line that a target is sent. */
export const wordsOf = (line: string): string[] => line.split(/\s+/).filter((word) => word !== '');

/** Decimal, as the kernel reads numbers: digits, perhaps a plus before them. */
export const wholeNumberIn = (word = ''): bigint | undefined =>
  /^\+?\d{1,40}$/.test(word) ? BigInt(word.replace('+', '')) : undefined;
