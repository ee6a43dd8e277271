/**
 * The store in a real browser: bundled from source as a program's would be, and run in a page. It leaves the same bytes as in Node, where
 * checksums are computed by another library and msgpackr has a native part.
 *
 * Without a browser the test is skipped with a printed reason, unless PDATA_REQUIRE_TOOLS=1. PDATA_CHROMIUM names one elsewhere.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { rolldown } from 'rolldown';
import { expect, it } from 'vitest';
import { workEverywhere } from './store-everywhere.js';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const browserPath = [process.env.PDATA_CHROMIUM ?? PLACES].flat().find((path) => existsSync(path));

function requireBrowser(): boolean {
  if (browserPath !== undefined) return true;
  const why = 'no chromium found (apt-get install chromium, or say where it is in PDATA_CHROMIUM)';
  if (process.env.PDATA_REQUIRE_TOOLS === '1') throw new Error(why);
  console.warn(`Skipped: the store in a real browser. ${why}.`);
  return false;
}

it.runIf(requireBrowser())(
  'does in a browser what it does in Node, byte for byte',
  async () => {
    const bundle = await rolldown({
      input: join(import.meta.dirname, 'store-everywhere.ts'),
      platform: 'browser',
      resolve: { conditionNames: ['@pdata/source', 'browser', 'import', 'default'] },
    });
    const { output } = await bundle.generate({ format: 'iife', name: 'bundled' });
    await bundle.close();
    const browser = await chromium.launch({
      executablePath: browserPath ?? '',
      args: ['--no-sandbox', '--disable-gpu'],
    });
    try {
      const page = await browser.newPage();
      const complaints: string[] = [];
      page.on('pageerror', (error) => complaints.push(String(error)));
      await page.addScriptTag({ content: output[0].code });
      const inBrowser = await page.evaluate('bundled.workEverywhere()');
      expect(complaints).toEqual([]);
      const inNode = await workEverywhere();
      expect(JSON.parse(inNode)).toMatchObject({ findings: [] });
      expect(inBrowser).toBe(inNode);
    } finally {
      await browser.close();
    }
  },
  60_000,
);
