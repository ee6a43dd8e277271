/**
 * Opens a pool from the kernel's two devices for a server: looked at first, so that what does not fit is told before anything
 * is written, and closed in the order that leaves everything committed.
 *
 * Format: docs/format/thin.md, sections 6 and 8.
 */
import { type MetadataDevice, SECTOR_SIZE } from '@pdata/device';
import { ThinMetadata, ThinPool, type ThinPoolOptions, UnsupportedMetadataError } from '@pdata/thin';
import { isMetadataOf } from '../failure/foreign-content.js';
import { ToolError } from '../failure/tool-error.js';
import { inputStats, startOf } from '../io/metadata-input.js';
import { withThinInput } from '../io/thin-input.js';
import { closingAfter, refuseOneFile, withDataFile } from './serve-files.js';
import type { ThinExtent } from './serve-sizes.js';

export interface PoolFiles {
  readonly metadata: string;
  readonly data: string;
}

/** What the metadata says before the pool is opened. */
export interface PoolLook {
  /** Sectors. */
  readonly dataBlockSize: number;
  readonly nrDataBlocks: number;
  /** Data blocks that the data device has room for. */
  readonly nrDataBlocksOfDevice: number;
  readonly needsCheck: boolean;
  readonly thins: readonly ThinExtent[];
}

export interface OpenPool {
  readonly pool: ThinPool;
  readonly look: PoolLook;
  readonly readOnly: boolean;
}

/**
 * Runs `work` on the pool, and closes it: committed, whatever `work` throws. With `readOnly`, or when the metadata has to be
 * checked first, both files are opened for reading and nothing is written.
 */
export async function withPool<T>(
  files: PoolFiles,
  options: ThinPoolOptions & { readonly readOnly: boolean },
  work: (open: OpenPool) => Promise<T>,
): Promise<T> {
  refuseOneFile(
    { metadata: files.metadata, data: files.data },
    "give the pool's two devices (LVM: NAME_tmeta and NAME_tdata)",
  );
  refuseSwapped(files);
  const attempt = (readOnly: boolean): Promise<T | typeof TO_BE_CHECKED> => {
    const mode = readOnly ? 'read' : 'write';
    return withThinInput(files.metadata, { mode, ofMetadataSnapshot: false, busy: POOL_IS_BUSY }, async (metadata) => {
      const known = lookAt(metadata);
      if (known.needsCheck && !readOnly) return TO_BE_CHECKED;
      return withDataFile(files.data, mode, DATA_ADVICE, async (data) => {
        const look = { ...known, nrDataBlocksOfDevice: Math.floor(data.size / (known.dataBlockSize * SECTOR_SIZE)) };
        refuseTooSmall(files.data, look);
        const pool = await ThinPool.open(metadata, data, { ...options, readOnly });
        return closingAfter(pool, () => work({ pool, look, readOnly }));
      });
    });
  };
  const outcome = await attempt(options.readOnly);
  return outcome === TO_BE_CHECKED ? ((await attempt(true)) as T) : outcome;
}

const TO_BE_CHECKED = Symbol('the metadata has to be checked: it is opened again, for reading');

const POOL_IS_BUSY =
  'end what uses it first: deactivate the pool (LVM: lvchange -an VG/POOL), or stop the other server';

const DATA_ADVICE = { what: 'data device', busy: POOL_IS_BUSY, insteadOfWriting: 'to read alone, give --read-only' };

function lookAt(device: MetadataDevice): Omit<PoolLook, 'nrDataBlocksOfDevice'> {
  const metadata = opened(device);
  try {
    return {
      dataBlockSize: metadata.dataBlockSize,
      nrDataBlocks: metadata.nrDataBlocks,
      needsCheck: metadata.needsCheck,
      thins: Array.from(metadata.devices(), ({ thinId, details }) => ({
        thinId,
        mappedBlocks: details.mappedBlocks,
        highestMapped: metadata.highestMapped(thinId),
      })),
    };
  } finally {
    metadata.close();
  }
}

function opened(device: MetadataDevice): ThinMetadata {
  try {
    return ThinMetadata.open(device);
  } catch (cause) {
    if (!(cause instanceof UnsupportedMetadataError) || device.readOnly) throw cause;
    throw new ToolError(cause.code, cause.message, { nextStep: 'try --read-only, or a newer pdata' }, { cause });
  }
}

function refuseTooSmall(path: string, { nrDataBlocks, nrDataBlocksOfDevice, dataBlockSize }: PoolLook): void {
  if (nrDataBlocksOfDevice >= nrDataBlocks) return;
  const bytes = nrDataBlocks * dataBlockSize * SECTOR_SIZE;
  throw new ToolError(
    'ERR_DATA_SIZE',
    `pool target (${nrDataBlocksOfDevice} blocks) too small: expected ${nrDataBlocks}`,
    {
      effect: `'${path}' ends before the data of the volumes does: the pool has ${nrDataBlocks} blocks of ${dataBlockSize} sectors, ${bytes} bytes`,
      nextStep: 'check that this is the data device of this metadata, and the whole of it',
    },
  );
}

/** A first data block may hold metadata, of a pool in a volume; but not while the metadata device holds none. */
function refuseSwapped({ metadata, data }: PoolFiles): void {
  for (const [path, what] of [
    [metadata, 'metadata device'],
    [data, 'data device'],
  ] as const)
    inputStats(path, what);
  if (isMetadataOf(startOf(metadata), 'thin') || !isMetadataOf(startOf(data), 'thin')) return;
  throw new ToolError('ERR_OPTION', `metadata and data are swapped: '${data}' holds the metadata of a pool`, {
    nextStep: `give them the other way round: --metadata ${data} --data ${metadata}`,
  });
}
