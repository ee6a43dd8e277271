/** Copies of a store in new files, made while the store goes on. A file has its name only when it is whole. */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { DeviceOpenError, type MetadataDevice } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import type { WorkOptions } from '../../work.js';
import type { MetadataStore } from '../metadata-store.js';
import type { Collections } from '../schema.js';

/** The last commit of `store`, block for block. @throws {@link DeviceOpenError} when there is something at `path` already */
export function backupStore<C extends Collections>(
  store: MetadataStore<C>,
  path: string,
  options: WorkOptions = {},
): Promise<void> {
  return intoNewFile(path, (device) => store.backup(device, options));
}

/** As {@link backupStore}, but dense: the file has the size of what is in use. */
export function compactStore<C extends Collections>(
  store: MetadataStore<C>,
  path: string,
  options: WorkOptions = {},
): Promise<void> {
  return intoNewFile(path, (device) => store.compact(device, options));
}

async function intoNewFile(path: string, copy: (device: MetadataDevice) => Promise<void>): Promise<void> {
  if (existsSync(path)) throw new DeviceOpenError(`cannot copy the store to ${path}: there is something already`);
  const partial = `${path}.partial`;
  rmSync(partial, { force: true }); // of a copy that was interrupted
  const device = openFileMetadataDevice(partial, { mode: 'write', create: { nrBlocks: 1 } });
  try {
    await copy(device);
    device.close();
    renameSync(partial, path);
  } catch (error) {
    device.close();
    rmSync(partial, { force: true });
    throw error;
  }
}
