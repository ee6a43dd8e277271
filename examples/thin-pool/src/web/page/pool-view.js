/** The pool as a whole: its place and mode, the gauges of its space, what it has promised, and the log of events. */
import { bytes, clock, count, counted, percent, times } from './format.js';

/** @typedef {import('../page-protocol.js').PoolFrame} PoolFrame */
/** @typedef {import('../page-protocol.js').EventFrame} EventFrame */

const NR_EVENTS_SHOWN = 200;

/** What a mode means to somebody who has never heard of it. @type {Record<string, { text: string, tone: string, means?: string }>} */
const MODES = {
  write: { text: 'healthy', tone: 'good' },
  out_of_data_space: {
    text: 'out of data space',
    tone: 'bad',
    means:
      'The data file is full: writes that need new space wait for a while, and then fail. Grow it, or remove something.',
  },
  out_of_metadata_space: {
    text: 'out of metadata space',
    tone: 'bad',
    means: 'The metadata are full: nothing can be changed any more. What was flushed before is safe.',
  },
  read_only: {
    text: 'read-only',
    tone: 'bad',
    means: 'The pool takes no changes: it was opened so, or a commit failed. What was flushed before is safe.',
  },
  fail: {
    text: 'failed',
    tone: 'bad',
    means: 'The pool’s metadata cannot be read. Stop the program and run: thin-pool check.',
  },
};

/** @param {PoolFrame} frame */
export function showPool({ pool, volumes }) {
  const name = pool.directory.split('/').findLast((part) => part !== '') ?? pool.directory;
  document.title = `${name} · thin-pool`;
  set('pool-name', name);
  const metadata = pool.format === 'lmdb' ? 'metadata in LMDB' : 'metadata in a raw image';
  set('pool-place', `${pool.directory} · ${metadata} · blocks of ${bytes(pool.blockSize)}`);

  const mode = MODES[pool.mode] ?? { text: pool.mode, tone: 'bad' };
  const chip = byId('mode');
  chip.hidden = false;
  chip.textContent = pool.needsCheck ? `${mode.text}, needs a check` : mode.text;
  chip.dataset.tone = pool.needsCheck ? 'bad' : mode.tone;
  chip.title = pool.statusLine;

  showGauge('data-gauge', pool.data, pool.data.lowWater, 'warns with');
  showGauge('metadata-gauge', pool.metadata, pool.metadata.reserve, 'keeps back');
  set('promised', bytes(pool.promised));
  set('promised-of', promiseOf(pool));
  set('promised-note', `to ${counted(pool.nrVolumes, 'volume')} and ${counted(pool.nrSnapshots, 'snapshot')}`);
  set('saved', bytes(Math.max(0, pool.mapped - pool.data.used)));
  set('clients', pool.serving === undefined ? 'not served' : count(pool.serving.clients));
  set('commits', pool.nrCommits === undefined ? 'not counted' : count(pool.nrCommits));
  set('nr-volumes', volumes.length === 0 ? '' : count(volumes.length));
  return { banner: mode.means };
}

/** @param {PoolFrame['pool']} pool */
function promiseOf({ promised, data }) {
  if (data.size === 0) return '';
  return promised < 2 * data.size
    ? `${percent(promised, data.size)} of the data file`
    : `${times(promised, data.size)} the data file`;
}

/** @param {string} id @param {{ size: number, used: number }} space @param {number | undefined} edge bytes @param {string} edgeWord */
function showGauge(id, { size, used }, edge, edgeWord) {
  const gauge = byId(id);
  const part = (/** @type {string} */ name) => gauge.querySelector(`[data-part=${name}]`) ?? gauge;
  const fill = /** @type {HTMLElement} */ (gauge.querySelector('.fill'));
  const mark = /** @type {HTMLElement} */ (gauge.querySelector('.mark'));
  const free = Math.max(0, size - used);
  const share = size > 0 ? Math.min(100, (100 * used) / size) : 0;
  part('used').textContent = percent(used, size);
  part('of').textContent = `${bytes(used)} of ${bytes(size)}`;
  fill.style.width = `${share}%`;
  mark.hidden = edge === undefined || edge <= 0 || edge >= size;
  if (edge !== undefined && !mark.hidden) mark.style.left = `${(100 * (size - edge)) / size}%`;
  gauge.dataset.tone = free === 0 || (edge !== undefined && free <= edge) ? 'bad' : share >= 85 ? 'warn' : 'good';
  part('note').textContent = [
    `${bytes(free)} free`,
    mark.hidden || edge === undefined ? '' : `${edgeWord} ${bytes(edge)} left`,
  ]
    .filter((text) => text !== '')
    .join(' · ');
}

export class EventLog {
  #list = byId('events');
  #run = '';
  #lastId = 0;

  /** A connection begins. A program that was started anew counts its events anew. @param {string} run */
  begin(run) {
    if (run !== this.#run) this.#lastId = 0;
    this.#run = run;
  }

  /** Newest first; what was shown before the connection broke is not shown again. @param {EventFrame} event */
  add(event) {
    if (event.id <= this.#lastId) return;
    this.#lastId = event.id;
    const line = document.createElement('li');
    line.dataset.kind = event.kind;
    const time = document.createElement('time');
    time.dateTime = new Date(event.at).toISOString();
    time.textContent = clock(event.at);
    const text = document.createElement('span');
    text.textContent = event.message;
    text.dir = 'auto';
    line.append(time, text);
    this.#list.prepend(line);
    while (this.#list.childElementCount > NR_EVENTS_SHOWN) this.#list.lastElementChild?.remove();
    byId('no-events').hidden = true;
  }
}

/** @param {string} id */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no element "${id}"`);
  return found;
}

/** Leaves text that is right alone, so that a screen reader is not told again. @param {string} id @param {string} text */
export function set(id, text) {
  const target = byId(id);
  if (target.textContent !== text) target.textContent = text;
}
