/** A store in a file: by its path, beside other openers, on a disk that fails. */
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DeviceBusyError, DeviceOpenError, MemoryMetadataDevice, ReadOnlyError } from '@pdata/device';
import { CommitError, NoSpaceError } from '@pdata/persistent-data';
import { btree, MetadataStore, NotAStoreError, record, schema, u64 } from '@pdata/persistent-data/store';
import { backupStore, compactStore, openStore } from '@pdata/persistent-data/store/node';
import { FaultyMetadataDevice } from '@pdata/testing';
import { afterAll, describe, expect, it } from 'vitest';

const root = mkdtempSync(join(tmpdir(), 'pdata-store-'));
afterAll(() => rmSync(root, { recursive: true }));
let nrPaths = 0;
const newPath = (): string => join(root, `store-${nrPaths++}`);

const numbers = schema({
  version: 1,
  collections: { numbers: btree({ key: u64, value: u64 }), notes: btree({ key: u64, value: record<string>() }) },
});

async function storeWith(path: string, nr: number): Promise<void> {
  const store = openStore(path, numbers);
  store.transaction(({ numbers: c }) => c.load(Array.from({ length: nr }, (_, i) => [i, i * 2] as const)));
  await store.close();
}

describe('a store in a file', () => {
  it('is made where there is nothing, grows on demand, and is found again', async () => {
    const path = newPath();
    await storeWith(path, 100_000);
    expect(statSync(path).size).toBeGreaterThan(1.6e6);
    const store = openStore(path, numbers, { create: false });
    expect([store.collections.numbers.size, store.collections.numbers.get(99_999)]).toEqual([100_000, 199_998]);
    await store.close();
  });

  it('is not made where none is to be made', () => {
    const path = newPath();
    expect(() => openStore(path, numbers, { create: false })).toThrow(DeviceOpenError);
    expect(() => openStore(path, numbers, { readOnly: true })).toThrow(DeviceOpenError);
    expect(existsSync(path)).toBe(false);
  });

  it('has one writer', async () => {
    const path = newPath();
    const store = openStore(path, numbers);
    expect(() => openStore(path, numbers)).toThrow(DeviceBusyError);
    expect(() => openStore(path, numbers, { readOnly: true })).toThrow(DeviceBusyError);
    await store.close();
    const readers = [openStore(path, numbers, { readOnly: true }), openStore(path, numbers, { readOnly: true })];
    expect(() => readers[0]?.transaction(({ numbers: c }) => c.set(1, 1))).toThrow(ReadOnlyError);
    expect((await readers[1]?.check())?.findings).toEqual([]);
    for (const reader of readers) await reader.close();
  });

  it('is left as it was when it is no store of ours', () => {
    const path = newPath();
    const foreign = Buffer.alloc(8192, 'x');
    writeFileSync(path, foreign);
    expect(() => openStore(path, numbers)).toThrow(NotAStoreError);
    expect(readFileSync(path).equals(foreign)).toBe(true);
  });

  it('is refused, and left as it was, when it was cut short', async () => {
    const path = newPath();
    await storeWith(path, 100_000);
    truncateSync(path, 400 * 4096);
    const cut = readFileSync(path);
    expect(() => openStore(path, numbers)).toThrow('cut short');
    expect(readFileSync(path).equals(cut)).toBe(true);
  });

  it('is copied whole while it is written to, block for block and densely', async () => {
    const path = newPath();
    await storeWith(path, 50_000);
    const store = openStore(path, numbers);
    store.snapshot('old');
    store.transaction(({ numbers: c, notes }) => {
      c.deleteRange({ from: 1000 });
      notes.set(1, 'long '.repeat(5000));
    });
    const copies = [newPath(), newPath()] as const;
    const done = [backupStore(store, copies[0]), compactStore(store, copies[1])];
    store.transaction(({ numbers: c }) => c.set(7, 1)); // after the copies were asked for
    await store.commit();
    await Promise.all(done);
    for (const copy of copies) {
      const copied = openStore(copy, numbers);
      expect((await copied.check()).findings).toEqual([]);
      expect(copied.collections.numbers.size).toBe(1000);
      expect(copied.collections.notes.get(1)?.length).toBe(25_000);
      using old = copied.view('old');
      expect([old.collections.numbers.size, old.collections.numbers.get(49_999)]).toEqual([50_000, 99_998]);
      await copied.close();
    }
    store.drop('old');
    await store.commit();
    const dense = newPath();
    await compactStore(store, dense);
    expect(statSync(dense).size).toBeLessThan(statSync(path).size / 3);
    await store.close();
    expect(readdirSync(root).filter((name) => name.endsWith('.partial'))).toEqual([]);
  });

  it('leaves no copy behind when the copying is stopped', async () => {
    const path = newPath();
    await storeWith(path, 300_000);
    const store = openStore(path, numbers);
    const stop = new AbortController();
    const copy = newPath();
    const done = compactStore(store, copy, { signal: stop.signal, onProgress: () => stop.abort(new Error('enough')) });
    await expect(done).rejects.toThrow('enough');
    expect([existsSync(copy), existsSync(`${copy}.partial`)]).toEqual([false, false]);
    await expect(backupStore(store, path)).rejects.toThrow(DeviceOpenError);
    await store.close();
  });
});

describe('a commit that fails', () => {
  const failing = async (operation: 'write' | 'flush', nth: number): Promise<void> => {
    const medium = new MemoryMetadataDevice({ nrBlocks: 400 });
    const device = new FaultyMetadataDevice(medium);
    const store = MetadataStore.open(device, numbers);
    store.transaction(({ numbers: c }) => c.set(1, 1));
    await store.commit();
    const old = store.collections.numbers;
    const view = store.view();
    device.inject({ operation, nth: device.nrDone(operation) + nth });
    store.transaction(({ numbers: c }) => c.set(1, 2));
    const [first, second] = [store.commit(), store.commit()];
    await expect(first).rejects.toThrow(CommitError);
    await expect(second).rejects.toThrow(CommitError);
    expect(store.readOnly).toBe(true);
    expect(store.collections.numbers.get(1)).toBe(1);
    expect(() => old.get(1)).toThrow(CommitError);
    expect(() => view.collections.numbers.get(1)).toThrow(CommitError);
    expect(() => store.transaction(() => {})).toThrow(ReadOnlyError);
    await store.close();
    device.heal();
    const again = MetadataStore.open(device, numbers);
    expect([1, 2]).toContain(again.collections.numbers.get(1));
    expect((await again.check()).findings).toEqual([]);
    again.transaction(({ numbers: c }) => c.set(2, 2));
    await again.close();
  };

  it.each([1, 2])('at flush %i shows the last one, read-only, and is whole when opened again', (nth) =>
    failing('flush', nth),
  );
  it.each([1, 2])('at write %i does so too', (nth) => failing('write', nth));
});

describe('a device that cannot grow', () => {
  it('refuses what does not fit, and goes on with what does', async () => {
    const device = new MemoryMetadataDevice({ nrBlocks: 200 });
    const store = MetadataStore.open(device, numbers, { maxBlocks: 200 });
    const big = 'x'.repeat(40_000);
    let nr = 0;
    expect(() => {
      for (; ; nr++) store.transaction(({ notes }) => notes.set(nr, big));
    }).toThrow(NoSpaceError);
    expect(nr).toBeGreaterThan(5);
    await store.commit();
    expect(store.collections.notes.size).toBe(nr);
    store.transaction(({ notes }) => notes.delete(0));
    store.transaction(({ notes }) => notes.delete(1));
    store.transaction(({ notes }) => notes.delete(2));
    await store.commit();
    store.transaction(({ notes }) => notes.set(0, big));
    expect((await store.check()).findings).toEqual([]);
    await store.close();
    expect(device.nrBlocks).toBe(200);
  });

  it('is told with as few blocks as may be, at whatever point they run out, and keeps the state of before', async () => {
    for (let nrBlocks = 128; nrBlocks < 200; nrBlocks += 5) {
      const store = MetadataStore.open(new MemoryMetadataDevice({ nrBlocks }), numbers, { maxBlocks: nrBlocks });
      store.transaction(({ numbers: c }) => c.set(0, 0));
      store.snapshot('s');
      let size = 1;
      try {
        for (let round = 0; round < 60; round++) {
          store.transaction(({ numbers: c, notes }) => {
            for (let key = 1; key < 200; key++) c.set(round * 1000 + key, key);
            notes.set(round, 'y'.repeat(3000));
          });
          size += 199;
          if (round % 3 === 0) await store.commit();
        }
      } catch (error) {
        expect(error).toBeInstanceOf(NoSpaceError);
      }
      expect(store.collections.numbers.size).toBe(size);
      expect((await store.check()).findings).toEqual([]);
      await store.close();
    }
  });
});
