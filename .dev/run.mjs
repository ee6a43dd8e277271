/**
 * `npm start`, `npm test` and their kin on a machine that has only Node and npm: `node .dev/run.mjs JOB [ARGUMENTS]`.
 *
 * This file must load on any Node, however old, to say that it is too old; all else is in workspace.mjs and jobs.mjs.
 * No file of .dev that runs before the install has a dependency.
 */
const wanted = [20, 19];
const have = process.versions.node.split('.').map(Number);

if (have[0] < wanted[0] || (have[0] === wanted[0] && have[1] < wanted[1])) {
  console.error(`pdata needs Node ${wanted.join('.')} or newer; this is Node ${process.versions.node}.`);
  console.error('Install a newer one (for example from your system, nvm, fnm or volta) and run the command again.');
  process.exit(1);
} else {
  import('./jobs.mjs')
    .then((jobs) => jobs.runJob(process.argv[2], process.argv.slice(3)))
    .then((exitCode) => {
      process.exitCode = exitCode;
    })
    .catch((error) => {
      console.error(error instanceof Error && error.isExpected ? error.message : error);
      process.exitCode = 1;
    });
}
