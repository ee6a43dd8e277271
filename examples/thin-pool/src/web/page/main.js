/** Ties the page together: frames change one state, the state is drawn once a frame of the screen, buttons open dialogs. */
import { RateChart } from './charts.js';
import * as dialogs from './dialogs.js';
import { Feed } from './feed.js';
import { byteRate, bytes, requestRate } from './format.js';
import { byId, EventLog, set, showPool } from './pool-view.js';
import { SharingMap } from './sharing-map.js';
import { bringsToken, forgetToken, takeToken } from './token.js';
import { VolumeTree } from './volume-tree.js';
import { VolumeView } from './volume-view.js';

/** @typedef {import('../page-protocol.js').PoolFrame} PoolFrame */
/** @typedef {import('../page-protocol.js').RatesFrame} RatesFrame */
/** @typedef {import('../page-protocol.js').SharingFrame} SharingFrame */

const NR_RATES_KEPT = 120;

const state = {
  /** @type {PoolFrame | undefined} */
  frame: undefined,
  /** @type {SharingFrame | undefined} */
  sharing: undefined,
  /** @type {RatesFrame[]} */
  history: [],
  /** @type {string | undefined} */
  selected: undefined,
  /** A volume that was just asked for, to be selected when it appears. @type {string | undefined} */
  awaited: undefined,
  trouble: '',
  /** @type {import('./feed.js').Link | undefined} */
  link: undefined,
};

// Another tab's address may be pasted into this one: only what is behind the # changes, and nothing would be loaded.
addEventListener('hashchange', () => {
  if (!bringsToken()) return;
  takeToken();
  location.reload();
});

const token = takeToken();
if (token === undefined) showGate('It was opened without what stands behind the # of its address.');
else start(token);

/** @param {string} token */
function start(token) {
  const throughput = new RateChart(byId('throughput'), { label: 'Throughput', format: byteRate, least: 1024 });
  const requests = new RateChart(byId('requests'), { label: 'Requests', format: requestRate, least: 1 });
  const tree = new VolumeTree(byId('tree'), select);
  const view = new VolumeView();
  const poolMap = new SharingMap(byId('pool-map'), {
    labelledBy: 'pool-map-title',
    own: 'one volume’s',
    shared: 'shared',
    hole: 'free',
  });
  const log = new EventLog();
  let isDrawing = false;
  let mapOf = '';

  const feed = new Feed(
    token,
    {
      hello: (frame) => {
        state.history = frame.history.slice();
        log.begin(frame.run);
        throughput.reset(state.history.map(throughputOf));
        requests.reset(state.history.map(requestsOf));
      },
      pool: (frame) => {
        state.frame = frame;
        state.trouble = '';
        draw();
      },
      rates: (frame) => {
        state.history.push(frame);
        if (state.history.length > NR_RATES_KEPT) state.history.shift();
        throughput.add(throughputOf(frame));
        requests.add(requestsOf(frame));
        tree.showRates(new Map(frame.volumes));
        view.addRates(frame);
        if (state.trouble !== '') {
          state.trouble = '';
          draw();
        }
      },
      event: (frame) => log.add(frame),
      sharing: (frame) => {
        state.sharing = frame;
        draw();
      },
      trouble: (frame) => {
        state.trouble = `The pool cannot be asked just now: ${frame.message}`;
        draw();
      },
      bye: () => {},
    },
    (link) => {
      state.link = link;
      if (link.kind === 'refused') {
        forgetToken();
        showGate('The program has been started anew since, and with it came a new key.');
      } else {
        draw();
      }
    },
  );

  wireButtons(feed, select);
  void feed.run();
  setInterval(draw, 30_000); // "3 minutes ago" moves on

  function draw() {
    if (isDrawing) return;
    isDrawing = true;
    requestAnimationFrame(() => {
      isDrawing = false;
      drawNow();
    });
  }

  function drawNow() {
    const { frame, sharing } = state;
    drawLink();
    if (frame === undefined) {
      showBanner(bannerFor(''));
      return;
    }
    byId('content').hidden = false;
    const exclusive = new Map(sharing?.exclusive ?? []);
    const { banner } = showPool(frame);
    showBanner(bannerFor(banner ?? ''));

    const has = (/** @type {string | undefined} */ name) => frame.volumes.some((volume) => volume.name === name);
    if (has(state.awaited)) {
      state.selected = state.awaited;
      state.awaited = undefined;
    }
    if (!has(state.selected)) state.selected = frame.volumes[0]?.name;
    tree.show(frame.volumes, exclusive, state.selected);
    byId('no-volumes').hidden = frame.volumes.length > 0;
    const own = state.selected === undefined ? undefined : exclusive.get(state.selected);
    view.show(frame, state.selected, own, state.history);
    poolMap.show(sharing?.pool, frame.pool.blockSize, frame.pool.data.size);
    set('pool-map-scale', sharing === undefined ? '' : `one cell: ${bytes(poolMap.cellSize)}`);
    void drawMap();
  }

  /** The map of the selected volume is fetched when the volume or the map is another one. */
  async function drawMap() {
    const { selected, sharing } = state;
    const wanted = JSON.stringify([selected, sharing?.version]);
    if (selected === undefined || sharing === undefined || wanted === mapOf) return;
    mapOf = wanted;
    const map = await feed.map(selected);
    if (mapOf !== wanted || state.frame === undefined) return;
    if (map === undefined)
      mapOf = ''; // it is newer than the map; ask again with the next one
    else view.showMap(map, state.frame);
  }

  /** @param {string | undefined} name */
  function select(name) {
    if (name === undefined || state.frame?.volumes.some((volume) => volume.name === name)) state.selected = name;
    else state.awaited = name;
    drawNow(); // at once: the next key may already be on its way
  }
}

/** @param {Feed} feed @param {(name: string | undefined) => void} select */
function wireButtons(feed, select) {
  dialogs.wireDialogs();
  const volumes = () => state.frame?.volumes ?? [];
  /** @param {string} id @param {(volume: import('../page-protocol.js').PoolVolume) => void} act */
  const on = (id, act) =>
    byId(id).addEventListener('click', () => {
      const volume = volumes().find(({ name }) => name === state.selected);
      if (volume !== undefined) act(volume);
    });
  byId('new-volume').addEventListener('click', () => dialogs.createVolume(feed, select));
  byId('do-grow').addEventListener('click', () => {
    if (state.frame !== undefined) dialogs.grow(feed, state.frame.pool.data.size);
  });
  on('do-snapshot', (volume) => dialogs.snapshot(feed, select, volume, false, volumes()));
  on('do-copy', (volume) => dialogs.snapshot(feed, select, volume, true, volumes()));
  on('do-rename', (volume) => dialogs.rename(feed, select, volume));
  on('do-resize', (volume) => dialogs.resize(feed, select, volume));
  on('do-revert', (volume) => dialogs.revert(feed, select, volume, volumes()));
  on('do-remove', (volume) => {
    const exclusive = new Map(state.sharing?.exclusive ?? []).get(volume.name);
    dialogs.remove(feed, select, volume, exclusive, volumes());
  });
}

/** @param {RatesFrame} frame */
const throughputOf = ({ at, total }) => ({ at, read: total.bytesRead, written: total.bytesWritten });
/** @param {RatesFrame} frame */
const requestsOf = ({ at, total }) => ({ at, read: total.reads, written: total.writes });

function drawLink() {
  const { link } = state;
  if (link === undefined || link.kind === 'refused') return;
  document.body.dataset.state = link.kind;
  if (link.kind === 'live') {
    set('connection-text', 'Live');
    return;
  }
  set('connection-text', 'Reconnecting…');
}

/** What the person must know first: that nothing is live, else that the pool does not answer, else that it is not well. @param {string} illness */
function bannerFor(illness) {
  const { link, frame, trouble } = state;
  if (link?.kind !== 'waiting') return trouble || illness;
  return `${link.why.replace(/\.$/, '')}. Trying again${frame === undefined ? '' : '; what is shown is old'}.`;
}

/** @param {string} text empty: none */
function showBanner(text) {
  set('banner', text);
  byId('banner').hidden = text === '';
}

/** @param {string} why */
function showGate(why) {
  document.body.dataset.state = 'refused';
  set('gate-why', why);
  set('connection-text', 'Not connected');
  byId('gate').hidden = false;
  byId('content').hidden = true;
  byId('banner').hidden = true;
  byId('mode').hidden = true;
}
