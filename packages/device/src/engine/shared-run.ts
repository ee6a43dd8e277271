/**
 * One run of something costly for all who ask meanwhile: who asks while it is running may be too late for this run, and
 * gets the next one, together with everybody else who asks before that begins.
 */
export class SharedRun {
  readonly #work: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Resolves, or rejects, as the run does that covers everything done before this call. */
  run(): Promise<void> {
    if (this.#running === undefined) return this.#start();
    this.#next ??= this.#afterwards(this.#running);
    return this.#next;
  }

  /** Resolves when nothing runs or waits to. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => {});
  }

  async #afterwards(running: Promise<void>): Promise<void> {
    await running.catch(() => {}); // its own callers are told
    this.#next = undefined;
    return this.run(); // somebody may have been quicker
  }

  #start(): Promise<void> {
    const run = this.#work().finally(() => {
      if (this.#running === run) this.#running = undefined;
    });
    this.#running = run;
    return run;
  }
}
