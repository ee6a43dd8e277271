/** A directory that a test may fill and that goes when it ends. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Scratch extends Disposable {
  readonly directory: string;
  /** The path of `name` inside the directory; nothing is created. */
  path(name: string): string;
}

/** @example using scratch = openScratch(); */
export function openScratch(): Scratch {
  const directory = mkdtempSync(join(tmpdir(), 'pdata-conformance-'));
  return {
    directory,
    path: (name) => join(directory, name),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
