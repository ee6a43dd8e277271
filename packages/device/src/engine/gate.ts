/**
 * A gate that many may be behind at once, until somebody closes it: who closes it waits for those inside to leave, and is
 * alone until it is opened again.
 *
 * A thin pool has one for changes of its metadata (a commit closes it), each open volume one for requests that write (a
 * snapshot closes it); a clone has one for requests (a suspension closes it). Nobody starves: who waits to enter goes in when the gate is next opened, before the next closer; who
 * waits to close is not overtaken by those who come later.
 */
interface Waiting {
  readonly nr: number;
  readonly enter: () => void;
}

export class Gate {
  #nrInside = 0;
  #closed = false;
  #waiting: Waiting[] = [];
  readonly #closers: (() => void)[] = [];

  get nrInside(): number {
    return this.#nrInside;
  }

  /** Enters at once, if nobody has closed the gate or waits to. Whoever entered leaves as often. */
  tryEnter(nr = 1): boolean {
    if (this.#closed || this.#closers.length > 0) return false;
    this.#nrInside += nr;
    return true;
  }

  enter(nr = 1): Promise<void> {
    if (this.tryEnter(nr)) return Promise.resolve();
    return new Promise((enter) => {
      this.#waiting.push({ nr, enter });
    });
  }

  leave(): void {
    this.#nrInside--;
    if (this.#nrInside === 0) this.#letOneClose();
  }

  /** Resolves when all have left; nobody else enters before {@link open}. */
  close(): Promise<void> {
    if (!this.#closed && this.#nrInside === 0) {
      this.#closed = true;
      return Promise.resolve();
    }
    return new Promise((closed) => {
      this.#closers.push(closed);
    });
  }

  open(): void {
    this.#closed = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { nr, enter } of waiting) {
      this.#nrInside += nr;
      enter();
    }
    if (this.#nrInside === 0) this.#letOneClose();
  }

  #letOneClose(): void {
    if (this.#closed) return;
    const close = this.#closers.shift();
    if (close === undefined) return;
    this.#closed = true;
    close();
  }
}
