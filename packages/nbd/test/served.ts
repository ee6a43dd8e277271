/**
 * Servers for tests: on a Unix socket in a directory of their own, closed and removed after the test.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DataDevice, MemoryDataDevice } from '@pdata/device';
import { type ExportSource, type NbdExport, NbdServer, type NbdServerOptions } from '@pdata/nbd';
import { expect, onTestFinished } from 'vitest';

export const MIB = 2 ** 20;

/** A source that counts. Exports are made once; `device` is any that was given. */
export class TestExports implements ExportSource {
  nrOpened = 0;
  nrReleased = 0;
  constructor(private readonly exports: Readonly<Record<string, Omit<NbdExport, 'release'>>>) {}

  async list(): Promise<{ name: string; description?: string }[]> {
    return Object.entries(this.exports).map(([name, { description }]) => ({
      name,
      ...(description !== undefined && { description }),
    }));
  }

  async open(name: string): Promise<NbdExport | undefined> {
    const found = Object.hasOwn(this.exports, name) ? this.exports[name] : undefined;
    if (found === undefined) return undefined;
    this.nrOpened++;
    return {
      ...found,
      release: async () => {
        this.nrReleased++;
      },
    };
  }
}

/** Bytes that differ from place to place and are never zero. */
export function patternBytes(size: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = seed >>> 0 || 1;
  for (let at = 0; at < size; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = (state >>> 24) | 1;
  }
  return bytes;
}

export interface Served {
  readonly server: NbdServer;
  readonly exports: TestExports;
  readonly logged: string[];
}

/** Serves `device` as "disk" (default: 1 MiB of {@link patternBytes}), or `exports`, until the test has finished. */
export async function serve(
  options: {
    device?: DataDevice;
    exports?: Readonly<Record<string, Omit<NbdExport, 'release'>>>;
  } & Partial<Pick<NbdServerOptions, 'limits' | 'tls' | 'listen'>> = {},
): Promise<Served> {
  const { device = new MemoryDataDevice({ bytes: patternBytes(MIB) }), exports: given, listen, ...rest } = options;
  const exports = new TestExports(given ?? { disk: { device } });
  const logged: string[] = [];
  const server = await NbdServer.listen({
    exports,
    listen: listen ?? { socketPath: join(testDirectory(), 'nbd.sock') },
    log: (line) => logged.push(line),
    ...rest,
  });
  onTestFinished(() => server.close({ graceMs: 0 }).catch(() => {}));
  return { server, exports, logged };
}

/** A directory that goes away with the test. Short, because the path of a Unix socket must be. */
export function testDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'nbd-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Waits until `holds`, turn by turn of the event loop; the test's own time-out is the bound. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** As `toEqual`, for a megabyte: compares at once, and says where the first difference is. */
export function expectBytes(actual: Uint8Array | undefined, expected: Uint8Array): void {
  if (actual === undefined) throw new Error('no bytes to compare');
  expect(actual.length).toBe(expected.length);
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  expect(`byte ${at}: ${actual[at]}`).toBe(`byte ${at}: ${expected[at]}`);
}
