/** How many may go on at the same time; the others wait in order. */
export class Slots {
  #nrFree: number;
  readonly #waiting: (() => void)[] = [];

  constructor(nr: number) {
    this.#nrFree = nr;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#nrFree > 0) this.#nrFree--;
    else {
      await new Promise<void>((go) => {
        this.#waiting.push(go);
      });
    }
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#nrFree++;
      else next(); // who was next has our place
    }
  }
}
