/**
 * A bounded number of buffers for data blocks on their way, so that a write of 4 KiB into a fresh block does not cost an
 * allocation of 64 KiB, and a burst of them does not cost a gigabyte.
 *
 * Who holds one waits for nothing but its data device; so who waits for one waits for that alone.
 */
export class BlockBuffers {
  /** Bytes of a buffer. */
  readonly size: number;
  readonly #most: number;
  readonly #free: Uint8Array[] = [];
  readonly #waiting: ((buffer: Uint8Array) => void)[] = [];
  #nr = 0;

  /**
   * @param size bytes of a buffer
   * @param most buffers there ever are; they are made when first needed, full of zeros
   */
  constructor(size: number, most: number) {
    this.size = size;
    this.#most = most;
  }

  async take(): Promise<Uint8Array> {
    const buffer = this.#free.pop();
    if (buffer !== undefined) return buffer;
    if (this.#nr < this.#most) {
      this.#nr++;
      return new Uint8Array(this.size);
    }
    return new Promise((give) => {
      this.#waiting.push(give);
    });
  }

  /** Whoever relies on buffers of zeros clears what it wrote first. */
  giveBack(buffer: Uint8Array): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(buffer);
    else next(buffer);
  }
}
