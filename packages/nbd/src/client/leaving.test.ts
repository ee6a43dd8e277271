import { expect, it, vi } from 'vitest';
import { serve } from '../../test/served.js';
import { connectNbd } from './connect.js';

it('leaves no timer behind that would keep the process of a client that has closed from ending', async () => {
  const { server } = await serve();
  const replyMs = 34_567;
  const started = vi.spyOn(globalThis, 'setTimeout');
  const cleared = vi.spyOn(globalThis, 'clearTimeout');
  const client = await connectNbd(server.address as { socketPath: string }, { exportName: 'disk', replyMs });
  await client.read(0, new Uint8Array(4096));
  await client.close();
  const deadlines = started.mock.results.filter((_, index) => started.mock.calls[index]?.[1] === replyMs);
  expect(deadlines.length).toBeGreaterThan(0);
  for (const { value } of deadlines) expect(cleared.mock.calls.some(([timer]) => timer === value)).toBe(true);
  vi.restoreAllMocks();
});
