/**
 * Devices that take their time, and which of those that wait for one goes on next is random: so everything that can overlap does,
 * sooner or later, in every order, and all of it follows from the seed.
 */
export class RandomSchedule {
  readonly #random: () => number;
  #waiting: (() => void)[] = [];

  constructor(random: () => number) {
    this.#random = random;
  }

  /** What a device awaits before each request. */
  readonly wait = (): Promise<void> =>
    new Promise((go) => {
      this.#waiting.push(go);
    });

  /** Requests that wait for a device. */
  get nrWaiting(): number {
    return this.#waiting.length;
  }

  /** Lets one of them go on. */
  letGo(): void {
    const at = Math.floor(this.#random() * this.#waiting.length);
    for (const go of this.#waiting.splice(at, 1)) go();
  }

  /** The power has failed: those who wait do so for ever. */
  forget(): void {
    this.#waiting = [];
  }

  /** Waits for something that nothing else is to overlap, letting go what it needs. */
  async until<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const done = work.finally(() => {
      over = true;
    });
    done.catch(() => {});
    for (let nr = 0; !over; nr++) {
      await turned();
      if (this.#waiting.length > 0) this.letGo();
      else if (nr > 1000) throw new Error('stuck: waits for nothing');
    }
    return done;
  }
}

/** What can go on without a device has gone on. */
export const turned = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
