/** The data device in a regular file: the contract, and what is special about files. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dataDeviceConformance } from '@pdata/testing';
import { afterAll, describe, it } from 'vitest';
import { openFileDataDevice } from './file-data-device.js';

const folder = mkdtempSync(join(tmpdir(), 'pdata-data-'));
let nrPaths = 0;
const newPath = (): string => join(folder, `data-${++nrPaths}`);
afterAll(() => rmSync(folder, { recursive: true }));

const KIB = 1024;

describe('a data device in a regular file', () => {
  const suite = dataDeviceConformance({
    create: () => openFileDataDevice(newPath(), { mode: 'write', create: { size: 700 * KIB + 512 } }),
    createReadOnly: async () => {
      const path = newPath();
      await (await openFileDataDevice(path, { mode: 'write', create: { size: 128 * KIB } })).close();
      return openFileDataDevice(path, { mode: 'read' });
    },
    reopen: (closed) => openFileDataDevice(closed.name, { mode: 'write' }),
    nrRandomWorkloads: 10,
  });
  for (const { name, run } of suite) it(name, run);
});
