/** Small pools for tests, in a directory that goes with the scope. */
import { seededRandom } from '@pdata/testing';
import { LocalPoolHost } from '../src/pool/local-host.js';
import type { PoolHost } from '../src/pool-host.js';
import { openScratch, type Scratch } from './program.js';

export const BLOCK = 64 * 1024;
export const MiB = 1024 * 1024;

export interface TestPools extends AsyncDisposable {
  readonly scratch: Scratch;
  /** Makes a pool of that name and opens it. */
  make(name?: string, options?: { size?: number; format?: 'lmdb' | 'raw'; blockSize?: number }): Promise<LocalPoolHost>;
  /** Closes the pool and opens it again. */
  reopen(host: LocalPoolHost): Promise<LocalPoolHost>;
}

export function testPools(): TestPools {
  const scratch = openScratch();
  const open = new Set<LocalPoolHost>();
  const openPool = async (directory: string): Promise<LocalPoolHost> => {
    const host = await LocalPoolHost.open(directory, { errorIfNoSpace: true });
    open.add(host);
    return host;
  };
  return {
    scratch,
    async make(name = 'pool', { size = 32 * MiB, format = 'lmdb', blockSize = BLOCK } = {}) {
      await LocalPoolHost.create(scratch.path(name), { size, blockSize, format });
      return await openPool(scratch.path(name));
    },
    async reopen(host) {
      await host.close();
      open.delete(host);
      return await openPool(host.directory);
    },
    async [Symbol.asyncDispose]() {
      for (const host of open) await host.close();
      scratch[Symbol.dispose]();
    },
  };
}

export async function write(host: PoolHost, name: string, offset: number, bytes: Uint8Array): Promise<void> {
  const device = await host.openVolume({ name, mode: 'write' });
  await device.write(offset, bytes);
  await device.flush();
  await device.close();
}

export async function read(host: PoolHost, name: string, offset = 0, length?: number): Promise<Buffer> {
  const device = await host.openVolume({ name, mode: 'read' });
  const bytes = Buffer.alloc(length ?? device.size - offset);
  await device.read(offset, bytes);
  await device.close();
  return bytes;
}

/** The same bytes for the same seed. */
export function noise(length: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

export const names = async (host: PoolHost): Promise<string[]> => (await host.volumes()).map(({ name }) => name);

/** All of a stream or a generator in one piece. */
export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(piece);
  return Buffer.concat(pieces);
}
