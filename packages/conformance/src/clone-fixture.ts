/** The clone that the real kernel made, partly hydrated (fixtures/README.md says how), unpacked for a test. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

export interface CloneFixture {
  /** Fresh copies each time. */
  metadata(): Uint8Array;
  source(): Uint8Array;
  destination(): Uint8Array;
  /** sha256 of the whole device as the kernel read it. */
  readonly sum: string;
  /** What the target said of itself: the status line without device, start and length. */
  readonly status: string;
}

export function cloneFixture(): CloneFixture {
  const path = (file: string): string => fileURLToPath(new URL(`../fixtures/clone-partial/${file}`, import.meta.url));
  const unpack = (file: string) => (): Uint8Array => new Uint8Array(gunzipSync(readFileSync(path(`${file}.img.gz`))));
  return {
    metadata: unpack('meta'),
    source: unpack('source'),
    destination: unpack('dest'),
    sum: readFileSync(path('sums'), 'utf8').split(' ')[0] as string,
    status: readFileSync(path('status'), 'utf8')
      .trim()
      .replace(/^c: \d+ \d+ clone /, ''),
  };
}
