/** The live page as a person meets it: in a real browser, with mouse or keyboard, wide or narrow, light or dark. */
import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakePoolHost } from './fake-pool-host.js';
import { launchBrowser, openPage, openTab, requireBrowser } from './page-browser.js';
import { startTestPage } from './page-client.js';

const SCRIPT_AS_NAME = '<img src=x onerror=alert(1)>';

/** Two volumes, a snapshot with a copy and its snapshot: origin → snapshot → copy → snapshot. */
async function demoPool(): Promise<FakePoolHost> {
  const host = new FakePoolHost({ dataSize: 64 * 2 ** 20 });
  await host.createVolume({ name: 'web', size: 16 * 2 ** 20 });
  host.write('web', 0, 128);
  await host.snapshot({ origin: 'web', name: 'monday' });
  host.write('web', 0, 32);
  await host.snapshot({ origin: 'monday', name: 'trial', writable: true });
  await host.snapshot({ origin: 'trial', name: 'trial-1' });
  await host.createVolume({ name: 'database', size: 2 ** 30 });
  host.write('database', 0, 16);
  host.calls.length = 0;
  return host;
}

const row = (tab: Page, name: string) => tab.getByRole('treeitem', { name: new RegExp(`^${name}, `) });
const dialog = (tab: Page, name: string) => tab.locator(`#${name}-dialog`);
const button = (tab: Page, name: string) => tab.getByRole('button', { name, exact: true });

/** As a person sees it. */
const seen = async (place: Locator): Promise<string> =>
  // biome-ignore lint/performance/useDomNodeTextContent: what is not drawn is not seen
  (await place.innerText()).replaceAll('\u00a0', ' ');

/** Resolves when the panel shows this volume. */
const shown = (tab: Page, name: string) => expect.poll(() => seen(tab.locator('#volume-name'))).toBe(name);

describe.runIf(requireBrowser())('the page in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser.close());

  it('shows the pool: its fill with marks, its volumes as a tree, what is shared', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab, complaints, requests } = await openPage(browser, page);
    await expect.poll(() => tab.title()).toBe('demo · thin-pool');
    const text = (selector: string) => seen(tab.locator(selector));
    expect(await text('#data-gauge')).toMatch(
      /Data\s+Grow\s+17 %\s+11 MiB of 64 MiB\s+53 MiB free · warns with 8 MiB left/,
    );
    expect(await text('#metadata-gauge')).toMatch(/1\.02 MiB of 16 MiB\s+15 MiB free · keeps back 1 MiB left/);
    expect(
      await tab.locator('#data-gauge .mark').evaluate((mark: { style: { left: string } }) => mark.style.left),
    ).toBe('87.5%');
    expect(await text('#mode')).toBe('healthy');

    const rows = await tab.getByRole('treeitem').all();
    const shape = await Promise.all(
      rows.map(async (item) => `${await item.getAttribute('aria-level')} ${await seen(item.locator('.name'))}`),
    );
    expect(shape).toEqual(['1 database', '1 web', '2 monday', '3 trial', '4 trial-1']);

    await row(tab, 'web').click();
    await shown(tab, 'web');
    await tab.locator('[data-fact=exclusive]', { hasText: 'MiB' }).waitFor();
    expect(await text('#volume-facts')).toMatch(
      /Size\s+16 MiB\s+In the pool\s+8 MiB \(50 %\)\s+Only its own\s+2 MiB\s+Shared\s+6 MiB\s+In use by\s+nobody/,
    );
    expect(complaints).toEqual([]);
    expect(requests.length).toBeGreaterThan(10);
    expect(requests.filter((url) => !url.startsWith(`${page.origin}/`))).toEqual([]);
  });

  it('shows a volume’s map, which can be walked along and says what lies there', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab, complaints } = await openPage(browser, page);
    await row(tab, 'web').click();
    const map = tab.getByRole('slider', { name: /^Map/ });
    await map.waitFor();
    expect(await map.getAttribute('aria-valuemax')).toBe('255');
    await map.focus();
    const said = async () => (await map.getAttribute('aria-valuetext'))?.replaceAll('\u00a0', ' ');
    expect(await said()).toBe('0 B to 64 KiB: 100 % only its own');
    for (let step = 0; step < 32; step++) await map.press('ArrowRight');
    expect(await said()).toBe('2 MiB to 2.06 MiB: 100 % shared');
    await map.press('End');
    expect(await said()).toBe('15.9 MiB to 16 MiB: 100 % hole');
    expect(await seen(tab.locator('#volume-map .readout'))).toContain('hole');

    // What is drawn is what was said: 32 cells of its own, 96 shared ones, 128 holes.
    const areas = (await tab.evaluate(`(() => {
      const canvas = document.querySelector('#volume-map canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const areas = {};
      for (let at = 0; at < data.length; at += 4) {
        const colour = data.slice(at, at + 3).join();
        areas[colour] = (areas[colour] ?? 0) + 1;
      }
      return ['20,133,123', '122,91,208', '228,233,230'].map((colour) => areas[colour] ?? 0);
    })()`)) as number[];
    const [own = 0, shared = 0, hole = 0] = areas;
    expect(own).toBeGreaterThan(1000);
    expect(shared / own).toBeCloseTo(3, 1);
    expect(hole / own).toBeCloseTo(4, 0);
    expect(complaints).toEqual([]);
  });

  it('creates, snapshots, copies, renames, resizes, reverts and removes by its buttons, and shows it live', async () => {
    const fake = new FakePoolHost();
    const page = await startTestPage({ fake });
    const { tab, complaints } = await openPage(browser, page);
    const other = await openPage(browser, page);
    await tab.getByText('No volumes yet.').waitFor();

    await button(tab, 'New volume').click();
    await dialog(tab, 'create').getByLabel('Name').fill('disk');
    await dialog(tab, 'create').getByLabel('Size').fill('2.5');
    await button(tab, 'Create').click();
    await row(tab, 'disk').waitFor();
    await shown(tab, 'disk');
    await row(other.tab, 'disk').waitFor();

    await button(tab, 'Snapshot').click();
    await dialog(tab, 'snapshot').getByLabel('Name').fill('first');
    await button(tab, 'Take the snapshot').click();
    await row(tab, 'first').waitFor();
    await row(other.tab, 'first').waitFor();
    expect(await row(tab, 'first').getAttribute('aria-level')).toBe('2');

    await row(tab, 'disk').click();
    await button(tab, 'Revert').click();
    await tab.getByLabel('To the snapshot').selectOption('first');
    await dialog(tab, 'revert').getByRole('button', { name: 'Revert' }).click();
    await tab.getByText('"disk" was reverted to "first"').waitFor();
    await tab.locator('#volume-story', { hasText: /^Volume, .*, reverted to first · / }).waitFor();
    expect(await row(tab, 'disk').getAttribute('aria-level')).toBe('1');
    expect(await row(tab, 'first').getAttribute('aria-level')).toBe('2');

    await button(tab, 'Writable copy').click();
    await dialog(tab, 'snapshot').getByLabel('Name').fill('trial');
    await button(tab, 'Make the copy').click();
    await row(tab, 'trial').waitFor();
    await shown(tab, 'trial');

    await button(tab, 'Rename').click();
    await tab.getByLabel('New name').fill('second disk');
    await dialog(tab, 'rename').getByRole('button', { name: 'Rename' }).click();
    await row(tab, 'second disk').waitFor();
    await shown(tab, 'second disk');

    await button(tab, 'Resize').click();
    await dialog(tab, 'resize').getByLabel('New size').fill('1');
    await dialog(tab, 'resize').getByRole('button', { name: 'Resize' }).click();
    await tab.getByText('would shrink, and lose what lies behind its new end').waitFor();
    await tab.getByLabel('It may shrink').check();
    await dialog(tab, 'resize').getByRole('button', { name: 'Resize' }).click();
    await tab.locator('[data-fact=size]', { hasText: '1 GiB' }).waitFor();

    await button(tab, 'Remove').click();
    await button(tab, 'Keep it').click();
    expect(fake.calls.filter((call) => call.startsWith('remove'))).toEqual([]);
    await button(tab, 'Remove').click();
    await dialog(tab, 'remove').getByRole('button', { name: 'Remove' }).click();
    await row(tab, 'second disk').waitFor({ state: 'detached' });
    await row(other.tab, 'second disk').waitFor({ state: 'detached' });
    await shown(tab, 'disk');

    expect(fake.calls).toEqual([
      `create disk ${2.5 * 2 ** 30}`,
      'snapshot disk first',
      'revert disk first',
      'snapshot disk trial writable',
      'rename trial second disk',
      `resize second disk ${2 ** 30}`,
      `resize second disk ${2 ** 30} shrink`,
      'remove second disk',
    ]);
    // The console notes each answer that is not 2xx: here the one that the pool refused.
    expect(complaints).toEqual([expect.stringContaining('409')]);
    expect(other.complaints).toEqual([]);
  });

  it('says in the dialog what the pool refuses, and keeps what was typed', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab } = await openPage(browser, page);
    await button(tab, 'New volume').click();
    await dialog(tab, 'create').getByLabel('Name').fill('web');
    await dialog(tab, 'create').getByLabel('Size').fill('1');
    await button(tab, 'Create').click();
    await tab.getByRole('alert').filter({ hasText: 'The name "web" is taken.' }).waitFor();
    expect(await dialog(tab, 'create').getByLabel('Name').inputValue()).toBe('web');
    await dialog(tab, 'create').getByLabel('Size').fill('much');
    await button(tab, 'Create').click();
    await tab.getByRole('alert').filter({ hasText: 'The size must be a number above 0' }).waitFor();
    await tab.keyboard.press('Escape');
    await tab.getByRole('dialog').waitFor({ state: 'hidden' });
    expect(page.host.calls).toEqual([`create web ${2 ** 30}`]);
  });

  it('says how the pool is doing, and lets it grow', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab, complaints } = await openPage(browser, page);
    const doing: [string, RegExp, RegExp][] = [
      ['out_of_data_space', /^out of data space$/, /is full.*Grow it/],
      ['out_of_metadata_space', /^out of metadata space$/, /metadata are full/],
      ['read_only', /^read-only$/, /takes no changes/],
      ['fail', /^failed$/, /cannot be read/],
    ];
    for (const [mode, chip, banner] of doing) {
      Object.assign(page.host.report, { mode });
      page.host.emit({ kind: 'mode', message: mode });
      await tab.getByRole('alert').filter({ hasText: banner }).waitFor();
      expect(await seen(tab.locator('#mode'))).toMatch(chip);
    }
    Object.assign(page.host.report, { mode: 'write', needsCheck: true });
    await tab.locator('#mode', { hasText: /^healthy, needs a check$/ }).waitFor();
    await tab.locator('#banner').waitFor({ state: 'hidden' });

    await button(tab, 'Grow').click();
    await dialog(tab, 'grow').getByLabel('New size').fill('1');
    await button(tab, 'Grow it').click();
    await tab.getByRole('alert').filter({ hasText: 'The pool cannot be made smaller.' }).waitFor();
    await dialog(tab, 'grow').getByLabel('New size').fill('256');
    await button(tab, 'Grow it').click();
    await tab.locator('#data-gauge', { hasText: '11\u00a0MiB of 256\u00a0MiB' }).waitFor();
    expect(page.host.calls).toEqual([`grow ${2 ** 20}`, `grow ${2 ** 28}`]);
    expect(complaints).toEqual([expect.stringContaining('409')]);
  });

  it('shows names as text, whatever they spell, in every place', async () => {
    const fake = new FakePoolHost();
    const page = await startTestPage({ fake });
    for (const name of [SCRIPT_AS_NAME, '"><script>alert(2)<', '__proto__', 'constructor', '&lt;b&gt;']) {
      await fake.createVolume({ name, size: 2 ** 20 });
    }
    await fake.snapshot({ origin: SCRIPT_AS_NAME, name: `${SCRIPT_AS_NAME} 2` });
    Object.assign(fake.report, { serving: { processId: 1, since: 0, clients: 0, nbd: 'nbd+unix:///?socket=/x' } });
    fake.write('__proto__', 0, 3);
    const { tab, complaints } = await openPage(browser, page);
    await tab.getByRole('treeitem').nth(5).waitFor();
    const names = await tab.locator('.tree .name').allInnerTexts();
    expect(names.toSorted()).toEqual(
      [
        SCRIPT_AS_NAME,
        `${SCRIPT_AS_NAME} 2`,
        '"><script>alert(2)<',
        '__proto__',
        'constructor',
        '&lt;b&gt;',
      ].toSorted(),
    );
    for (const item of await tab.getByRole('treeitem').all()) {
      await item.click();
      const name = await seen(item.locator('.name'));
      await shown(tab, name);
      expect(await seen(tab.locator('#attach-uri'))).toBe(`nbd+unix:///${encodeURIComponent(name)}?socket=/x`);
      for (const action of ['Snapshot', 'Rename', 'Remove']) {
        await tab.locator('#volume').getByRole('button', { name: action, exact: true }).click();
        await tab.getByRole('dialog', { name }).waitFor();
        await tab.keyboard.press('Escape');
      }
    }
    fake.emit({ kind: 'error', message: `"${SCRIPT_AS_NAME}" failed` });
    await tab.getByText(`"${SCRIPT_AS_NAME}" failed`).waitFor();
    expect(await tab.locator('main img, main script, dialog img').count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  it('draws what is read and written, of the pool and of the selected volume', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab, complaints } = await openPage(browser, page);
    await row(tab, 'web').click();
    const timer = setInterval(() => {
      page.host.read('web', 16);
      page.host.write('database', 0, 4);
    }, 100);
    try {
      await tab.locator('#throughput .scale', { hasText: 'peak' }).waitFor();
      await row(tab, 'database').locator('.rates', { hasText: '/s' }).waitFor();
      await tab.locator('#volume-chart .scale', { hasText: 'peak' }).waitFor();
      await tab.locator('#volume-chart .entry.read b', { hasText: /MiB\/s/ }).waitFor();
      expect(await seen(tab.locator('#volume-chart .entry.written b'))).toBe('0 B/s');
      await tab.locator('#requests .entry.written b', { hasText: /^\d/ }).waitFor();
      const drawn = () => tab.locator('#throughput path.read').getAttribute('d');
      await expect.poll(drawn, { timeout: 20_000 }).toMatch(/^M.*L.*Z$/);
    } finally {
      clearInterval(timer);
    }
    expect(complaints).toEqual([]);
  });

  it('can be used with the keyboard alone', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab, complaints } = await openPage(browser, page);
    const focused = () =>
      tab.evaluate('document.activeElement.id || document.activeElement.dataset.name') as Promise<string>;
    const { keyboard } = tab;
    await keyboard.press('Tab');
    expect(await tab.evaluate('document.activeElement.textContent')).toBe('Skip to the volumes');
    await keyboard.press('Enter');
    await keyboard.press('Tab');
    expect(await focused()).toBe('new-volume');
    await keyboard.press('Tab');
    expect(await focused()).toBe('database');

    await keyboard.press('ArrowDown');
    expect(await focused()).toBe('web');
    await keyboard.press('ArrowRight');
    expect(await focused()).toBe('monday');
    await keyboard.press('ArrowLeft'); // folds: trial is a child of it
    expect(await row(tab, 'monday').getAttribute('aria-expanded')).toBe('false');
    await row(tab, 'trial').waitFor({ state: 'detached' });
    await keyboard.press('ArrowRight');
    await row(tab, 'trial').waitFor();
    await keyboard.press('End');
    expect(await focused()).toBe('trial-1');
    await keyboard.press('d');
    expect(await focused()).toBe('database');
    expect(await row(tab, 'database').getAttribute('aria-selected')).toBe('true');
    await shown(tab, 'database');

    await keyboard.press('Tab');
    expect(await focused()).toBe('do-snapshot');
    await keyboard.press('Enter');
    await tab.getByRole('dialog', { name: 'A snapshot of database' }).waitFor();
    await keyboard.type('by keys');
    await keyboard.press('Enter');
    await row(tab, 'by keys').waitFor();
    await tab.getByRole('dialog').waitFor({ state: 'hidden' });
    expect(await focused()).toBe('do-snapshot');
    expect(page.host.calls).toEqual(['snapshot database by keys']);
    expect(complaints).toEqual([]);
  });

  it.each([
    { width: 360, colorScheme: 'light' as const },
    { width: 768, colorScheme: 'dark' as const },
  ])('fits $width pixels, $colorScheme, with text that stands out from its ground', async ({ width, colorScheme }) => {
    const fake = await demoPool();
    const page = await startTestPage({ fake });
    await fake.createVolume({ name: 'x'.repeat(200), size: 2 ** 50 });
    Object.assign(fake.report, {
      mode: 'out_of_data_space',
      serving: { processId: 1, since: 0, clients: 3, nbd: `nbd+unix:///?socket=/${'long/'.repeat(30)}` },
    });
    const { tab } = await openPage(browser, page, { viewport: { width, height: 800 }, colorScheme });
    await row(tab, 'x{200}').click();
    for (const kind of ['volume', 'space', 'mode', 'client', 'error'] as const) {
      fake.emit({ kind, message: `an event about ${'y'.repeat(150)}` });
    }
    await tab.locator('#events li').nth(4).waitFor();
    await tab.getByText('The data file is full').waitFor();
    expect(await tab.evaluate('document.documentElement.scrollWidth')).toBe(width);
    expect(await faintText(tab)).toEqual([]);
    await button(tab, 'Remove').click();
    expect(await tab.evaluate('document.documentElement.scrollWidth')).toBe(width);
    expect(await faintText(tab)).toEqual([]);
  });

  it('names every control for those who cannot see it', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab } = await openPage(browser, page);
    const nameless =
      await tab.evaluate(`[...document.querySelectorAll('button, input, select, canvas, [role=img], [role=tree]')]
      .filter((control) => !(control.textContent.trim() || control.getAttribute('aria-label') ||
        control.labels?.length > 0 ||
        document.getElementById(control.getAttribute('aria-labelledby'))?.textContent.trim()))
      .map((control) => control.outerHTML)`);
    expect(nameless).toEqual([]);
    for (const role of ['banner', 'main'] as const) expect(await tab.getByRole(role).count()).toBe(1);
    expect(await tab.getByRole('log', { name: 'Events' }).count()).toBe(1);
    const ids = (await tab.evaluate('[...document.querySelectorAll("[id]")].map(({ id }) => id)')) as string[];
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('moves nothing for those who asked for less motion', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab } = await openPage(browser, page, { reducedMotion: 'reduce' });
    const moving = await tab.evaluate(`[...document.querySelectorAll('*')].filter((element) => {
      const { transitionDuration, animationName } = getComputedStyle(element);
      return transitionDuration !== '0s' || animationName !== 'none';
    }).length`);
    expect(moving).toBe(0);
  });

  it('says clearly that it was opened without its key', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab, complaints } = await openTab(browser);
    await tab.goto(page.origin);
    await tab.getByRole('heading', { name: 'This page needs its full address' }).waitFor();
    expect(await tab.locator('main').isVisible()).toBe(false);
    expect(await tab.getByText('prints it when it starts').isVisible()).toBe(true);
    // The whole address pasted into the same tab changes only what is behind the #.
    await tab.goto(page.page.url);
    await row(tab, 'web').waitFor();
    expect(complaints).toEqual([]);
  });

  it('keeps its key out of the address bar, the history and every request, and over a reload', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab, requests } = await openPage(browser, page);
    expect(tab.url()).toBe(`${page.origin}/`);
    await tab.reload();
    await row(tab, 'web').waitFor();
    expect(requests.filter((url) => url.includes(page.token))).toEqual([]);
    expect(await tab.context().cookies()).toEqual([]);
  });

  it('says that a key is of another run', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { tab } = await openTab(browser);
    await tab.goto(`${page.origin}/#${'x'.repeat(43)}`);
    await tab.getByText('The program has been started anew since').waitFor();
    expect(await tab.evaluate('sessionStorage.length')).toBe(0);
  });

  it('comes back by itself when the program does, and says meanwhile that what it shows is old', async () => {
    const fake = await demoPool();
    const first = await startTestPage({ fake });
    const { tab } = await openPage(browser, first);
    await row(tab, 'web').waitFor();
    await first.page.close();
    await tab.getByRole('alert').filter({ hasText: 'what is shown is old' }).waitFor();
    await tab.locator('#connection-text', { hasText: 'Reconnecting…' }).waitFor();
    await fake.createVolume({ name: 'meanwhile', size: 2 ** 20 });
    await startTestPage({ fake, port: first.port, token: first.token });
    await row(tab, 'meanwhile').waitFor();
    await tab.locator('#connection-text', { hasText: 'Live' }).waitFor();
    expect(await tab.locator('#banner').isVisible()).toBe(false);
  });

  it('shows thousands of volumes', async () => {
    const fake = new FakePoolHost();
    const page = await startTestPage({ fake });
    for (let nr = 0; nr < 2000; nr++) await fake.createVolume({ name: `v${nr}`, size: 2 ** 30 });
    const { tab, complaints } = await openPage(browser, page);
    await tab.getByRole('treeitem').nth(1999).waitFor({ state: 'attached' });
    await tab.locator('[data-name=v0]').focus();
    await tab.keyboard.press('End');
    await shown(tab, 'v999');
    expect(complaints).toEqual([]);
  });

  it('lets no other site frame it, script it, or act with the person’s browser', async () => {
    const page = await startTestPage({ fake: await demoPool() });
    const { createServer } = await import('node:http');
    const evil = createServer((_, response) => response.end('<!doctype html><title>evil</title>'));
    await new Promise<void>((resolve) => evil.listen(0, '127.0.0.1', resolve));
    const { port } = evil.address() as { port: number };
    try {
      const { tab } = await openTab(browser);
      await tab.goto(`http://localhost:${port}/`);
      const act = (how: string) =>
        tab.evaluate(
          `fetch('${page.origin}/api/do/remove', ${how}).then((answer) => 'answer ' + answer.status, () => 'refused')`,
        );
      // With the key, as if it had leaked: the browser asks first, and is told no.
      const key = `Authorization: 'Bearer ${page.token}', 'Content-Type': 'application/json'`;
      expect(await act(`{ method: 'POST', headers: { ${key} }, body: '{"name":"web"}' }`)).toBe('refused');
      await act(`{ method: 'POST', mode: 'no-cors', credentials: 'include', body: '{"name":"web"}' }`);
      const framed = await tab.evaluate(`new Promise((resolve) => {
        const frame = document.createElement('iframe');
        frame.src = '${page.origin}/';
        frame.onload = () => resolve(frame.contentDocument === null);
        document.body.append(frame);
      })`);
      expect(framed).toBe(true);
      expect(await tab.frames().at(-1)?.locator('#connection').count()).toBe(0);
      expect(page.host.calls).toEqual([]);
    } finally {
      evil.close();
      evil.closeAllConnections();
    }
  });
});

/** Texts whose contrast with what lies behind them is below 4.5 (3 when large), as WCAG 2 measures it. */
function faintText(tab: Page): Promise<string[]> {
  return tab.evaluate(`(() => {
    const parse = (colour) => {
      const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      pen.fillStyle = colour;
      pen.fillRect(0, 0, 1, 1);
      return [...pen.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r, g, b]) => [r, g, b]
      .map((value) => value / 255)
      .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
      .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const groundOf = (element) => {
      for (let at = element; at !== null; at = at.parentElement) {
        const colour = parse(getComputedStyle(at).backgroundColor);
        if (colour[3] === 255) return colour;
      }
      return [255, 255, 255, 255];
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const element = node.parentElement;
      if (node.data.trim() === '' || !element.checkVisibility({ visibilityProperty: true }) || element.disabled) continue;
      const { color, fontSize, fontWeight } = getComputedStyle(element);
      const [a, b] = [luminance(parse(color)), luminance(groundOf(element))];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      const isLarge = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && Number(fontWeight) >= 700);
      if (contrast < (isLarge ? 3 : 4.5)) faint.push(contrast.toFixed(2) + ' ' + node.data.trim());
    }
    return faint;
  })()`);
}
