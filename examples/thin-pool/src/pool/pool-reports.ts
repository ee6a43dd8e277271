/** What a pool that is open here tells of itself and its volumes. */
import type { ThinPool } from '@pdata/thin';
import type { CataloguedVolume, VolumeCatalogue } from '../catalogue/volume-catalogue.js';
import type { PoolReport, ServingReport, VolumeReport } from '../pool-host.js';
import type { OpenVolumes } from './open-volumes.js';
import type { PoolParts } from './pool-directory.js';

const SECTOR = 512;
const METADATA_BLOCK = 4096;

export interface RunningReport {
  readonly nrCommits: number;
  readonly serving: ServingReport | undefined;
}

/** @throws {@link PoolModeError} when the pool has failed */
export function poolReport(
  parts: PoolParts,
  pool: ThinPool,
  catalogue: VolumeCatalogue,
  { nrCommits, serving }: RunningReport,
): PoolReport {
  const status = pool.status();
  const blockSize = status.dataBlockSize * SECTOR;
  const volumes = catalogue.visible().map(({ record }) => record);
  return {
    directory: parts.directory,
    format: parts.format,
    mode: status.mode,
    blockSize,
    data: {
      size: status.nrDataBlocks * blockSize,
      used: status.nrUsedDataBlocks * blockSize,
      lowWater: status.dataLowWaterMark * blockSize,
    },
    metadata: {
      size: status.nrMetadataBlocks * METADATA_BLOCK,
      // The engine, like the kernel, counts the reserve as used.
      used: (status.nrUsedMetadataBlocks - status.metadataReserve) * METADATA_BLOCK,
      reserve: status.metadataReserve * METADATA_BLOCK,
    },
    nrVolumes: volumes.filter(({ kind }) => kind === 'volume').length,
    nrSnapshots: volumes.filter(({ kind }) => kind === 'snapshot').length,
    promised: volumes.reduce((sum, { size }) => sum + size, 0),
    mapped: [...mappedBytes(pool).values()].reduce((sum, bytes) => sum + bytes, 0),
    needsCheck: status.needsCheck,
    nrCommits,
    statusLine: pool.statusLine().trim(),
    ...(serving === undefined ? {} : { serving }),
  };
}

/** In order of names. */
export function volumeReports(pool: ThinPool, catalogue: VolumeCatalogue, open: OpenVolumes): VolumeReport[] {
  const mapped = mappedBytes(pool);
  const visible = catalogue.visible();
  const names = new Map(visible.map(({ record }) => [record.identity, record.name]));
  return visible.map(({ thinId, record: { name, kind, size, created, identity, origin } }) => {
    const originName = origin === undefined ? undefined : names.get(origin);
    return {
      name,
      kind: kind === 'snapshot' ? 'snapshot' : 'volume',
      size,
      mapped: mapped.get(thinId) ?? 0,
      ...(originName === undefined ? {} : { origin: originName }),
      created,
      identity,
      thinId,
      users: open.nrUsers(thinId),
      io: open.io(thinId),
    };
  });
}

/** Of one that is in the catalogue. */
export function volumeReport(
  pool: ThinPool,
  catalogue: VolumeCatalogue,
  open: OpenVolumes,
  { thinId }: CataloguedVolume,
): VolumeReport {
  return volumeReports(pool, catalogue, open).find((report) => report.thinId === thinId)!;
}

function mappedBytes(pool: ThinPool): Map<number, number> {
  const blockSize = pool.dataBlockSize * SECTOR;
  return new Map([...pool.thins()].map(({ thinId, details }) => [thinId, details.mappedBlocks * blockSize]));
}
