/** Where two volumes differ, in bytes and in pages, from what the engine says of their blocks. */
import type { ThinPool } from '@pdata/thin';
import type { CataloguedVolume } from '../catalogue/volume-catalogue.js';
import { type ByteRange, type DiffPage, MAX_RANGES } from '../pool-host.js';
import { PoolError } from '../words/pool-error.js';

/** @param from byte to begin at */
export function diffPage(pool: ThinPool, volume: CataloguedVolume, base: CataloguedVolume, from: number): DiffPage {
  if (!Number.isSafeInteger(from) || from < 0) throw new PoolError('ERR_SIZE', `${from} is no place to begin at`);
  const identities = { identity: volume.record.identity, baseIdentity: base.record.identity };
  const size = Math.max(volume.record.size, base.record.size);
  const blockSize = pool.dataBlockSize * 512;
  const ranges: ByteRange[] = [];
  if (from >= size || volume.thinId === base.thinId) return { ranges, ...identities };
  const [begin, end] = [Math.floor(from / blockSize), Math.ceil(size / blockSize)];
  for (const changed of pool.changedRanges(volume.thinId, base.thinId, begin, end)) {
    const offset = Math.max(from, changed.begin * blockSize);
    const until = Math.min(size, changed.end * blockSize);
    const last = ranges.at(-1);
    if (last !== undefined && last.offset + last.length === offset) {
      ranges[ranges.length - 1] = { offset: last.offset, length: until - last.offset };
    } else if (ranges.length === MAX_RANGES) {
      return { ranges, next: offset, ...identities };
    } else ranges.push({ offset, length: until - offset });
  }
  return { ranges, ...identities };
}
