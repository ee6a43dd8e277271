/** The requests of a device that have not settled: what its `close` has to wait for. */
export class PendingRequests {
  readonly #pending = new Set<Promise<unknown>>();

  /** Remembers `request` until it settles, and returns it. */
  track<T>(request: Promise<T>): Promise<T> {
    this.#pending.add(request);
    const forget = (): void => void this.#pending.delete(request);
    request.then(forget, forget);
    return request;
  }

  /** Resolves when all requests known by now have settled, however they end. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#pending]);
  }
}
