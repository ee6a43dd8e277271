/**
 * Says when space runs low, and makes room for metadata by itself.
 *
 * The metadata's file or environment is sparse, so enlarging it costs nothing; data are what the user paid for, so the pool's data
 * grow only when asked.
 */
import type { MetadataDevice } from '@pdata/device';
import { MAX_METADATA_BLOCKS } from '@pdata/persistent-data';
import type { ThinPool } from '@pdata/thin';
import type { PoolEvent } from '../pool-host.js';
import { formatSize } from '../words/sizes.js';

export class SpaceKeeper {
  readonly #pool: ThinPool;
  readonly #metadata: MetadataDevice;
  readonly #tell: (event: Omit<PoolEvent, 'at'>) => void;
  #growing: Promise<void> | undefined;
  #isClosed = false;

  constructor(pool: ThinPool, metadata: MetadataDevice, tell: (event: Omit<PoolEvent, 'at'>) => void) {
    this.#pool = pool;
    this.#metadata = metadata;
    this.#tell = tell;
    pool.on('dataLow', ({ nrFree }) => {
      const free = formatSize(nrFree * pool.dataBlockSize * 512);
      tell({ kind: 'space', message: `Only ${free} of data are free: remove something, or grow the pool.` });
    });
    pool.on('metadataLow', () => this.#growSoon());
    pool.on('mode', ({ to }) => {
      if (to === 'out_of_metadata_space') this.#growSoon();
    });
    if (pool.mode === 'out_of_metadata_space') this.#growSoon(); // since it was opened
  }

  /** Waits until the metadata are not being enlarged any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#growing;
  }

  /** Not at once: listeners are called in the middle of a transaction. */
  #growSoon(): void {
    if (this.#isClosed || this.#growing !== undefined || this.#metadata.nrBlocks >= MAX_METADATA_BLOCKS) return;
    this.#growing = new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => this.#grow())
      .catch((error: unknown) => {
        const why = error instanceof Error ? error.message : String(error);
        this.#tell({ kind: 'error', message: `The metadata cannot be enlarged: ${why}` });
      })
      .finally(() => {
        this.#growing = undefined;
      });
  }

  async #grow(): Promise<void> {
    if (this.#isClosed) return;
    const nrBlocks = Math.min(this.#metadata.nrBlocks * 2, MAX_METADATA_BLOCKS);
    this.#metadata.grow(nrBlocks);
    await this.#pool.resume();
    this.#tell({ kind: 'space', message: `The metadata have room for ${formatSize(nrBlocks * 4096)} now.` });
  }
}
