/** What `node examples/mirror/dist/index.js` runs, in a directory that goes when it ends. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loseALeg } from './lose-a-leg.js';

const folder = mkdtempSync(join(tmpdir(), 'pdata-mirror-'));
try {
  process.exitCode = (await loseALeg(folder, (line) => console.log(line))) ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
