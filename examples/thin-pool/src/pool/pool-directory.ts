/**
 * A pool's directory.
 *
 *   metadata/       an LMDB environment: blocks and catalogue of one pool, named `pool`    (the default)
 *   metadata        or a plain image in the kernel's format, and beside it                 (`--raw`)
 *   catalogue       its catalogue, see catalogue-file.ts
 *   data            the data blocks: a sparse file
 *   control.sock    while it is served: other commands
 *   nbd.sock        while it is served: NBD clients, unless told otherwise
 *
 * The record `pool` of the catalogue is written last when a pool is made: without it there is no pool. The lock on `data` is what keeps
 * a second process out.
 */
import { chmodSync, existsSync, mkdirSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import {
  CorruptBlockError,
  DeviceBusyError,
  type GrowableDataDevice,
  type MetadataDevice,
  StoreError,
} from '@pdata/device';
import { openFileDataDevice, openFileMetadataDevice } from '@pdata/device/node';
import { LmdbEnvironment } from '@pdata/lmdb';
import { MAX_METADATA_BLOCKS } from '@pdata/persistent-data';
import { NotFormattedError, ResizeError } from '@pdata/thin';
import { CatalogueFile, type CatalogueStore, syncFolder } from '../catalogue/catalogue-file.js';
import { type CatalogueRecord, isPoolRecord, POOL_FORMAT, POOL_KEY } from '../catalogue/records.js';
import { fileError, PoolError, quoted } from '../words/pool-error.js';
import { DataWithReserve, roomOn } from './full-disk.js';

export type PoolFormat = 'lmdb' | 'raw';

/** The open parts of a pool. */
export interface PoolParts {
  readonly directory: string;
  readonly format: PoolFormat;
  readonly metadata: MetadataDevice;
  readonly data: GrowableDataDevice;
  readonly catalogue: CatalogueStore;
  /** The last commit, for a look at all of it while the pool goes on; undefined where only the pool's own device can be read. */
  openReader(): MetadataDevice | undefined;
  close(): Promise<void>;
}

const POOL_IN_ENVIRONMENT = 'pool';
const pathsIn = (directory: string) => ({
  metadata: join(directory, 'metadata'),
  catalogue: join(directory, 'catalogue'),
  data: join(directory, 'data'),
});

/** @returns the format; @throws {@link PoolError} `ERR_NOT_A_POOL` */
export function formatOf(directory: string): PoolFormat {
  const not = (why: string, whatToDo = `make one with: thin-pool create ${directory}`) =>
    new PoolError('ERR_NOT_A_POOL', `${quoted(directory)} is no pool: ${why}; ${whatToDo}`);
  const paths = pathsIn(directory);
  const found = statSync(directory, { throwIfNoEntry: false });
  if (found === undefined) throw not('it does not exist');
  if (!found.isDirectory()) throw not('it is not a directory', 'name the directory of a pool');
  let metadata: ReturnType<typeof statSync> | undefined;
  try {
    metadata = statSync(paths.metadata, { throwIfNoEntry: false });
  } catch (error) {
    throw fileError('open', paths.metadata, error);
  }
  const hasData = existsSync(paths.data);
  if (metadata === undefined && !hasData) throw not('it holds no metadata');
  // The data file is made first: one alone may be all that there is of a pool, or all that is left of it.
  if (metadata === undefined) {
    throw new PoolError(
      'ERR_NOT_A_POOL',
      `${quoted(directory)} is only a part of a pool: it holds data, but no metadata; put them back from a copy, or, when the making of the pool was interrupted, remove the directory`,
    );
  }
  if (!hasData) {
    throw new PoolError(
      'ERR_POOL_DAMAGED',
      `the pool ${quoted(directory)} has lost its data: put the file ${quoted(paths.data)} back from a copy`,
    );
  }
  return metadata.isDirectory() ? 'lmdb' : 'raw';
}

/** The pool in whose directory a file lies, or would lie. */
export function poolAround(path: string): string | undefined {
  try {
    const folder = realpathSync(dirname(resolve(path)));
    if (isPool(folder)) return folder;
    const above = dirname(folder);
    return folder === pathsIn(above).metadata && isPool(above) ? above : undefined;
  } catch {
    return undefined; // there is no such folder
  }
}

/** The pool that keeps its data or metadata in a file, by whatever name it is called. */
export function poolOfFile(path: string): string | undefined {
  try {
    const file = realpathSync(path);
    const isOf = (pool: string): boolean =>
      isPool(pool) && Object.values(pathsIn(pool)).some((own) => own === file || own === dirname(file));
    return [dirname(file), dirname(dirname(file))].find(isOf);
  } catch {
    return undefined; // there is no such file
  }
}

/** Two images called `metadata` and `data` make no pool yet. */
function isPool(directory: string): boolean {
  const paths = pathsIn(directory);
  return existsSync(paths.data) && (existsSync(paths.catalogue) || existsSync(join(paths.metadata, 'data.mdb')));
}

/** Opens the parts of a pool. @throws {@link PoolError} when it is no pool, of a newer format, or in use */
export async function openParts(directory: string, mode: 'read' | 'write'): Promise<PoolParts> {
  const absolute = resolve(directory);
  const format = formatOf(absolute);
  try {
    return await openKnownParts(absolute, format, mode);
  } catch (error) {
    throw busyError(absolute, error) ?? error;
  }
}

async function openKnownParts(directory: string, format: PoolFormat, mode: 'read' | 'write'): Promise<PoolParts> {
  const paths = pathsIn(directory);
  const opened: { close(): void | Promise<void> }[] = [];
  const keep = <T extends { close(): void | Promise<void> }>(part: T): T => {
    opened.unshift(part);
    return part;
  };
  const close = async (): Promise<void> => {
    for (const part of opened) await part.close();
  };
  try {
    const file = await openFileDataDevice(paths.data, { mode, lock: true, name: 'the data of the pool' });
    const data = keep(new DataWithReserve(file, () => roomOn(paths.data)));
    if (format === 'raw') {
      const metadata = keep(openFileMetadataDevice(paths.metadata, { mode }));
      const catalogue = openCatalogueFile(paths.catalogue);
      refuseForeign(directory, catalogue);
      return { directory, format, metadata, data, catalogue, openReader: () => undefined, close };
    }
    const environment = keep(LmdbEnvironment.open(paths.metadata, { mode }));
    if (!environment.pools().includes(POOL_IN_ENVIRONMENT)) throw unfinished(directory);
    const metadata = keep(environment.openPool(POOL_IN_ENVIRONMENT, { mode }));
    const catalogue = environment.catalogue<CatalogueRecord>(POOL_IN_ENVIRONMENT);
    refuseForeign(directory, catalogue);
    const openReader = () => environment.openPool(POOL_IN_ENVIRONMENT, { mode: 'read' });
    return { directory, format, metadata, data, catalogue, openReader, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A pool whose catalogue was moved away is opened without one: its volumes come back under names like `thin-0`. */
function openCatalogueFile(path: string): CatalogueStore {
  if (existsSync(path)) return CatalogueFile.open(path);
  const catalogue = CatalogueFile.create(path);
  catalogue.put(POOL_KEY, newPoolRecord());
  return catalogue;
}

export interface NewParts {
  readonly format: PoolFormat;
  /** Bytes of data. */
  readonly dataSize: number;
  readonly nrMetadataBlocks: number;
}

/**
 * Makes the parts of a new pool in `directory`, which must be empty or not there. What `fill` does belongs to it: when that fails,
 * everything that was made is removed.
 */
export async function createParts(
  directory: string,
  { format, dataSize, nrMetadataBlocks }: NewParts,
  fill: (parts: PoolParts) => Promise<void>,
): Promise<void> {
  const absolute = resolve(directory);
  const made = makeEmptyDirectory(absolute);
  const paths = pathsIn(absolute);
  const opened: { close(): void | Promise<void> }[] = [];
  const keep = <T extends { close(): void | Promise<void> }>(part: T): T => {
    opened.unshift(part);
    return part;
  };
  const close = async (): Promise<void> => {
    for (const part of opened.splice(0)) await part.close();
  };
  try {
    const data = keep(await openFileDataDevice(paths.data, { mode: 'write', lock: true, create: { size: dataSize } }));
    let metadata: MetadataDevice;
    let catalogue: CatalogueStore;
    if (format === 'raw') {
      metadata = keep(
        openFileMetadataDevice(paths.metadata, { mode: 'write', create: { nrBlocks: nrMetadataBlocks } }),
      );
      catalogue = CatalogueFile.create(paths.catalogue);
    } else {
      mkdirSync(paths.metadata, { mode: 0o700 });
      const environment = keep(LmdbEnvironment.open(paths.metadata, { mode: 'write', create: true }));
      metadata = keep(environment.createPool(POOL_IN_ENVIRONMENT, { nrBlocks: nrMetadataBlocks }));
      catalogue = environment.catalogue<CatalogueRecord>(POOL_IN_ENVIRONMENT);
    }
    const openReader = () => undefined;
    await fill({ directory: absolute, format, metadata, data, catalogue, openReader, close });
    await close();
    for (const path of Object.values(paths))
      if (statSync(path, { throwIfNoEntry: false })?.isFile()) chmodSync(path, 0o600);
    syncFolder(absolute);
    syncFolder(dirname(absolute));
  } catch (error) {
    await close();
    for (const path of Object.values(paths)) rmSync(path, { recursive: true, force: true });
    if (made) rmSync(absolute, { recursive: true, force: true });
    if (error instanceof StoreError) throw error;
    throw fileError('make a pool in', absolute, error);
  }
}

/** Blocks for the metadata of a pool of that size: room for a few snapshots' own trees. It grows by itself when that is not enough. */
export function nrMetadataBlocksFor(dataSize: number, blockSize: number): number {
  return Math.min(2048 + Math.ceil(dataSize / blockSize / 40), MAX_METADATA_BLOCKS);
}

export const newPoolRecord = (): CatalogueRecord => ({
  format: POOL_FORMAT,
  identity: newIdentity(),
  created: Date.now(),
});

export const newIdentity = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('hex');

function refuseForeign(directory: string, catalogue: CatalogueStore): void {
  const record = catalogue.get(POOL_KEY);
  if (record === undefined) throw unfinished(directory);
  if (!isPoolRecord(record)) {
    throw new PoolError('ERR_POOL_DAMAGED', `the catalogue of ${quoted(directory)} does not say what pool it is of`);
  }
  if (record.format > POOL_FORMAT) {
    throw new PoolError(
      'ERR_NEWER_POOL',
      `${quoted(directory)} was made by a newer thin-pool (format ${record.format}; this one knows up to ${POOL_FORMAT}): use that one`,
    );
  }
}

const unfinished = (directory: string) =>
  new PoolError(
    'ERR_NOT_A_POOL',
    `${quoted(directory)} is no pool: its making was interrupted; remove the directory and make the pool again`,
  );

/** @returns whether it was made here */
function makeEmptyDirectory(directory: string): boolean {
  try {
    const found = statSync(directory, { throwIfNoEntry: false });
    if (found === undefined) {
      mkdirSync(directory, { mode: 0o700 });
      return true;
    }
    if (!found.isDirectory())
      throw new PoolError('ERR_POOL_EXISTS', `${quoted(directory)} is there already, and not a directory`);
    const [first] = readdirSync(directory);
    if (first !== undefined) {
      throw new PoolError(
        'ERR_POOL_EXISTS',
        existsSync(pathsIn(directory).metadata)
          ? `${quoted(directory)} holds a pool already`
          : `${quoted(directory)} is not empty (it holds ${quoted(first)}): a pool wants a directory of its own`,
      );
    }
    return false;
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw fileError('make the directory', directory, error);
  }
}

function busyError(directory: string, error: unknown): PoolError | undefined {
  if (!(error instanceof DeviceBusyError)) return undefined;
  return new PoolError(
    'ERR_POOL_BUSY',
    `the pool ${quoted(directory)} is in use by another process: wait until it is done`,
    { cause: error },
  );
}

/** What a pool's parts were found to be when they were opened, told in words of the pool; undefined for any other error. */
export function damagedPoolError(directory: string, error: unknown): PoolError | undefined {
  const damaged = (what: string): PoolError =>
    new PoolError('ERR_POOL_DAMAGED', `the pool ${quoted(directory)} cannot be opened: ${what}`, { cause: error });
  if (error instanceof ResizeError)
    return damaged(
      `its data or metadata were cut short (${error.message}); see thin-pool check, and put the file back from a copy`,
    );
  if (error instanceof CorruptBlockError || error instanceof NotFormattedError)
    return damaged(
      `its metadata are damaged (${error.message}); see thin-pool check; export-pool takes out what there is, to be repaired or restored`,
    );
  return undefined;
}
