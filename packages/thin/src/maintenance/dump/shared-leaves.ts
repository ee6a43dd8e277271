/**
 * Finds the parts of mapping trees that several devices share, the way thin_dump 1.x does, so that each can be printed once.
 *
 * Only leaves count; internal nodes and reference counts play no part. Take every device's leaves in order. Two neighbours a, b
 * are *joined* when every device that holds one of them holds both, a right before b (the beginning and the end of a device
 * count as neighbours of their own). Joined leaves form runs. A run belongs wholly to each of its users; one with several is
 * shared, and goes by the block number of its first leaf.
 *
 *     device 0:   a b c d          runs: a b | c d | e f g
 *     device 1:   a b e f g        shared: a b (0 and 1), e f g (1 and 2)
 *     device 2:   e f g
 *
 * Whole sequences are never held: for each leaf its only predecessor, its only successor and its number of users (as far
 * as it matters: none, one, several) say everything. That is 25 bytes for each block of the device, however many snapshots there are.
 *
 * Found out by comparing outputs of 1.1.0 on hundreds of trees; docs/format/tools.md, section 5, has the rule.
 */

/** No leaf has these numbers: a device has at most 2^32 - 3 blocks here, which is 16 TiB. */
const UNSEEN = 0;
const BORDER = 0xffffffff;
const SEVERAL = 0xfffffffe;

export class SharedLeaves {
  readonly #before: Uint32Array;
  readonly #after: Uint32Array;
  readonly #nrUsers: Uint8Array;
  /** The keys a leaf may hold: what all its parents agree on. */
  readonly #lows: Float64Array;
  readonly #highs: Float64Array;
  #last = BORDER;

  constructor(nrBlocks: number) {
    this.#before = new Uint32Array(nrBlocks);
    this.#after = new Uint32Array(nrBlocks);
    this.#nrUsers = new Uint8Array(nrBlocks);
    this.#lows = new Float64Array(nrBlocks);
    this.#highs = new Float64Array(nrBlocks).fill(Number.POSITIVE_INFINITY);
  }

  /** The next leaf of the device being told, which may hold the keys in low..high (exclusive). */
  add(leaf: number, low: number, high: number): void {
    const before = this.#before[leaf] as number;
    if (before === UNSEEN) this.#before[leaf] = this.#last;
    else if (before !== this.#last) this.#before[leaf] = SEVERAL;
    if (this.#last !== BORDER) this.#follow(this.#last, leaf);
    if ((this.#nrUsers[leaf] as number) < 2) this.#nrUsers[leaf]!++;
    if (low > (this.#lows[leaf] as number)) this.#lows[leaf] = low;
    if (high < (this.#highs[leaf] as number)) this.#highs[leaf] = high;
    this.#last = leaf;
  }

  /** The device being told ends here; the next leaf is another's. */
  endDevice(): void {
    if (this.#last !== BORDER) this.#follow(this.#last, BORDER);
    this.#last = BORDER;
  }

  #follow(leaf: number, next: number): void {
    const after = this.#after[leaf] as number;
    if (after === UNSEEN) this.#after[leaf] = next;
    else if (after !== next) this.#after[leaf] = SEVERAL;
  }

  /** Whether `leaf` begins a run. */
  isHead(leaf: number): boolean {
    const before = this.#before[leaf] as number;
    return before >= SEVERAL || this.#after[before] !== leaf;
  }

  /** Whether several devices hold `leaf`, and so its run. */
  isShared(leaf: number): boolean {
    return (this.#nrUsers[leaf] as number) > 1;
  }

  /** The leaf after `leaf` in its run, or -1. */
  nextInRun(leaf: number): number {
    const after = this.#after[leaf] as number;
    return after < SEVERAL && after !== UNSEEN && this.#before[after] === leaf ? after : -1;
  }

  /** The first leaf of each shared run, in ascending order. */
  *sharedHeads(): Generator<number, void> {
    const nrUsers = this.#nrUsers;
    for (let leaf = nrUsers.indexOf(2); leaf >= 0; leaf = nrUsers.indexOf(2, leaf + 1)) {
      if (this.isHead(leaf)) yield leaf;
    }
  }

  lowOf(leaf: number): number {
    return this.#lows[leaf] as number;
  }

  highOf(leaf: number): number {
    return this.#highs[leaf] as number;
  }
}
