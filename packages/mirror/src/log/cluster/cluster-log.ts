/**
 * The log of one of several nodes that write to the same mirror. What is marked, in sync and being copied is kept by a coordination
 * store; this is a node's view of it.
 *
 * A write waits until its mark has been answered, and the answer decides where it goes (`markOutcome`): that is what makes it
 * safe to write to regions that are not in sync, which the kernel's clusters refuse until they have been copied. All nodes must
 * then agree on the default leg, since such a write goes to that leg alone. Where they may not (each node finds out by itself which
 * legs work), `delayUnsynced` has the kernel's rule.
 *
 * What was known of a region is forgotten with its mark: an answer of yesterday has made legs differ before.
 * Marks and clears of one `flush` travel in one request; if there are clears among them, all legs are flushed first.
 * Format: docs/format/mirror-log.md, section 13.
 */
import { ClosedError, invariant, StoreError } from '@pdata/device';
import { nrRegionsOf } from '../../format/limits.js';
import type { DirtyLog, FlushLegs, LogHealth, LogStatus, MarkOutcome } from '../dirty-log.js';
import { LogFailedError } from '../errors.js';
import { JoinedFlush } from '../joined-flush.js';
import type { CoordinationSession, CoordinationStore, RegionChange } from './coordination-store.js';

export interface ClusterLogOptions {
  /** Unique among the nodes, the same after a restart: what this node left behind is then known as its own. */
  readonly nodeId: string;
  /** Of the mirror, in sectors. */
  readonly length: number;
  /** Sectors, a power of two from 2 to `length`. */
  readonly regionSize: number;
  /** Writes to regions that are not in sync wait until these have been copied, as in the kernel. Default false. */
  readonly delayUnsynced?: boolean;
}

export class ClusterLog implements DirtyLog {
  readonly kind = 'cluster';
  readonly regionSize: number;
  readonly nrRegions: number;
  readonly #store: CoordinationStore;
  readonly #nodeId: string;
  readonly #delayUnsynced: boolean;
  #session: CoordinationSession | undefined;
  #flushLegs: FlushLegs | undefined;
  #health: LogHealth = 'A';
  #hasLostLegFlush = false;
  #isClosed = false;
  /** What the next flush tells: the last word on each region. */
  #changes = new Map<number, RegionChange['op']>();
  /** What marks have found that are still there. */
  readonly #outcomes = new Map<number, MarkOutcome>();
  readonly #flushes = new JoinedFlush(() => this.#flush());

  /** @throws {RangeError} when the kernel would not have the length or the region size, or the store is for another mirror */
  constructor(store: CoordinationStore, { nodeId, length, regionSize, delayUnsynced = false }: ClusterLogOptions) {
    this.nrRegions = nrRegionsOf(length, regionSize);
    if (store.nrRegions !== this.nrRegions) {
      throw new RangeError(
        `${store.name} coordinates ${store.nrRegions} regions, but ${length} sectors in regions of ${regionSize} make ${this.nrRegions}`,
      );
    }
    this.regionSize = regionSize;
    this.#store = store;
    this.#nodeId = nodeId;
    this.#delayUnsynced = delayUnsynced;
  }

  get syncCount(): number {
    return this.#session?.syncCount ?? 0;
  }

  /** Joins the cluster, also after having been expelled. Rejects when the store cannot be reached. */
  async resume(flushLegs: FlushLegs): Promise<void> {
    if (this.#isClosed) throw this.#closed();
    this.#flushLegs = flushLegs;
    this.#session ??= await this.#store.join(this.#nodeId);
    this.#health = 'A';
    await this.#ask((session) => session.startCopying());
  }

  async presuspend(): Promise<void> {
    await this.#ask((session) => session.stopCopying());
  }

  async postsuspend(): Promise<void> {
    await this.flush();
  }

  /** Leaves the cluster. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#flushes.settled();
    await this.#session?.leave().catch(() => undefined); // gone is gone
    this.#lose();
  }

  /** Known while a mark of this node lasts: others may take the region out of sync meanwhile, but not put it back. */
  isInSync(regionNr: number): boolean | undefined {
    const outcome = this.#outcomes.get(regionNr);
    return outcome === undefined || outcome === 'refused' ? undefined : outcome === 'in sync';
  }

  queryInSync(regionNr: number): Promise<boolean> {
    return this.#ask((session) => session.isInSync(regionNr));
  }

  isClean(): boolean {
    return false;
  }

  /** Whether a write to the region would have to wait: another node is copying it, or, with `delayUnsynced`, has yet to. */
  isRemoteRecovering(regionNr: number): Promise<boolean> {
    return this.#ask(async (session) =>
      this.#delayUnsynced ? !(await session.isInSync(regionNr)) : session.isRecovering(regionNr),
    );
  }

  mark(regionNr: number): void {
    const isStillMarked = this.#changes.get(regionNr) === 'clear' && this.#outcomes.has(regionNr);
    // A clear that has not been sent is taken back: the mark, and what it found, has never ended.
    if (isStillMarked) this.#changes.delete(regionNr);
    else this.#changes.set(regionNr, 'mark');
  }

  clear(regionNr: number): void {
    this.#changes.set(regionNr, 'clear');
  }

  flush(): Promise<void> {
    return this.#changes.size > 0 || this.#flushes.isRunning ? this.#flushes.run() : Promise.resolve();
  }

  markOutcome(regionNr: number): MarkOutcome {
    return this.#outcomes.get(regionNr) ?? 'refused';
  }

  nextResyncWork(): Promise<number | undefined> {
    return this.#ask((session) => session.nextResyncWork());
  }

  searchAgain(): Promise<void> {
    return this.#ask((session) => session.searchAgain());
  }

  async setRegionSync(regionNr: number, inSync: boolean): Promise<void> {
    await this.#ask((session) => session.setRegionSync(regionNr, inSync));
    // This node has a mark there that has lasted: what that found is not true any more.
    if (this.isInSync(regionNr) !== undefined) this.#outcomes.set(regionNr, inSync ? 'in sync' : 'not in sync');
  }

  async trustLegFlushes(): Promise<void> {
    await this.#ask((session) => session.trustLegFlushes());
    this.#hasLostLegFlush = false;
  }

  status(): LogStatus {
    const { kind, nrRegions, syncCount } = this;
    return { kind, health: this.#health, hasLostLegFlush: this.#hasLostLegFlush, nrRegions, syncCount };
  }

  statusText(): string {
    return '1 clustered-core';
  }

  tableText(): string {
    return `userspace 3 ${this.#store.name} clustered-core ${this.regionSize}`;
  }

  async #flush(): Promise<void> {
    if (this.#isClosed) throw this.#closed();
    const changes = this.#takeChanges();
    if (changes.length === 0) return;
    const hasClears = changes.some(({ op }) => op === 'clear');
    if (hasClears) {
      invariant(this.#flushLegs !== undefined, 'a log is flushed before it is resumed');
      const failedLegs = await this.#flushLegs();
      if (failedLegs.length > 0) {
        this.#hasLostLegFlush = true;
        await this.#ask((session) => session.legFlushFailed());
      }
    }
    const outcomes = await this.#ask((session) => session.update(changes));
    const marked = changes.filter(({ op }) => op === 'mark');
    marked.forEach(({ regionNr }, nr) => {
      this.#outcomes.set(regionNr, outcomes[nr] as MarkOutcome);
    });
  }

  #takeChanges(): RegionChange[] {
    const changes = Array.from(this.#changes, ([regionNr, op]): RegionChange => {
      if (op === 'mark') return { op, regionNr, onlyInSync: this.#delayUnsynced };
      this.#outcomes.delete(regionNr);
      return { op, regionNr };
    });
    this.#changes = new Map();
    return changes;
  }

  /** Once the session is lost, so is everything that was known: this node must not write, and has to join again. */
  async #ask<T>(question: (session: CoordinationSession) => Promise<T>): Promise<T> {
    const { name } = this.#store;
    const session = this.#session;
    try {
      if (session === undefined) throw new LogFailedError(`node ${this.#nodeId} has not joined ${name}`);
      return await question(session);
    } catch (cause) {
      if (!(cause instanceof StoreError)) throw cause;
      if (session === this.#session) this.#lose();
      const what = `node ${this.#nodeId} cannot write to the mirror any more`;
      throw new LogFailedError(`${what}: ${cause.message}. It has to stop, and to resume`, { cause });
    }
  }

  #lose(): void {
    this.#session = undefined;
    this.#health = 'D';
    this.#changes.clear();
    this.#outcomes.clear();
  }

  #closed(): ClosedError {
    return new ClosedError(`the log of node ${this.#nodeId} in ${this.#store.name} is closed`);
  }
}
