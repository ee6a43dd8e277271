/**
 * A pool's metadata under the crash explorer: every operation there is, each commit and each refusal, on a device that is nearly
 * too small; the model is a plain map of each device's mappings.
 */
import { NoSpaceError } from '@pdata/persistent-data';
import type { CrashSubject } from '@pdata/testing';
import { checkThin, ThinMetadata } from '@pdata/thin';

export type ThinOperation =
  | { readonly op: 'write' | 'discard'; readonly thinId: number; readonly begin: number; readonly length: number }
  | { readonly op: 'snapshot'; readonly thinId: number; readonly originId: number }
  | { readonly op: 'create' | 'delete'; readonly thinId: number }
  | { readonly op: 'reserve' | 'release' | 'commit' | 'abort' | 'growMetadata' | 'growData' | 'stamp' };

interface ModelDevice {
  readonly created: number;
  readonly snapshotted: number;
  /** Virtual block → data block and time. */
  readonly mappings: ReadonlyMap<number, readonly [dataBlock: number, time: number]>;
}

interface Pool {
  readonly transactionId: number;
  readonly time: number;
  readonly nrDataBlocks: number;
  readonly nrMetadataBlocks: number;
  readonly isHeld: boolean;
  readonly devices: ReadonlyMap<number, ModelDevice>;
}

const DATA_BLOCK_SIZE = 128;
/** Few, so that freed blocks are soon wanted again, and often none is left. */
const NR_BLOCKS = 56;
const NR_DATA_BLOCKS = 1200;
const MOST_THINS = 5;

const MEDIA = { metadata: { nrBlocks: NR_BLOCKS } } as const;

export const subject: CrashSubject<ThinOperation, typeof MEDIA> = {
  name: 'thin-metadata',
  media: MEDIA,
  operations,
  prepare({ metadata }) {
    const options = { dataBlockSize: DATA_BLOCK_SIZE, nrDataBlocks: NR_DATA_BLOCKS, cacheBlocks: NR_BLOCKS };
    ThinMetadata.format(metadata, options).close();
  },
  run(list, { devices: { metadata }, begins, promises }) {
    const run = new ThinRun(ThinMetadata.open(metadata, { cacheBlocks: list.length % 2 === 0 ? 32 : NR_BLOCKS }));
    begins(run.state);
    promises(run.state);
    for (const operation of list) {
      run.apply(operation, (commit) => {
        const { state } = run;
        begins(state);
        commit();
        promises(state);
      });
    }
  },
  recover({ metadata: device }, { thorough }) {
    for (const { message } of checkThin(device)) throw new Error(`the check says: ${message}`);
    const metadata = ThinMetadata.open(device, { cacheBlocks: NR_BLOCKS });
    const state = inWords(shownBy(metadata));
    if (thorough) workOn(metadata);
    metadata.close();
    for (const { message } of thorough ? checkThin(device) : [])
      throw new Error(`after more work the check says: ${message}`);
    return state;
  },
};

function operations(random: () => number): ThinOperation[] {
  const pick = (below: number): number => Math.floor(random() * below);
  const rare = ['reserve', 'release', 'abort', 'growMetadata', 'growData', 'stamp'] as const;
  const rest = Array.from({ length: 16 + pick(16) }, (): ThinOperation => {
    const dice = random();
    const thinId = pick(MOST_THINS);
    const range = { thinId, begin: 40 * pick(12), length: 1 + pick(dice < 0.1 ? 260 : 30) };
    if (dice < 0.3) return { op: 'write', ...range };
    if (dice < 0.4) return { op: 'discard', ...range };
    if (dice < 0.5) return { op: 'snapshot', thinId, originId: pick(MOST_THINS) };
    if (dice < 0.56) return { op: 'create', thinId };
    if (dice < 0.63) return { op: 'delete', thinId };
    if (dice < 0.75) return { op: rare[pick(rare.length)] as (typeof rare)[number] };
    return { op: 'commit' };
  });
  return [{ op: 'create', thinId: 0 }, { op: 'write', thinId: 0, begin: 0, length: 100 }, ...rest];
}

/** The metadata and its model, changed together. */
export class ThinRun {
  readonly metadata: ThinMetadata;
  #pool: Pool;
  #committed: Pool;

  constructor(metadata: ThinMetadata) {
    this.metadata = metadata;
    const { nrMetadataBlocks, nrDataBlocks } = metadata;
    this.#pool = { transactionId: 0, time: 0, nrDataBlocks, nrMetadataBlocks, isHeld: false, devices: new Map() };
    this.#committed = this.#pool;
  }

  get state(): string {
    return inWords(this.#pool);
  }

  apply(operation: ThinOperation, committing: (commit: () => void) => void): void {
    const { metadata } = this;
    try {
      if (operation.op === 'commit') committing(() => void metadata.commit());
      else if (operation.op === 'reserve') {
        if (this.#pool.isHeld) return;
        // It commits what there is, then holds that.
        committing(() => void metadata.reserveMetadataSnapshot());
        this.#committed = this.#pool;
        this.#pool = { ...this.#pool, isHeld: true };
        return;
      } else if (operation.op === 'abort') this.#abort();
      else this.#change(operation);
      if (operation.op === 'commit') this.#committed = this.#pool;
    } catch (error) {
      if (!(error instanceof NoSpaceError)) throw error;
      this.#abort();
    }
  }

  #abort(): void {
    this.metadata.abort();
    this.#pool = this.#committed;
  }

  #change(operation: Exclude<ThinOperation, { op: 'reserve' | 'commit' | 'abort' }>): void {
    const { metadata } = this;
    const pool = this.#pool;
    switch (operation.op) {
      case 'create':
        if (pool.devices.has(operation.thinId)) return;
        metadata.createThin(operation.thinId);
        this.#put(operation.thinId, { created: pool.time, snapshotted: pool.time, mappings: new Map() });
        return;
      case 'delete':
        if (!pool.devices.has(operation.thinId)) return;
        metadata.deleteDevice(operation.thinId);
        this.#pool = { ...pool, devices: new Map([...pool.devices].filter(([id]) => id !== operation.thinId)) };
        return;
      case 'snapshot':
        this.#snapshot(operation.thinId, operation.originId);
        return;
      case 'write':
        this.#write(operation);
        return;
      case 'discard': {
        const device = pool.devices.get(operation.thinId);
        if (device === undefined) return;
        const end = operation.begin + operation.length;
        metadata.removeRange(operation.thinId, operation.begin, end);
        const left = [...device.mappings].filter(([block]) => block < operation.begin || block >= end);
        this.#put(operation.thinId, { ...device, mappings: new Map(left) });
        return;
      }
      case 'release':
        if (!pool.isHeld) return;
        metadata.releaseMetadataSnapshot();
        this.#pool = { ...pool, isHeld: false };
        return;
      case 'growMetadata':
        if (pool.nrMetadataBlocks > 2 * NR_BLOCKS) return;
        metadata.resizeMetadata(pool.nrMetadataBlocks + 16);
        this.#pool = { ...pool, nrMetadataBlocks: pool.nrMetadataBlocks + 16 };
        return;
      case 'growData':
        metadata.resizeData(pool.nrDataBlocks + 100);
        this.#pool = { ...pool, nrDataBlocks: pool.nrDataBlocks + 100 };
        return;
      case 'stamp':
        metadata.setTransactionId(BigInt(pool.transactionId), BigInt(pool.transactionId + 1));
        this.#pool = { ...pool, transactionId: pool.transactionId + 1 };
    }
  }

  #snapshot(thinId: number, originId: number): void {
    const pool = this.#pool;
    const origin = pool.devices.get(originId);
    if (origin === undefined || pool.devices.has(thinId)) return;
    this.metadata.createSnapshot(thinId, originId);
    const time = pool.time + 1;
    this.#pool = { ...pool, time };
    this.#put(originId, { ...origin, snapshotted: time });
    this.#put(thinId, { created: time, snapshotted: time, mappings: origin.mappings });
  }

  #write({ thinId, begin, length }: { thinId: number; begin: number; length: number }): void {
    const { metadata } = this;
    if (!this.#pool.devices.has(thinId)) return;
    for (let block = begin; block < begin + length; block++) {
      const device = this.#pool.devices.get(thinId) as ModelDevice;
      const mapping = device.mappings.get(block);
      const isShared = mapping !== undefined && mapping[1] < device.snapshotted;
      const found = metadata.find(thinId, block);
      if ((found?.shared ?? false) !== isShared || found?.dataBlock !== mapping?.[0])
        throw new Error(`block ${block} of ${thinId} is shown as ${JSON.stringify(found)}, expected ${mapping}`);
      if (mapping !== undefined && !isShared) continue;
      const dataBlock = metadata.allocateDataBlock();
      metadata.insert(thinId, block, dataBlock);
      this.#put(thinId, { ...device, mappings: new Map(device.mappings).set(block, [dataBlock, this.#pool.time]) });
    }
  }

  #put(thinId: number, device: ModelDevice): void {
    this.#pool = { ...this.#pool, devices: new Map(this.#pool.devices).set(thinId, device) };
  }
}

export function inWords({ devices, ...pool }: Pool): string {
  const lines = [...devices]
    .sort(([a], [b]) => a - b)
    .map(([thinId, { created, snapshotted, mappings }]) => {
      const sorted = [...mappings].sort(([a], [b]) => a - b);
      const shown = sorted.map(([block, [to, time]]) => `${block}:${to}${time < snapshotted ? ' shared' : ''}`);
      return `${thinId} (${created}, ${snapshotted}): ${shown.join(', ')}`;
    });
  const { transactionId, time, nrDataBlocks, nrMetadataBlocks, isHeld } = pool;
  return `${transactionId} ${time} ${nrDataBlocks} ${nrMetadataBlocks} ${isHeld}; ${lines.join('; ')}`;
}

/** The times of mappings are not told, only whether they are older than the last snapshot: what is not is as new as that. */
export function shownBy(metadata: ThinMetadata): Pool {
  const devices = new Map<number, ModelDevice>();
  for (const { thinId, details } of metadata.devices()) {
    const mappings = new Map<number, readonly [number, number]>();
    for (const { begin, end, dataBegin, shared } of metadata.mappedRanges(thinId))
      for (let i = 0; begin + i < end; i++)
        mappings.set(begin + i, [dataBegin + i, shared ? -1 : details.snapshottedTime]);
    devices.set(thinId, { created: details.creationTime, snapshotted: details.snapshottedTime, mappings });
  }
  const { transactionId, time, nrDataBlocks, nrMetadataBlocks, heldRoot } = metadata;
  return {
    transactionId: Number(transactionId),
    time,
    nrDataBlocks,
    nrMetadataBlocks,
    isHeld: heldRoot !== undefined,
    devices,
  };
}

/** Goes on from what a crash left. */
function workOn(metadata: ThinMetadata): void {
  try {
    for (const { thinId } of [...metadata.devices()].slice(0, 2)) {
      metadata.removeRange(thinId, 20, 60);
      for (let block = 30; block < 300; block += 40) {
        const mapping = metadata.find(thinId, block);
        if (mapping === undefined || mapping.shared) metadata.insert(thinId, block, metadata.allocateDataBlock());
      }
    }
    const [first] = metadata.devices();
    if (first !== undefined) metadata.deleteDevice(first.thinId);
  } catch (error) {
    if (!(error instanceof NoSpaceError)) throw error;
    metadata.abort();
  }
  metadata.commit();
}
