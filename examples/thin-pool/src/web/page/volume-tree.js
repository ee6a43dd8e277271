/**
 * Volumes and what was made from them, as a tree: a snapshot stands under its origin. It follows the tree pattern of the ARIA practices:
 * one stop for Tab, arrow keys to walk, Left and Right to fold, Home, End, and letters to jump to a name.
 *
 * Rows are kept and changed in place, so that a name under the pointer or the focus stays where it is while figures move.
 */
import { byteRate, bytes, counted } from './format.js';

/** @typedef {import('../page-protocol.js').PoolVolume} PoolVolume */
/** @typedef {import('../page-protocol.js').Rates} Rates */
/** @typedef {{ volume: PoolVolume, level: number, position: number, siblings: number, nrChildren: number, parent: string | undefined }} Line */

export class VolumeTree {
  #container;
  #onSelect;
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {Line[]} */
  #lines = [];
  /** @type {Set<string>} */
  #folded = new Set();
  /** @type {readonly PoolVolume[]} */
  #volumes = [];
  /** @type {ReadonlyMap<string, number>} */
  #exclusive = new Map();
  /** @type {string | undefined} */
  #selected;
  #typed = { text: '', at: 0 };

  /** @param {HTMLElement} container @param {(name: string) => void} onSelect */
  constructor(container, onSelect) {
    this.#container = container;
    this.#onSelect = onSelect;
    container.addEventListener('click', (event) => this.#click(event));
    container.addEventListener('keydown', (event) => this.#key(event));
  }

  /** @param {readonly PoolVolume[]} volumes @param {ReadonlyMap<string, number>} exclusive @param {string | undefined} selected */
  show(volumes, exclusive, selected) {
    this.#volumes = volumes;
    this.#exclusive = exclusive;
    this.#selected = selected;
    this.#render();
  }

  /** @param {ReadonlyMap<string, Rates>} rates */
  showRates(rates) {
    for (const [name, row] of this.#rows) row.showRates(rates.get(name));
  }

  /** @param {string} name */
  focus(name) {
    this.#rows.get(name)?.element.focus();
  }

  #render() {
    this.#lines = linesOf(this.#volumes, this.#folded);
    const hadFocus = this.#container.contains(document.activeElement);
    const stop = this.#lines.find(({ volume }) => volume.name === this.#selected) ?? this.#lines[0];
    const gone = new Set(this.#rows.keys());
    let before = this.#container.firstElementChild;
    for (const line of this.#lines) {
      const { name } = line.volume;
      gone.delete(name);
      let row = this.#rows.get(name);
      if (row === undefined) {
        row = new Row(name);
        this.#rows.set(name, row);
      }
      const isFolded = line.nrChildren === 0 ? undefined : this.#folded.has(name);
      row.show(line, isFolded, this.#exclusive.get(name), name === this.#selected, line === stop);
      if (row.element === before) before = before.nextElementSibling;
      else this.#container.insertBefore(row.element, before);
    }
    const focused = document.activeElement;
    for (const name of gone) {
      this.#rows.get(name)?.element.remove();
      this.#rows.delete(name);
    }
    // The row with the focus was removed: stay in the tree.
    if (hadFocus && focused !== document.activeElement && stop !== undefined) this.focus(stop.volume.name);
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const target = /** @type {Element} */ (event.target);
    const row = /** @type {HTMLElement | null} */ (target.closest('[role=treeitem]'));
    const name = row?.dataset.name;
    if (name === undefined) return;
    if (target.closest('.twist') !== null) this.#fold(name, !this.#folded.has(name));
    else this.#select(name);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const row = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest('[role=treeitem]'));
    const at = this.#lines.findIndex(({ volume }) => volume.name === row?.dataset.name);
    const line = this.#lines[at];
    if (line === undefined) return;
    const { name } = line.volume;
    const isFolded = this.#folded.has(name);
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => this.#goTo(at + 1),
      ArrowUp: () => this.#goTo(at - 1),
      Home: () => this.#goTo(0),
      End: () => this.#goTo(this.#lines.length - 1),
      Enter: () => this.#select(name),
      ' ': () => this.#select(name),
      ArrowRight: () => {
        if (line.nrChildren === 0) return;
        if (isFolded) this.#fold(name, false);
        else this.#goTo(at + 1);
      },
      ArrowLeft: () => {
        if (line.nrChildren > 0 && !isFolded) this.#fold(name, true);
        else if (line.parent !== undefined)
          this.#goTo(this.#lines.findIndex(({ volume }) => volume.name === line.parent));
      },
    };
    const act = keys[event.key];
    if (act !== undefined) {
      event.preventDefault();
      act();
    } else if (event.key.length === 1) {
      this.#jump(at, event.key);
    }
  }

  /** To the next name that begins with what was typed within the last second. @param {number} at @param {string} letter */
  #jump(at, letter) {
    const now = performance.now();
    const text = (now - this.#typed.at < 1000 ? this.#typed.text : '') + letter.toLowerCase();
    this.#typed = { text, at: now };
    const first = text.length === 1 ? at + 1 : at;
    for (let step = 0; step < this.#lines.length; step++) {
      const to = (first + step) % this.#lines.length;
      if (this.#lines[to]?.volume.name.toLowerCase().startsWith(text)) return this.#goTo(to);
    }
  }

  /** @param {number} at */
  #goTo(at) {
    const line = this.#lines[at];
    if (line === undefined) return;
    this.#select(line.volume.name);
    this.focus(line.volume.name);
  }

  /** @param {string} name */
  #select(name) {
    if (name !== this.#selected) this.#onSelect(name);
  }

  /** @param {string} name @param {boolean} shut */
  #fold(name, shut) {
    if (shut) this.#folded.add(name);
    else this.#folded.delete(name);
    this.#render();
  }
}

class Row {
  element = document.createElement('div');
  #twist = span('twist');
  #name = span('name');
  #kind = span('tag');
  #busy = span('rates');
  #own = span('own');
  #shared = span('shared');
  #mapped = span('mapped');
  #size = span('size');
  #label = '';

  /** @param {string} name */
  constructor(name) {
    this.element.setAttribute('role', 'treeitem');
    this.element.dataset.name = name;
    this.#name.textContent = name;
    this.#name.dir = 'auto';
    const what = span('what');
    what.append(this.#twist, this.#name, this.#kind, this.#busy);
    const fill = span('share');
    fill.append(this.#shared, this.#own);
    const space = span('space');
    space.append(this.#mapped, fill);
    this.element.append(what, space, this.#size);
  }

  /**
   * @param {Line} line @param {boolean | undefined} isFolded @param {number | undefined} exclusive
   * @param {boolean} isSelected @param {boolean} isTabStop
   */
  show({ volume, level, position, siblings }, isFolded, exclusive, isSelected, isTabStop) {
    const { element } = this;
    element.style.setProperty('--level', String(level - 1));
    element.setAttribute('aria-level', String(level));
    element.setAttribute('aria-posinset', String(position));
    element.setAttribute('aria-setsize', String(siblings));
    element.setAttribute('aria-selected', String(isSelected));
    if (isFolded === undefined) element.removeAttribute('aria-expanded');
    else element.setAttribute('aria-expanded', String(!isFolded));
    element.tabIndex = isTabStop ? 0 : -1;
    element.dataset.kind = volume.kind;
    this.#kind.textContent = volume.kind === 'snapshot' ? 'snapshot' : '';
    this.#mapped.textContent = bytes(volume.mapped);
    this.#size.textContent = bytes(volume.size);
    const own = exclusive === undefined ? volume.mapped : Math.min(exclusive, volume.mapped);
    const share = (/** @type {number} */ part) => `${volume.size > 0 ? (100 * part) / volume.size : 0}%`;
    this.#own.style.width = share(own);
    this.#shared.style.width = share(volume.mapped - own);
    this.#label = [
      volume.name,
      volume.kind,
      `${bytes(volume.mapped)} of ${bytes(volume.size)} in the pool`,
      exclusive === undefined ? '' : `${bytes(own)} only its own`,
      volume.users > 0 ? `in use by ${counted(volume.users, 'user')}` : '',
    ]
      .filter((part) => part !== '')
      .join(', ');
    if (element.getAttribute('aria-label') !== this.#label) element.setAttribute('aria-label', this.#label);
    element.classList.toggle('used', volume.users > 0);
  }

  /** @param {Rates | undefined} rates */
  showRates(rates) {
    const flow = (rates?.bytesRead ?? 0) + (rates?.bytesWritten ?? 0);
    const text = flow > 0 ? byteRate(flow) : '';
    if (this.#busy.textContent !== text) this.#busy.textContent = text;
  }
}

/**
 * The lines of the tree, those in folds left out; children in the order in which they were made. Who has no origin stands at the top, and
 * so does who is older than its origin: a volume that was reverted to one of its snapshots stays above it. Should names still claim each
 * other in a circle, each appears, once.
 * @param {readonly PoolVolume[]} volumes @param {ReadonlySet<string>} folded
 */
function linesOf(volumes, folded) {
  const named = new Map(volumes.map((volume) => [volume.name, volume]));
  /** @type {Map<string | undefined, PoolVolume[]>} */
  const children = new Map();
  for (const volume of volumes) {
    const origin = volume.origin === undefined ? undefined : named.get(volume.origin);
    const parent = origin !== undefined && !wasMadeLater(origin, volume) ? origin.name : undefined;
    const among = children.get(parent);
    if (among === undefined) children.set(parent, [volume]);
    else among.push(volume);
  }
  /** @type {Line[]} */
  const lines = [];
  const placed = new Set();
  /** @param {PoolVolume[]} siblings @param {number} level @param {string | undefined} parent @param {boolean} isShown */
  const place = (siblings, level, parent, isShown) => {
    siblings.forEach((volume, index) => {
      if (placed.has(volume.name)) return;
      placed.add(volume.name);
      const below = (children.get(volume.name) ?? []).sort((a, b) => a.created - b.created);
      if (isShown) {
        lines.push({ volume, level, position: index + 1, siblings: siblings.length, nrChildren: below.length, parent });
      }
      place(below, level + 1, volume.name, isShown && !folded.has(volume.name));
    });
  };
  place(children.get(undefined) ?? [], 1, undefined, true);
  for (const volume of volumes) place([volume], 1, undefined, true);
  return lines;
}

/** Of what is known: 0 stands for a time that nobody noted. @param {PoolVolume} origin @param {PoolVolume} volume */
export const wasMadeLater = (origin, volume) => volume.created > 0 && origin.created > volume.created;

/** @param {string} className */
function span(className) {
  const made = document.createElement('span');
  made.className = className;
  return made;
}
