/** A thin pool in files for tests of the engine behind NBD, and second opinions on what it left there. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { DataDevice, MetadataDevice } from '@pdata/device';
import { openFileDataDevice, openFileMetadataDevice } from '@pdata/device/node';
import { ThinPool } from '@pdata/thin';
import { expect } from 'vitest';
import { ourCheckComplaint, readDump, realCheckComplaint, requireTools, runOurTool, volumeSum } from '../src/index.js';

const MIB = 2 ** 20;
/** Bytes of a data block of the pools made here, and of the kernel's fixtures. */
export const BLOCK = 65_536;

/** A pool in files, open. */
export class PoolInFiles implements AsyncDisposable {
  private constructor(
    readonly metadata: MetadataDevice,
    readonly data: DataDevice,
    readonly pool: ThinPool,
  ) {}

  static async make(metaPath: string, dataPath: string, dataSize: number): Promise<PoolInFiles> {
    const metadata = openFileMetadataDevice(metaPath, { mode: 'write', create: { nrBlocks: 2048 } });
    const data = await openFileDataDevice(dataPath, { mode: 'write', create: { size: dataSize } });
    return new PoolInFiles(metadata, data, await ThinPool.format(metadata, data, { dataBlockSize: BLOCK / 512 }));
  }

  static async open(metaPath: string, dataPath: string): Promise<PoolInFiles> {
    const metadata = openFileMetadataDevice(metaPath, { mode: 'write' });
    const data = await openFileDataDevice(dataPath, { mode: 'write' });
    return new PoolInFiles(metadata, data, await ThinPool.open(metadata, data));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.close();
    await this.data.close();
    this.metadata.close();
  }
}

/** sha256 of a file, in hex. */
export function fileSum(path: string): string {
  const hash = createHash('sha256');
  const fd = openSync(path, 'r');
  const buffer = new Uint8Array(MIB);
  for (let nr = readSync(fd, buffer); nr > 0; nr = readSync(fd, buffer)) hash.update(buffer.subarray(0, nr));
  closeSync(fd);
  return hash.digest('hex');
}

/** Sums of volumes as a dump and the data image have them; no code in common with the engine. */
export async function sumsByDump(
  meta: string,
  data: string,
  sectors: ReadonlyMap<number, number>,
): Promise<Map<number, string>> {
  const { status, stdout, stderr } = await runOurTool('thin_dump', [meta]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const pool = readDump(stdout);
  return new Map(Array.from(sectors, ([thinId, nr]) => [thinId, volumeSum(pool, thinId, nr, data)]));
}

/** Our check, and both real ones where they are, find nothing. */
export async function expectClean(meta: string): Promise<void> {
  expect(await ourCheckComplaint(meta)).toBeUndefined();
  if (!requireTools()) return;
  expect(await realCheckComplaint('0.9.0', meta)).toBeUndefined();
  expect(await realCheckComplaint('1.1.0', meta)).toBeUndefined();
}
