/** One node of the simulation: an application that writes, and a mirror's worker on the real region hash and the real cluster log. */
import { ClusterLog, type CoordinationStore, type DirtyLog, RegionHash } from '@pdata/mirror';
import type { CellLocks } from './cell-locks.js';
import { CELLS, type Chance, type Incarnation, type InFlight, type SharedLegs } from './shared-legs.js';
import type { VirtualClock } from './virtual-clock.js';

/** Region sizes and lengths mean nothing here; a region is `CELLS` cells. */
const REGION_SECTORS = 2;

export interface CellWrite {
  readonly regionNr: number;
  readonly cell: number;
  readonly value: number;
}

export interface NodeWorld {
  readonly clock: VirtualClock;
  readonly chance: Chance;
  readonly legs: SharedLegs;
  readonly locks: CellLocks;
  readonly nrRegions: number;
  readonly delayUnsynced: boolean;
  /** Takes a rule out of the log that the region hash sees. */
  alter(log: DirtyLog): DirtyLog;
  /** Something is sent to the legs: the place to look whether that is allowed. */
  begins(request: InFlight): void;
}

export class SimulatedNode implements Incarnation {
  readonly name: string;
  isAlive = true;
  isFenced = false;
  /** Its application writes. */
  isWriting = true;
  readonly #world: NodeWorld;
  readonly #log: ClusterLog;
  readonly #hash: RegionHash<CellWrite>;
  #queue: CellWrite[] = [];
  #nrLater = 0;
  #isWorking = false;
  #hasWork = false;
  #wake: () => void = () => undefined;

  constructor(name: string, store: CoordinationStore, world: NodeWorld) {
    this.name = name;
    this.#world = world;
    const { nrRegions, delayUnsynced } = world;
    const length = nrRegions * REGION_SECTORS;
    this.#log = new ClusterLog(store, { nodeId: name, length, regionSize: REGION_SECTORS, delayUnsynced });
    this.#hash = new RegionHash(world.alter(this.#log), {
      regionOf: ({ regionNr }) => regionNr,
      onWork: () => this.#wakeUp(),
    });
  }

  /** Lives until it dies, or is told that it is no member any more. */
  async live(): Promise<void> {
    try {
      await this.#log.resume(() => this.#world.legs.flush(this));
    } catch {
      this.die(); // expelled before it had begun
    }
    this.#applicationStep();
    this.#tick();
    while (this.isAlive) {
      this.#isWorking = true;
      if (!(await this.#pass())) this.die();
      this.#isWorking = false;
      while (!this.#hasWork) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      this.#hasWork = false;
    }
  }

  die(): void {
    this.isAlive = false;
    for (const request of this.#world.legs.inFlight) if (request.by === this) this.#world.legs.settle(request);
  }

  /** Nothing waits, and nothing is held back. */
  get isIdle(): boolean {
    return !this.#isWorking && this.#queue.length + this.#nrLater + this.#hash.nrIdle + this.#hash.nrRecovering === 0;
  }

  /** As an administrator would, when what was broken has been put right. */
  searchAgain(): Promise<void> {
    return this.#log.searchAgain();
  }

  /** The worker's pass. @returns false when the node has been expelled */
  async #pass(): Promise<boolean> {
    const { chance, clock } = this.#world;
    const { released, logFailure } = await this.#hash.update({ keepIdle: this.isWriting && chance.happens(0.3) });
    if (logFailure !== undefined) return false;
    this.#queue.push(...released);
    if (this.#hash.nrRecovering === 0) {
      try {
        await this.#hash.prepareRecovery();
      } catch {
        return false;
      }
    }
    const quiesced = this.#hash.takeQuiesced();
    if (quiesced !== undefined) void this.#copy(quiesced);
    const batch = this.#queue;
    this.#queue = [];
    const admitted = await this.#hash.admitWrites(batch);
    if (admitted.logFailure !== undefined) return false;
    for (const write of admitted.toAllLegs) void this.#send(write, [0, 1]);
    for (const write of admitted.toDefaultLeg) void this.#send(write, [0]);
    for (const write of admitted.later) {
      this.#nrLater++;
      clock.after(40, () => {
        this.#nrLater--;
        this.#queue.push(write);
        this.#wakeUp();
      });
    }
    return true;
  }

  async #send(write: CellWrite, targets: readonly number[]): Promise<void> {
    const { legs, locks } = this.#world;
    const { regionNr, cell, value } = write;
    const request = this.#begin('write', regionNr);
    const done = await Promise.all(targets.map((leg) => legs.write(leg, regionNr, cell, value, request)));
    legs.inFlight.delete(request);
    if (done.includes(false)) {
      try {
        await this.#hash.markNosync(regionNr);
      } catch {
        this.die(); // expelled: others decide what becomes of the region
        return;
      }
    }
    locks.acknowledge(this, write);
    this.#hash.writeEnded(regionNr);
  }

  async #copy(regionNr: number): Promise<void> {
    const { legs } = this.#world;
    const request = this.#begin('copy', regionNr);
    let copied = true;
    for (let cell = 0; cell < CELLS; cell++) {
      const value = await legs.read(0, regionNr, cell, this);
      if (!(await legs.write(1, regionNr, cell, value, request))) copied = false;
    }
    legs.inFlight.delete(request);
    this.#hash.recoveryDone(regionNr, copied);
  }

  #begin(kind: InFlight['kind'], regionNr: number): InFlight {
    const request: InFlight = { kind, by: this, regionNr, nrRequests: 0 };
    if (this.isFenced) return request; // it does not know yet, and reaches nothing
    this.#world.legs.inFlight.add(request);
    this.#world.begins(request);
    return request;
  }

  #applicationStep(): void {
    const { clock, chance, locks, nrRegions } = this.#world;
    if (!this.isAlive) return;
    if (this.isWriting) {
      const write = locks.take(this, chance.below(nrRegions), chance.below(CELLS));
      if (write !== undefined) {
        this.#queue.push(write);
        this.#wakeUp();
      }
    }
    clock.after(5 + chance.below(40), () => this.#applicationStep());
  }

  /** Retries and clears do not wait for the next write. */
  #tick(): void {
    if (!this.isAlive) return;
    this.#wakeUp();
    this.#world.clock.after(50, () => this.#tick());
  }

  #wakeUp(): void {
    this.#hasWork = true;
    this.#wake();
  }
}
