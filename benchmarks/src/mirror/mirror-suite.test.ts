/** A small size of the mirror's benchmark, so that it cannot rot. No timing. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { measureMirror, mirrorTable } from './mirror-suite.js';

it('writes the same to both legs either way, and counts the writes of the log: few, and none without a region that is new', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'pdata-benchmark-'));
  try {
    const options = { directory, size: 128 * 1024 ** 2, runs: 2, seed: 1, progress: () => {} };
    const figures = await measureMirror([64 * 1024, 1024 ** 2], options);
    for (const { direct, mirrored, logWrites } of figures.works) {
      expect([direct.length, mirrored.length]).toEqual([2, 2]);
      // 64 regions are marked, in few writes; a clear of what came to rest may come between.
      for (const nr of logWrites) expect(nr).toBeGreaterThan(2);
      expect(Math.min(...logWrites)).toBeLessThan(32);
    }
    expect(figures.hash).toBe('302cc5ef19112dc7');
    const shown = mirrorTable(figures, options);
    expect(shown).toMatch(/^64 KiB blocks +\d+ MiB\/s .+ ≥ 0\.8x +(yes|NO) +[\d.]+x +\S+ for 64 regions$/m);
    expect(readdirSync(directory)).toEqual([]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
