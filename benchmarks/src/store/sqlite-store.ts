/**
 * The peer: better-sqlite3 on the same workload. `node dist/store/sqlite-store.js WORKLOAD-AS-JSON` prints a StoreResult as JSON.
 *
 * A rowid table, prepared statements, a write-ahead log that is synced at each commit. It has no asynchronous commits: records that are
 * awaited at once are committed one after the other, as its documentation has it.
 *
 * Its binary for Node wants Node 22; on older ones the package is not installed (an optional dependency), and the contender says so.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { measureStore } from './measure.js';
import { mtimeOf, type StoreResult, type StoreWorkload, sizeOf } from './store-workload.js';

/** What is used of its interface; its types come only with the package. */
interface Statement {
  run(...values: unknown[]): unknown;
  get(...values: unknown[]): unknown;
  iterate(): IterableIterator<unknown>;
}
interface Database {
  exec(sql: string): void;
  pragma(text: string): unknown;
  prepare(sql: string): Statement;
  close(): void;
}

/** Why it cannot be measured here; undefined when it can. */
export async function whyNoSqlite(): Promise<string | undefined> {
  const [major = 0] = process.versions.node.split('.').map(Number);
  if (major < 22) return `better-sqlite3 wants Node 22 or newer, and this is ${process.versions.node}`;
  try {
    await loadSqlite();
    return undefined;
  } catch (error) {
    return `better-sqlite3 cannot be loaded: ${(error as Error).message.split('\n')[0]}`;
  }
}

const PACKAGE = 'better-sqlite3';
async function loadSqlite(): Promise<new (path: string) => Database> {
  return ((await import(PACKAGE)) as { default: new (path: string) => Database }).default;
}

export async function measureSqliteStore(workload: StoreWorkload): Promise<StoreResult> {
  const Sqlite = await loadSqlite();
  const db = new Sqlite(join(workload.directory, 'store.sqlite'));
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma('cache_size = -262144');
    db.exec('create table files (key integer primary key, size integer, mtime integer)');
    const put = db.prepare('insert or replace into files values (?, ?, ?)');
    const get = db.prepare('select size, mtime from files where key = ?');
    const up = db.prepare('select key, size, mtime from files order by key');
    const down = db.prepare('select key, size, mtime from files order by key desc');
    const putAll = (keys: Float64Array, from: number, to: number, version: number): void => {
      db.exec('begin');
      for (let place = from; place < to; place++) put.run(keys[place], sizeOf(place, version), mtimeOf(place, version));
      db.exec('commit');
    };
    return await measureStore(
      {
        fill: (keys) => putAll(keys, 0, keys.length, 0),
        get: (key) => get.get(key) as { size: number; mtime: number } | undefined,
        scan(visit, downwards) {
          for (const row of (downwards ? down : up).iterate()) {
            const { key, size, mtime } = row as { key: number; size: number; mtime: number };
            visit(key, { size, mtime });
          }
        },
        putAll,
        putOne: (key, version) => void put.run(key, sizeOf(key % 1e6, version), mtimeOf(key % 1e6, version)),
      },
      workload,
    );
  } finally {
    db.close();
  }
}

const [, program, argument] = process.argv;
if (program !== undefined && argument !== undefined && import.meta.url === pathToFileURL(program).href) {
  console.log(JSON.stringify(await measureSqliteStore(JSON.parse(argument) as StoreWorkload)));
}
