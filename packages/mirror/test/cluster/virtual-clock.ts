/** Time that passes only when a simulation says so: what is scheduled happens in order, and everything that follows from it before the next. */
interface Scheduled {
  readonly at: number;
  readonly nr: number;
  readonly action: () => void;
  isCancelled: boolean;
}

export class VirtualClock {
  #now = 0;
  #nr = 0;
  /** By time, the latest first; what was scheduled first comes first. */
  readonly #queue: Scheduled[] = [];

  get now(): number {
    return this.#now;
  }

  /** @returns what takes it back */
  after(ticks: number, action: () => void): () => void {
    const scheduled: Scheduled = { at: this.#now + ticks, nr: this.#nr++, action, isCancelled: false };
    let [low, high] = [0, this.#queue.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isLater(this.#queue[middle]!, scheduled)) low = middle + 1;
      else high = middle;
    }
    this.#queue.splice(low, 0, scheduled);
    return () => {
      scheduled.isCancelled = true;
    };
  }

  sleep(ticks: number): Promise<void> {
    return new Promise((resolve) => this.after(ticks, resolve));
  }

  /** Lets time pass until `isOver`, asked after each event, or until nothing is left to happen. */
  async run(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const next = this.#queue.pop();
      if (next === undefined) return;
      if (next.isCancelled) continue;
      this.#now = next.at;
      next.action();
      await new Promise(setImmediate); // every promise that this has settled, and those that wait for it
    }
  }
}

const isLater = (a: Scheduled, b: Scheduled): boolean => a.at > b.at || (a.at === b.at && a.nr > b.nr);
