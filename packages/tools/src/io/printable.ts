/**
 * Text for a terminal: names of files and words of a command line are shown as they are, but for what a terminal would obey.
 *
 * Escaped: control characters (C0 without tab and newline, DEL, C1) and the marks that turn the direction of writing.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const OBEYED = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

export const printable = (text: string): string =>
  text.replace(OBEYED, (character) => {
    const code = character.charCodeAt(0).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code}`;
  });
