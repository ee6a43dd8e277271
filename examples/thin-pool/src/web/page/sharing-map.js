/**
 * A map of blocks: cells in rows, as one reads, from the begin to the end of a volume or of the data file. Each cell fills from below with
 * what is shared, above it what one volume alone has; what stays empty is a hole.
 *
 * Drawn on a canvas (hundreds of cells, redrawn each few seconds), and so made readable by other means: it is a slider over the range.
 * Arrow keys or the pointer move along it, and a line of text, also its value for a screen reader, says what lies there.
 */
import { bytes, percent } from './format.js';

/** @typedef {import('../../pool-host.js').CellRow} CellRow */

const GAP = 2; // CSS pixels
const FULL = 255;

export class SharingMap {
  #container;
  #canvas = document.createElement('canvas');
  #readout = document.createElement('p');
  #words;
  /** @type {CellRow | undefined} */
  #row;
  #blockSize = 0;
  #size = 0;
  #at = -1;
  #columns = 1;
  #step = 1;

  /**
   * @param {HTMLElement} container
   * @param {{ labelledBy: string, own: string, shared: string, hole: string }} words
   */
  constructor(container, words) {
    this.#container = container;
    this.#words = words;
    const legend = document.createElement('p');
    legend.className = 'legend';
    for (const kind of /** @type {const} */ (['own', 'shared', 'hole'])) {
      const entry = document.createElement('span');
      entry.className = `entry ${kind}`;
      entry.textContent = words[kind];
      legend.append(entry);
    }
    this.#readout.className = 'readout quiet';
    this.#canvas.setAttribute('role', 'slider');
    this.#canvas.setAttribute('aria-labelledby', words.labelledBy);
    this.#canvas.tabIndex = 0;
    container.append(legend, this.#canvas, this.#readout);

    this.#canvas.addEventListener('keydown', (event) => this.#key(event));
    this.#canvas.addEventListener('pointermove', (event) => this.#move(this.#cellAt(event)));
    this.#canvas.addEventListener('pointerleave', () => this.#move(-1));
    this.#canvas.addEventListener('focus', () => this.#move(Math.max(0, this.#at)));
    this.#canvas.addEventListener('blur', () => this.#move(-1));
    new ResizeObserver(() => this.#draw()).observe(container);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  /** @param {CellRow | undefined} row @param {number} blockSize bytes @param {number} size bytes of the whole range */
  show(row, blockSize, size) {
    this.#row = row;
    this.#blockSize = blockSize;
    this.#size = size;
    if (this.#at >= this.#nrCells) this.#at = -1;
    this.#draw();
    this.#say();
  }

  /** Bytes that a cell stands for. */
  get cellSize() {
    return (this.#row?.blocksPerCell ?? 0) * this.#blockSize;
  }

  get #nrCells() {
    return this.#row?.mapped.length ?? 0;
  }

  #draw() {
    const nrCells = this.#nrCells;
    const width = this.#container.clientWidth;
    this.#canvas.hidden = nrCells === 0 || width === 0;
    if (this.#canvas.hidden) return;
    // Whole device pixels, so that edges stay sharp; as many columns as fit, and as wide as they then may be.
    const scale = devicePixelRatio;
    const least = (nrCells <= 96 ? 22 : 13) + GAP;
    const nrFitting = Math.max(1, Math.floor((width + GAP) / least));
    this.#columns = Math.min(nrCells, nrFitting);
    this.#step = Math.floor(((width + GAP) / nrFitting) * scale) / scale;
    const nrRows = Math.ceil(nrCells / this.#columns);
    const [across, down] = [this.#columns * this.#step - GAP, nrRows * this.#step - GAP];
    this.#canvas.width = Math.round(across * scale);
    this.#canvas.height = Math.round(down * scale);
    this.#canvas.style.width = `${across}px`;
    this.#canvas.style.height = `${down}px`;

    const pen = this.#canvas.getContext('2d');
    if (pen === null) return;
    pen.scale(scale, scale);
    const style = getComputedStyle(this.#container);
    const [own, shared, hole, mark] = ['--own', '--shared', '--hole', '--text'].map((name) =>
      style.getPropertyValue(name),
    );
    for (let cell = 0; cell < nrCells; cell++) this.#drawCell(pen, cell, { own, shared, hole, mark });
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} cell @param {Record<string, string | undefined>} colours */
  #drawCell(pen, cell, { own = '', shared = '', hole = '', mark = '' }) {
    const edge = this.#step - GAP;
    const [x, y] = [(cell % this.#columns) * this.#step, Math.floor(cell / this.#columns) * this.#step];
    const here = this.#shares(cell);
    pen.save();
    pen.beginPath();
    pen.roundRect(x, y, edge, edge, 2.5);
    pen.fillStyle = hole;
    pen.fill();
    pen.clip();
    // Of what is there at all, at least a line is seen.
    const sharedHeight = here.shared === 0 ? 0 : Math.max(1.5, here.shared * edge);
    const ownHeight = here.own === 0 ? 0 : Math.max(1.5, here.own * edge);
    pen.fillStyle = shared;
    pen.fillRect(x, y + edge - sharedHeight, edge, sharedHeight);
    pen.fillStyle = own;
    pen.fillRect(x, y + edge - sharedHeight - ownHeight, edge, ownHeight);
    pen.restore();
    if (cell !== this.#at) return;
    pen.strokeStyle = mark;
    pen.lineWidth = 2;
    pen.strokeRect(x + 1, y + 1, edge - 2, edge - 2);
  }

  /** @param {number} cell */
  #shares(cell) {
    const mapped = (this.#row?.mapped[cell] ?? 0) / FULL;
    const shared = Math.min(mapped, (this.#row?.shared[cell] ?? 0) / FULL);
    return { own: mapped - shared, shared, hole: 1 - mapped };
  }

  /** @param {PointerEvent} event */
  #cellAt({ offsetX, offsetY }) {
    const column = Math.floor(offsetX / this.#step);
    const cell = Math.floor(offsetY / this.#step) * this.#columns + column;
    return column >= 0 && column < this.#columns && cell >= 0 && cell < this.#nrCells ? cell : -1;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const page = Math.max(1, Math.round(this.#nrCells / 10));
    /** @type {Record<string, number>} */
    const goes = {
      ArrowRight: this.#at + 1,
      ArrowLeft: this.#at - 1,
      ArrowDown: this.#at + this.#columns,
      ArrowUp: this.#at - this.#columns,
      PageDown: this.#at + page,
      PageUp: this.#at - page,
      Home: 0,
      End: this.#nrCells - 1,
    };
    const to = goes[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#move(Math.max(0, Math.min(this.#nrCells - 1, to)));
  }

  /** @param {number} cell -1: nowhere */
  #move(cell) {
    if (cell === this.#at) return;
    this.#at = cell;
    this.#draw();
    this.#say();
  }

  #say() {
    const [nrCells, cell] = [this.#nrCells, this.#at];
    if (nrCells === 0) {
      this.#readout.textContent = 'The map is being drawn…';
      return;
    }
    const { own, shared, hole } = this.#shares(Math.max(0, cell));
    const begin = Math.max(0, cell) * this.cellSize;
    const end = Math.min(this.#size, begin + this.cellSize);
    const words = this.#words;
    const told = [
      own > 0 ? `${percent(own, 1)} ${words.own}` : '',
      shared > 0 ? `${percent(shared, 1)} ${words.shared}` : '',
      hole > 0 ? `${percent(hole, 1)} ${words.hole}` : '',
    ].filter((part) => part !== '');
    const text = `${bytes(begin)} to ${bytes(end)}: ${told.join(', ')}`;
    this.#readout.textContent = cell < 0 ? 'Point at a cell, or walk along with the arrow keys.' : text;
    this.#canvas.setAttribute('aria-valuemin', '0');
    this.#canvas.setAttribute('aria-valuemax', String(nrCells - 1));
    this.#canvas.setAttribute('aria-valuenow', String(Math.max(0, cell)));
    this.#canvas.setAttribute('aria-valuetext', text);
  }
}
