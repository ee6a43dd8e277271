/**
 * The shared state of a mirror's nodes as a state machine: no messages, no time, no chance. Whoever applies the same calls in the
 * same order has the same state, so it can be replicated by replicating the calls.
 *
 *   marks         nodes with writes under way, for each region that has any
 *   recoveries    the node that copies a region, for each region that is being copied; at most one a node
 *   tried         regions that have been handed out, or have fallen out of sync, since the search began: not handed out again by itself
 *   wanted        regions that a writer waits for: first in turn
 *
 * Invariants, all of them checked by `check()`:
 *   1. A clean region is in sync, and no node has a mark there.
 *   2. A region that is being copied is not in sync, and no node but the copying one has a mark there.
 *   3. `syncCount` is the number of regions in sync.
 *
 * Only the clean bits have to survive the loss of all nodes at once: {@link ClusterState.cleanBits}, in the order of the disk log.
 * Format: docs/format/mirror-log.md, section 13.
 */
import { invariant } from '@pdata/device';
import { RegionBits } from '../../format/region-bits.js';
import type { MarkOutcome } from '../dirty-log.js';
import type { RegionChange } from './coordination-store.js';

export interface ClusterStateOptions {
  readonly nrRegions: number;
  /** What {@link ClusterState.cleanBits} was when all nodes were lost; these regions are in sync. Default: none is. */
  readonly cleanBits?: Uint8Array;
}

interface Member {
  isCopying: boolean;
  /** The region that it copies. */
  recovers: number | undefined;
  readonly marks: Set<number>;
}

export class ClusterState {
  readonly nrRegions: number;
  readonly #clean: RegionBits;
  readonly #sync: RegionBits;
  readonly #tried: RegionBits;
  readonly #members = new Map<string, Member>();
  readonly #marks = new Map<number, Set<string>>();
  readonly #recoveries = new Map<number, string>();
  /** Recoveries during which the region has come out of sync once more: the copy counts for nothing. */
  readonly #spoilt = new Set<number>();
  readonly #wanted = new Set<number>();
  /** No region below is to be handed out, unless it is wanted. */
  #searchFrom = 0;
  #syncCount: number;
  #hasLostLegFlush = false;

  constructor({ nrRegions, cleanBits }: ClusterStateOptions) {
    this.nrRegions = nrRegions;
    this.#clean = new RegionBits(nrRegions);
    this.#sync = new RegionBits(nrRegions);
    this.#tried = new RegionBits(nrRegions);
    if (cleanBits !== undefined) {
      for (const bits of [this.#clean, this.#sync]) bits.copyFrom(new RegionBits(nrRegions, cleanBits));
    }
    this.#syncCount = this.#sync.count();
  }

  get syncCount(): number {
    return this.#syncCount;
  }

  /** A leg has lost a flush: nothing becomes clean. */
  get hasLostLegFlush(): boolean {
    return this.#hasLostLegFlush;
  }

  /** A copy of what has to be kept: bit i % 8 of byte i / 8 is region i. */
  get cleanBits(): Uint8Array {
    return this.#clean.bytes.slice();
  }

  isClean(regionNr: number): boolean {
    return this.#clean.has(regionNr);
  }

  isInSync(regionNr: number): boolean {
    return this.#sync.has(regionNr);
  }

  /** The node that copies the region. */
  recoveringNode(regionNr: number): string | undefined {
    return this.#recoveries.get(regionNr);
  }

  isMember(nodeId: string): boolean {
    return this.#members.has(nodeId);
  }

  join(nodeId: string): void {
    this.remove(nodeId);
    this.#members.set(nodeId, { isCopying: false, recovers: undefined, marks: new Set() });
  }

  /** The node has left, or has failed and cannot write any more. Where it had writes under way, nothing is known: not in sync. */
  remove(nodeId: string): void {
    const member = this.#members.get(nodeId);
    if (member === undefined) return;
    this.#members.delete(nodeId);
    const { recovers: recovered } = member;
    if (recovered !== undefined) {
      this.#endRecovery(recovered);
      this.#mayTry(recovered);
    }
    for (const regionNr of member.marks) {
      this.#unmark(regionNr, nodeId);
      this.#loseSync(regionNr);
      this.#mayTry(regionNr); // nobody has tried to copy it and failed
    }
  }

  update(nodeId: string, changes: readonly RegionChange[]): MarkOutcome[] {
    const outcomes: MarkOutcome[] = [];
    for (const change of changes) {
      if (change.op === 'clear') this.clear(nodeId, change.regionNr);
      else outcomes.push(this.mark(nodeId, change.regionNr, change.onlyInSync));
    }
    return outcomes;
  }

  mark(nodeId: string, regionNr: number, onlyInSync = false): MarkOutcome {
    const recovering = this.#recoveries.get(regionNr);
    const inSync = this.#sync.has(regionNr);
    if (onlyInSync && !inSync) this.#wanted.add(regionNr);
    if ((recovering !== undefined && recovering !== nodeId) || (onlyInSync && !inSync)) return 'refused';
    const nodes = this.#marks.get(regionNr) ?? new Set();
    this.#marks.set(regionNr, nodes.add(nodeId));
    this.#member(nodeId).marks.add(regionNr);
    this.#clean.set(regionNr, false);
    return inSync ? 'in sync' : 'not in sync';
  }

  clear(nodeId: string, regionNr: number): void {
    this.#member(nodeId).marks.delete(regionNr);
    this.#unmark(regionNr, nodeId);
    const isMarked = this.#marks.has(regionNr);
    if (!isMarked && !this.#hasLostLegFlush && this.mayBecomeClean(regionNr)) this.#clean.set(regionNr, true);
  }

  startCopying(nodeId: string): void {
    this.#member(nodeId).isCopying = true;
    this.searchAgain();
  }

  stopCopying(nodeId: string): void {
    this.#member(nodeId).isCopying = false;
  }

  nextResyncWork(nodeId: string): number | undefined {
    const member = this.#member(nodeId);
    if (!member.isCopying) return undefined;
    if (member.recovers !== undefined) return member.recovers;
    const regionNr = this.#nextToCopy(nodeId);
    if (regionNr === undefined) return undefined;
    member.recovers = regionNr;
    this.#recoveries.set(regionNr, nodeId);
    this.#tried.set(regionNr, true);
    this.#wanted.delete(regionNr);
    return regionNr;
  }

  setRegionSync(nodeId: string, regionNr: number, inSync: boolean): void {
    const recovering = this.#recoveries.get(regionNr);
    if (recovering === nodeId) {
      const counts = inSync && !this.#spoilt.has(regionNr);
      this.#endRecovery(regionNr);
      if (counts) {
        this.#wanted.delete(regionNr);
        if (this.#sync.set(regionNr, true)) this.#syncCount++;
        return;
      }
    } else {
      invariant(!inSync, 'a region is reported in sync by a node that has not copied it');
      if (recovering !== undefined) this.#spoilt.add(regionNr);
    }
    this.#loseSync(regionNr);
  }

  searchAgain(): void {
    this.#tried.fill(false);
    this.#searchFrom = 0;
  }

  legFlushFailed(): void {
    this.#hasLostLegFlush = true;
  }

  trustLegFlushes(): void {
    this.#hasLostLegFlush = false;
  }

  /** Throws an {@link InvariantError} when the invariants above do not hold. */
  check(): void {
    for (const regionNr of this.#marks.keys()) invariant(!this.#clean.has(regionNr), 'a region with a mark is clean');
    for (const [regionNr, recovering] of this.#recoveries) {
      invariant(!this.#sync.has(regionNr), 'a region in sync is copied');
      for (const nodeId of this.#marks.get(regionNr) ?? []) {
        invariant(nodeId === recovering, 'a region is copied on which another node has a mark');
      }
    }
    invariant(this.#sync.count() === this.#syncCount, 'the regions in sync are miscounted');
    for (let nr = this.#clean.next(true, 0); nr < this.nrRegions; nr = this.#clean.next(true, nr + 1)) {
      invariant(this.#sync.has(nr), 'a region that is not in sync is clean');
    }
  }

  /** Whether a region without marks is as good as its clear says. A test takes this away, to see that it is missed. */
  protected mayBecomeClean(regionNr: number): boolean {
    return this.#sync.has(regionNr);
  }

  /** What somebody waits for first, then from region 0 on. What another node has a mark on is passed over, and stays in the search. */
  #nextToCopy(nodeId: string): number | undefined {
    const isFree = (nr: number): boolean =>
      !this.#recoveries.has(nr) && [...(this.#marks.get(nr) ?? [])].every((node) => node === nodeId);
    for (const nr of this.#wanted) if (!this.#tried.has(nr) && isFree(nr)) return nr;
    let isPassedOver = false;
    for (let nr = this.#sync.next(false, this.#searchFrom); nr < this.nrRegions; nr = this.#sync.next(false, nr + 1)) {
      if (!this.#tried.has(nr) && isFree(nr)) return nr;
      isPassedOver ||= !this.#tried.has(nr);
      if (!isPassedOver) this.#searchFrom = nr + 1;
    }
    return undefined;
  }

  #mayTry(regionNr: number): void {
    this.#tried.set(regionNr, false);
    this.#searchFrom = Math.min(this.#searchFrom, regionNr);
  }

  #loseSync(regionNr: number): void {
    this.#clean.set(regionNr, false);
    this.#tried.set(regionNr, true);
    if (this.#sync.set(regionNr, false)) this.#syncCount--;
  }

  #endRecovery(regionNr: number): void {
    const nodeId = this.#recoveries.get(regionNr);
    this.#recoveries.delete(regionNr);
    this.#spoilt.delete(regionNr);
    const member = nodeId === undefined ? undefined : this.#members.get(nodeId);
    if (member !== undefined) member.recovers = undefined;
  }

  #unmark(regionNr: number, nodeId: string): void {
    const nodes = this.#marks.get(regionNr);
    nodes?.delete(nodeId);
    if (nodes?.size === 0) this.#marks.delete(regionNr);
  }

  #member(nodeId: string): Member {
    const member = this.#members.get(nodeId);
    invariant(member !== undefined, 'a request of a node that is no member');
    return member;
  }
}
