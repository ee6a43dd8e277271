/** The order of writes beside a raw image: wherever it is cut, a reopened pool is as before the change or as after it. */
import { describe, expect, it } from 'vitest';
import type { CatalogueStore } from './catalogue-file.js';
import { keyOf, type VolumeRecord } from './records.js';
import { VolumeCatalogue } from './volume-catalogue.js';

const record = (name: string, changes: Partial<VolumeRecord> = {}): VolumeRecord => ({
  kind: 'volume',
  name,
  size: 512,
  created: 1,
  identity: Buffer.from(name.padEnd(16)).toString('hex').slice(0, 32),
  ...changes,
});

class Cut extends Error {}

/** Metadata and catalogue as two media, which a crash may catch between two writes. */
class Media {
  readonly devices = new Set<number>();
  committed = new Map<string, VolumeRecord>();
  writesLeft = Number.POSITIVE_INFINITY;

  step(): void {
    if (this.writesLeft-- <= 0) throw new Cut('crashed');
  }

  store(): CatalogueStore {
    let staged = new Map(this.committed);
    return {
      get: (key) => staged.get(key),
      put: (key, value) => void staged.set(key, value as VolumeRecord),
      remove: (key) => staged.delete(key),
      entries: () => staged as Map<string, VolumeRecord>,
      commit: () => {
        this.step();
        this.committed = new Map(staged);
      },
      rollback: () => {
        staged = new Map(this.committed);
      },
    };
  }

  async open(): Promise<VolumeCatalogue> {
    const catalogue = new VolumeCatalogue(this.store(), { isOneTransaction: false });
    await catalogue.reconcile(this.devices, async (thinId) => record(`thin-${thinId}`));
    for (const { thinId } of catalogue.leftovers()) {
      await catalogue.change({ act: this.delete(thinId), remove: [thinId], order: 'records-last' });
    }
    return catalogue;
  }

  create = (thinId: number) => async () => {
    this.step();
    this.devices.add(thinId);
  };

  delete = (thinId: number) => async () => {
    this.step();
    this.devices.delete(thinId);
  };
}

const seen = (catalogue: VolumeCatalogue) => catalogue.visible().map(({ record: { name, size } }) => `${name} ${size}`);

describe('a change beside a raw image', () => {
  it.each([
    {
      what: 'adding a volume',
      after: ['disk 512', 'new 512'],
      change: (media: Media, catalogue: VolumeCatalogue) =>
        catalogue.change({ act: media.create(1), put: [{ thinId: 1, record: record('new') }] }),
    },
    {
      what: 'removing a volume',
      after: [],
      change: (media: Media, catalogue: VolumeCatalogue) =>
        catalogue.change({ act: media.delete(0), remove: [0], order: 'records-last' }),
    },
    {
      what: 'renaming a volume',
      after: ['new 512'],
      change: (_: Media, catalogue: VolumeCatalogue) =>
        catalogue.change({ put: [{ thinId: 0, record: record('new') }] }),
    },
    {
      what: 'reverting a volume',
      after: ['disk 1024'],
      change: async (media: Media, catalogue: VolumeCatalogue) => {
        await catalogue.replace(0, 1, record('disk', { size: 1024 }), media.create(1));
        await catalogue.change({ act: media.delete(0), remove: [0], order: 'records-last' });
      },
    },
  ])('is whole or nothing wherever $what is cut', async ({ after, change }) => {
    const before = ['disk 512'];
    const outcomes = new Set<string>();
    for (let nrWrites = 0; ; nrWrites++) {
      const media = new Media();
      media.devices.add(0);
      media.committed.set(keyOf(0), record('disk'));
      const catalogue = await media.open();
      media.writesLeft = nrWrites;
      const isCut = await change(media, catalogue).then(
        () => false,
        (error: unknown) => {
          if (!(error instanceof Cut)) throw error;
          return true;
        },
      );
      media.writesLeft = Number.POSITIVE_INFINITY;
      const reopened = await media.open();
      expect([before, after]).toContainEqual(seen(reopened));
      expect(media.devices.size).toBe(seen(reopened).length);
      expect(reopened.all().every(({ record: { replaces } }) => replaces === undefined)).toBe(true);
      outcomes.add(seen(reopened).join());
      if (!isCut) {
        expect(seen(reopened)).toEqual(after);
        break;
      }
    }
    expect(outcomes.size).toBe(2);
  });

  it('that the engine refuses is taken back', async () => {
    const media = new Media();
    const catalogue = await media.open();
    const refuse = async () => {
      throw new Error('no space');
    };
    await expect(catalogue.change({ act: refuse, put: [{ thinId: 1, record: record('new') }] })).rejects.toThrow(
      'no space',
    );
    expect(catalogue.all()).toEqual([]);
    expect(media.committed.size).toBe(0);
  });
});

describe('opening', () => {
  it('names devices that have no record, and drops records that have no device', async () => {
    const media = new Media();
    for (const thinId of [0, 3, 7]) media.devices.add(thinId);
    media.committed.set(keyOf(3), record('three'));
    media.committed.set(keyOf(5), record('gone'));
    expect(seen(await media.open())).toEqual(['thin-0 512', 'thin-7 512', 'three 512']);
    expect(media.committed.has(keyOf(5))).toBe(false);
  });

  it('gives a second device of one name another name', async () => {
    const media = new Media();
    for (const thinId of [0, 1, 2]) {
      media.devices.add(thinId);
      media.committed.set(keyOf(thinId), record(thinId === 2 ? 'disk-1' : 'disk'));
    }
    const catalogue = await media.open();
    expect(new Set(seen(catalogue)).size).toBe(3);
    expect(catalogue.find('disk').thinId).toBe(0);
  });

  it('takes a record that makes no sense for none', async () => {
    const media = new Media();
    for (const [thinId, wrong] of [
      { ...record('x'), size: -1 },
      { ...record('x'), size: 100 },
      { ...record('x'), kind: 'other' },
      { ...record('x'), identity: 'short' },
      { ...record('x'), name: 7 },
      'text',
      null,
    ].entries()) {
      media.devices.add(thinId);
      media.committed.set(keyOf(thinId), wrong as VolumeRecord);
    }
    expect(seen(await media.open())).toEqual(Array.from({ length: 7 }, (_, thinId) => `thin-${thinId} 512`));
  });
});
