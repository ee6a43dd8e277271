/** What there is to see: an image is served slowly, cloned, read over NBD at once, written to, watched as it arrives, and detached. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectNbd } from '@pdata/nbd';
import { openRemoteDisk } from './clone-http.js';
import { serveImage } from './image-server.js';

const MIB = 2 ** 20;

export interface DemoOptions {
  /** Where its files go; exists, and is empty. */
  readonly directory: string;
  /** Bytes of the image. */
  readonly size: number;
  readonly bytesASecond: number;
  readonly say: (line: string) => void;
}

export async function demo({ directory, size, bytesASecond, say }: DemoOptions): Promise<void> {
  const far = join(directory, 'far.img');
  const content = new Uint8Array(size).map((_, at) => (at % 4096 === 0 ? 1 + ((at / 4096) % 255) : at % 251));
  writeFileSync(far, content);
  const server = await serveImage(far, bytesASecond);
  say(`an image of ${size / MIB} MiB is served at ${server.url}, ${bytesASecond / MIB} MiB a second`);

  const remote = await openRemoteDisk(server.url, directory, join(directory, 'clone.sock'));
  say(`and here it is, in use: ${remote.uri}`);

  const disk = await connectNbd(remote.uri);
  const begin = Date.now();
  const last = new Uint8Array(4096);
  await disk.read(size - 4096, last);
  const arrived = (): string => {
    const { nrHydrated, nrRegions } = remote.clone.status();
    return `${nrHydrated} of ${nrRegions} regions have arrived`;
  };
  const isRight = Buffer.compare(last, content.subarray(size - 4096)) === 0;
  say(`its last 4 KiB are read after ${Date.now() - begin} ms, ${isRight ? 'and right' : 'BUT WRONG'}: ${arrived()}`);

  const written = new Uint8Array(4096).fill(0x42);
  await disk.write(size / 2, written, { fua: true });
  content.set(written, size / 2);
  say(`4 KiB are written in the middle, and durable: ${arrived()}`);

  let isComplete = false;
  const complete = remote.complete.then(() => {
    isComplete = true;
  });
  while (!isComplete) {
    await Promise.race([complete, sleep(500)]);
    say(`  ${arrived()}; ${remote.clone.statusLine()}`);
  }
  say(`complete: the server has sent ${(server.nrBytesSent() / MIB).toFixed(1)} MiB, and is not needed any more`);
  await server.close();

  await disk.write(0, written); // as before, without the server
  content.set(written, 0);
  await disk.close();
  await remote.close();
  const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 16);
  const found = sum(readFileSync(join(directory, 'disk.img')));
  say(`disk.img alone is the disk now; its sha256 is ${found}, expected ${sum(content)}`);
  if (found !== sum(content)) throw new Error('the disk is not what it should be');
}
