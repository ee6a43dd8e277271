/**
 * A real browser for the tests of the page: Debian's chromium, driven by playwright-core. Without it these tests are skipped with a
 * printed reason, unless PDATA_REQUIRE_TOOLS=1.
 *
 * Environment: PDATA_CHROMIUM, a path; default: the usual ones.
 */
import { existsSync } from 'node:fs';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { onTestFinished } from 'vitest';
import type { TestPage } from './page-client.js';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const ARGUMENTS = [
  '--no-sandbox', // in containers there is no user name space to build one with
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** @example describe.runIf(requireBrowser())('…', …) */
export function requireBrowser(): boolean {
  if (pathOfBrowser() !== undefined) return true;
  const why = 'no chromium found (apt-get install chromium, or say where it is in PDATA_CHROMIUM)';
  if (process.env.PDATA_REQUIRE_TOOLS === '1') throw new Error(why);
  console.warn(`Skipped: tests of the live page in a real browser. ${why}.`);
  return false;
}

function pathOfBrowser(): string | undefined {
  const named = process.env.PDATA_CHROMIUM;
  return (named === undefined ? PLACES : [named]).find((path) => existsSync(path));
}

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: pathOfBrowser() ?? 'chromium', args: ARGUMENTS });
}

export interface Tab {
  readonly tab: Page;
  /** Errors and warnings of the console, exceptions, refusals by the content security policy. */
  readonly complaints: readonly string[];
  /** Addresses of all requests. */
  readonly requests: readonly string[];
}

/** A fresh profile with one tab that shows nothing yet. */
export async function openTab(browser: Browser, options: BrowserContextOptions = {}): Promise<Tab> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  onTestFinished(() => context.close());
  const tab = await context.newPage();
  const complaints: string[] = [];
  const requests: string[] = [];
  tab.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  tab.on('pageerror', (error) => complaints.push(String(error)));
  tab.on('dialog', (dialog) => {
    complaints.push(`a script of a name ran: ${dialog.message()}`);
    void dialog.dismiss();
  });
  context.on('request', (request) => requests.push(request.url()));
  tab.setDefaultTimeout(20_000);
  return { tab, complaints, requests };
}

/** The page, live. */
export async function openPage(
  browser: Browser,
  { page }: TestPage,
  options: BrowserContextOptions = {},
): Promise<Tab> {
  const opened = await openTab(browser, options);
  await opened.tab.goto(page.url);
  await opened.tab.locator('#connection-text', { hasText: 'Live' }).waitFor();
  await opened.tab.locator('main').waitFor(); // the first status, a moment later
  return opened;
}
