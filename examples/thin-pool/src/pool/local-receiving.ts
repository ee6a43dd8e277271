/** Volumes that are being received into a pool that this process has open. Their progress is in the catalogue. */
import type { DataDevice } from '@pdata/device';
import type { VolumeRecord } from '../catalogue/records.js';
import type { CataloguedVolume } from '../catalogue/volume-catalogue.js';
import type { Receiving, ReceivingReport, ReceivingRequest, StreamProgress, VolumeReport } from '../pool-host.js';
import { checkName } from '../words/names.js';
import { PoolError, quoted } from '../words/pool-error.js';
import { checkVolumeSize } from '../words/sizes.js';
import { type RemovalContext, removeVolume } from './volume-removal.js';

/** From an import's begin to its first write. */
const IMPORT_MAY_PAUSE_MS = 60_000;

/** What it needs of the host. */
export interface ReceivingContext extends RemovalContext {
  inTurn<T>(change: () => Promise<T>): Promise<T>;
  report(volume: CataloguedVolume): Promise<VolumeReport>;
  tell(message: string, volume: string): void;
}

export class LocalReceiving implements Receiving {
  readonly #context: ReceivingContext;

  constructor(context: ReceivingContext) {
    this.#context = context;
  }

  async list(): Promise<ReceivingReport[]> {
    return this.#context.catalogue
      .receiving()
      .map(({ record }) => record)
      .filter(({ receiving }) => receiving?.becomes === undefined)
      .map(reportOf);
  }

  begin(request: ReceivingRequest): Promise<ReceivingReport> {
    const { pool, catalogue, inTurn } = this.#context;
    const name = checkName(request.name);
    const size = checkVolumeSize(request.size);
    return inTurn(async () => {
      await this.removeDeadImports(Date.now() - IMPORT_MAY_PAUSE_MS);
      const same = catalogue.withIdentity(request.identity);
      if (same !== undefined) {
        throw new PoolError(
          'ERR_ALREADY_HERE',
          `this snapshot is in the pool already, as ${quoted(same.record.name)}: nothing to receive`,
        );
      }
      const pending = catalogue.receiving().find(({ record }) => record.identity === request.identity);
      if (pending !== undefined) {
        throw new PoolError('ERR_RESUME', `${quoted(pending.record.name)} is being received already`);
      }
      catalogue.refuseTaken(name);
      const base = request.base === undefined ? undefined : this.#findBase(request.base);
      const thinId = catalogue.freeThinId();
      const record: VolumeRecord = {
        kind: 'receiving',
        name,
        size,
        created: request.created,
        identity: request.identity,
        ...(request.base === undefined ? {} : { origin: request.base.identity }),
        receiving: {
          ...(request.base === undefined ? {} : { base: request.base }),
          ...(request.becomes === 'volume' ? { becomes: request.becomes } : {}),
          offset: 0,
          checksum: 0,
          position: 0,
        },
      };
      await catalogue.change({
        act: (how) =>
          base === undefined ? pool.createThin(thinId, how) : pool.createSnapshot(thinId, base.thinId, how),
        put: [{ thinId, record }],
      });
      if (base !== undefined && base.record.size > size) await this.#cutOff(thinId, size, base.record.size);
      return reportOf(record);
    });
  }

  open({ identity }: { readonly identity: string }): Promise<DataDevice> {
    const { pool, open, inTurn } = this.#context;
    return inTurn(async () => {
      const { thinId, record } = this.#find(identity);
      if (open.nrUsers(thinId) > 0) {
        throw new PoolError('ERR_IN_USE', `${quoted(record.name)} is being received by another command just now`);
      }
      const name = `incoming snapshot ${quoted(record.name)}`;
      return open.add(thinId, await pool.openVolume(thinId, { size: record.size, name }), name);
    });
  }

  progress({ identity, offset, checksum, position }: { readonly identity: string } & StreamProgress): Promise<void> {
    const { catalogue, inTurn } = this.#context;
    return inTurn(async () => {
      const { thinId, record } = this.#find(identity);
      const receiving = { ...record.receiving, offset, checksum, position };
      await catalogue.change({ put: [{ thinId, record: { ...record, receiving } }] });
    });
  }

  finish({ identity }: { readonly identity: string }): Promise<VolumeReport> {
    const { pool, catalogue, inTurn, report, tell } = this.#context;
    return inTurn(async () => {
      const { thinId, record } = this.#findUnused(identity);
      await pool.commit();
      const { receiving: _, ...rest } = record;
      const kind: 'volume' | 'snapshot' = record.receiving?.becomes ?? 'snapshot';
      const complete = { thinId, record: { ...rest, kind } };
      await catalogue.change({ put: [complete] });
      const what = kind === 'volume' ? 'Volume' : 'Snapshot';
      tell(`${what} ${quoted(record.name)} ${kind === 'volume' ? 'imported' : 'received'}.`, record.name);
      return report(complete);
    });
  }

  abandon({ identity }: { readonly identity: string }): Promise<void> {
    return this.#context.inTurn(() => this.#remove(this.#findUnused(identity).thinId));
  }

  /** What is left of imports that began before `began` and that nobody works on: nobody will. */
  async removeDeadImports(began: number): Promise<void> {
    const { catalogue, open } = this.#context;
    for (const { thinId, record } of catalogue.receiving()) {
      const isDead = record.receiving?.becomes === 'volume' && record.created <= began && open.nrUsers(thinId) === 0;
      if (isDead) await this.#remove(thinId);
    }
  }

  async #remove(thinId: number): Promise<void> {
    await removeVolume(this.#context, thinId);
  }

  #findUnused(identity: string): CataloguedVolume {
    const found = this.#find(identity);
    if (this.#context.open.nrUsers(found.thinId) === 0) return found;
    throw new PoolError('ERR_IN_USE', `${quoted(found.record.name)} is still being received`);
  }

  #find(identity: string): CataloguedVolume {
    const found = this.#context.catalogue.receiving().find(({ record }) => record.identity === identity);
    if (found !== undefined) return found;
    throw new PoolError('ERR_RESUME', 'nothing of this stream has been received: begin with the whole of it');
  }

  #findBase({ identity, name }: { readonly identity: string; readonly name: string }): CataloguedVolume {
    const { catalogue } = this.#context;
    const base = catalogue.withIdentity(identity);
    if (base?.record.kind === 'snapshot') return base;
    const namesake = catalogue.visible().find(({ record }) => record.name === name);
    const why =
      namesake === undefined
        ? 'which this pool does not have'
        : `and this pool's ${quoted(name)} is another one, although it has the same name`;
    throw new PoolError(
      'ERR_WRONG_BASE',
      `the stream holds only what changed since the snapshot ${quoted(name)}, ${why}: send that one first, or a full stream`,
    );
  }

  /** What the base has behind the end of the snapshot must not come back when somebody makes a larger volume of it. */
  async #cutOff(thinId: number, size: number, end: number): Promise<void> {
    const volume = await this.#context.pool.openVolume(thinId, { size: end });
    try {
      await volume.writeZeroes(size, end - size);
    } finally {
      await volume.close();
    }
  }
}

function reportOf({ name, identity, size, created, receiving }: VolumeRecord): ReceivingReport {
  const { base, offset, checksum, position } = receiving ?? { base: undefined, offset: 0, checksum: 0, position: 0 };
  return { name, identity, size, created, ...(base === undefined ? {} : { base }), offset, checksum, position };
}
