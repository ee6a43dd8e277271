/**
 * Where the volumes' blocks lie, and who shares them, small enough for a picture.
 *
 * Goes over all mappings twice: first to count how many volumes refer to each data block, then to sum up cells. It costs what a walk
 * over the mappings costs, in slices; the answer is kept until the next commit.
 */
import { ThinMetadata, type ThinPool } from '@pdata/thin';
import type { VolumeCatalogue } from '../catalogue/volume-catalogue.js';
import type { CellRow, SharingMap } from '../pool-host.js';
import { lookAtCommitted } from './committed-state.js';
import type { PoolParts } from './pool-directory.js';

export const MAX_CELLS = 16_384;
/** A run of mappings is followed no further in one go. */
const BLOCKS_AT_ONCE = 1024 * 1024;
/** One byte of memory a data block, up to 64 MiB; in a larger pool the engine's own, one-sided notion of sharing must do. */
const MAX_COUNTED_BLOCKS = 64 * 1024 * 1024;

interface MappedVolume {
  readonly thinId: number;
  readonly name: string;
  readonly nrBlocks: number;
}

export async function mapSharing(
  parts: PoolParts,
  pool: ThinPool,
  catalogue: VolumeCatalogue,
  cells: number,
): Promise<SharingMap> {
  const nrCells = Math.max(1, Math.min(MAX_CELLS, Math.floor(cells) || 1));
  const blockSize = pool.dataBlockSize * 512;
  const volumes = catalogue.visible().map(({ thinId, record }) => ({
    thinId,
    name: record.name,
    nrBlocks: Math.ceil(record.size / blockSize),
  }));
  // Hidden ones take part in the sharing.
  const all = catalogue.all().map(({ thinId }) => thinId);
  return await lookAtCommitted(parts, function* (device) {
    const metadata = ThinMetadata.open(device);
    try {
      return yield* walk(metadata, volumes, all, nrCells);
    } finally {
      metadata.close();
    }
  });
}

function* walk(
  metadata: ThinMetadata,
  volumes: readonly MappedVolume[],
  allThinIds: readonly number[],
  nrCells: number,
): Generator<undefined, SharingMap> {
  const blockSize = metadata.dataBlockSize * 512;
  const { nrDataBlocks } = metadata;
  const counts = nrDataBlocks <= MAX_COUNTED_BLOCKS ? new Uint8Array(nrDataBlocks) : undefined;
  const pool = new Cells(nrDataBlocks, nrCells);
  for (const thinId of allThinIds) {
    for (const { begin, end, dataBegin } of ranges(metadata, thinId)) {
      if (counts === undefined) pool.add(dataBegin, end - begin, 'mapped');
      else for (let at = dataBegin; at < dataBegin + end - begin; at++) counts[at] = Math.min(255, counts[at]! + 1);
      yield;
    }
  }
  for (let at = 0; counts !== undefined && at < nrDataBlocks; at++) {
    if (counts[at]! > 0) pool.add(at, 1, 'mapped');
    if (counts[at]! > 1) pool.add(at, 1, 'shared');
    if (at % 65_536 === 65_535) yield;
  }
  const rows: SharingMap['volumes'] = [];
  for (const { thinId, name, nrBlocks } of volumes) {
    const row = new Cells(nrBlocks, nrCells);
    let nrExclusive = 0;
    for (const { begin, end, dataBegin, shared } of ranges(metadata, thinId)) {
      for (let at = begin; at < Math.min(end, nrBlocks); at++) {
        const isShared = counts === undefined ? shared : counts[dataBegin + at - begin]! > 1;
        row.add(at, 1, 'mapped');
        if (isShared) row.add(at, 1, 'shared');
        else nrExclusive++;
      }
      yield;
    }
    rows.push({ name, exclusive: nrExclusive * blockSize, ...row.row() });
  }
  return { pool: pool.row(), volumes: rows };
}

function* ranges(metadata: ThinMetadata, thinId: number) {
  if (metadata.details(thinId) === undefined) return; // removed since, or not committed yet
  let at = 0;
  for (;;) {
    const range = metadata.findRange(thinId, at, at + BLOCKS_AT_ONCE);
    if (range === undefined) {
      const highest = metadata.highestMapped(thinId);
      if (highest === undefined || highest < at + BLOCKS_AT_ONCE) return;
      at += BLOCKS_AT_ONCE;
      continue;
    }
    yield range;
    at = range.end;
  }
}

class Cells {
  readonly #blocksPerCell: number;
  readonly #mapped: Float64Array;
  readonly #shared: Float64Array;

  constructor(nrBlocks: number, nrCells: number) {
    this.#blocksPerCell = Math.max(1, Math.ceil(nrBlocks / nrCells));
    const length = Math.ceil(nrBlocks / this.#blocksPerCell);
    this.#mapped = new Float64Array(length);
    this.#shared = new Float64Array(length);
  }

  add(block: number, nr: number, what: 'mapped' | 'shared'): void {
    const sums = what === 'mapped' ? this.#mapped : this.#shared;
    for (let at = block; at < block + nr; ) {
      const cell = Math.floor(at / this.#blocksPerCell);
      const next = Math.min(block + nr, (cell + 1) * this.#blocksPerCell);
      sums[cell]! += next - at;
      at = next;
    }
  }

  row(): CellRow {
    // Rounded up: a cell with anything in it is not empty.
    const shares = (sums: Float64Array) => Array.from(sums, (sum) => Math.ceil((sum / this.#blocksPerCell) * 255));
    return { blocksPerCell: this.#blocksPerCell, mapped: shares(this.#mapped), shared: shares(this.#shared) };
  }
}
