#!/usr/bin/env node
import { existsSync } from 'node:fs';

const program = new URL('../dist/index.js', import.meta.url);
if (existsSync(program)) await import(program.href);
else {
  console.error('thin-pool: not built yet; run "npm run build" in the root of the repository');
  process.exitCode = 1;
}
