/**
 * The volumes of a pool as NBD exports, by name, with a map of what changed since each snapshot.
 *
 * A backup program reads `qemu:dirty-bitmap:monday` of an export to learn which parts changed since the snapshot "monday" (bit 0 set),
 * and then copies only these. The map is made from the metadata when it is asked for; nothing has to be tracked before.
 */
import type { ExportSource, MetaContext, MetaExtent, NbdExport } from '@pdata/nbd';
import type { PoolHost, VolumeReport } from '../pool-host.js';
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

/** Both are looked up by identity each time: they may be renamed while the export is in use. */
function changedSince(host: PoolHost, volume: VolumeReport, snapshot: VolumeReport): MetaContext {
  const nameOf = async ({ name, thinId, identity }: VolumeReport): Promise<string> => {
    const now = (await host.volumes()).find((each) => each.thinId === thinId && each.identity === identity);
    if (now === undefined) throw new PoolError('ERR_NO_SUCH_VOLUME', `"${name}" has been removed meanwhile`);
    return now.name;
  };
  return {
    name: `${CONTEXT_PREFIX}${snapshot.name}`,
    async extents(offset, length) {
      const page = await host.diff({ name: await nameOf(volume), base: await nameOf(snapshot), from: offset });
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
