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
  return visible.map((volume) => {
    const { origin } = volume.record;
    const originName = origin === undefined ? undefined : names.get(origin);
    return reportOf(volume, { mapped: mapped.get(volume.thinId) ?? 0, originName, open });
  });
}

/** Of one; costs the same however many there are. */
export async function volumeReport(
  pool: ThinPool,
  catalogue: VolumeCatalogue,
  open: OpenVolumes,
  volume: CataloguedVolume,
): Promise<VolumeReport> {
  const blockSize = pool.dataBlockSize * SECTOR;
  const opened = await pool.openVolume(volume.thinId, { size: blockSize, readOnly: true });
  const { nrMappedBlocks } = opened.status();
  await opened.close();
  const { origin } = volume.record;
  const originName = origin === undefined ? undefined : catalogue.withIdentity(origin)?.record.name;
  return reportOf(volume, { mapped: nrMappedBlocks * blockSize, originName, open });
}

function reportOf(
  { thinId, record }: CataloguedVolume,
  { mapped, originName, open }: { mapped: number; originName: string | undefined; open: OpenVolumes },
): VolumeReport {
  return {
    name: record.name,
    kind: record.kind === 'snapshot' ? 'snapshot' : 'volume',
    size: record.size,
    mapped,
    ...(originName === undefined ? {} : { origin: originName }),
    created: record.created,
    identity: record.identity,
    thinId,
    users: open.nrUsers(thinId),
    io: open.io(thinId),
  };
}

function mappedBytes(pool: ThinPool): Map<number, number> {
  const blockSize = pool.dataBlockSize * SECTOR;
  return new Map([...pool.thins()].map(({ thinId, details }) => [thinId, details.mappedBlocks * blockSize]));
}
