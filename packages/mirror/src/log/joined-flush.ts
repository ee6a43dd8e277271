/**
 * One flush at a time. Who asks while one is running must not share it, since it may have begun before the mark that the asker
 * wants durable; but all who ask meanwhile share the next.
 */
export class JoinedFlush {
  readonly #flush: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(flush: () => Promise<void>) {
    this.#flush = flush;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** A flush that begins now, or when the running one has ended. */
  run(): Promise<void> {
    if (this.#next !== undefined) return this.#next;
    if (this.#running === undefined) return this.#begin();
    this.#next = this.#running.then(ignore, ignore).then(() => {
      this.#next = undefined;
      return this.#begin();
    });
    return this.#next;
  }

  /** Resolves when what has been asked for so far has ended, well or not. */
  async settled(): Promise<void> {
    await Promise.allSettled([this.#running, this.#next]);
  }

  #begin(): Promise<void> {
    const running = this.#flush().finally(() => {
      this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}

const ignore = (): void => undefined;
