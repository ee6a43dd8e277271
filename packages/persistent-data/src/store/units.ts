/**
 * A space map for the program's own units: blocks of a file, slots, identifiers. It belongs to the store, not to one of its
 * states: there is one count for a unit, and a snapshot that names it (codec `unit`) is one of those counted. What is freed is
 * handed out again only when no crash, and no rollback of the transaction that freed it, can bring back a state that has it in use: so
 * units may be written to as soon as they have been allocated.
 */
import type { DataSpaceMap } from '../space-map/data-space-map.js';
import { BLOCKS_OF_A_CHANGE, Collection, type Scope } from './collection.js';

/** A space map of units. Changes happen inside a transaction. */
export interface Units {
  /** Units managed. */
  readonly length: number;
  readonly nrAllocated: number;
  /** References to `unit`. */
  count(unit: number): number;
  /** A unit that was free, now with one reference, the caller's. @throws {@link NoSpaceError} when there is none: `extend` */
  allocate(): number;
  /** One reference more. */
  retain(unit: number): void;
  /** One reference less; the last one frees the unit, which can be allocated again by a later transaction. */
  release(unit: number): void;
  /** Adds `nr` units; they can be allocated after the next commit. */
  extend(nr: number): void;
}

const UNITS_A_BITMAP = 16320;

export class UnitsCollection extends Collection implements Units {
  readonly map: DataSpaceMap;

  constructor(scope: Scope, name: string, map: DataSpaceMap) {
    super(scope, name);
    this.map = map;
  }

  get root(): number {
    return this.map.root.bitmapRoot;
  }

  get length(): number {
    this.scope.requireReadable();
    return this.map.nrBlocks;
  }

  get nrAllocated(): number {
    this.scope.requireReadable();
    return this.map.nrAllocated;
  }

  reset(): void {
    this.version++;
  }

  count(unit: number): number {
    this.scope.requireReadable();
    return this.map.count(unit);
  }

  allocate(): number {
    this.change(BLOCKS_OF_A_CHANGE);
    return this.map.newBlock();
  }

  retain(unit: number): void {
    this.change(BLOCKS_OF_A_CHANGE);
    this.map.inc(unit);
  }

  release(unit: number): void {
    this.change(BLOCKS_OF_A_CHANGE);
    this.map.dec(unit);
  }

  extend(nr: number): void {
    this.change(BLOCKS_OF_A_CHANGE + 2 * Math.ceil(nr / UNITS_A_BITMAP));
    this.map.extend(nr);
  }
}
