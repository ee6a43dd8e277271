/**
 * What a disk may hold after a crash, for a writer that knows what it wrote and what it flushed.
 *
 * Every write fills whole units of 4 KiB with its own number. A unit's history is what was ever written to it, in order (no two writes
 * to one unit are in flight at once). After a crash each sector holds a number of its unit's history that is not older than
 * the last one that had ended before a flush which ended as well.
 */
export const UNIT = 4096;
const SECTOR = 512;
const SECTORS = UNIT / SECTOR;

export class DiskModel {
  readonly nrUnits: number;
  /** Number in each sector when the history began; crashes may tear a unit. */
  #base: Uint32Array;
  /** Numbers written since, oldest first; 0 stands for zeros. */
  #history: number[][];
  /** How many of them had ended, */
  #ended: Uint32Array;
  /** and how many had ended when a flush began that has ended too. */
  #durable: Uint32Array;

  constructor(size: number) {
    this.nrUnits = size / UNIT;
    this.#base = new Uint32Array(this.nrUnits * SECTORS);
    this.#history = Array.from({ length: this.nrUnits }, () => []);
    this.#ended = new Uint32Array(this.nrUnits);
    this.#durable = new Uint32Array(this.nrUnits);
  }

  /** A write of `number` begins. Returns what is called when it has ended. */
  write(unit: number, nrUnits: number, number: number): () => void {
    for (let at = unit; at < unit + nrUnits; at++) this.#history[at]!.push(number);
    return () => {
      for (let at = unit; at < unit + nrUnits; at++) this.#ended[at] = this.#history[at]!.length;
    };
  }

  /** A flush begins. Returns what is called when it has ended. */
  flush(): () => void {
    const covered = this.#ended.slice();
    return () => {
      for (let at = 0; at < this.nrUnits; at++) this.#durable[at] = Math.max(this.#durable[at]!, covered[at]!);
    };
  }

  /** What a snapshot may hold that begins now; called when it has ended. */
  snapshot(): () => DiskModel {
    const from = this.#ended.slice();
    return () => {
      const copy = new DiskModel(this.nrUnits * UNIT);
      copy.#base = this.#base.slice();
      copy.#history = this.#history.map((numbers) => [...numbers]);
      copy.#durable = from;
      return copy;
    };
  }

  /** @returns the first byte that holds what it must not, in words; undefined when all is as it may be */
  problemOf(content: Uint8Array): string | undefined {
    const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
    for (let sector = 0; sector < content.length / SECTOR; sector++) {
      const unit = Math.floor(sector / SECTORS);
      const history = this.#history[unit]!;
      const durable = this.#durable[unit]!;
      const allowed = durable === 0 ? [this.#base[sector]!, ...history] : history.slice(durable - 1);
      const found = view.getUint32(sector * SECTOR, true);
      if (!allowed.includes(found)) {
        return `byte ${sector * SECTOR} holds write ${found}, allowed are ${allowed.join(', ')} (of ${history.join(', ')})`;
      }
      for (let at = 4; at < SECTOR; at += 4) {
        if (view.getUint32(sector * SECTOR + at, true) !== found)
          return `the sector at byte ${sector * SECTOR} is mixed`;
      }
    }
    return undefined;
  }

  /** From here on this content is where the history begins. */
  restart(content: Uint8Array): void {
    const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
    this.#base = Uint32Array.from({ length: this.nrUnits * SECTORS }, (_, sector) =>
      view.getUint32(sector * SECTOR, true),
    );
    this.#history = Array.from({ length: this.nrUnits }, () => []);
    this.#ended.fill(0);
    this.#durable.fill(0);
  }
}
