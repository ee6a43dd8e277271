/**
 * What the operating system refused, in words: for people, who need neither the code nor the call nor the path once more.
 *
 * Node's messages have all of it, each kind of call in its own way: "ENOSPC: no space left on device, write", "listen EADDRINUSE: address
 * already in use 127.0.0.1:80", "connect ECONNREFUSED ::1:80", which has no words at all. Those are taken from Node's table of them.
 */
import { getSystemErrorMap } from 'node:util';
import { NETWORK_WORDS } from '../network-words.js';

/**
 * @returns the words alone, `no space left on device`; undefined for what is no error of the operating system
 * @example `cannot write ${path}: ${systemProblem(error) ?? error.message}`
 */
export function systemProblem(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, errno, message, errors } = error as NodeJS.ErrnoException & { readonly errors?: readonly unknown[] };
  // A host with several addresses, none of which answered: all failed, the first says how.
  if (error instanceof AggregateError) return systemProblem(errors?.[0]);
  const [, words] = /^E[A-Z0-9]+: (.+?)(?:, \w+|$)/.exec(message) ?? [];
  if (words !== undefined) return words;
  if (typeof code !== 'string') return undefined;
  return NETWORK_WORDS[code] ?? (errno === undefined ? undefined : getSystemErrorMap().get(errno)?.[1]);
}

/** For messages that go on to say why, whatever failed. */
export const reasonOf = (error: unknown): string =>
  systemProblem(error) ?? (error instanceof Error ? error.message : String(error));
