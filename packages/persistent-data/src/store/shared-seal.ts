/** A sealed state with several users (a commit on its way, views): released when the last of them lets go. */
import type { SealedStore } from './store-state.js';

export class SharedSeal implements SealedStore {
  readonly #sealed: SealedStore;
  #nrUsers = 1;

  constructor(sealed: SealedStore) {
    this.#sealed = sealed;
  }

  get roots(): SealedStore['roots'] {
    return this.#sealed.roots;
  }

  get spaceMap(): SealedStore['spaceMap'] {
    return this.#sealed.spaceMap;
  }

  get isReleased(): boolean {
    return this.#nrUsers === 0;
  }

  /** One user more, who releases it once. */
  use(): this {
    this.#nrUsers++;
    return this;
  }

  release(): void {
    if (--this.#nrUsers === 0) this.#sealed.release();
  }
}
