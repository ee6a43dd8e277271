/**
 * Names of volumes and snapshots.
 *
 * A name becomes an NBD export name, a part of `qemu:dirty-bitmap:NAME`, a word of a command line and of a URI. So: 1 to 200 bytes
 * of UTF-8; no slash, no control character, no colon and no `@` at all; no blank at either end; no dash or dot in front. Two names that look
 * the same shall be the same: they are kept in Unicode's composed form (NFC).
 */
import { PoolError, quoted } from './pool-error.js';

export const MAX_NAME_BYTES = 200;

/** The name as it is kept. @throws {@link PoolError} `ERR_NAME` that says what is wrong with it */
export function checkName(name: string): string {
  const kept = name.normalize('NFC');
  const problem = problemOf(kept);
  if (problem !== undefined) throw new PoolError('ERR_NAME', `${nameInSentence(kept)} cannot be a name: ${problem}`);
  return kept;
}

function problemOf(name: string): string | undefined {
  if (name === '') return 'a name has at least one character';
  const nrBytes = Buffer.byteLength(name);
  if (nrBytes > MAX_NAME_BYTES) return `it takes ${nrBytes} bytes, and a name has at most ${MAX_NAME_BYTES}`;
  // What was not UTF-8 on the command line arrives with U+FFFD in its place.
  if (/[\p{Cs}\ufffd]/u.test(name)) return 'it is not well-formed Unicode';
  if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(name)) return 'it holds a control or invisible character';
  const wrong = /[/\\:@]/.exec(name)?.[0];
  if (wrong !== undefined) return `names hold no "${wrong}"`;
  if (/^\s|\s$/u.test(name)) return 'it begins or ends with a blank';
  if (/^[-.]/.test(name)) return `a name does not begin with "${name[0]}"`;
  return undefined;
}

/** Long names are cut: the sentence shall stay readable. */
function nameInSentence(name: string): string {
  const letters = [...name];
  return letters.length <= 60 ? quoted(name) : quoted(`${letters.slice(0, 57).join('')}…`);
}
