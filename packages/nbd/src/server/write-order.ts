/**
 * Keeps a read-modify-write apart from the other writes to its sectors.
 *
 * Devices know whole sectors. A write that begins or ends inside one reads the sector, changes a part, writes it back; another
 * write to that sector in between would be undone. So such a write is *exclusive* over its sectors: it starts when no write in
 * flight overlaps it, and those that come later and overlap it wait, in order of arrival. Writes of whole sectors run at once
 * among each other. Reads need no order: a device replaces each sector whole.
 *
 * Almost all writes are whole sectors. For them the cost is a place in a linked list, which lives in the request itself.
 */

/** A write, as the order sees it. The links are the order's own. */
export interface OrderedWrite {
  /** First byte of its first sector, and the byte after its last. */
  begin: number;
  end: number;
  exclusive: boolean;
  orderPrevious: OrderedWrite | undefined;
  orderNext: OrderedWrite | undefined;
  /** Called when a write that had to wait may start. */
  admitted(): void;
}

export class WriteOrder {
  #newest: OrderedWrite | undefined;
  readonly #waiting: OrderedWrite[] = [];
  #nrExclusive = 0;

  /** @returns whether `write` may start now; if not, its `admitted` will be called. Either way it must `leave` in the end. */
  enter(write: OrderedWrite): boolean {
    if (write.exclusive) this.#nrExclusive++;
    if (this.#nrExclusive > 0 && (this.#conflictsWithActive(write) || conflictsWithAny(write, this.#waiting))) {
      this.#waiting.push(write);
      return false;
    }
    this.#activate(write);
    return true;
  }

  /** `write`, which was let in, has been done or has failed. */
  leave(write: OrderedWrite): void {
    const { orderPrevious: older, orderNext: newer } = write;
    if (newer === undefined) this.#newest = older;
    else newer.orderPrevious = older;
    if (older !== undefined) older.orderNext = newer;
    write.orderPrevious = undefined;
    write.orderNext = undefined;
    if (write.exclusive) this.#nrExclusive--;
    if (this.#waiting.length > 0) this.#admitWaiting();
  }

  #activate(write: OrderedWrite): void {
    write.orderPrevious = this.#newest;
    write.orderNext = undefined;
    if (this.#newest !== undefined) this.#newest.orderNext = write;
    this.#newest = write;
  }

  #admitWaiting(): void {
    const admitted: OrderedWrite[] = [];
    const still: OrderedWrite[] = [];
    for (const write of this.#waiting) {
      if (this.#conflictsWithActive(write) || conflictsWithAny(write, still)) still.push(write);
      else {
        this.#activate(write);
        admitted.push(write);
      }
    }
    this.#waiting.splice(0, this.#waiting.length, ...still);
    for (const write of admitted) write.admitted(); // last: it may come back here
  }

  #conflictsWithActive(write: OrderedWrite): boolean {
    for (let other = this.#newest; other !== undefined; other = other.orderPrevious) {
      if (conflict(write, other)) return true;
    }
    return false;
  }
}

const conflict = (a: OrderedWrite, b: OrderedWrite): boolean =>
  (a.exclusive || b.exclusive) && a.begin < b.end && b.begin < a.end;

const conflictsWithAny = (write: OrderedWrite, others: readonly OrderedWrite[]): boolean =>
  others.some((other) => conflict(write, other));
