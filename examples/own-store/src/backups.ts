/**
 * Backups of a directory: every one a snapshot, with what they have in common stored once.
 *
 * The order that makes it safe: content into the pack, pack flushed, then the catalogue committed. A crash before that leaves the
 * backups that there were; what was written to the pack lies in units that are free. And a unit that was given up is handed out
 * again only when no crash can bring back a catalogue that has it in use: the store sees to that.
 */
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import type { MetadataStore, ReadableCollections, WritableCollections } from '@pdata/persistent-data/store';
import { openStore } from '@pdata/persistent-data/store/node';
import { DamagedBackupError, Pack, UNIT_SIZE } from './pack.js';
import { type BackedUpFile, catalogue } from './schema.js';

type Catalogue = (typeof catalogue)['collections'];
type Current = WritableCollections<Catalogue>;

/** Units that the pack grows by at a time: 4 MiB. */
const GROWTH = 256;

const sha256 = (content: Uint8Array | string): Uint8Array => createHash('sha256').update(content).digest();
/** Paths in keys of one size; two that share one would be told apart by `path`, and do not happen. */
const keyOf = (path: string): Uint8Array => new Uint8Array(sha256(path).subarray(0, 16));

export interface BackupSummary {
  readonly nrFiles: number;
  readonly nrChanged: number;
  readonly nrRemoved: number;
  /** Content that no backup had yet. */
  readonly newBytes: number;
}

export interface Change {
  readonly path: string;
  readonly what: 'added' | 'removed' | 'changed';
}

export class Backups {
  readonly #store: MetadataStore<Catalogue>;
  readonly #pack: Pack;

  /** @param directory of the backups; made if it is not there */
  constructor(directory: string) {
    mkdirSync(directory, { recursive: true });
    this.#store = openStore(join(directory, 'catalogue.pdata'), catalogue);
    this.#pack = new Pack(join(directory, 'pack'));
  }

  list(): { name: string; time: number; nrFiles: number }[] {
    return this.#store.names().map(({ name, time }) => {
      using view = this.#store.view(name);
      return { name, time, nrFiles: view.collections.files.size };
    });
  }

  /** Backs up `source` as `name`. All or nothing. */
  async backUp(source: string, name: string): Promise<BackupSummary> {
    const paths = filesBelow(source);
    await this.#makeSpace(
      paths.reduce((sum, path) => sum + Math.ceil(statSync(join(source, path)).size / UNIT_SIZE), 0),
    );
    const summary = this.#store.transaction((current, transaction) => {
      let [nrChanged, nrRemoved, newBytes] = [0, 0, 0];
      for (const path of paths) {
        const { size, mtimeMs, mode } = statSync(join(source, path));
        const known = current.files.get(keyOf(path));
        if (known?.size === size && known.mtimeMs === mtimeMs) continue;
        nrChanged++;
        const content = readFileSync(join(source, path));
        const pieces: Uint8Array[] = [];
        for (let at = 0; at < content.length; at += UNIT_SIZE) {
          const stored = this.#storePiece(current, content.subarray(at, at + UNIT_SIZE));
          pieces.push(stored.hash);
          newBytes += stored.newBytes;
        }
        if (known !== undefined) this.#letGo(current, known);
        current.files.set(keyOf(path), { path, size: content.length, mtimeMs, mode, pieces });
      }
      const there = new Set(paths);
      for (const known of current.files.values()) {
        if (there.has(known.path)) continue;
        this.#letGo(current, known);
        current.files.delete(keyOf(known.path));
        nrRemoved++;
      }
      transaction.snapshot(name);
      return { nrFiles: paths.length, nrChanged, nrRemoved, newBytes };
    });
    this.#pack.flush(); // nothing that the commit makes reachable may be less durable than it
    await this.#store.commit();
    return summary;
  }

  /** What changed from one backup to another, at the cost of the changes. */
  diff(before: string, after: string): Change[] {
    return Array.from(
      this.#store.diff(before, after).files,
      ({ before: old, after: now }): Change => ({
        path: (now ?? old)?.path ?? '',
        what: old === undefined ? 'added' : now === undefined ? 'removed' : 'changed',
      }),
    ).sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  /** Writes the files of a backup below `target`. */
  restore(name: string, target: string): number {
    using view = this.#store.view(name);
    let nr = 0;
    for (const { path, mode, mtimeMs, pieces } of view.collections.files.values()) {
      const to = join(target, path);
      mkdirSync(dirname(to), { recursive: true });
      writeFileSync(to, Buffer.concat(pieces.map((hash) => this.#readPiece(view.collections, hash))));
      chmodSync(to, mode);
      utimesSync(to, mtimeMs / 1000, mtimeMs / 1000);
      nr++;
    }
    return nr;
  }

  /** Forgets a backup. What no other one has is free for the next. */
  async drop(name: string): Promise<void> {
    this.#store.drop(name);
    await this.#store.commit();
  }

  /** Counts every reference, and reads every piece. Returns what is wrong. */
  async check(): Promise<string[]> {
    const findings = [...(await this.#store.check()).findings];
    for (const { name } of this.#store.names()) {
      using view = this.#store.view(name);
      for (const hash of view.collections.pieces.keys()) {
        try {
          this.#readPiece(view.collections, hash);
        } catch (error) {
          if (!(error instanceof DamagedBackupError)) throw error;
          findings.push(`backup ${name}: ${error.message}`);
        }
      }
    }
    return findings;
  }

  /** Bytes of content that the pack holds, for all backups together. */
  get storedBytes(): number {
    return this.#store.collections.space.nrAllocated * UNIT_SIZE;
  }

  async close(): Promise<void> {
    await this.#store.close();
    this.#pack.close();
  }

  #storePiece({ pieces, space }: Current, content: Uint8Array): { hash: Uint8Array; newBytes: number } {
    const hash = new Uint8Array(sha256(content));
    const known = pieces.get(hash);
    if (known !== undefined) {
      pieces.set(hash, { ...known, uses: known.uses + 1 });
      return { hash, newBytes: 0 };
    }
    const unit = space.allocate();
    this.#pack.write(unit, content);
    pieces.set(hash, { unit, length: content.length, uses: 1 });
    space.release(unit); // the piece holds it now, here and in every backup to come
    return { hash, newBytes: content.length };
  }

  /** The current state has the file no longer; backups that have it keep its pieces. */
  #letGo({ pieces }: Current, file: BackedUpFile): void {
    for (const hash of file.pieces) {
      const known = pieces.get(hash);
      if (known === undefined) continue;
      if (known.uses > 1) pieces.set(hash, { ...known, uses: known.uses - 1 });
      else pieces.delete(hash);
    }
  }

  #readPiece({ pieces }: ReadableCollections<Catalogue>, hash: Uint8Array): Uint8Array {
    const piece = pieces.get(hash);
    if (piece?.unit === undefined) throw new DamagedBackupError('the catalogue names a piece that it does not have');
    const content = this.#pack.read(piece.unit, piece.length);
    if (Buffer.compare(sha256(content), hash) !== 0)
      throw new DamagedBackupError(`a piece of content is not what was stored (unit ${piece.unit} of the pack)`);
    return content;
  }

  /** Units that a growth adds can be used after the next commit. */
  async #makeSpace(nrUnits: number): Promise<void> {
    const { space } = this.#store.collections;
    const missing = nrUnits - (space.length - space.nrAllocated);
    if (missing <= 0) return;
    this.#store.transaction((current) => current.space.extend(Math.ceil(missing / GROWTH) * GROWTH));
    await this.#store.commit();
  }
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort();
}
