import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { keptIo } from '@pdata/tools';
import { afterAll, expect, it } from 'vitest';
import { describePool } from './read-a-pool.js';
import { showAll } from './show-all.js';

const folder = mkdtempSync(join(tmpdir(), 'pdata-read-a-pool-'));
afterAll(() => rmSync(folder, { recursive: true }));

it("tells the volumes, the sharing and the space of a kernel's pool", () => {
  const image = join(folder, 'pool.img');
  writeFileSync(image, gunzipSync(readFileSync(new URL('../pool.img.gz', import.meta.url))));
  // The kernel's status lines said 206 of 1024 data blocks, and 16128, 14336, 12928, 15232 and 1920 sectors mapped.
  expect([...describePool(image)].map((line) => line.trim().replace(/ {2,}/g, ' | '))).toEqual([
    'volume | mapped | shared | its own',
    '0 | 7.9 MiB | 7.0 MiB | 0.9 MiB',
    '1 | 7.0 MiB | 5.3 MiB | 1.8 MiB',
    '2 | 6.3 MiB | 4.8 MiB | 1.6 MiB',
    '4 | 7.4 MiB | 7.3 MiB | 0.2 MiB',
    '7 | 0.9 MiB | 0.0 MiB | 0.9 MiB',
    'together | 29.6 MiB | stored in 12.9 MiB: sharing saves 16.7 MiB',
    '51.1 MiB of 64.0 MiB are free, in data blocks of 64 KiB;',
    'the metadata takes 14 of its 1024 blocks of 4 KiB.',
  ]);
});

it('shows the programs at work, and ends well', async () => {
  let shown = '';
  const show = (data: string | Uint8Array): void => {
    shown += typeof data === 'string' ? data : Buffer.from(data).toString();
  };
  const { io } = keptIo({ out: show, err: show });
  expect(await showAll(folder, io), shown).toBe(0);
  expect(shown.match(/^\$ npx \w+/gm)).toEqual([
    '$ npx thin_check',
    '$ npx thin_dump',
    '$ npx thin_restore',
    '$ npx thin_check',
    '$ npx thin_dump',
  ]);
  expect(shown).toContain('The same to the byte');
});
