/** The page on a real pool that is served: what NBD clients do shows up in it, and its buttons change the pool for good. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectNbd } from '@pdata/nbd';
import { describe, expect, it, onTestFinished } from 'vitest';
import { LocalPoolHost } from '../src/pool/local-host.js';
import { servePool } from '../src/serve/serve-pool.js';
import { launchBrowser, openTab, requireBrowser } from './page-browser.js';

const MiB = 2 ** 20;

describe.runIf(requireBrowser())('the page of a served pool', () => {
  it('shows what clients do, and does what it is told', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pdata-page-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const directory = join(folder, 'pool');
    await LocalPoolHost.create(directory, { size: 64 * MiB, blockSize: 65536, format: 'lmdb' });
    const served = await servePool(directory);
    let isServed = true;
    onTestFinished(() => (isServed ? served.close() : undefined));
    const browser = await launchBrowser();
    onTestFinished(() => browser.close());
    const { tab, complaints } = await openTab(browser);
    const rows = tab.getByRole('treeitem');
    const fact = (name: string, text: string) => tab.locator(`[data-fact=${name}]`, { hasText: text }).waitFor();

    await tab.goto(served.pageUrl ?? '');
    await tab.getByText('No volumes yet.').waitFor();
    await tab.getByRole('button', { name: 'New volume' }).click();
    const create = tab.getByRole('dialog', { name: 'New volume' });
    await create.getByLabel('Name').fill('disk');
    await create.getByLabel('Size').fill('16');
    await create.getByLabel('Unit').selectOption({ label: 'MiB' });
    await create.getByRole('button', { name: 'Create' }).click();
    await fact('size', '16\u00a0MiB');

    const socketPath = join(directory, 'nbd.sock');
    const device = await connectNbd({ socketPath }, { exportName: 'disk' });
    await tab.getByText('"disk" is used by a client now.').waitFor();
    await device.write(0, new Uint8Array(2 * MiB).fill(7));
    await device.flush();
    await fact('mapped', '2\u00a0MiB');
    await fact('exclusive', '2\u00a0MiB');
    await tab.locator('#volume-chart .scale', { hasText: 'peak' }).waitFor();

    await tab.getByRole('button', { name: 'Snapshot', exact: true }).click();
    await tab.locator('#snapshot-dialog').getByLabel('Name').fill('before');
    await tab.getByRole('button', { name: 'Take the snapshot' }).click();
    await rows.nth(1).waitFor();
    await device.write(0, new Uint8Array(MiB).fill(8));
    await device.flush();
    await rows.first().click();
    await fact('exclusive', '1\u00a0MiB');
    await fact('shared', '1\u00a0MiB');

    // In use: it can neither be removed nor reverted, and the page says so in the pool's words.
    await tab.getByRole('button', { name: 'Remove', exact: true }).click();
    await tab.locator('#remove-dialog').getByRole('button', { name: 'Remove' }).click();
    await tab.locator('#remove-dialog .problem', { hasText: 'disk' }).waitFor();
    await tab.getByRole('button', { name: 'Keep it' }).click();
    await device.close();
    await tab.getByText('"disk" is not used by clients any more.').waitFor();

    await tab.getByRole('button', { name: 'Revert', exact: true }).click();
    await tab.locator('#revert-dialog').getByRole('button', { name: 'Revert' }).click();
    await fact('exclusive', '0\u00a0B');
    await fact('shared', '2\u00a0MiB');
    // The console notes each answer that is not 2xx: here the removal of a volume in use.
    expect(complaints).toEqual([expect.stringContaining('409')]);

    await tab.evaluate('window.open("about:blank")'); // an open page does not keep the pool from closing
    await served.close();
    isServed = false;
    const host = await LocalPoolHost.open(directory);
    onTestFinished(() => host.close());
    expect((await host.volumes()).map(({ name, origin }) => [name, origin])).toEqual([
      ['before', 'disk'],
      ['disk', 'before'],
    ]);
    const disk = await host.openVolume({ name: 'disk', mode: 'read' });
    const bytes = new Uint8Array(2 * MiB);
    await disk.read(0, bytes);
    await disk.close();
    expect(bytes.every((byte) => byte === 7)).toBe(true);
    expect((await host.check()).findings).toEqual([]);
  });
});
