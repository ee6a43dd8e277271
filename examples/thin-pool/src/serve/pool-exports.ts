/**
 * The volumes of a pool as NBD exports, by name, with a map of what changed since each snapshot.
 *
 * A backup program reads `qemu:dirty-bitmap:monday` of an export to learn which parts changed since the snapshot "monday" (bit 0 set),
 * and then copies only these. The map is made from the metadata when it is asked for; nothing has to be tracked before.
 */
import type { ExportSource, MetaContext, MetaExtent, NbdExport } from '@pdata/nbd';
import type { DiffPage, PoolHost, VolumeReport } from '../pool-host.js';
import { PoolError, quoted } from '../words/pool-error.js';
import { formatSize } from '../words/sizes.js';

export const CONTEXT_PREFIX = 'qemu:dirty-bitmap:';
const CHANGED = 1;

export interface PoolExportsOptions {
  /** Nobody writes. */
  readonly readOnly?: boolean;
  /** Gets one sentence when the first client of a volume comes and when the last one has gone. */
  readonly tell?: (message: string, volume: string) => void;
}

export class PoolExports implements ExportSource {
  readonly #host: PoolHost;
  readonly #options: PoolExportsOptions;

  constructor(host: PoolHost, options: PoolExportsOptions = {}) {
    this.#host = host;
    this.#options = options;
  }

  async list() {
    return (await this.#host.volumes()).map((volume) => ({ name: volume.name, description: describe(volume) }));
  }

  async open(name: string): Promise<NbdExport | undefined> {
    const volumes = await this.#host.volumes();
    // Whoever names nothing means the only one there is.
    const volume =
      name === '' && volumes.length === 1 ? volumes[0] : volumes.find((each) => each.name === name.normalize('NFC'));
    if (volume === undefined) return undefined;
    const mode = volume.kind === 'snapshot' || this.#options.readOnly === true ? 'read' : 'write';
    const device = await this.#host.openVolume({ name: volume.name, mode });
    const snapshots = volumes.filter(({ kind, identity }) => kind === 'snapshot' && identity !== volume.identity);
    const tell = (what: string): void => this.#options.tell?.(`${quoted(volume.name)} ${what}`, volume.name);
    tell('is used by a client now.');
    return {
      device,
      description: describe(volume),
      contexts: snapshots.map((snapshot) => changedSince(this.#host, volume, snapshot)),
      release: async () => {
        await device.close();
        tell('is not used by clients any more.');
      },
    };
  }
}

const describe = ({ kind, size, origin }: VolumeReport): string =>
  `${kind} of ${formatSize(size)}${origin === undefined ? '' : `, made from ${origin}`}`;

/** Both may be renamed while the export is in use, and their names given to others: what counts is who was compared. */
function changedSince(host: PoolHost, volume: VolumeReport, snapshot: VolumeReport): MetaContext {
  let [name, base] = [volume.name, snapshot.name];
  const diff = async (from: number): Promise<DiffPage | undefined> => {
    const page = await host.diff({ name, base, from }).catch((error: unknown) => {
      if (error instanceof PoolError && error.code === 'ERR_NO_SUCH_VOLUME') return undefined;
      throw error;
    });
    return page?.identity === volume.identity && page.baseIdentity === snapshot.identity ? page : undefined;
  };
  const findNames = async (): Promise<void> => {
    const volumes = await host.volumes();
    const named = ({ identity, name: former }: VolumeReport): string => {
      const now = volumes.find((each) => each.identity === identity);
      if (now !== undefined) return now.name;
      throw new PoolError('ERR_NO_SUCH_VOLUME', `${quoted(former)} has been removed meanwhile`);
    };
    [name, base] = [named(volume), named(snapshot)];
  };
  return {
    name: `${CONTEXT_PREFIX}${snapshot.name}`,
    async extents(offset, length) {
      let page = await diff(offset);
      while (page === undefined) {
        await findNames();
        page = await diff(offset);
      }
      return extentsOf(page.ranges, offset, Math.min(offset + length, page.next ?? Number.POSITIVE_INFINITY));
    },
  };
}

/** Changed and unchanged in turns, from `offset` to `end`. */
function extentsOf(
  ranges: readonly { readonly offset: number; readonly length: number }[],
  offset: number,
  end: number,
): MetaExtent[] {
  const extents: MetaExtent[] = [];
  let at = offset;
  for (const range of ranges) {
    if (range.offset >= end) break;
    if (range.offset > at) extents.push({ length: range.offset - at, flags: 0 });
    const rangeEnd = Math.min(end, range.offset + range.length);
    const begin = Math.max(at, range.offset);
    if (rangeEnd > begin) extents.push({ length: rangeEnd - begin, flags: CHANGED });
    at = Math.max(at, rangeEnd);
  }
  if (at < end) extents.push({ length: end - at, flags: 0 });
  return extents;
}
