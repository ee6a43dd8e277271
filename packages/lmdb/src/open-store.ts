/**
 * Opens the LMDB environment in a directory as a store, or says in one sentence why not.
 *
 * What can be said without LMDB is looked at before: LMDB maps the file, and a file that is not what it claims to be ends the
 * process by a signal where a read would have failed. See data-file.ts for what is looked at.
 *
 * A process opens an environment once: see environment.ts. It is known by its real path.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { DeviceBusyError, DeviceOpenError } from '@pdata/device';
import { systemProblem } from '@pdata/device/node';
import { inspectDataFile } from './data-file.js';
import { openFailure } from './errors.js';
import { decode, encode, FORMAT, FORMAT_KEY, type FormatRecord, PAGE_SIZE } from './layout.js';
import { type LmdbDatabase, type LmdbRoot, loadLmdb } from './lmdb-library.js';
import { Store } from './store.js';

export interface OpenEnvironmentOptions {
  /** 'write' when left out. A reader changes nothing but its slot in lock.mdb. */
  readonly mode?: 'read' | 'write';
  /** Default false. With true, the directory and the environment are made if they are not there. */
  readonly create?: boolean;
  /**
   * Bytes that data.mdb may grow to: a commit that would go beyond is refused with an `EnvironmentFullError`. Without it the
   * file grows as long as there is room on the disk. Not kept in the environment: it counts for whoever opens it so.
   */
  readonly mapSize?: number;
}

/** First size of the memory map; the library enlarges it. Address space, not memory. */
const FIRST_MAP_SIZE = 2 ** 30;
const SMALLEST_MAP_SIZE = 2 ** 20;
/** More than lock.mdb and the first pages of data.mdb take. */
const TRIAL_SIZE = 128 * 1024;
const DATABASES = { pdata: { useVersions: true }, blocks: {}, catalogue: {} } as const;
const BINARY = { encoding: 'binary', keyEncoding: 'binary' } as const;

/** Real paths of the environments that are open in this process. */
const opened = new Set<string>();

export function openStore(path: string, options: OpenEnvironmentOptions): { store: Store; release: () => void } {
  const { mode = 'write', create = false, mapSize } = options;
  if (mapSize !== undefined && !(Number.isSafeInteger(mapSize) && mapSize >= SMALLEST_MAP_SIZE)) {
    throw new RangeError(`mapSize of ${mapSize} bytes: expected a whole number, at least ${SMALLEST_MAP_SIZE}`);
  }
  const { open } = loadLmdb();
  const attempted = `open ${path} for ${mode === 'read' ? 'reading' : 'writing'}`;
  const isNew = prepareDirectory(path, attempted, mode === 'write' && create);
  const realPath = realpathSync(path);
  if (opened.has(realPath)) {
    throw new DeviceBusyError(
      `cannot ${attempted}: this process has the environment open already; use that LmdbEnvironment, or close it first`,
    );
  }
  requireAccess(realPath, attempted, mode, isNew);
  if (!isNew) inspectDataFile(join(realPath, 'data.mdb'), attempted);
  requireRoom(realPath, attempted, mode);
  opened.add(realPath);
  let root: LmdbRoot | undefined;
  try {
    // Whole pages, so that the map is as large as the limit, and growth beyond it can be seen.
    const limit = mapSize === undefined ? undefined : Math.floor(mapSize / PAGE_SIZE) * PAGE_SIZE;
    root = open(realPath, {
      ...BINARY,
      noSubdir: false,
      readOnly: mode === 'read',
      pageSize: PAGE_SIZE,
      maxDbs: 8,
      // Windows would make the file as large as the map.
      ...(limit !== undefined ? { mapSize: limit } : process.platform === 'win32' ? {} : { mapSize: FIRST_MAP_SIZE }),
      overlappingSync: false,
      commitDelay: 0,
      eventTurnBatching: false,
      // A queued transaction starts when all of it is queued, however much that is.
      batchStartThreshold: Number.MAX_SAFE_INTEGER,
    });
    const databases = openDatabases(root, attempted, mode === 'write' && create);
    if (isNew) syncNames(realPath);
    const store = new Store(path, mode === 'read', limit ?? Number.POSITIVE_INFINITY, { root, ...databases });
    return { store, release: () => opened.delete(realPath) };
  } catch (cause) {
    opened.delete(realPath);
    void root?.close();
    throw openFailure(attempted, cause);
  }
}

/** Whether an environment has to be made. */
function prepareDirectory(path: string, attempted: string, create: boolean): boolean {
  let stats: Stats | undefined;
  try {
    stats = statSync(path, { throwIfNoEntry: false });
    if (create && stats === undefined) {
      mkdirSync(path, { recursive: true });
      stats = statSync(path);
    }
  } catch (cause) {
    throw new DeviceOpenError(`cannot ${attempted}: ${systemProblem(cause) ?? (cause as Error).message}`, { cause });
  }
  if (stats === undefined) {
    throw new DeviceOpenError(`cannot ${attempted}: there is no such directory; \`create: true\` makes one`);
  }
  if (!stats.isDirectory()) {
    throw new DeviceOpenError(`cannot ${attempted}: it is no directory, and an environment is one`);
  }
  const dataFile = statSync(join(path, 'data.mdb'), { throwIfNoEntry: false });
  if (dataFile !== undefined && !dataFile.isFile())
    throw new DeviceOpenError(`cannot ${attempted}: its data.mdb is no file`);
  if (dataFile !== undefined && !(create && dataFile.size === 0)) return false;
  if (create) return true;
  throw new DeviceOpenError(`cannot ${attempted}: the directory holds no LMDB environment (no data.mdb)`);
}

/**
 * What LMDB needs to be allowed. A reader has to write its slot in lock.mdb: without that permission LMDB would let it read
 * unseen, while the writer reuses the pages under it. On a read-only file system there is no writer, and no need for a slot.
 */
function requireAccess(path: string, attempted: string, mode: 'read' | 'write', isNew: boolean): void {
  const { R_OK, W_OK, X_OK } = constants;
  const lockFile = join(path, 'lock.mdb');
  const hasLockFile = existsSync(lockFile);
  const check = (file: string, access: number, words: string): void => {
    try {
      accessSync(file, access);
    } catch (cause) {
      const isReadOnlySystem = (cause as NodeJS.ErrnoException).code === 'EROFS';
      if (isReadOnlySystem && mode === 'read') return;
      const why = isReadOnlySystem
        ? 'its file system is read-only; open it for reading'
        : `permission denied: ${file} must be ${words}`;
      throw new DeviceOpenError(`cannot ${attempted}: ${why}`, { cause });
    }
  };
  // A writer makes lock files for its pools.
  const makesFiles = mode === 'write' || !hasLockFile;
  check(path, makesFiles ? R_OK | W_OK | X_OK : R_OK | X_OK, makesFiles ? 'readable and writable' : 'readable');
  if (!isNew) {
    check(
      join(path, 'data.mdb'),
      mode === 'read' ? R_OK : R_OK | W_OK,
      mode === 'read' ? 'readable' : 'readable and writable',
    );
  }
  if (hasLockFile) check(lockFile, R_OK | W_OK, 'readable and writable, for readers too');
}

/** Room for a new lock.mdb: LMDB maps it, and writing to a map that gets no room ends the process by a signal. */
function requireRoom(path: string, attempted: string, mode: 'read' | 'write'): void {
  const lockFile = join(path, 'lock.mdb');
  if ((statSync(lockFile, { throwIfNoEntry: false })?.blocks ?? 0) > 0) return;
  const trial = join(path, `room-${process.pid}`);
  try {
    writeFileSync(trial, Buffer.alloc(TRIAL_SIZE, 1), { flush: true });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EROFS' && mode === 'read') return;
    const isFull = code === 'ENOSPC' || code === 'EDQUOT';
    throw new DeviceOpenError(
      `cannot ${attempted}: ${isFull ? 'the disk, or the quota on it, is full' : (systemProblem(cause) ?? message)}`,
      {
        cause,
      },
    );
  } finally {
    rmSync(trial, { force: true });
  }
}

/** The names of what was made must survive a loss of power too. Windows cannot open a directory, and needs not to. */
function syncNames(path: string): void {
  if (process.platform === 'win32') return;
  for (const directory of [path, dirname(path)]) {
    const fd = openSync(directory, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
}

function openDatabases(
  root: LmdbRoot,
  attempted: string,
  create: boolean,
): { pdata: LmdbDatabase; blocks: LmdbDatabase; catalogue: LmdbDatabase } {
  // Nothing in it but what a crash may have left of making it. The library ends names with a zero byte.
  const names = new Set(Object.keys(DATABASES));
  const isOurs = [...root.getKeys({})].every((name) => names.has(Buffer.from(name).toString().replace('\0', '')));
  const [pdata, blocks, catalogue] = Object.entries(DATABASES).map(([name, options]) =>
    root.openDB(name, { ...BINARY, ...options, create: create && isOurs }),
  );
  const refusal = `cannot ${attempted}: it is an LMDB environment, but not one of pdata's`;
  if (pdata === undefined || blocks === undefined || catalogue === undefined) throw new DeviceOpenError(refusal);
  const found = pdata.getEntry(FORMAT_KEY);
  if (found === undefined) {
    if (!create) throw new DeviceOpenError(refusal);
    const first: FormatRecord = { format: FORMAT, nextPoolId: 1 };
    root.transactionSync(() => {
      // Another process may be making it too, and have been quicker.
      if (pdata.getEntry(FORMAT_KEY) === undefined) void pdata.put(FORMAT_KEY, encode(first), 0);
    });
  } else {
    const { format } = decode(found.value) as FormatRecord;
    if (format !== FORMAT) {
      throw new DeviceOpenError(
        `cannot ${attempted}: its layout has version ${format}, this program knows version ${FORMAT}; use a newer @pdata/lmdb`,
      );
    }
  }
  return { pdata, blocks, catalogue };
}
