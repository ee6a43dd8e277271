/** Records that are committed together with blocks, or not at all. */
import { ClosedError, ReadOnlyError } from '@pdata/device';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blocks, firstBytes, thrownBy } from '../test/blocks.js';
import { type TemporaryEnvironment, temporaryEnvironment } from '../test/temporary-environment.js';
import type { Catalogue } from './catalogue.js';
import { LmdbEnvironment } from './environment.js';
import type { LmdbMetadataDevice } from './lmdb-metadata-device.js';

interface Volume {
  readonly thinId: number;
  readonly tags: readonly string[];
  readonly origin?: string;
  readonly made?: Date;
}

let temporary: TemporaryEnvironment;
let environment: LmdbEnvironment;
let pool: LmdbMetadataDevice;
let catalogue: Catalogue<Volume>;
beforeEach(() => {
  temporary = temporaryEnvironment();
  ({ environment } = temporary);
  pool = environment.createPool('pool', { nrBlocks: 4 });
  catalogue = environment.catalogue('pool');
});
afterEach(() => temporary.end());

const root: Volume = { thinId: 1, tags: ['daily', 'große'], made: new Date('2026-11-20T12:00:00.250Z') };
const copy: Volume = { thinId: 2, tags: [], origin: 'root' };

/** What another opener of the last commit sees, in blocks and records. */
function committed(): { blocks: number[]; records: [string, Volume][] } {
  pool.close();
  const reader = environment.openPool('pool', { mode: 'read' });
  const records = [...environment.catalogue<Volume>('pool').entries()];
  return { blocks: firstBytes(reader), records };
}

describe('a catalogue', () => {
  it('shows its own reader what is staged, and others what is committed', () => {
    const reader = environment.openPool('pool', { mode: 'read' });
    catalogue.put('root', root);
    catalogue.put('copy', copy);
    expect(catalogue.get('root')).toEqual(root);
    expect([...catalogue.entries()]).toEqual([
      ['copy', copy],
      ['root', root],
    ]);
    pool.flush();
    expect(catalogue.remove('copy')).toBe(true);
    expect(catalogue.remove('copy')).toBe(false);
    expect(catalogue.get('copy')).toBeUndefined();
    expect([...catalogue.entries()]).toEqual([['root', root]]);
    reader.refresh();
    pool.close();
    const others = environment.catalogue<Volume>('pool');
    expect(others.get('copy')).toEqual(copy);
    expect([...others.entries()].map(([key]) => key)).toEqual(['copy', 'root']);
  });

  it('is committed with the blocks by the next flush, of either kind', async () => {
    pool.write(0, blocks(1));
    catalogue.put('root', root);
    pool.flush();
    pool.write(1, blocks(2));
    catalogue.put('copy', copy);
    await pool.flushAsync();
    pool.write(2, blocks(3));
    catalogue.remove('root');
    expect(committed()).toEqual({
      blocks: [1, 2, 0, 0],
      records: [
        ['copy', copy],
        ['root', root],
      ],
    });
  });

  it('is flushed without any block having changed', async () => {
    catalogue.put('root', root);
    await pool.flushAsync();
    expect(committed().records).toEqual([['root', root]]);
  });

  it('leaves what is put while a flush runs to the next one', async () => {
    catalogue.put('root', root);
    const flushed = pool.flushAsync();
    catalogue.put('root', copy);
    catalogue.put('copy', copy);
    expect(catalogue.get('root')).toEqual(copy);
    await flushed;
    expect(catalogue.get('root')).toEqual(copy);
    expect(committed().records).toEqual([['root', root]]);
  });

  it('is committed alone by commit, blocks and size staying staged', () => {
    pool.write(0, blocks(1));
    pool.grow(6);
    catalogue.put('root', root);
    catalogue.commit();
    expect([firstBytes(pool), pool.nrBlocks]).toEqual([[1, 0, 0, 0, 0, 0], 6]);
    expect(committed()).toEqual({ blocks: [0, 0, 0, 0], records: [['root', root]] });
  });

  it('lets a flush that was asked for go first when it commits alone', async () => {
    pool.write(0, blocks(1));
    catalogue.put('root', root);
    const flushed = pool.flushAsync();
    pool.write(1, blocks(2));
    catalogue.put('copy', copy);
    catalogue.commit();
    await flushed;
    expect(committed()).toEqual({
      blocks: [1, 0, 0, 0],
      records: [
        ['copy', copy],
        ['root', root],
      ],
    });
  });

  it('forgets what is staged by rollback, and only that', () => {
    catalogue.put('root', root);
    pool.flush();
    pool.write(0, blocks(7));
    catalogue.put('copy', copy);
    catalogue.remove('root');
    catalogue.rollback();
    expect([...catalogue.entries()]).toEqual([['root', root]]);
    pool.flush();
    expect(committed()).toEqual({ blocks: [7, 0, 0, 0], records: [['root', root]] });
  });

  it('forgets what was not flushed when the pool is closed', () => {
    catalogue.put('root', root);
    expect(committed().records).toEqual([]);
  });

  it('keeps a record as it was put, whatever happens to the object', () => {
    const record = { thinId: 3, tags: ['a'] };
    catalogue.put('x', record);
    record.tags.push('b');
    const found = catalogue.get('x') as unknown as { tags: string[] };
    found.tags.push('c');
    expect(catalogue.get('x')).toEqual({ thinId: 3, tags: ['a'] });
  });

  it('keeps each pool its own records, and drops them with the pool', () => {
    const other = environment.createPool('other', { nrBlocks: 1 });
    environment.catalogue<Volume>('other').put('root', copy);
    catalogue.put('root', root);
    other.flush();
    pool.flush();
    expect(environment.catalogue<Volume>('other').get('root')).toEqual(copy);
    expect(catalogue.get('root')).toEqual(root);
    other.close();
    environment.deletePool('other');
    environment.createPool('other', { nrBlocks: 1 });
    expect([...environment.catalogue('other').entries()]).toEqual([]);
    expect(catalogue.get('root')).toEqual(root);
  });

  it('shows a reader the commit that its pool shows, until it is refreshed', () => {
    catalogue.put('root', root);
    pool.flush();
    pool.close();
    const reader = environment.openPool('pool', { mode: 'read' });
    const seen = environment.catalogue<Volume>('pool');
    pool = environment.openPool('pool');
    environment.catalogue<Volume>('pool').put('root', copy);
    pool.flush();
    expect(seen.get('root')).toEqual(root);
    expect([...seen.entries()]).toEqual([['root', root]]);
    reader.refresh();
    expect(seen.get('root')).toEqual(copy);
  });

  it('refuses changes when the pool is open for reading, and everything after close', () => {
    catalogue.put('root', root);
    pool.flush();
    pool.close();
    for (const use of [() => catalogue.get('root'), () => catalogue.put('root', root), () => catalogue.entries()]) {
      expect(thrownBy(use)).toBeInstanceOf(ClosedError);
    }
    environment.openPool('pool', { mode: 'read' });
    const seen = environment.catalogue<Volume>('pool');
    const changes = [() => seen.put('x', root), () => seen.remove('root'), () => seen.commit(), () => seen.rollback()];
    for (const change of changes) {
      expect(thrownBy(change)).toBeInstanceOf(ReadOnlyError);
    }
    expect(seen.get('root')).toEqual(root);
  });

  it('needs the pool to be open', () => {
    pool.close();
    expect(thrownBy(() => environment.catalogue('pool')).message).toBe(
      `cannot use the catalogue of pool "pool" in ${temporary.path}: open the pool first`,
    );
  });

  it.each(['', 'x'.repeat(1025), 'ä'.repeat(513), '\ud800'])('refuses a key that is none: %j', (key) => {
    for (const use of [() => catalogue.get(key), () => catalogue.put(key, root), () => catalogue.remove(key)]) {
      const refusal = thrownBy(use);
      expect(refusal).toBeInstanceOf(RangeError);
      expect(refusal.message).toContain("a catalogue's key has 1 to 1024 bytes");
    }
  });

  it('takes the longest key, and keys of any characters, in the order of their bytes', () => {
    const keys = ['x'.repeat(1024), '\0', 'a\0b', 'a', 'ä', '\u{1f600}', '\uffff', 'Z'];
    for (const key of keys) catalogue.put(key, { thinId: key.length, tags: [key] });
    pool.flush();
    pool.close();
    pool = environment.openPool('pool');
    const found = [...environment.catalogue<Volume>('pool').entries()];
    const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(found).toEqual(sorted.map((key) => [key, { thinId: key.length, tags: [key] }]));
  });

  it('keeps records of any size, and what was read of them when they are replaced', () => {
    const records = environment.catalogue<{ bytes: Uint8Array }>('pool');
    const sizes = [0, 1000, 2000, 4000, 20_000, 200_000, 3_000_000];
    for (const size of sizes) records.put(`${size}`, { bytes: new Uint8Array(size).fill(size % 251) });
    pool.flush();
    const read = sizes.map((size) => records.get(`${size}`)?.bytes as Uint8Array);
    const listed = [...records.entries()];
    for (let round = 0; round < 3; round++) {
      for (const size of sizes) records.put(`${size}`, { bytes: new Uint8Array(size + 1).fill(99) });
      pool.flush();
    }
    for (const [index, size] of sizes.entries()) {
      const expected = Buffer.alloc(size, size % 251);
      expect(Buffer.compare(read[index] as Uint8Array, expected)).toBe(0);
      const [, record] = listed.find(([key]) => key === `${size}`) ?? [];
      expect(Buffer.compare(record?.bytes as Uint8Array, expected)).toBe(0);
    }
  });

  it('says what it was about when msgpack cannot say a record, and stages nothing', () => {
    const records = environment.catalogue<unknown>('pool');
    for (const record of [{ number: 2n ** 70n }, { tags: new Map() }, [() => 1], new Float64Array(1), undefined])
      expect(() => records.put('big', record)).toThrow(TypeError);
    expect([...records.entries()]).toEqual([]);
    records.put('fits', { number: 2n ** 60n, bytes: new Uint8Array([1, 2]), nothing: null });
    expect(records.get('fits')).toEqual({ number: 2n ** 60n, bytes: Buffer.from([1, 2]), nothing: null });
  });

  it('holds what a plain map would after any sequence of changes, commits and rollbacks', async () => {
    const step = fc.record({
      do: fc.constantFrom('put', 'put', 'put', 'remove', 'flush', 'flushAsync', 'commit', 'rollback', 'reopen'),
      key: fc.constantFrom('a', 'b', 'c', 'd'),
    });
    const property = fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const name = `random ${Math.random()}`;
      let device = environment.createPool(name, { nrBlocks: 1 });
      let records = environment.catalogue<number>(name);
      let staged = new Map<string, number>();
      let last = new Map<string, number>();
      for (const [index, { do: what, key }] of steps.entries()) {
        if (what === 'put') {
          records.put(key, index);
          staged.set(key, index);
        } else if (what === 'remove') expect(records.remove(key)).toBe(staged.delete(key));
        else if (what === 'rollback') {
          records.rollback();
          staged = new Map(last);
        } else if (what === 'reopen') {
          device.close();
          device = environment.openPool(name);
          records = environment.catalogue<number>(name);
          staged = new Map(last);
        } else {
          if (what === 'flush') device.flush();
          else if (what === 'commit') records.commit();
          else if (index % 2 === 0) await device.flushAsync();
          else void device.flushAsync();
          last = new Map(staged);
        }
        const sorted = [...staged].sort(([a], [b]) => (a < b ? -1 : 1));
        expect([...records.entries()]).toEqual(sorted);
        for (const known of ['a', 'b', 'c', 'd']) expect(records.get(known)).toBe(staged.get(known));
      }
      device.close();
      environment.deletePool(name);
    });
    await fc.assert(property, { seed: 20261120, numRuns: 25 });
  });
});

it('keeps its records through closing and opening the environment', async () => {
  catalogue.put('root', root);
  await pool.flushAsync();
  await environment.close();
  const again = LmdbEnvironment.open(temporary.path, { mode: 'read' });
  again.openPool('pool');
  expect(again.catalogue<Volume>('pool').get('root')).toEqual(root);
  await again.close();
});
