/** What `npm start` here runs, with files under dist/. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { demo } from './demo.js';

const directory = join(import.meta.dirname, 'try');
rmSync(directory, { recursive: true, force: true });
mkdirSync(directory);
await demo({ directory, size: 64 * 2 ** 20, bytesASecond: 16 * 2 ** 20, say: console.log });
