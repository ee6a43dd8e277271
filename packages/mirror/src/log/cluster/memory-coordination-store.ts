/**
 * A coordination store inside one process: for mirrors that several engines of one program write to, and for simulations, in which
 * its messages are late, out of order, doubled or lost.
 *
 * Each request carries its session and a number that goes up by one; a session has one request under way at a time, and sends it
 * again until it is answered. The store answers a number that it knows with the answer it gave, and drops older ones. So however
 * messages travel, each request takes effect once, and in the order of the session.
 */
import type { MarkOutcome } from '../dirty-log.js';
import { ClusterState, type ClusterStateOptions } from './cluster-state.js';
import type { CoordinationSession, CoordinationStore, RegionChange } from './coordination-store.js';
import { SessionLostError } from './session-lost-error.js';

/** How messages travel. The default hands them over at once. */
export interface MessageTransport {
  /** Has `deliver` called any number of times, at any time, or never. @param nodeId the node at the other end from the store */
  send(nodeId: string, to: 'store' | 'node', deliver: () => void): void;
  /** Calls `sendAgain` after a while; the function returned ends that. */
  whenUnanswered(nodeId: string, sendAgain: () => void): () => void;
}

export interface MemoryCoordinationStoreOptions extends ClusterStateOptions {
  /** Default "memory". */
  readonly name?: string;
  readonly transport?: MessageTransport;
  /** Default: a new one of `nrRegions`. */
  readonly state?: ClusterState;
}

/** What the store knows of a session. */
interface Endpoint {
  readonly nodeId: string;
  isLost: boolean;
  lastNr: number;
  lastAnswer: Answer | undefined;
}

interface Answer {
  readonly value: unknown;
  readonly syncCount: number;
  /** The session has ended, or the request was refused. */
  readonly error: Error | undefined;
}

export class MemoryCoordinationStore implements CoordinationStore {
  readonly name: string;
  readonly nrRegions: number;
  /** What has been agreed on. To be looked at; changes are made through sessions. */
  readonly state: ClusterState;
  readonly #transport: MessageTransport;
  readonly #endpoints = new Map<string, Endpoint>();

  constructor(options: MemoryCoordinationStoreOptions) {
    this.name = options.name ?? 'memory';
    this.nrRegions = options.nrRegions;
    this.state = options.state ?? new ClusterState(options);
    this.#transport = options.transport ?? DIRECT;
  }

  async join(nodeId: string): Promise<CoordinationSession> {
    const endpoint: Endpoint = { nodeId, isLost: false, lastNr: 0, lastAnswer: undefined };
    const receive: Receive = (nr, action) => this.#receive(endpoint, nr, action);
    const session = new MemorySession(nodeId, this.#transport, receive, () => this.fail(nodeId));
    await session.request((state) => {
      this.fail(nodeId);
      this.#endpoints.set(nodeId, endpoint);
      state.join(nodeId);
    });
    return session;
  }

  /**
   * The node has failed. To be called when it cannot write to any leg any more: from here on others may copy what it was
   * writing to.
   */
  fail(nodeId: string): void {
    const endpoint = this.#endpoints.get(nodeId);
    if (endpoint === undefined) return;
    endpoint.isLost = true;
    this.#endpoints.delete(nodeId);
    this.state.remove(nodeId);
  }

  /** @returns undefined for a message that has been overtaken: nobody waits for its answer */
  #receive(endpoint: Endpoint, nr: number, action: Action): Answer | undefined {
    if (nr < endpoint.lastNr) return undefined;
    if (nr === endpoint.lastNr) return endpoint.lastAnswer;
    endpoint.lastNr = nr;
    endpoint.lastAnswer = this.#apply(endpoint, action);
    return endpoint.lastAnswer;
  }

  #apply({ nodeId, isLost }: Endpoint, action: Action): Answer {
    if (isLost) {
      const error = new SessionLostError(
        `node ${nodeId} is no member of ${this.name} any more: it has left, was declared failed, or has joined again`,
      );
      return { value: undefined, syncCount: 0, error };
    }
    try {
      const value = action(this.state);
      return { value, syncCount: this.state.syncCount, error: undefined };
    } catch (error) {
      return { value: undefined, syncCount: this.state.syncCount, error: error as Error };
    }
  }
}

type Action = (state: ClusterState) => unknown;
/** At the store's end. */
type Receive = (nr: number, action: Action) => Answer | undefined;

class MemorySession implements CoordinationSession {
  readonly nodeId: string;
  readonly #transport: MessageTransport;
  readonly #receive: Receive;
  readonly #end: () => void;
  #nr = 0;
  #last: Promise<unknown> = Promise.resolve();
  #syncCount = 0;

  constructor(nodeId: string, transport: MessageTransport, receive: Receive, end: () => void) {
    this.nodeId = nodeId;
    this.#transport = transport;
    this.#receive = receive;
    this.#end = end;
  }

  get syncCount(): number {
    return this.#syncCount;
  }

  update(changes: readonly RegionChange[]): Promise<readonly MarkOutcome[]> {
    return this.request((state) => state.update(this.nodeId, changes));
  }

  startCopying(): Promise<void> {
    return this.request((state) => state.startCopying(this.nodeId));
  }

  stopCopying(): Promise<void> {
    return this.request((state) => state.stopCopying(this.nodeId));
  }

  nextResyncWork(): Promise<number | undefined> {
    return this.request((state) => state.nextResyncWork(this.nodeId));
  }

  setRegionSync(regionNr: number, inSync: boolean): Promise<void> {
    return this.request((state) => state.setRegionSync(this.nodeId, regionNr, inSync));
  }

  searchAgain(): Promise<void> {
    return this.request((state) => state.searchAgain());
  }

  legFlushFailed(): Promise<void> {
    return this.request((state) => state.legFlushFailed());
  }

  trustLegFlushes(): Promise<void> {
    return this.request((state) => state.trustLegFlushes());
  }

  isInSync(regionNr: number): Promise<boolean> {
    return this.request((state) => state.isInSync(regionNr));
  }

  isRecovering(regionNr: number): Promise<boolean> {
    return this.request((state) => {
      const nodeId = state.recoveringNode(regionNr);
      return nodeId !== undefined && nodeId !== this.nodeId;
    });
  }

  leave(): Promise<void> {
    return this.request(() => this.#end());
  }

  /** After those before it have been answered. */
  request<T>(action: (state: ClusterState) => T): Promise<T> {
    const answered = this.#last.then(() => this.#ask<T>(action));
    this.#last = answered.catch(() => undefined);
    return answered;
  }

  #ask<T>(action: (state: ClusterState) => T): Promise<T> {
    const nr = ++this.#nr;
    return new Promise((resolve, reject) => {
      let isAnswered = false;
      const take = ({ value, syncCount, error }: Answer): void => {
        if (isAnswered) return;
        isAnswered = true;
        stop();
        if (error === undefined) this.#syncCount = syncCount;
        if (error === undefined) resolve(value as T);
        else reject(error);
      };
      const send = (): void =>
        this.#transport.send(this.nodeId, 'store', () => {
          const answer = this.#receive(nr, action);
          if (answer !== undefined) this.#transport.send(this.nodeId, 'node', () => take(answer));
        });
      let stop = (): void => undefined;
      stop = this.#transport.whenUnanswered(this.nodeId, send);
      send();
    });
  }
}

/** Nothing gets lost, so nothing has to be sent again. */
const DIRECT: MessageTransport = {
  send: (_nodeId, _to, deliver) => deliver(),
  whenUnanswered: () => () => undefined,
};
