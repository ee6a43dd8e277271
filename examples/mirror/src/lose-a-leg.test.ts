import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { loseALeg } from './lose-a-leg.js';

const folder = mkdtempSync(join(tmpdir(), 'pdata-mirror-example-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('tells that a leg was taken away under load and brought back, and that only what it had missed was copied', async () => {
  const lines: string[] = [];
  expect(await loseALeg(folder, (line) => lines.push(line)), lines.join('\n')).toBe(true);
  expect(lines[0]).toBe('both files are the same: 64 regions of 1 MiB');
  expect(lines[3]).toMatch(/^ {2}mirror: 2 leg0\.img leg1\.img \d\d\/64 1 AD 3 disk log\.img A$/);
  const [, copied] = /^leg 1 is back: (\d+) regions are copied, of 64$/.exec(lines[4] as string) ?? [];
  expect(Number(copied)).toBeGreaterThanOrEqual(5); // 20 blocks of 256 KiB at least
  expect(Number(copied)).toBeLessThan(64);
  expect(lines[5]).toBe('  mirror: 2 leg0.img leg1.img 64/64 1 AA 3 disk log.img A');
  expect(lines.at(-1)).toBe('both files are the same, and hold what the client wrote');
});
