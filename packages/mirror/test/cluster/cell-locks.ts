/**
 * What a cluster's applications must do themselves, as a cluster file system does: no two nodes write the same place at once, for
 * nobody could say then which of the two is on which leg. And what each place may hold, as its writers were told.
 */

import { CELLS, type Incarnation, type SharedLegs } from './shared-legs.js';
import type { CellWrite } from './simulated-node.js';

export class CellLocks {
  /** Holder of each cell, by region and cell. */
  readonly #holders = new Map<number, Incarnation>();
  /** What may be found in a cell: the last value acknowledged, and those whose writers died. Missing: anything. */
  readonly #possible = new Map<number, Set<number>>();
  #lastValue = 0;
  nrAcknowledged = 0;

  /** @returns undefined when somebody writes there */
  take(node: Incarnation, regionNr: number, cell: number): CellWrite | undefined {
    const key = regionNr * CELLS + cell;
    if (this.#holders.has(key)) return undefined;
    this.#holders.set(key, node);
    const value = ++this.#lastValue;
    this.#possible.get(key)?.add(value);
    return { regionNr, cell, value };
  }

  /** Of a node that has been fenced meanwhile, the cell is in other hands. */
  acknowledge(node: Incarnation, { regionNr, cell, value }: CellWrite): void {
    const key = regionNr * CELLS + cell;
    if (this.#holders.get(key) !== node) return;
    this.#holders.delete(key);
    this.#possible.set(key, new Set([value]));
    this.nrAcknowledged++;
  }

  /** The node can write no more. */
  release(node: Incarnation): void {
    for (const [key, holder] of this.#holders) if (holder === node) this.#holders.delete(key);
  }

  /** Acknowledged and not flushed may be lost with all power. */
  forgetContents(): void {
    this.#holders.clear();
    this.#possible.clear();
  }

  get nrHeld(): number {
    return this.#holders.size;
  }

  /** The first cell of a leg that holds what it must not. */
  wrongCell(legs: SharedLegs, leg: number): string | undefined {
    for (const [key, possible] of this.#possible) {
      const [regionNr, cell] = [Math.floor(key / CELLS), key % CELLS];
      const found = legs.cached[leg]![regionNr]![cell]!;
      if (!possible.has(found)) {
        return `leg ${leg} has ${found} in cell ${cell} of region ${regionNr}, where ${[...possible].join(' or ')} was written`;
      }
    }
    return undefined;
  }
}
