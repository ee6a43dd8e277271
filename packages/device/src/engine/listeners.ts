/**
 * Who listens to the events of an engine. A listener that throws disturbs neither the engine nor the other listeners: what
 * calls it may be in the middle of a transaction.
 */

export type Listener<Events, E extends keyof Events> = (event: Events[E]) => void;

export class Listeners<Events> {
  readonly #listeners = new Map<keyof Events, Set<Listener<Events, never>>>();

  /** Returns what takes the listener off again. */
  on<E extends keyof Events>(event: E, listener: Listener<Events, E>): () => void {
    let listeners = this.#listeners.get(event);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(event, listeners);
    }
    const own: Listener<Events, E> = (happened) => listener(happened); // one that is added twice is called twice
    listeners.add(own);
    return () => listeners.delete(own);
  }

  emit<E extends keyof Events>(event: E, happened: Events[E]): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        (listener as Listener<Events, E>)(happened);
      } catch {
        // A listener's bug must not become the engine's.
      }
    }
  }
}
