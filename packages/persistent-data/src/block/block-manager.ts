/**
 * A bounded write-back cache of metadata blocks over one device.
 *
 * How it works. Blocks live in frames: 4096 bytes of a slab, with the `Block` made over them once. A table of one integer a
 * device block leads to the frame, so that finding a cached block is two loads. A frame is taken from a fresh part of the
 * slab until the cache has its full size; from then on a clock hand looks for one that was not used lately.
 *
 * What a look-up needs of a frame (`place`) is in tables, eight bytes each, not in the `Block`: those of a cache much larger than the
 * processor's are some 300 bytes each, far apart. A million look-ups in 9000 blocks take 0.7 of the time.
 *
 * Validators. A block is checked once, when it enters the cache, and remembers as what; asked for as something else it is
 * corrupt, for two structures claim it. `prepare` runs just before each write.
 *
 * Who may keep a `Block`. Outside an operation, until the next call here: it may be evicted then. Between `enter` and
 * `leave`, until the `leave`: the blocks an operation touches stay, even if the cache has to grow beyond its size for them.
 *
 * Writing. A dirty block may be written at any time, for no committed superblock reaches it: so a transaction may be larger
 * than the cache. The superblock alone is reached; it is made dirty at the very end of a commit, and `flush` follows.
 *
 * Not here: which block may be written (transaction/), what a block contains (its validator).
 * Format: docs/format/block-and-transaction.md, section 1.
 */
import { BLOCK_SIZE, CorruptBlockError, invariant, type MetadataDevice, ReadOnlyError } from '@pdata/device';
import { Block, type BlockValidator } from './block.js';

export interface BlockManagerOptions {
  /** Blocks of 4096 bytes kept in memory; 16 384 (64 MiB) unless told. Memory is taken as it is needed. */
  readonly cacheBlocks?: number;
}

export interface BlockManagerCounters {
  /** Blocks read from the device. */
  nrRead: number;
  /** Blocks written to the device. */
  nrWritten: number;
  nrFlushes: number;
}

const DEFAULT_CACHE_BLOCKS = 16384;
/** Below this an operation's path would not fit beside anything else. */
const MIN_CACHE_BLOCKS = 32;
/** The slab grows by as many frames as it has, from 64 KiB to 1 MiB at once: opening little metadata costs little. */
const FIRST_SEGMENT_FRAMES = 16;
const MOST_SEGMENT_FRAMES = 256;
/** Longest run handed to the device in one request: 1 MiB. */
const MAX_RUN = 256;

const MOST_SPARE_IMAGES = 64;

/** What a block held, and as what it was known; undefined when only the device knew it. */
export interface BlockImage {
  readonly nr: number;
  readonly bytes: Uint8Array;
  readonly validator: BlockValidator | undefined;
}

export class BlockManager {
  readonly device: MetadataDevice;
  readonly counters: BlockManagerCounters = { nrRead: 0, nrWritten: 0, nrFlushes: 0 };
  readonly #cacheBlocks: number;
  #nrBlocks: number;
  /** Device block → frame, 0 for not cached. Zero pages cost no memory until they are touched. */
  #frameOf: Int32Array;
  /** Frame 0 is nobody's, so that 0 can mean "none". */
  readonly #frames: Block[] = [new Block(new Uint8Array(BLOCK_SIZE), -1)];
  /** By frame: what its block is known as; undefined for a frame that holds nothing. */
  readonly #validators: (BlockValidator | undefined)[] = [undefined];
  /** By frame: the operation that touched it last. */
  readonly #lastUsed: number[] = [0];
  /** By frame: the part of the slab that it is in, and where. */
  readonly #windows: DataView[] = [new DataView(new ArrayBuffer(0))];
  readonly #offsets: number[] = [0];
  readonly #unused: Block[] = [];
  #segment = new DataView(new ArrayBuffer(0));
  #segmentUsed = 0;
  /** Where {@link place} found its block. */
  window: DataView = this.#segment;
  #hand = 0;
  /** Frames used since this operation get a second chance: the operation at which the hand last passed frame 0. */
  #lastRound = 0;
  #operation = 1;
  #depth = 0;
  #dirty: Block[] = [];
  #staging = new Uint8Array(0);
  #readOnly: boolean;
  /** Of images that are over: a short transaction makes five, and fresh memory for them takes it half its time. */
  readonly #spareImages: Uint8Array[] = [];

  constructor(device: MetadataDevice, options: BlockManagerOptions = {}) {
    const { cacheBlocks = DEFAULT_CACHE_BLOCKS } = options;
    if (!Number.isSafeInteger(cacheBlocks) || cacheBlocks < 0) {
      throw new RangeError(`a cache has a whole number of blocks, not ${cacheBlocks}`);
    }
    this.device = device;
    this.#cacheBlocks = Math.max(MIN_CACHE_BLOCKS, cacheBlocks);
    this.#nrBlocks = device.nrBlocks;
    this.#frameOf = new Int32Array(this.#nrBlocks);
    this.#readOnly = device.readOnly;
  }

  /** Size of the device, in blocks, as far as this manager uses it. */
  get nrBlocks(): number {
    return this.#nrBlocks;
  }

  get readOnly(): boolean {
    return this.#readOnly;
  }

  /** Blocks there is memory for: what was asked for at most, unless an operation had to hold more. */
  get nrFrames(): number {
    return this.#frames.length - 1;
  }

  /** From here on every write, and every flush, is refused; reading goes on. Nothing turns it back but a new manager. */
  setReadOnly(): void {
    this.#readOnly = true;
  }

  /** Takes notice that the device has grown. */
  deviceGrew(): void {
    if (this.device.nrBlocks <= this.#nrBlocks) return;
    const grown = new Int32Array(this.device.nrBlocks);
    grown.set(this.#frameOf);
    this.#frameOf = grown;
    this.#nrBlocks = this.device.nrBlocks;
  }

  /** Begins an operation, or goes one deeper into it. Every `enter` needs its `leave`, in a `finally`. */
  enter(): void {
    if (this.#depth++ === 0) this.#operation++;
  }

  leave(): void {
    this.#depth--;
  }

  /** Runs `work` as one operation: every block it gets stays in memory, at its place, until it returns. */
  hold<T>(work: () => T): T {
    this.enter();
    try {
      return work();
    } finally {
      this.leave();
    }
  }

  /**
   * Block `nr`, to be looked at only.
   * @throws {@link CorruptBlockError} when `nr` is outside the device, or `validator` refuses the block
   */
  read(nr: number, validator: BlockValidator): Block {
    const frame = this.#frameOf[nr] as number;
    if (frame > 0 && this.#validators[frame] === validator) {
      this.#lastUsed[frame] = this.#operation;
      return this.#frames[frame] as Block;
    }
    return this.#readOtherwise(nr, validator);
  }

  /**
   * As {@link read}, for a look-up that wants a few bytes of many blocks: the block is in `window`, from the byte returned on. Both
   * are good until the next call.
   */
  place(nr: number, validator: BlockValidator): number {
    let frame = this.#frameOf[nr] as number;
    if (!(frame > 0 && this.#validators[frame] === validator)) frame = this.#readOtherwise(nr, validator).frame;
    this.#lastUsed[frame] = this.#operation;
    this.window = this.#windows[frame] as DataView;
    return this.#offsets[frame] as number;
  }

  /** Whether block `nr` is cached as what `validator` says. */
  isCached(nr: number, validator: BlockValidator): boolean {
    return this.#validators[this.#frameOf[nr] as number] === validator;
  }

  /**
   * Block `nr`, to be changed in place. That nothing committed reaches it is the caller's (the transaction manager's) promise.
   * @throws {@link ReadOnlyError}, {@link CorruptBlockError}
   */
  write(nr: number, validator: BlockValidator): Block {
    this.#refuseIfReadOnly();
    const block = this.read(nr, validator);
    if (!block.dirty) this.#setDirty(block);
    return block;
  }

  /** Block `nr` filled with zeros and to be changed, whatever it held: nothing is read, any earlier validator is forgotten. */
  zero(nr: number, validator: BlockValidator): Block {
    const block = this.#overwrite(nr, validator);
    block.bytes.fill(0);
    return block;
  }

  /** As {@link zero}, but filled with what block `from` holds. */
  copy(from: number, to: number, validator: BlockValidator): Block {
    this.enter(); // so that making room for the copy does not evict its source
    try {
      const source = this.read(from, validator);
      const copy = this.#overwrite(to, validator);
      copy.bytes.set(source.bytes);
      return copy;
    } finally {
      this.leave();
    }
  }

  /** Writes every dirty block, then makes all of it durable. After an error nothing is known; the transaction is to be aborted. */
  flush(): void {
    this.#refuseIfReadOnly();
    invariant(this.#depth === 0, 'flush inside an operation');
    this.#operation++;
    this.#writeDirty(false);
    this.device.flush();
    this.counters.nrFlushes++;
  }

  /**
   * As {@link flush}, without holding up the event loop while the device makes it durable. Covers the blocks that are dirty now;
   * reading, and changing blocks for the next flush, goes on meanwhile.
   */
  async flushAsync(): Promise<void> {
    this.#refuseIfReadOnly();
    invariant(this.#depth === 0, 'flush inside an operation');
    this.#operation++;
    this.#writeDirty(false);
    await this.device.flushAsync();
    this.counters.nrFlushes++;
  }

  /** What block `nr` holds, with all changes, for `restore` to put back. Ends with `discardImage`. */
  image(nr: number): BlockImage {
    const bytes = this.#spareImages.pop() ?? new Uint8Array(BLOCK_SIZE);
    const frame = this.#frameOf[nr] as number;
    if (frame > 0) {
      bytes.set((this.#frames[frame] as Block).bytes);
      return { nr, bytes, validator: this.#validators[frame] };
    }
    this.device.read(nr, bytes); // written early, and so sealed
    return { nr, bytes, validator: undefined };
  }

  /** Nobody looks at `image` any more: its memory is for the next. */
  discardImage({ bytes }: BlockImage): void {
    if (this.#spareImages.length < MOST_SPARE_IMAGES) this.#spareImages.push(bytes);
  }

  /** Gives a block the content that it had. */
  restore({ nr, bytes, validator }: BlockImage): void {
    if (validator !== undefined) {
      this.#overwrite(nr, validator).bytes.set(bytes);
      return;
    }
    this.forget(nr);
    this.#refuseIfReadOnly();
    this.device.write(nr, bytes);
    this.counters.nrWritten++;
  }

  /** Drops block `nr` from the cache, changes included: nothing leads to it any more. Not while an operation holds it. */
  forget(nr: number): void {
    const frame = this.#frameOf[nr] as number;
    if (frame > 0) this.#release(this.#frames[frame] as Block, frame);
  }

  /** Forgets everything cached, changes included: what an abort does. */
  drop(): void {
    for (let i = 1; i < this.#frames.length; i++) {
      const block = this.#frames[i] as Block;
      if (block.nr >= 0) this.#release(block, i);
    }
    this.#dirty = []; // an operation under way stays under way: its `leave` is still to come
  }

  #refuseIfReadOnly(): void {
    if (this.#readOnly) {
      throw new ReadOnlyError(
        `${this.device.name} is read-only: it was opened so, or a commit failed and it has to be reopened`,
      );
    }
  }

  /** The slow half of `read`: not cached, or not known as what it is asked for. */
  #readOtherwise(nr: number, validator: BlockValidator): Block {
    this.#refuseOutside(nr, validator);
    const frame = this.#frameOf[nr] as number;
    if (frame > 0) {
      const known = this.#validators[frame];
      throw new CorruptBlockError({
        structure: validator.structure,
        blockNr: nr,
        field: 'kind',
        found: known === undefined ? 'unknown' : known.structure,
        expected: validator.structure,
      });
    }
    const index = this.#takeFrame();
    const block = this.#frames[index] as Block;
    block.nr = nr;
    try {
      this.device.read(nr, block.bytes);
      this.counters.nrRead++;
      validator.check(block);
    } catch (error) {
      block.nr = -1;
      this.#unused.push(block);
      throw error;
    }
    this.#validators[index] = validator;
    this.#lastUsed[index] = this.#operation;
    this.#frameOf[nr] = index;
    return block;
  }

  #overwrite(nr: number, validator: BlockValidator): Block {
    this.#refuseIfReadOnly();
    this.#refuseOutside(nr, validator);
    let index = this.#frameOf[nr] as number;
    if (index === 0) {
      index = this.#takeFrame();
      (this.#frames[index] as Block).nr = nr;
      this.#frameOf[nr] = index;
    }
    const block = this.#frames[index] as Block;
    this.#validators[index] = validator;
    this.#lastUsed[index] = this.#operation;
    if (!block.dirty) this.#setDirty(block);
    return block;
  }

  #refuseOutside(nr: number, { structure }: BlockValidator): void {
    if (nr >= 0 && nr < this.#nrBlocks && Number.isInteger(nr)) return;
    throw new CorruptBlockError({
      structure,
      blockNr: nr,
      field: 'block number',
      found: nr,
      expected: `below ${this.#nrBlocks}, the size of the device`,
    });
  }

  #setDirty(block: Block): void {
    block.dirty = true;
    this.#dirty.push(block);
  }

  /** Index of a frame that holds nothing. */
  #takeFrame(): number {
    if (this.#depth === 0) this.#operation++;
    const reusable = this.#unused.pop();
    if (reusable !== undefined) return reusable.frame;
    if (this.#frames.length > this.#cacheBlocks) {
      const evicted = this.#evict();
      if (evicted > 0) return evicted;
    }
    return this.#newFrame();
  }

  #newFrame(): number {
    if (this.#segmentUsed === this.#segment.byteLength) {
      const nrFrames = Math.min(MOST_SEGMENT_FRAMES, Math.max(FIRST_SEGMENT_FRAMES, this.#frames.length));
      this.#segment = new DataView(new ArrayBuffer(nrFrames * BLOCK_SIZE));
      this.#segmentUsed = 0;
    }
    const block = new Block(new Uint8Array(this.#segment.buffer, this.#segmentUsed, BLOCK_SIZE), -1);
    block.frame = this.#frames.length;
    this.#frames.push(block);
    this.#validators.push(undefined);
    this.#lastUsed.push(0);
    this.#windows.push(this.#segment);
    this.#offsets.push(this.#segmentUsed);
    this.#segmentUsed += BLOCK_SIZE;
    return block.frame;
  }

  /** Frees a frame no operation is using: the first the hand meets that was not used for a round. 0 when there is none. */
  #evict(): number {
    // Two rounds at most: once the hand has passed frame 0, only what the running operation holds is spared.
    for (let step = 2 * this.#frames.length; step > 0; step--) {
      if (++this.#hand >= this.#frames.length) {
        this.#hand = 1;
        this.#lastRound = this.#operation;
      }
      const lastUsed = this.#lastUsed[this.#hand] as number;
      if (lastUsed >= this.#operation || lastUsed > this.#lastRound) continue;
      const block = this.#frames[this.#hand] as Block;
      if (block.nr < 0) continue;
      if (block.dirty) {
        if (block.nr === 0) continue; // the superblock: only a flush may write it
        this.#writeDirty(true);
      }
      this.#release(block, this.#hand);
      this.#unused.pop();
      return this.#hand;
    }
    return 0;
  }

  #release(block: Block, index: number): void {
    this.#frameOf[block.nr] = 0;
    block.nr = -1;
    block.dirty = false;
    this.#validators[index] = undefined;
    this.#lastUsed[index] = 0;
    this.#unused.push(block);
  }

  /**
   * Writes the dirty blocks, in runs of neighbours, except those the running operation holds: it may change them again
   * without telling. `early`, before the flush, also except the superblock.
   */
  #writeDirty(early: boolean): void {
    const held: Block[] = [];
    const due: Block[] = [];
    for (const block of this.#dirty) {
      if (!block.dirty) continue; // listed twice, or dropped since
      if ((this.#lastUsed[block.frame] as number) >= this.#operation || (early && block.nr === 0)) held.push(block);
      else due.push(block);
    }
    due.sort((a, b) => a.nr - b.nr);
    const longest = Math.min(MAX_RUN, due.length) * BLOCK_SIZE;
    if (this.#staging.byteLength < longest) this.#staging = new Uint8Array(longest);
    for (let from = 0; from < due.length; ) {
      const first = (due[from] as Block).nr;
      let nr = 0;
      while (nr < MAX_RUN && due[from + nr]?.nr === first + nr) {
        const block = due[from + nr] as Block;
        this.#validators[block.frame]?.prepare(block);
        this.#staging.set(block.bytes, nr * BLOCK_SIZE);
        nr++;
      }
      this.device.write(first, this.#staging.subarray(0, nr * BLOCK_SIZE));
      this.counters.nrWritten += nr;
      for (let i = 0; i < nr; i++) (due[from + i] as Block).dirty = false;
      from += nr;
    }
    this.#dirty = held;
  }
}
