import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openScratch } from '../../test/program.js';
import { CatalogueFile } from './catalogue-file.js';
import { keyOf, type VolumeRecord } from './records.js';

const record = (name: string): VolumeRecord => ({
  kind: 'volume',
  name,
  size: 512,
  created: 1,
  identity: 'a'.repeat(32),
});

describe('a catalogue file', () => {
  it('keeps what was committed, and nothing else', () => {
    using scratch = openScratch();
    const path = scratch.path('catalogue');
    const catalogue = CatalogueFile.create(path);
    catalogue.put(keyOf(1), record('one'));
    catalogue.commit();
    catalogue.put(keyOf(2), record('two'));
    expect(CatalogueFile.open(path).get(keyOf(2))).toBeUndefined();
    catalogue.rollback();
    expect([...catalogue.entries()]).toEqual([[keyOf(1), record('one')]]);
    expect(catalogue.remove(keyOf(1))).toBe(true);
    expect(catalogue.remove(keyOf(1))).toBe(false);
    expect([...CatalogueFile.open(path).entries()]).toEqual([[keyOf(1), record('one')]]);
    catalogue.commit();
    expect([...CatalogueFile.open(path).entries()]).toEqual([]);
  });

  it('refuses a file of which any byte is changed or missing', () => {
    using scratch = openScratch();
    const path = scratch.path('catalogue');
    const catalogue = CatalogueFile.create(path);
    catalogue.put(keyOf(1), record('one'));
    catalogue.commit();
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = changed[at]! ^ 0x10;
      writeFileSync(path, changed);
      expect(() => CatalogueFile.open(path), `byte ${at}`).toThrow(
        expect.objectContaining({ code: 'ERR_POOL_DAMAGED' }),
      );
      writeFileSync(path, bytes.subarray(0, at));
      expect(() => CatalogueFile.open(path), `cut at ${at}`).toThrow(
        expect.objectContaining({ code: 'ERR_POOL_DAMAGED' }),
      );
    }
  });

  it('says what cannot be written, and keeps what was', () => {
    using scratch = openScratch();
    const catalogue = CatalogueFile.create(scratch.path('no-such-directory', 'catalogue'));
    expect(() => catalogue.commit()).toThrow(/^cannot write the catalogue ".*": no such file or directory$/);
  });
});
