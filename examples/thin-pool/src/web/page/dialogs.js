/**
 * The questions behind the buttons. Each is a modal <dialog> with one form; what the pool refuses appears in it as a sentence, and the
 * dialog stays open with what was typed. While a request is under way it cannot be sent twice.
 */
import { bytes } from './format.js';
import { byId } from './pool-view.js';

/** @typedef {import('../page-protocol.js').PoolVolume} PoolVolume */
/** @typedef {import('./feed.js').Feed} Feed */
/** @typedef {(name: string | undefined) => void} Select */

const UNITS = [
  ['MiB', 2 ** 20],
  ['GiB', 2 ** 30],
  ['TiB', 2 ** 40],
];

/** @param {Feed} feed @param {Select} select afterwards, the volume that it was about */
export function createVolume(feed, select) {
  const form = prepare('create-dialog');
  fillUnits(field(form, 'unit'), 'GiB');
  ask('create-dialog', async () => {
    const name = field(form, 'name').value.trim();
    await feed.act('create', { name, size: sizeIn(form) });
    select(name);
  });
}

/** @param {Feed} feed @param {Select} select @param {PoolVolume} origin @param {boolean} writable @param {readonly PoolVolume[]} volumes */
export function snapshot(feed, select, origin, writable, volumes) {
  const form = prepare('snapshot-dialog');
  put(form, 'h2', writable ? `A writable copy of ${origin.name}` : `A snapshot of ${origin.name}`);
  put(
    form,
    '[data-part=what]',
    writable
      ? 'A volume of its own that begins with the same content. At first the two share every block.'
      : 'Its content as it is now, at once and for good. It takes space only as the original changes.',
  );
  put(form, 'button[type=submit]', writable ? 'Make the copy' : 'Take the snapshot');
  field(form, 'name').value = freeName(origin.name, writable, volumes);
  ask('snapshot-dialog', async () => {
    const name = field(form, 'name').value.trim();
    await feed.act('snapshot', { origin: origin.name, name, writable });
    select(name);
  });
}

/** @param {Feed} feed @param {Select} select @param {PoolVolume} volume */
export function rename(feed, select, volume) {
  const form = prepare('rename-dialog');
  put(form, 'h2', `Rename ${volume.name}`);
  field(form, 'to').value = volume.name;
  ask('rename-dialog', async () => {
    const to = field(form, 'to').value.trim();
    await feed.act('rename', { name: volume.name, to });
    select(to);
  });
}

/** @param {Feed} feed @param {Select} select @param {PoolVolume} volume */
export function resize(feed, select, volume) {
  const form = prepare('resize-dialog');
  put(form, 'h2', `Resize ${volume.name}`);
  put(form, '[data-part=now]', `It is ${bytes(volume.size)} now.`);
  fillSize(form, volume.size);
  ask('resize-dialog', async () => {
    const shrink = /** @type {HTMLInputElement} */ (field(form, 'shrink')).checked;
    await feed.act('resize', { name: volume.name, size: sizeIn(form), shrink });
    select(volume.name);
  });
}

/** @param {Feed} feed @param {number} size bytes that the data file has */
export function grow(feed, size) {
  const form = prepare('grow-dialog');
  put(form, '[data-part=now]', `The volumes share ${bytes(size)} now.`);
  fillSize(form, 2 * size);
  ask('grow-dialog', () => feed.act('grow', { size: sizeIn(form) }));
}

/** @param {Feed} feed @param {Select} select @param {PoolVolume} volume @param {readonly PoolVolume[]} volumes */
export function revert(feed, select, volume, volumes) {
  const form = prepare('revert-dialog');
  put(form, 'h2', `Revert ${volume.name}`);
  const list = field(form, 'snapshot');
  const snapshots = volumes.filter(({ kind }) => kind === 'snapshot').sort((a, b) => b.created - a.created);
  // Its own first, the latest on top.
  const own = snapshots.filter(({ origin }) => origin === volume.name);
  const others = snapshots.filter(({ origin }) => origin !== volume.name);
  list.replaceChildren(
    ...[...own, ...others].map(({ name, origin }) =>
      option(name, origin === volume.name ? name : `${name} (of another volume)`),
    ),
  );
  ask('revert-dialog', async () => {
    await feed.act('revert', { name: volume.name, snapshot: list.value });
    select(volume.name);
  });
}

/**
 * @param {Feed} feed @param {Select} select @param {PoolVolume} volume @param {number | undefined} exclusive bytes
 * @param {readonly PoolVolume[]} volumes
 */
export function remove(feed, select, volume, exclusive, volumes) {
  const form = prepare('remove-dialog');
  put(form, 'h2', `Remove ${volume.name}?`);
  put(form, '#remove-what', lossOf(volume, exclusive, volumes));
  ask('remove-dialog', async () => {
    await feed.act('remove', { name: volume.name });
    select(volume.origin);
  });
}

/** @param {PoolVolume} volume @param {number | undefined} exclusive bytes @param {readonly PoolVolume[]} volumes */
function lossOf(volume, exclusive, volumes) {
  if (volume.mapped === 0) return 'Nothing has been written to it.';
  const others = volumes.some(({ origin }) => origin === volume.name) ? ' What was made from it stays whole.' : '';
  if (exclusive === 0) return `Others hold all that it holds, and keep it.${others}`;
  const lost = exclusive === undefined ? 'What only it holds' : `${bytes(exclusive)} that only it holds`;
  return `${lost} will be lost for good.${others}`;
}

/** Each dialog asks one thing at a time; this is what it does when the form is sent. @type {Map<string, () => Promise<void>>} */
const onSend = new Map();

/** Once: makes the dialogs of index.html live. */
export function wireDialogs() {
  for (const dialog of document.querySelectorAll('dialog')) {
    const form = formOf(dialog.id);
    dialog.querySelector('[data-close]')?.addEventListener('click', () => dialog.close());
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void send(dialog, form);
    });
  }
}

/** @param {HTMLDialogElement} dialog @param {HTMLFormElement} form */
async function send(dialog, form) {
  if (dialog.getAttribute('aria-busy') === 'true') return;
  const submit = /** @type {HTMLButtonElement} */ (form.querySelector('button[type=submit]'));
  dialog.setAttribute('aria-busy', 'true');
  submit.disabled = true;
  problem(form, '');
  try {
    await onSend.get(dialog.id)?.();
    dialog.close();
  } catch (error) {
    problem(form, error instanceof Error ? error.message : String(error));
  } finally {
    dialog.removeAttribute('aria-busy');
    submit.disabled = false;
  }
}

/** @param {string} id @param {() => Promise<void>} act */
function ask(id, act) {
  onSend.set(id, act);
  const dialog = /** @type {HTMLDialogElement} */ (byId(id));
  dialog.showModal();
  const first = dialog.querySelector('input');
  if (first !== null && first.type !== 'checkbox') first.select();
}

/** The form as nobody has touched it. @param {string} id */
function prepare(id) {
  const form = formOf(id);
  form.reset();
  problem(form, '');
  return form;
}

/** @param {string} id */
function formOf(id) {
  const form = byId(id).querySelector('form');
  if (form === null) throw new Error(`index.html: dialog "${id}" has no form`);
  return form;
}

/** @param {HTMLFormElement} form @param {string} name */
function field(form, name) {
  return /** @type {HTMLInputElement | HTMLSelectElement} */ (form.elements.namedItem(name));
}

/** @param {HTMLFormElement} form @param {string} selector @param {string} text */
function put(form, selector, text) {
  const target = form.querySelector(selector);
  if (target !== null) target.textContent = text;
}

/** @param {HTMLFormElement} form @param {string} text empty: none */
function problem(form, text) {
  const target = /** @type {HTMLElement} */ (form.querySelector('.problem'));
  target.textContent = text;
  target.hidden = text === '';
}

/** @param {HTMLInputElement | HTMLSelectElement} list @param {string} chosen */
function fillUnits(list, chosen) {
  list.replaceChildren(...UNITS.map(([unit, factor]) => option(String(factor), String(unit))));
  list.value = String(UNITS.find(([unit]) => unit === chosen)?.[1]);
}

/** @param {HTMLFormElement} form @param {number} size bytes */
function fillSize(form, size) {
  const [unit, factor] = UNITS.findLast(([, bytesOfUnit]) => size >= Number(bytesOfUnit)) ?? ['MiB', 2 ** 20];
  fillUnits(field(form, 'unit'), String(unit));
  field(form, 'size').value = String(Number((size / Number(factor)).toFixed(3)));
}

/** @param {string} value @param {string} text */
function option(value, text) {
  const made = document.createElement('option');
  made.value = value;
  made.textContent = text;
  return made;
}

/** Whole sectors of 512 bytes, rounded up. @param {HTMLFormElement} form */
function sizeIn(form) {
  const typed = field(form, 'size').value.trim().replace(',', '.');
  const size = Number(typed) * Number(field(form, 'unit').value);
  if (!/^\d+(\.\d+)?$/.test(typed) || size <= 0)
    throw new Error('The size must be a number above 0, such as 10 or 2.5.');
  if (size > Number.MAX_SAFE_INTEGER) throw new Error('That is more than a volume can have.');
  return Math.ceil(size / 512) * 512;
}

/** "web-2026-11-20", then "web-2026-11-20-2"… @param {string} origin @param {boolean} writable @param {readonly PoolVolume[]} volumes */
function freeName(origin, writable, volumes) {
  const taken = new Set(volumes.map(({ name }) => name));
  const now = new Date();
  const two = (/** @type {number} */ nr) => String(nr).padStart(2, '0');
  const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  const wish = `${origin}-${writable ? 'copy' : day}`;
  for (let nr = 1; ; nr++) {
    const name = nr === 1 ? wish : `${wish}-${nr}`;
    if (!taken.has(name)) return name;
  }
}
