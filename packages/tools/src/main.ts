/** Where the programs in bin/ begin: `run` on the process's own streams. */
import { processIo } from './io/process-io.js';
import { run } from './run.js';

/** @param argv the words after `pdata` */
export function main(argv: readonly string[]): Promise<number> {
  return run(argv, processIo());
}
