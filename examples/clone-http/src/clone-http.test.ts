import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectNbd } from '@pdata/nbd';
import { expect, it, onTestFinished } from 'vitest';
import { openRemoteDisk } from './clone-http.js';
import { demo } from './demo.js';
import { serveImage } from './image-server.js';

const MIB = 2 ** 20;

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'pdata-clone-http-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

it('shows an image in use before it has arrived, and without its server afterwards', async () => {
  const lines: string[] = [];
  const say = (line: string): void => void lines.push(line);
  await demo({ directory: newDirectory(), size: 4 * MIB, bytesASecond: 8 * MIB, say });
  const shown = lines.join('\n');
  expect(shown).toContain('an image of 4 MiB is served at http://127.0.0.1:');
  expect(shown).toMatch(/its last 4 KiB are read after \d+ ms, and right: \d+ of 64 regions have arrived/);
  expect(shown).toMatch(/64 of 64 regions have arrived; 8 \d+\/1024 128 64\/64 0 0 4 .* rw\ncomplete: /);
  const [, found, expected] = /its sha256 is (\w+), expected (\w+)$/.exec(shown) ?? [];
  expect(found).toBe(expected);
});

it('goes on where it ended, and is refused a changed image in between only by its size', async () => {
  const directory = newDirectory();
  const far = join(directory, 'far.img');
  const content = new Uint8Array(2 * MIB).map((_, at) => 1 + (at % 250));
  writeFileSync(far, content);
  const server = await serveImage(far, 100 * MIB);
  onTestFinished(() => server.close());
  const socket = join(directory, 'clone.sock');

  const first = await openRemoteDisk(server.url, directory, socket);
  first.clone.disableHydration();
  const disk = await connectNbd(first.uri);
  await disk.write(MIB, new Uint8Array(4096).fill(255));
  content.fill(255, MIB, MIB + 4096);
  await disk.close();
  await first.close();

  const again = await openRemoteDisk(server.url, directory, socket);
  await again.complete;
  await again.close();
  expect(Buffer.compare(readFileSync(join(directory, 'disk.img')), content)).toBe(0);

  writeFileSync(far, content.subarray(0, MIB));
  const smaller = await serveImage(far, 100 * MIB);
  onTestFinished(() => smaller.close());
  await expect(openRemoteDisk(smaller.url, directory, socket)).rejects.toThrow('was made for a clone of 4096 sectors');
});
