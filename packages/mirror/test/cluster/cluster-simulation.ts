/**
 * A cluster that writes to one mirror, in virtual time: messages are late, out of order, doubled and lost, nodes are cut off, crash and
 * come back, leg 1 fails writes and flushes, and now and then all power goes.
 *
 * Watched at every step:
 *   - no write is in flight to a region that is being copied, nor is a region copied over a write in flight, of whatever node
 *   - no region is clean that has something in flight, or whose legs differ, in their caches or below
 *   - the shared state keeps its invariants
 * And when the trouble is over: everything comes to rest, is in sync and clean, the legs are equal, and hold what was acknowledged.
 *
 * A `mistake` takes one rule out. That its simulations end badly shows that the others' good end means something.
 */
import { type DirtyLog, MemoryCoordinationStore, type MessageTransport } from '@pdata/mirror';
import { seededRandom } from '@pdata/testing';
import { CellLocks } from './cell-locks.js';
import { alter, type Mistake, stateFor } from './mistakes.js';
import { type Chance, type Incarnation, type InFlight, SharedLegs } from './shared-legs.js';
import { type NodeWorld, SimulatedNode } from './simulated-node.js';
import { VirtualClock } from './virtual-clock.js';

export interface SimulationOptions {
  readonly seed: number;
  readonly mistake?: Mistake;
  readonly delayUnsynced?: boolean;
}

export interface SimulationOutcome {
  /** What went wrong first; undefined for a good end. */
  readonly violation: string | undefined;
  readonly nrWrites: number;
  readonly nrCopies: number;
  readonly nrFailedNodes: number;
  readonly nrPowerCuts: number;
}

const NR_REGIONS = 4;
const NODES = ['a', 'b', 'c'];
/** Ticks of trouble, and how long it may take at most until all is well after that. */
const TROUBLE = 1200;
const REST = 6000;
/** Ticks after which a node that cannot be reached counts as failed. */
const PATIENCE = 200;

export async function simulate(options: SimulationOptions): Promise<SimulationOutcome> {
  return new ClusterSimulation(options).run();
}

class ClusterSimulation implements NodeWorld {
  readonly nrRegions = NR_REGIONS;
  readonly delayUnsynced: boolean;
  readonly clock = new VirtualClock();
  readonly chance: Chance;
  readonly legs: SharedLegs;
  readonly locks = new CellLocks();
  readonly #options: SimulationOptions;
  readonly #nodes = new Map<string, SimulatedNode>();
  readonly #unreachable = new Set<string>();
  /** Who has copied a region last. */
  readonly #copiers = new Map<number, Incarnation>();
  #store!: MemoryCoordinationStore;
  #isTroubled = true;
  #violation: string | undefined;
  #nrCopies = 0;
  #nrFailedNodes = 0;
  #nrPowerCuts = 0;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.delayUnsynced = options.delayUnsynced ?? false;
    const random = seededRandom(options.seed);
    this.chance = { below: (limit) => Math.floor(random() * limit), happens: (probability) => random() < probability };
    this.legs = new SharedLegs(NR_REGIONS, this.clock, this.chance);
    this.#startStore(undefined);
  }

  async run(): Promise<SimulationOutcome> {
    const { clock, chance } = this;
    for (const name of NODES) this.#startNode(name);
    this.legs.failure = chance.happens(0.6) ? 0.04 : 0;
    clock.after(30, () => this.#causeTrouble());
    await clock.run(() => this.#isOver() || clock.now > TROUBLE);
    this.#endTrouble();
    let isAtRest = false;
    await clock.run(() => {
      isAtRest = this.#isAtRest();
      return this.#isOver() || isAtRest || clock.now > TROUBLE + REST;
    });
    if (this.#violation === undefined) {
      if (!isAtRest) this.#report(`nothing comes to rest: ${this.#store.state.syncCount} of ${NR_REGIONS} in sync`);
      else this.#checkRest();
    }
    return {
      violation: this.#violation,
      nrWrites: this.locks.nrAcknowledged,
      nrCopies: this.#nrCopies,
      nrFailedNodes: this.#nrFailedNodes,
      nrPowerCuts: this.#nrPowerCuts,
    };
  }

  alter(log: DirtyLog): DirtyLog {
    return alter(log, this.#options.mistake, () => this.#store.state);
  }

  begins(request: InFlight): void {
    if (request.kind === 'copy') {
      this.#nrCopies++;
      this.#copiers.set(request.regionNr, request.by);
    }
    for (const other of this.legs.inFlight) {
      if (other === request || other.regionNr !== request.regionNr) continue;
      if (other.kind === 'write' && request.kind === 'write') continue;
      const [now, before] = [request, other].map(({ kind, by }) => `a ${kind} of node ${by.name}`);
      this.#report(`${now} begins in region ${request.regionNr} over ${before}`);
    }
  }

  #startStore(cleanBits: Uint8Array | undefined): void {
    const options = { nrRegions: NR_REGIONS, ...(cleanBits !== undefined && { cleanBits }) };
    const state = stateFor(options, this.#options.mistake);
    this.#store = new MemoryCoordinationStore({ ...options, state, transport: this.#transport });
  }

  readonly #transport: MessageTransport = {
    send: (nodeId, _to, deliver) => {
      const { chance } = this;
      const isLost = this.#isTroubled && chance.happens(0.05);
      const copies = isLost || this.#isCutOff(nodeId) ? 0 : chance.happens(0.1) ? 2 : 1;
      for (let nr = 0; nr < copies; nr++) {
        this.clock.after(1 + chance.below(20), () => {
          if (!this.#isCutOff(nodeId)) deliver();
        });
      }
    },
    whenUnanswered: (nodeId, sendAgain) => {
      const node = this.#nodes.get(nodeId);
      let isAnswered = false;
      const again = (): void => {
        if (isAnswered || node?.isAlive === false) return;
        sendAgain();
        this.clock.after(60, again);
      };
      this.clock.after(60, again);
      return () => {
        isAnswered = true;
      };
    },
  };

  #isCutOff(nodeId: string): boolean {
    return this.#unreachable.has(nodeId) || this.#nodes.get(nodeId)?.isAlive === false;
  }

  #startNode(name: string): void {
    const node = new SimulatedNode(name, this.#store, this);
    this.#nodes.set(name, node);
    node.isWriting = this.#isTroubled;
    void node.live();
  }

  #causeTrouble(): void {
    const { chance, clock } = this;
    if (!this.#isTroubled) return;
    const name = NODES[chance.below(NODES.length)]!;
    const node = this.#nodes.get(name)!;
    if (chance.happens(0.04)) this.#cutPower();
    else if (chance.happens(0.4)) {
      node.die();
      this.#expelLater(node, 20 + chance.below(PATIENCE));
    } else if (!this.#unreachable.has(name)) {
      this.#unreachable.add(name);
      this.#expelLater(node, PATIENCE);
      clock.after(50 + chance.below(350), () => this.#unreachable.delete(name));
    }
    if (chance.happens(0.2))
      void this.#anyNode()
        ?.searchAgain()
        .catch(() => undefined);
    clock.after(30 + chance.below(300), () => this.#causeTrouble());
  }

  /** A node that is dead, or still cut off then, is fenced, counts as failed, and starts again. */
  #expelLater(node: SimulatedNode, ticks: number): void {
    this.clock.after(ticks, () => {
      if (this.#nodes.get(node.name) !== node || (node.isAlive && !this.#unreachable.has(node.name))) return;
      this.#expel(node);
    });
  }

  #expel(node: SimulatedNode): void {
    this.#nrFailedNodes++;
    const isFencedFirst = this.#options.mistake !== 'a failed node is not fenced';
    if (isFencedFirst) {
      this.legs.fence(node);
      this.locks.release(node);
    }
    this.#store.fail(node.name);
    this.clock.after(1 + this.chance.below(100), () => {
      // It may not know yet. A machine that was fenced is reset before it starts again.
      if (this.#nodes.get(node.name) !== node) return;
      node.die();
      this.legs.fence(node);
      this.locks.release(node);
      this.#unreachable.delete(node.name);
      this.#startNode(node.name);
    });
  }

  #cutPower(): void {
    this.#nrPowerCuts++;
    for (const node of this.#nodes.values()) {
      node.die();
      this.legs.fence(node);
    }
    this.legs.losePower();
    this.locks.forgetContents();
    this.#unreachable.clear();
    this.#startStore(this.#store.state.cleanBits);
    for (const name of NODES) this.#startNode(name);
  }

  #endTrouble(): void {
    this.#isTroubled = false;
    this.legs.failure = 0;
    this.#unreachable.clear();
    for (const node of this.#nodes.values()) {
      node.isWriting = false;
      if (!node.isAlive) this.#expel(node);
    }
    const askAgain = (): void => {
      void this.#anyNode()
        ?.searchAgain()
        .catch(() => undefined);
      this.clock.after(500, askAgain);
    };
    askAgain();
  }

  #anyNode(): SimulatedNode | undefined {
    return [...this.#nodes.values()].find(({ isAlive }) => isAlive);
  }

  /** Looks at everything, and whether there is something wrong with it. */
  #isOver(): boolean {
    const { state } = this.#store;
    try {
      state.check();
    } catch (error) {
      this.#report((error as Error).message);
    }
    for (let nr = 0; nr < NR_REGIONS; nr++) {
      if (!state.isClean(nr)) continue;
      if (this.legs.differ(nr)) this.#report(`region ${nr} is clean, and the legs differ`);
      for (const { kind, regionNr, by } of this.legs.inFlight) {
        if (regionNr === nr) this.#report(`region ${nr} is clean, and a ${kind} of node ${by.name} is in flight`);
      }
    }
    return this.#violation !== undefined;
  }

  #isAtRest(): boolean {
    for (const node of this.#nodes.values()) {
      if (!node.isAlive) {
        if (!node.isFenced) this.#expel(node); // it has been told that it was expelled
        return false;
      }
      if (!node.isIdle) return false;
    }
    return this.legs.inFlight.size + this.locks.nrHeld === 0 && this.#store.state.syncCount === NR_REGIONS;
  }

  #checkRest(): void {
    const { state } = this.#store;
    for (let nr = 0; nr < NR_REGIONS; nr++) {
      const [a, b] = this.legs.cached.map((leg) => leg[nr]!.join());
      if (a !== b) this.#report(`all is in sync, and the legs differ in region ${nr}: ${a} and ${b}`);
      // A node may die between the end of a copy and its clear; that costs another copy, some day, and nothing else.
      const hasCopierDied = this.#copiers.get(nr)?.isAlive === false;
      if (!state.isClean(nr) && !state.hasLostLegFlush && !hasCopierDied) {
        this.#report(`all is at rest, and region ${nr} is not clean: a restart would copy it for nothing`);
      }
    }
    for (const leg of [0, 1]) {
      const wrong = this.locks.wrongCell(this.legs, leg);
      if (wrong !== undefined) this.#report(wrong);
    }
  }

  #report(what: string): void {
    this.#violation ??= `seed ${this.#options.seed}, tick ${this.clock.now}: ${what}`;
  }
}
