/** The mirrors that the real kernel made (fixtures/README.md says how), unpacked for a test. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

export interface MirrorFixture {
  /** Sectors. */
  readonly length: number;
  readonly regionSize: number;
  /** The log's device; fresh copies each time. */
  log(): Uint8Array;
  leg(nr: 0 | 1): Uint8Array;
  /** sha256 of the whole device as the kernel read it. */
  readonly sum: string;
  /** What the target said of itself: the status line without device, start and length. */
  readonly status: string;
}

export function mirrorFixture(name: 'mirror-partial' | 'mirror-synced'): MirrorFixture {
  const path = (file: string): string => fileURLToPath(new URL(`../fixtures/${name}/${file}`, import.meta.url));
  const unpack = (file: string): Uint8Array => new Uint8Array(gunzipSync(readFileSync(path(`${file}.img.gz`))));
  const line = (file: string): string => /^m: \d+ \d+ mirror (.*)$/m.exec(readFileSync(path(file), 'utf8'))![1]!;
  return {
    length: 32_768,
    regionSize: 64,
    log: () => unpack('log'),
    // The legs of a mirror in sync are the same, and kept once.
    leg: (nr) => unpack(existsSync(path(`leg${nr}.img.gz`)) ? `leg${nr}` : 'leg0'),
    sum: readFileSync(path('sums'), 'utf8').split(' ')[0] as string,
    status: line('status'),
  };
}
