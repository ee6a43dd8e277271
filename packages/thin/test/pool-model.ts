/**
 * A pool as it is meant to be understood: devices are plain maps, a snapshot is a copy, a commit keeps everything and an
 * abort brings it back. What the trees and space maps under test have to agree with.
 *
 * The model does not know how many references the trees give a data block (devices that share a leaf count once), only
 * which blocks are in use and by how many mappings; the exact counts are the audit's.
 */

export interface ModelMapping {
  readonly dataBlock: number;
  readonly time: number;
}

export interface ModelDevice {
  readonly mappings: ReadonlyMap<number, ModelMapping>;
  readonly transactionId: bigint;
  readonly creationTime: number;
  readonly snapshottedTime: number;
}

interface PoolState {
  readonly time: number;
  readonly transactionId: bigint;
  readonly nrDataBlocks: number;
  readonly nrMetadataBlocks: number;
  readonly devices: ReadonlyMap<number, ModelDevice>;
  readonly held: ReadonlyMap<number, ModelDevice> | undefined;
}

export class PoolModel {
  state: PoolState;
  committed: PoolState;
  /** Data block → mappings that lead to it, those of the metadata snapshot included. */
  #uses = new Map<number, number>();
  #committedUses: ReadonlyMap<number, number> = new Map();

  constructor(nrMetadataBlocks: number, nrDataBlocks: number) {
    this.state = {
      time: 0,
      transactionId: 0n,
      nrDataBlocks,
      nrMetadataBlocks,
      devices: new Map(),
      held: undefined,
    };
    this.committed = this.state;
  }

  device(thinId: number): ModelDevice {
    const device = this.state.devices.get(thinId);
    if (device === undefined) throw new Error(`the model has no device ${thinId}`);
    return device;
  }

  has(thinId: number): boolean {
    return this.state.devices.has(thinId);
  }

  createThin(thinId: number): void {
    const { time, transactionId } = this.state;
    this.#setDevice(thinId, { mappings: new Map(), transactionId, creationTime: time, snapshottedTime: time });
  }

  createSnapshot(thinId: number, originId: number): void {
    const { transactionId } = this.state;
    const time = this.state.time + 1;
    const origin = this.device(originId);
    this.state = { ...this.state, time };
    this.#setDevice(originId, { ...origin, snapshottedTime: time });
    this.#setDevice(thinId, { mappings: origin.mappings, transactionId, creationTime: time, snapshottedTime: time });
    this.#use(origin.mappings, 1);
  }

  deleteDevice(thinId: number): void {
    this.#use(this.device(thinId).mappings, -1);
    const devices = new Map(this.state.devices);
    devices.delete(thinId);
    this.state = { ...this.state, devices };
  }

  isShared(thinId: number, virtualBlock: number): boolean | undefined {
    const { mappings, snapshottedTime } = this.device(thinId);
    const mapping = mappings.get(virtualBlock);
    return mapping === undefined ? undefined : snapshottedTime > mapping.time;
  }

  /** Maps many blocks at once, each to a data block that was just allocated. */
  insert(thinId: number, entries: readonly (readonly [virtualBlock: number, dataBlock: number])[]): void {
    const device = this.device(thinId);
    const mappings = new Map(device.mappings);
    for (const [virtualBlock, dataBlock] of entries) {
      const replaced = mappings.get(virtualBlock);
      if (replaced !== undefined) this.#useBlock(replaced.dataBlock, -1);
      mappings.set(virtualBlock, { dataBlock, time: this.state.time });
      this.#useBlock(dataBlock, 1);
    }
    this.#setDevice(thinId, { ...device, mappings });
  }

  removeRange(thinId: number, begin: number, end: number): number {
    const device = this.device(thinId);
    const mappings = new Map(device.mappings);
    let nr = 0;
    for (const [virtualBlock, { dataBlock }] of device.mappings) {
      if (virtualBlock < begin || virtualBlock >= end) continue;
      mappings.delete(virtualBlock);
      this.#useBlock(dataBlock, -1);
      nr++;
    }
    if (nr > 0) this.#setDevice(thinId, { ...device, mappings });
    return nr;
  }

  set(change: Partial<Pick<PoolState, 'transactionId' | 'nrDataBlocks' | 'nrMetadataBlocks'>>): void {
    this.state = { ...this.state, ...change };
  }

  reserve(): void {
    const held = this.state.devices;
    for (const { mappings } of held.values()) this.#use(mappings, 1);
    this.state = { ...this.state, held };
  }

  release(): void {
    for (const { mappings } of this.state.held?.values() ?? []) this.#use(mappings, -1);
    this.state = { ...this.state, held: undefined };
  }

  commit(): void {
    this.committed = this.state;
    this.#committedUses = new Map(this.#uses);
  }

  abort(): void {
    this.state = this.committed;
    this.#uses = new Map(this.#committedUses);
  }

  /** Mappings that lead to a data block now. */
  usesOf(dataBlock: number): number {
    return this.#uses.get(dataBlock) ?? 0;
  }

  /** Whether a data block may be handed out: unused now, and in the last commit too. */
  isFree(dataBlock: number): boolean {
    return dataBlock < this.committed.nrDataBlocks && !this.#uses.has(dataBlock) && !this.#committedUses.has(dataBlock);
  }

  /** What the pool calls free: what this transaction gave back counts at once, what it added does not. */
  get nrFreeDataBlocks(): number {
    return this.committed.nrDataBlocks - this.#uses.size;
  }

  #setDevice(thinId: number, device: ModelDevice): void {
    this.state = { ...this.state, devices: new Map(this.state.devices).set(thinId, device) };
  }

  #use(mappings: ReadonlyMap<number, ModelMapping>, change: number): void {
    for (const { dataBlock } of mappings.values()) this.#useBlock(dataBlock, change);
  }

  #useBlock(dataBlock: number, change: number): void {
    const nr = (this.#uses.get(dataBlock) ?? 0) + change;
    if (nr === 0) this.#uses.delete(dataBlock);
    else this.#uses.set(dataBlock, nr);
  }
}
