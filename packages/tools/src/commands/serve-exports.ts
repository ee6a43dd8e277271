/**
 * The volumes of a pool as exports of an NBD server: each under its thin id in decimal, opened when the first client wants it
 * and closed when the last has left.
 *
 * Each other volume N of the pool is a metadata context `qemu:dirty-bitmap:N`: what differs from it, so that a backup program
 * reads only what has changed since that snapshot. It is worked out anew for each question, for the volume may be written to.
 */

import { SECTOR_SIZE } from '@pdata/device';
import type { ExportSource, MetaContext, MetaExtent } from '@pdata/nbd';
import type { ThinPool, ThinVolume } from '@pdata/thin';
import type { ServedSize } from './serve-sizes.js';

/** Bit 0 of a dirty bitmap's flags. */
const DIRTY = 1;
/** Ranges in one answer, and virtual blocks looked at for it, which takes milliseconds; who asked comes again for the rest. */
const MOST_RANGES = 1024;
const MOST_BLOCKS = 65_536;

export class PoolExports implements ExportSource {
  readonly #pool: ThinPool;
  readonly #readOnly: boolean;
  readonly #sizes: ReadonlyMap<string, ServedSize>;
  readonly #volumes = new Set<ThinVolume>();

  constructor(pool: ThinPool, sizes: readonly ServedSize[], readOnly: boolean) {
    this.#pool = pool;
    this.#readOnly = readOnly;
    this.#sizes = new Map(sizes.map((served) => [String(served.thinId), served]));
  }

  async list() {
    return Array.from(this.#sizes, ([name, { thinId, mappedBlocks }]) => ({
      name,
      description: `thin device ${thinId}, ${mappedBlocks} blocks mapped`,
    }));
  }

  /** The only volume of a pool is its default export too. */
  async open(name: string) {
    const [only] = this.#sizes.size === 1 ? this.#sizes.values() : [];
    const served = this.#sizes.get(name) ?? (name === '' ? only : undefined);
    if (served === undefined) return undefined;
    const { thinId, size } = served;
    const volume = await this.#pool.openVolume(thinId, {
      size,
      readOnly: this.#readOnly,
      name: `thin device ${thinId}`,
    });
    this.#volumes.add(volume);
    const bases = Array.from(this.#sizes.values(), (other) => other.thinId).filter((id) => id !== thinId);
    return {
      device: volume,
      description: `thin device ${thinId}`,
      contexts: bases.map((baseId) => changedSince(this.#pool, thinId, baseId)),
      release: async () => {
        this.#volumes.delete(volume);
        await volume.close();
      },
    };
  }

  /** Closes what is still open: a write that waits for space, which may be for ever, is given up. */
  async giveUp(): Promise<void> {
    await Promise.all(Array.from(this.#volumes, (volume) => volume.close()));
  }
}

/** What of `thinId` may differ from `baseId`, as a dirty bitmap. */
export function changedSince(pool: ThinPool, thinId: number, baseId: number): MetaContext {
  const blockBytes = pool.dataBlockSize * SECTOR_SIZE;
  return {
    name: `qemu:dirty-bitmap:${baseId}`,
    extents: async (offset, length) => {
      const begin = Math.floor(offset / blockBytes);
      const end = Math.min(offset + length, (begin + MOST_BLOCKS) * blockBytes);
      const extents: MetaExtent[] = [];
      await new Promise((resolve) => setImmediate(resolve)); // the map of a whole volume must not hold up other clients
      let at = offset;
      const upTo = (to: number, flags: number): void => {
        if (to > at) extents.push({ length: to - at, flags });
        at = Math.max(at, to);
      };
      const ranges = pool.changedRanges(thinId, baseId, begin, Math.ceil(end / blockBytes));
      for (const range of ranges) {
        upTo(Math.min(range.begin * blockBytes, end), 0);
        upTo(Math.min(range.end * blockBytes, end), DIRTY);
        if (extents.length >= MOST_RANGES) return extents;
      }
      upTo(end, 0);
      return extents;
    },
  };
}
