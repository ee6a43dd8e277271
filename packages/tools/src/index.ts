/** The commands of the `pdata` program, to be run by another program with streams of its own. @packageDocumentation */
export { BrokenPipeError, InterruptedError, type Io } from './io/io.js';
export { type KeptIo, keptIo } from './io/kept-io.js';
export { processIo } from './io/process-io.js';
export { run } from './run.js';
