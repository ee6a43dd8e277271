/** The program `thin-pool`: a command line from the process's words to its exit code. */
import { processIo } from './command-line/process-io.js';
import { run } from './command-line/run.js';

process.exitCode = await run(process.argv.slice(2), processIo());
