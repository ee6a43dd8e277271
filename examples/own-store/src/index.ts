/** The program: `node dist/index.js BACKUPS COMMAND …`. */
import { program } from './program.js';

process.exitCode = await program(process.argv.slice(2), { out: console.log, err: console.error });
