/**
 * The volumes of a pool by name, kept in step with the thin devices of its metadata.
 *
 * With LMDB, records and metadata are one transaction: what `alongside` stages is committed with the change or not at all. With a
 * catalogue file (`--raw`) they are two writes, so their order must make a crash between them harmless:
 *
 *   a device is added      record first: a record without a device is dropped when the pool is opened
 *   a device is removed    device first: the same
 *   a device replaces one  the new record, which says whom it replaces, first; it counts as soon as its device exists
 *
 * So with either, a crash leaves the state before a change or the one after it. A device without a record (a kernel's pool, a lost
 * catalogue) gets the name `thin-ID`.
 */
import type { Alongside } from '@pdata/thin';
import { PoolError, quoted } from '../words/pool-error.js';
import { similarName } from '../words/similar-name.js';
import type { CatalogueStore } from './catalogue-file.js';
import { keyOf, problemOfRecord, thinIdOf, type VolumeRecord } from './records.js';

export interface CataloguedVolume {
  readonly thinId: number;
  readonly record: VolumeRecord;
}

/** What happens in one step: a change of the metadata and the records that go with it. */
export interface CatalogueChange {
  /** Changes the metadata; missing when only records change. */
  readonly act?: (how: Alongside) => Promise<void>;
  readonly put?: readonly CataloguedVolume[];
  readonly remove?: readonly number[];
  /** For a catalogue that is not in the metadata's transaction: whether records are written before `act` or after it. */
  readonly order?: 'records-first' | 'records-last';
}

export class VolumeCatalogue {
  readonly #store: CatalogueStore;
  readonly #isOneTransaction: boolean;
  readonly #records = new Map<number, VolumeRecord>();

  constructor(store: CatalogueStore, options: { readonly isOneTransaction: boolean }) {
    this.#store = store;
    this.#isOneTransaction = options.isOneTransaction;
    for (const [key, record] of store.entries()) {
      const thinId = thinIdOf(key);
      if (thinId !== undefined && problemOfRecord(record) === undefined) {
        this.#records.set(thinId, record as VolumeRecord);
      }
    }
  }

  /** Volumes and snapshots, in order of names. */
  visible(): CataloguedVolume[] {
    return this.all()
      .filter(({ record }) => isVisible(record))
      .sort((a, b) => (a.record.name < b.record.name ? -1 : 1));
  }

  all(): CataloguedVolume[] {
    return [...this.#records].map(([thinId, record]) => ({ thinId, record }));
  }

  get(thinId: number): VolumeRecord | undefined {
    return this.#records.get(thinId);
  }

  /** @throws {@link PoolError} `ERR_NO_SUCH_VOLUME`, with the name that was probably meant */
  find(name: string): CataloguedVolume {
    const kept = name.normalize('NFC');
    const found = this.all().find(({ record }) => isVisible(record) && record.name === kept);
    if (found !== undefined) return found;
    const meant = similarName(
      kept,
      this.visible().map(({ record }) => record.name),
    );
    const hint = meant === undefined ? '' : `; did you mean ${quoted(meant)}?`;
    throw new PoolError('ERR_NO_SUCH_VOLUME', `the pool has no volume or snapshot ${quoted(name)}${hint}`);
  }

  /** The snapshot or volume with this identity. */
  withIdentity(identity: string): CataloguedVolume | undefined {
    return this.all().find(({ record }) => isVisible(record) && record.identity === identity);
  }

  receiving(): CataloguedVolume[] {
    return this.all().filter(({ record }) => record.kind === 'receiving');
  }

  leftovers(): CataloguedVolume[] {
    return this.all().filter(({ record }) => record.kind === 'leftover');
  }

  /** @throws {@link PoolError} `ERR_NAME_TAKEN` */
  refuseTaken(name: string): void {
    const taken = this.all().find(({ record }) => record.kind !== 'leftover' && record.name === name)?.record;
    if (taken === undefined) return;
    const what = taken.kind === 'receiving' ? 'a snapshot that is being received' : `a ${taken.kind}`;
    throw new PoolError('ERR_NAME_TAKEN', `the name ${quoted(name)} is taken by ${what}; choose another one`);
  }

  /** The lowest number that no device has. */
  freeThinId(): number {
    for (let thinId = 0; ; thinId++) if (!this.#records.has(thinId)) return thinId;
  }

  /**
   * One change, durable when it resolves. When it fails, records and metadata are as before.
   * @throws what `act` or the catalogue's commit throws
   */
  async change({ act, put = [], remove = [], order = 'records-first' }: CatalogueChange): Promise<void> {
    const stage = (): void => {
      for (const { thinId, record } of put) this.#store.put(keyOf(thinId), record);
      for (const thinId of remove) this.#store.remove(keyOf(thinId));
    };
    if (act === undefined) this.#commitAlone(stage);
    else if (this.#isOneTransaction) await this.#together(act, stage);
    else if (order === 'records-first') {
      this.#commitAlone(stage);
      try {
        await act({});
      } catch (error) {
        this.#undo(put, remove);
        throw error;
      }
    } else {
      await act({});
      this.#commitAlone(stage);
    }
    for (const { thinId, record } of put) this.#records.set(thinId, record);
    for (const thinId of remove) this.#records.delete(thinId);
  }

  /**
   * Device `from.thinId` takes the place of device `old`: under its name, with `record`. `old` stays behind as a leftover.
   */
  async replace(
    old: number,
    thinId: number,
    record: VolumeRecord,
    act: (how: Alongside) => Promise<void>,
  ): Promise<void> {
    const former = this.#records.get(old)!;
    const leftover: VolumeRecord = { ...former, kind: 'leftover' };
    const settled = [
      { thinId, record },
      { thinId: old, record: leftover },
    ];
    if (this.#isOneTransaction) return await this.change({ act, put: settled });
    await this.change({ act, put: [{ thinId, record: { ...record, replaces: old } }] });
    await this.change({ put: settled });
  }

  /** Forgets what is staged: after the metadata's transaction was aborted. */
  rollback(): void {
    this.#store.rollback();
  }

  /**
   * Brings records and devices together, as they are found when a pool is opened. One commit, if anything has to change.
   * @param describe the record of a device that has none
   */
  async reconcile(thinIds: Iterable<number>, describe: (thinId: number) => Promise<VolumeRecord>): Promise<void> {
    const devices = new Set(thinIds);
    const put = new Map<number, VolumeRecord>();
    const remove: number[] = [];
    for (const [key] of this.#store.entries()) {
      const thinId = thinIdOf(key);
      if (thinId !== undefined && !devices.has(thinId)) remove.push(thinId);
    }
    for (const thinId of devices) {
      const record = this.#records.get(thinId);
      if (record === undefined) put.set(thinId, await describe(thinId));
      else if (record.replaces !== undefined) {
        const { replaces, ...rest } = record;
        const former = this.#records.get(replaces);
        if (former !== undefined && devices.has(replaces)) put.set(replaces, { ...former, kind: 'leftover' });
        put.set(thinId, rest);
      }
    }
    this.#giveUniqueNames(devices, put, remove);
    if (put.size + remove.length > 0) {
      await this.change({ put: [...put].map(([thinId, record]) => ({ thinId, record })), remove });
    }
  }

  /** Two devices with one name can only come from a damaged catalogue; the later one gets its number appended. */
  #giveUniqueNames(devices: Set<number>, put: Map<number, VolumeRecord>, removed: readonly number[]): void {
    const taken = new Set<string>();
    for (const thinId of [...devices].sort((a, b) => a - b)) {
      const record = put.get(thinId) ?? this.#records.get(thinId);
      if (record === undefined || record.kind === 'leftover' || removed.includes(thinId)) continue;
      let { name } = record;
      for (let nr = 0; taken.has(name); nr++)
        name = nr === 0 ? `${record.name}-${thinId}` : `${record.name}-${thinId}-${nr}`;
      taken.add(name);
      if (name !== record.name) put.set(thinId, { ...record, name });
    }
  }

  #commitAlone(stage: () => void): void {
    try {
      stage();
      this.#store.commit();
    } catch (error) {
      this.#store.rollback();
      throw error;
    }
  }

  async #together(act: (how: Alongside) => Promise<void>, alongside: () => void): Promise<void> {
    try {
      await act({ alongside });
    } catch (error) {
      this.#store.rollback();
      throw error;
    }
  }

  #undo(put: readonly CataloguedVolume[], remove: readonly number[]): void {
    this.#commitAlone(() => {
      for (const thinId of [...put.map((volume) => volume.thinId), ...remove]) {
        const record = this.#records.get(thinId);
        if (record === undefined) this.#store.remove(keyOf(thinId));
        else this.#store.put(keyOf(thinId), record);
      }
    });
  }
}

const isVisible = ({ kind }: VolumeRecord): boolean => kind === 'volume' || kind === 'snapshot';
