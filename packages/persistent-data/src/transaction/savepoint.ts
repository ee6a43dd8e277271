/**
 * A point of a transaction that it can be rolled back to.
 *
 * Within a transaction blocks are changed in place. So a savepoint keeps what they held: of each block that the transaction
 * had written before, a copy, made when it is first written again; of each block handed out since, the number. What lies
 * behind the last commit is never written in place, and needs nothing.
 *
 *   roll back   the copies are put back, newest first; blocks handed out since are forgotten; so are the changes of the space map
 *   release     the outer savepoint, if there is one, takes over what was kept: its own copies are older, and win
 *
 * A block may have been given up since the savepoint and handed out again: it counts as written again, and is kept.
 *
 * Not here: what the owner of the trees has in memory, roots above all. He puts that back himself.
 */
import { invariant } from '@pdata/device';
import type { BlockImage, BlockManager } from '../block/block-manager.js';

export class Savepoint {
  readonly #blocks: BlockManager;
  readonly #outer: Savepoint | undefined;
  readonly #putBackCounts: () => void;
  readonly #owner: { ended(outer: Savepoint | undefined): void; rolledBack(): void };
  readonly #images: BlockImage[] = [];
  readonly #added: number[] = [];
  /** Blocks kept, or handed out since. */
  readonly #known = new Set<number>();
  #inner = 0;
  #ended = false;

  /** @internal Made by `TransactionManager.savepoint`. */
  constructor(
    blocks: BlockManager,
    outer: Savepoint | undefined,
    putBackCounts: () => void,
    owner: { ended(outer: Savepoint | undefined): void; rolledBack(): void },
  ) {
    this.#blocks = blocks;
    this.#outer = outer;
    this.#putBackCounts = putBackCounts;
    this.#owner = owner;
    if (outer !== undefined) outer.#inner++;
  }

  /** @internal Block `nr`, which this transaction has written before, is about to be written again. */
  changes(nr: number): void {
    if (this.#known.has(nr)) return;
    this.#known.add(nr);
    this.#images.push(this.#blocks.image(nr));
  }

  /** @internal Block `nr` was handed out. */
  added(nr: number, writtenBefore: boolean): void {
    if (this.#known.has(nr)) return;
    if (writtenBefore) this.changes(nr);
    this.#known.add(nr);
    this.#added.push(nr);
  }

  /** Everything is as it was when the savepoint was made, and the savepoint is gone. */
  rollback(): void {
    this.#end();
    for (const nr of this.#added) this.#blocks.forget(nr);
    for (let i = this.#images.length - 1; i >= 0; i--) {
      const image = this.#images[i] as BlockImage;
      this.#blocks.restore(image);
      this.#blocks.discardImage(image);
    }
    this.#putBackCounts();
    this.#owner.rolledBack();
  }

  /** The savepoint is gone, and what was changed since stays. */
  release(): void {
    this.#end();
    const outer = this.#outer;
    for (const image of this.#images) {
      if (outer === undefined || outer.#known.has(image.nr)) this.#blocks.discardImage(image);
      else {
        outer.#known.add(image.nr);
        outer.#images.push(image);
      }
    }
    if (outer === undefined) return;
    for (const nr of this.#added) {
      outer.#known.add(nr);
      outer.#added.push(nr);
    }
  }

  #end(): void {
    invariant(!this.#ended, 'a savepoint ended twice');
    invariant(this.#inner === 0, 'a savepoint ended before one within it');
    this.#ended = true;
    if (this.#outer !== undefined) this.#outer.#inner--;
    this.#owner.ended(this.#outer);
  }
}
