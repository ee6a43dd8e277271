/**
 * Who reads an environment, and from which commit on: what keeps LMDB from reusing pages.
 *
 * A reader has a slot in lock.mdb with its process id and the transaction it shows. Pages that were freed after that
 * transaction are not reused while the slot is taken. A process that died leaves its slot behind; LMDB finds such slots by
 * their process ids and frees them when it is asked to (`readerCheck`), which happens when an environment is opened, every
 * ten minutes while it is written, and here before a commit that might be too large.
 */
import type { LmdbRoot } from './lmdb-library.js';

/** A process that holds a commit. */
export interface EnvironmentReader {
  readonly processId: number;
  /** Commits of the environment, of all its pools, since the one that this reader shows. 0: it shows the last one. */
  readonly nrCommitsBehind: number;
}

/** Those that hold a commit now, the oldest first. */
export function readersOf(root: LmdbRoot): EnvironmentReader[] {
  const { lastTxnId } = root.env.info();
  const readers: EnvironmentReader[] = [];
  // "  PID THREAD TRANSACTION\n", with "-" for a slot that holds nothing at the moment, behind a line of headings.
  for (const line of root.readerList().split('\n')) {
    const [, processId, transactionId] = /^\s*(\d+) \S+ (\d+)$/.exec(line) ?? [];
    if (processId === undefined) continue;
    readers.push({ processId: Number(processId), nrCommitsBehind: Math.max(0, lastTxnId - Number(transactionId)) });
  }
  return readers.sort((a, b) => b.nrCommitsBehind - a.nrCommitsBehind);
}

/** A clause for a message about lack of space: undefined when no reader is in the way. */
export function oldReaderInWords(root: LmdbRoot): string | undefined {
  const oldest = readersOf(root)[0];
  // The last commit but one is needed by LMDB itself.
  if (oldest === undefined || oldest.nrCommitsBehind < 2) return undefined;
  const who = oldest.processId === process.pid ? 'a reader in this process' : `process ${oldest.processId}`;
  return (
    `${who} still reads a commit that is ${oldest.nrCommitsBehind} commits old, ` +
    'and what was freed since cannot be reused before it refreshes or closes'
  );
}
