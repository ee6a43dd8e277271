/** A store in a file: opened by its path, and closed with it. */
import { existsSync, rmSync, statSync } from 'node:fs';
import { DeviceOpenError } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import { MetadataStore, type StoreOptions } from '../metadata-store.js';
import type { Collections, Schema } from '../schema.js';

export interface StoreFileOptions extends Omit<StoreOptions, 'closesDevice'> {
  /** Default true: a path where there is nothing becomes a new, empty store. */
  readonly create?: boolean;
  /** Default false. True: opened for reading only, beside other readers; refused while somebody writes. */
  readonly readOnly?: boolean;
}

function isEmptyFile(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats?.isFile() === true && stats.size === 0;
}

/** 1 MiB: a new store, which grows on demand. */
const FIRST_BLOCKS = 256;

/**
 * Opens the store in the file at `path`. Closing the store closes the file.
 *
 * @throws {@link DeviceOpenError} when there is no such file, or it cannot be opened
 * @throws {@link DeviceBusyError} when somebody else has it open, in this process or another
 * @see MetadataStore.open for what else may be wrong
 */
export function openStore<C extends Collections>(
  path: string,
  schema: Schema<C>,
  options: StoreFileOptions = {},
): MetadataStore<C> {
  const { create = true, readOnly = false, ...others } = options;
  const isNew = create && !readOnly && !existsSync(path);
  if (create && !readOnly && !isNew && isEmptyFile(path))
    throw new DeviceOpenError(`cannot open ${path}: it is an empty file; remove it, and a new store is made there`);
  const device = openFileMetadataDevice(
    path,
    readOnly ? { mode: 'read' } : { mode: 'write', ...(isNew ? { create: { nrBlocks: FIRST_BLOCKS } } : {}) },
  );
  try {
    return MetadataStore.open(device, schema, { ...others, closesDevice: true });
  } catch (error) {
    device.close();
    if (isNew) rmSync(path, { force: true });
    throw error;
  }
}
