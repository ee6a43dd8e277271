import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryDataDevice } from '@pdata/device';
import { connectNbd } from '@pdata/nbd';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Front } from './serve-front.js';

let folder: string;
let socketPath: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pdata-front-'));
  socketPath = join(folder, 'socket');
});
afterEach(() => rmSync(folder, { recursive: true }));

const front = (): Promise<Front> => Front.listen({ listen: { socketPath } });

it('lets clients that come early wait, and in when there is something to serve', async () => {
  const made = await front();
  const early = connectNbd({ socketPath }, { exportName: 'disk' });
  const isIn = early.then(() => true);
  expect(await Promise.race([isIn, new Promise((resolve) => setTimeout(resolve, 100, 'waits'))])).toBe('waits');
  const device = new MemoryDataDevice({ size: 8192 });
  made.serve({ list: async () => [{ name: 'disk' }], open: async () => ({ device }) }, () => {});
  const client = await early;
  expect(client.size).toBe(8192);
  await client.close();
  await made.server.close();
});

it('sends them away, and takes its socket with it, when there will be nothing', async () => {
  const made = await front();
  const early = connectNbd({ socketPath }, { exportName: 'disk' });
  await made.abandon(new Error('no metadata'));
  await expect(early).rejects.toThrow();
  expect(existsSync(socketPath)).toBe(false);
  await made.abandon(new Error('twice'));
});
