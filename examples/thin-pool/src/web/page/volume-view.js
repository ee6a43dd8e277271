/** The volume that is selected: what it is, what it holds, how to attach it, its map and its I/O. */
import { RateChart } from './charts.js';
import { byteRate, bytes, counted, percent, since } from './format.js';
import { byId, set } from './pool-view.js';
import { SharingMap } from './sharing-map.js';
import { wasMadeLater } from './volume-tree.js';

/** @typedef {import('../page-protocol.js').PoolFrame} PoolFrame */
/** @typedef {import('../page-protocol.js').PoolVolume} PoolVolume */
/** @typedef {import('../page-protocol.js').RatesFrame} RatesFrame */
/** @typedef {import('../page-protocol.js').VolumeMap} VolumeMap */

export class VolumeView {
  #map = new SharingMap(byId('volume-map'), {
    labelledBy: 'map-title',
    own: 'only its own',
    shared: 'shared',
    hole: 'hole',
  });
  #chart = new RateChart(byId('volume-chart'), { label: 'Throughput', format: byteRate, least: 1024 });
  /** @type {string | undefined} */
  #name;

  constructor() {
    byId('copy-uri').addEventListener('click', async () => {
      const button = byId('copy-uri');
      try {
        await navigator.clipboard.writeText(byId('attach-uri').textContent ?? '');
        button.textContent = 'Copied';
      } catch {
        getSelection()?.selectAllChildren(byId('attach-uri'));
        button.textContent = 'Selected';
      }
      setTimeout(() => {
        button.textContent = 'Copy';
      }, 2000);
    });
  }

  /**
   * @param {PoolFrame | undefined} frame @param {string | undefined} name @param {number | undefined} exclusive bytes
   * @param {readonly RatesFrame[]} history
   */
  show(frame, name, exclusive, history) {
    const volume = frame?.volumes.find((candidate) => candidate.name === name);
    byId('volume').hidden = volume === undefined;
    if (frame === undefined || volume === undefined) {
      this.#name = undefined;
      return;
    }
    if (name !== this.#name) {
      this.#name = name;
      this.#chart.reset(history.map((rates) => sampleOf(rates, volume.name)));
      this.showMap(undefined, frame);
    }
    set('volume-name', volume.name);
    set('volume-story', storyOf(volume, frame.volumes));
    this.#fact('size', bytes(volume.size));
    this.#fact('mapped', `${bytes(volume.mapped)} (${percent(volume.mapped, volume.size)})`);
    const own = exclusive === undefined ? undefined : Math.min(exclusive, volume.mapped);
    this.#fact('exclusive', own === undefined ? '…' : bytes(own));
    this.#fact('shared', own === undefined ? '…' : bytes(volume.mapped - own));
    this.#fact('users', volume.users === 0 ? 'nobody' : counted(volume.users, 'user'));

    const isVolume = volume.kind === 'volume';
    const canRevert = frame.volumes.some(({ kind, name: other }) => kind === 'snapshot' && other !== volume.name);
    byId('do-revert').hidden = !isVolume || !canRevert;
    byId('do-resize').hidden = !isVolume;

    const uri = frame.pool.serving?.nbd;
    byId('attach').hidden = uri === undefined;
    if (uri !== undefined) set('attach-uri', uriFor(uri, volume.name));
  }

  /** @param {VolumeMap | undefined} map @param {PoolFrame} frame */
  showMap(map, frame) {
    const volume = frame.volumes.find(({ name }) => name === this.#name);
    if (volume === undefined) return;
    const row = map?.name === volume.name ? map.row : undefined;
    this.#map.show(row, frame.pool.blockSize, volume.size);
    set('map-scale', row === undefined ? '' : `one cell: ${bytes(this.#map.cellSize)}`);
  }

  /** @param {RatesFrame} frame */
  addRates(frame) {
    if (this.#name !== undefined) this.#chart.add(sampleOf(frame, this.#name));
  }

  /** @param {string} name @param {string} text */
  #fact(name, text) {
    const target = byId('volume-facts').querySelector(`[data-fact=${name}]`);
    if (target !== null && target.textContent !== text) target.textContent = text;
  }
}

/** @param {RatesFrame} frame @param {string} volume */
function sampleOf({ at, volumes }, volume) {
  const rates = volumes.find(([name]) => name === volume)?.[1];
  return { at, read: rates?.bytesRead ?? 0, written: rates?.bytesWritten ?? 0 };
}

/** @param {PoolVolume} volume @param {readonly PoolVolume[]} volumes */
function storyOf(volume, volumes) {
  const { kind, origin: from, created, thinId } = volume;
  const what = kind === 'snapshot' ? 'Snapshot' : 'Volume';
  const made = created > 0 ? `, ${since(created, Date.now())}` : '';
  const origin = volumes.find(({ name }) => name === from);
  const isReverted = origin !== undefined && wasMadeLater(origin, volume);
  const story =
    from === undefined
      ? `${what}${made}`
      : isReverted
        ? `${what}${made}, reverted to ${from}`
        : `${what} ${kind === 'snapshot' ? 'of' : 'made from'} ${from}${made}`;
  return `${story} · thin id ${thinId}`;
}

/** Puts the name in at the end of the path. @param {string} uri @param {string} name */
function uriFor(uri, name) {
  const [address = '', ...query] = uri.split('?');
  const base = address.endsWith('/') ? address : `${address}/`;
  return [base + encodeURIComponent(name), ...query].join('?');
}
