/**
 * A pool for tests of the page: no blocks, only what its host tells of them. Volumes hold sets of block numbers; a block that two of
 * them hold at the same place is shared. Refuses what a real pool refuses (a name taken, a volume in use, a size of nothing) with the
 * same kind of error, so that the page's way with refusals is tested.
 */

import type { CellRow, IoCounters, PoolEvent, PoolReport, SharingMap, VolumeReport } from '../src/pool-host.js';
import type { PageHost } from '../src/web/page-host.js';
import { PoolError } from '../src/words/pool-error.js';

const BLOCK_SIZE = 64 * 1024;

interface FakeVolume {
  report: Omit<VolumeReport, 'mapped' | 'io'>;
  /** By the block's place in the volume: which data block. */
  blocks: Map<number, number>;
  io: { -readonly [Counter in keyof IoCounters]: number };
}

export class FakePoolHost implements PageHost {
  static readonly DIRECTORY = '/var/tmp/demo';
  readonly calls: string[] = [];
  /** Laid over what `status` tells. */
  readonly report: Partial<PoolReport> = {};
  /** While set, everything fails with it. */
  broken: Error | undefined;
  readonly #volumes = new Map<string, FakeVolume>();
  readonly #listeners = new Set<(event: PoolEvent) => void>();
  #dataSize: number;
  #nrDataBlocks = 0;
  #nrThins = 0;
  #now = Date.UTC(2026, 10, 20, 12);

  constructor({ dataSize = 2 ** 30 }: { dataSize?: number } = {}) {
    this.#dataSize = dataSize;
  }

  get nrListeners(): number {
    return this.#listeners.size;
  }

  async status(): Promise<PoolReport> {
    if (this.broken !== undefined) throw this.broken;
    const volumes = await this.volumes();
    const used = new Set([...this.#volumes.values()].flatMap(({ blocks }) => [...blocks.values()])).size;
    const sum = (of: (volume: VolumeReport) => number): number =>
      volumes.reduce((total, volume) => total + of(volume), 0);
    return {
      directory: FakePoolHost.DIRECTORY,
      format: 'lmdb',
      mode: 'write',
      blockSize: BLOCK_SIZE,
      data: { size: this.#dataSize, used: used * BLOCK_SIZE, lowWater: this.#dataSize / 8 },
      metadata: { size: 16 * 2 ** 20, used: 2 ** 20 + 4096 * volumes.length, reserve: 2 ** 20 },
      nrVolumes: volumes.filter(({ kind }) => kind === 'volume').length,
      nrSnapshots: volumes.filter(({ kind }) => kind === 'snapshot').length,
      promised: sum(({ size }) => size),
      mapped: sum(({ mapped }) => mapped),
      needsCheck: false,
      nrCommits: this.calls.length,
      statusLine: '0 2097152 thin-pool 0 257/4096 100/16384 - rw discard_passdown queue_if_no_space - 1024',
      ...this.report,
    };
  }

  async volumes(): Promise<VolumeReport[]> {
    if (this.broken !== undefined) throw this.broken;
    return [...this.#volumes.values()].map(reportOf).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async createVolume({ name, size }: { name: string; size: number }): Promise<VolumeReport> {
    this.calls.push(`create ${name} ${size}`);
    const made = this.#add(name, 'volume', size);
    this.emit({ kind: 'volume', message: `volume "${name}" was created`, volume: name });
    return reportOf(made);
  }

  async snapshot(request: { origin: string; name: string; writable?: boolean }): Promise<VolumeReport> {
    this.calls.push(`snapshot ${request.origin} ${request.name}${request.writable === true ? ' writable' : ''}`);
    const origin = this.#get(request.origin);
    const made = this.#add(request.name, request.writable === true ? 'volume' : 'snapshot', origin.report.size);
    made.report = { ...made.report, origin: request.origin };
    made.blocks = new Map(origin.blocks);
    this.emit({ kind: 'volume', message: `"${request.name}" was made from "${request.origin}"`, volume: request.name });
    return reportOf(made);
  }

  async renameVolume({ name, to }: { name: string; to: string }): Promise<VolumeReport> {
    this.calls.push(`rename ${name} ${to}`);
    const volume = this.#get(name);
    this.#refuseTaken(to);
    this.#volumes.delete(name);
    volume.report = { ...volume.report, name: to };
    this.#volumes.set(to, volume);
    for (const other of this.#volumes.values()) {
      if (other.report.origin === name) other.report = { ...other.report, origin: to };
    }
    this.emit({ kind: 'volume', message: `"${name}" is called "${to}" now`, volume: to });
    return reportOf(volume);
  }

  async resizeVolume(request: { name: string; size: number; shrink?: boolean }): Promise<VolumeReport> {
    this.calls.push(`resize ${request.name} ${request.size}${request.shrink === true ? ' shrink' : ''}`);
    const volume = this.#get(request.name);
    if (request.size < volume.report.size && request.shrink !== true) {
      throw new PoolError(
        'ERR_SIZE',
        `"${request.name}" would shrink, and lose what lies behind its new end; say that it may`,
      );
    }
    volume.report = { ...volume.report, size: request.size };
    return reportOf(volume);
  }

  async removeVolume({ name }: { name: string }): Promise<void> {
    this.calls.push(`remove ${name}`);
    const volume = this.#get(name);
    if (volume.report.users > 0)
      throw new PoolError('ERR_IN_USE', `"${name}" is in use by ${volume.report.users} clients`);
    this.#volumes.delete(name);
    this.emit({ kind: 'volume', message: `"${name}" was removed`, volume: name });
  }

  async revertVolume({ name, snapshot }: { name: string; snapshot: string }): Promise<VolumeReport> {
    this.calls.push(`revert ${name} ${snapshot}`);
    const volume = this.#get(name);
    volume.blocks = new Map(this.#get(snapshot).blocks);
    volume.report = { ...volume.report, origin: snapshot };
    this.emit({ kind: 'volume', message: `"${name}" was reverted to "${snapshot}"`, volume: name });
    return reportOf(volume);
  }

  async growPool({ size }: { size: number }): Promise<PoolReport> {
    this.calls.push(`grow ${size}`);
    if (size < this.#dataSize) throw new PoolError('ERR_SIZE', 'the pool cannot be made smaller');
    this.#dataSize = size;
    return await this.status();
  }

  async sharing({ cells = 512 }: { cells?: number } = {}): Promise<SharingMap> {
    const volumes = [...this.#volumes.values()].sort((a, b) => (a.report.name < b.report.name ? -1 : 1));
    const nrUsers = new Map<number, number>();
    for (const { blocks } of volumes) {
      for (const block of blocks.values()) nrUsers.set(block, (nrUsers.get(block) ?? 0) + 1);
    }
    const isShared = (block: number): boolean => (nrUsers.get(block) ?? 0) > 1;
    const identity = new Map([...nrUsers.keys()].map((block) => [block, block]));
    return {
      pool: cellsOf(identity, this.#dataSize, cells, isShared),
      volumes: volumes.map(({ report, blocks }) => ({
        name: report.name,
        exclusive: [...blocks.values()].filter((block) => !isShared(block)).length * BLOCK_SIZE,
        ...cellsOf(blocks, report.size, cells, isShared),
      })),
    };
  }

  onEvent(listener: (event: PoolEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** As if a client had written `nrBlocks` blocks from block `begin` on: shared ones are given up for new ones. */
  write(name: string, begin: number, nrBlocks: number): void {
    const { blocks, io } = this.#get(name);
    for (let block = begin; block < begin + nrBlocks; block++) blocks.set(block, this.#nrDataBlocks++);
    io.writes += nrBlocks;
    io.bytesWritten += nrBlocks * BLOCK_SIZE;
  }

  read(name: string, nrBlocks: number): void {
    const { io } = this.#get(name);
    io.reads += nrBlocks;
    io.bytesRead += nrBlocks * BLOCK_SIZE;
  }

  setUsers(name: string, users: number): void {
    const volume = this.#get(name);
    volume.report = { ...volume.report, users };
  }

  emit(event: Omit<PoolEvent, 'at'>): void {
    for (const listener of this.#listeners) listener({ at: Date.now(), ...event });
  }

  #add(name: string, kind: 'volume' | 'snapshot', size: number): FakeVolume {
    this.#refuseTaken(name);
    const thinId = this.#nrThins++;
    const made: FakeVolume = {
      report: { name, kind, size, created: this.#now++, identity: `${thinId}`.padStart(32, '0'), thinId, users: 0 },
      blocks: new Map(),
      io: { reads: 0, writes: 0, discards: 0, flushes: 0, bytesRead: 0, bytesWritten: 0 },
    };
    this.#volumes.set(name, made);
    return made;
  }

  #get(name: string): FakeVolume {
    if (this.broken !== undefined) throw this.broken;
    const found = this.#volumes.get(name);
    if (found === undefined) throw new PoolError('ERR_NO_SUCH_VOLUME', `there is no volume "${name}"`);
    return found;
  }

  #refuseTaken(name: string): void {
    if (this.broken !== undefined) throw this.broken;
    if (this.#volumes.has(name)) throw new PoolError('ERR_NAME_TAKEN', `the name "${name}" is taken`);
  }
}

function reportOf({ report, blocks, io }: FakeVolume): VolumeReport {
  return { ...report, mapped: blocks.size * BLOCK_SIZE, io: { ...io } };
}

function cellsOf(
  blocks: ReadonlyMap<number, number>,
  size: number,
  cells: number,
  isShared: (block: number) => boolean,
): CellRow {
  const nrBlocks = Math.ceil(size / BLOCK_SIZE);
  const blocksPerCell = Math.max(1, Math.ceil(nrBlocks / cells));
  const nrCells = Math.ceil(nrBlocks / blocksPerCell);
  const [mapped, shared] = [new Array<number>(nrCells).fill(0), new Array<number>(nrCells).fill(0)];
  for (const [at, block] of blocks) {
    const cell = Math.floor(at / blocksPerCell);
    mapped[cell] = (mapped[cell] ?? 0) + 1;
    if (isShared(block)) shared[cell] = (shared[cell] ?? 0) + 1;
  }
  const share = (count: number): number => Math.min(255, Math.ceil((255 * count) / blocksPerCell));
  return { blocksPerCell, mapped: mapped.map(share), shared: shared.map(share) };
}
