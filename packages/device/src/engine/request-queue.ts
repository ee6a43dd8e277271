/**
 * The order of the requests to one volume: what overlaps is done in order of arrival, what does not is not held up.
 *
 * A request's part in one block is an entry: a range of bytes, to be read or to be written. It is *granted* when no earlier
 * unfinished entry conflicts with it, and no later one that has been granted already. Two entries conflict when they overlap
 * and one of them writes. In most cases that is at once, without a promise.
 *
 * Whoever finds that a write has to change the block's mapping *widens* its entry to the whole block. It keeps its place; so
 * overlapping writes stay in order, and two writers of one block cannot wait for each other: who waits holds nothing.
 *
 * Entries lie in lists, one for each remainder of the block number: the list to be looked at is short, and nothing is
 * allocated for a request but, once, its entry.
 */

const NR_LISTS = 256; // a power of two

export class QueueEntry {
  begin = 0;
  end = 0;
  writes = false;
  granted = false;
  /** @internal */
  list = 0;
  /** @internal */
  earlier: QueueEntry | undefined;
  /** @internal The next free one, in the list of free entries. */
  later: QueueEntry | undefined;
  /** @internal Somebody waits. */
  grant: (() => void) | undefined;
}

export class RequestQueue {
  readonly #first: (QueueEntry | undefined)[] = new Array(NR_LISTS).fill(undefined);
  readonly #last: (QueueEntry | undefined)[] = new Array(NR_LISTS).fill(undefined);
  #free: QueueEntry | undefined;

  /** The new entry of bytes `begin`..`end` (exclusive) of `block`; `granted` says whether to wait for {@link granting}. */
  enter(block: number, begin: number, end: number, writes: boolean): QueueEntry {
    const entry = this.#free ?? new QueueEntry();
    this.#free = entry.later;
    const list = block & (NR_LISTS - 1); // the lower bits are right above 2^31, too
    const last = this.#last[list];
    entry.begin = begin;
    entry.end = end;
    entry.writes = writes;
    entry.list = list;
    entry.earlier = last;
    entry.later = undefined;
    if (last === undefined) this.#first[list] = entry;
    else last.later = entry;
    this.#last[list] = entry;
    entry.granted = last === undefined || this.#canBeGranted(entry);
    return entry;
  }

  /**
   * Makes the entry one that writes `begin`..`end`; it may have to wait again. Then it does not hold up those before it any
   * more: of two that were granted for different parts of a block, and both turn out to need all of it, the first goes on.
   */
  widen(entry: QueueEntry, begin: number, end: number): void {
    entry.begin = begin;
    entry.end = end;
    entry.writes = true;
    entry.granted = this.#canBeGranted(entry);
    if (!entry.granted) this.#grant(entry.list);
  }

  /** Resolves when an entry that was not granted is. */
  granting(entry: QueueEntry): Promise<void> {
    return new Promise((grant) => {
      entry.grant = grant;
    });
  }

  /** Ends the entry, which must not be used any more, and grants what waited for it. */
  leave(entry: QueueEntry): void {
    const { earlier, later, list } = entry;
    if (earlier === undefined) this.#first[list] = later;
    else earlier.later = later;
    if (later === undefined) this.#last[list] = earlier;
    else later.earlier = earlier;
    entry.earlier = undefined;
    entry.later = this.#free;
    this.#free = entry;
    this.#grant(list);
  }

  /** Grants what can be. One that was widened may have waited for a later one; so all are looked at. */
  #grant(list: number): void {
    for (let each = this.#first[list]; each !== undefined; each = each.later) {
      if (each.granted || each.grant === undefined || !this.#canBeGranted(each)) continue;
      each.granted = true;
      const { grant } = each;
      each.grant = undefined;
      grant();
    }
  }

  #canBeGranted(entry: QueueEntry): boolean {
    for (let other = entry.earlier; other !== undefined; other = other.earlier) {
      if (conflict(entry, other)) return false;
    }
    for (let other = entry.later; other !== undefined; other = other.later) {
      if (other.granted && conflict(entry, other)) return false;
    }
    return true;
  }
}

const conflict = (a: QueueEntry, b: QueueEntry): boolean =>
  (a.writes || b.writes) && a.begin < b.end && b.begin < a.end;
