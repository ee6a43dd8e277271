/**
 * A small live chart of two minutes: what was read above the line, what was written below it, on one scale, so that colour is not all
 * that tells them apart. The figures of the moment stand beside it as text; the drawing itself is for the eye only.
 */

/** @typedef {{ at: number, read: number, written: number }} Sample */

const SPAN = 120_000; // ms
const WIDTH = 240;
const HALF = 40;
const SVG = 'http://www.w3.org/2000/svg';

export class RateChart {
  /** @type {Sample[]} */
  #samples = [];
  #format;
  #least;
  #readText;
  #writtenText;
  #peakText;
  #readPath;
  #writtenPath;

  /**
   * @param {HTMLElement} container
   * @param {{ label: string, format: (value: number) => string, least: number }} options `least`: the smallest full scale
   */
  constructor(container, { label, format, least }) {
    this.#format = format;
    this.#least = least;
    const legend = element('p', 'legend');
    this.#readText = legendEntry(legend, 'read', 'Read');
    this.#writtenText = legendEntry(legend, 'written', 'Written');

    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('viewBox', `0 0 ${WIDTH} ${2 * HALF}`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('role', 'img');
    svg.setAttribute('aria-label', `${label} of the last two minutes, read above the line, written below it`);
    this.#readPath = path(svg, 'read');
    this.#writtenPath = path(svg, 'written');
    path(svg, 'axis').setAttribute('d', `M0 ${HALF}H${WIDTH}`);

    const scale = element('p', 'scale quiet');
    this.#peakText = element('span');
    scale.append('2 min', this.#peakText);
    container.append(legend, svg, scale);
  }

  /** Forgets what it showed. @param {Sample[]} samples oldest first */
  reset(samples) {
    this.#samples = samples.slice();
    this.#draw();
  }

  /** @param {Sample} sample */
  add(sample) {
    this.#samples.push(sample);
    while (this.#samples.length > 0 && (this.#samples[0]?.at ?? 0) < sample.at - SPAN) this.#samples.shift();
    this.#draw();
  }

  #draw() {
    const samples = this.#samples;
    const last = samples.at(-1);
    const peak = samples.reduce((most, { read, written }) => Math.max(most, read, written), 0);
    const full = Math.max(this.#least, peak);
    setText(this.#readText, this.#format(last?.read ?? 0));
    setText(this.#writtenText, this.#format(last?.written ?? 0));
    setText(this.#peakText, peak > 0 ? `peak ${this.#format(peak)}` : 'no I/O');
    const x = (/** @type {number} */ at) => WIDTH * (1 - ((last?.at ?? 0) - at) / SPAN);
    for (const [line, sign, value] of /** @type {const} */ ([
      [this.#readPath, -1, 'read'],
      [this.#writtenPath, 1, 'written'],
    ])) {
      const points = samples.map((sample) => {
        const y = HALF + sign * (HALF - 1) * (sample[value] / full);
        return `${x(sample.at).toFixed(1)} ${y.toFixed(2)}`;
      });
      const begin = x(samples[0]?.at ?? 0).toFixed(1);
      line.setAttribute('d', points.length < 2 ? '' : `M${begin} ${HALF}L${points.join('L')}L${WIDTH} ${HALF}Z`);
    }
  }
}

/** @param {string} tag @param {string} [className] */
function element(tag, className = '') {
  const made = document.createElement(tag);
  made.className = className;
  return made;
}

/** @param {HTMLElement} legend @param {string} kind @param {string} label */
function legendEntry(legend, kind, label) {
  const entry = element('span', `entry ${kind}`);
  const figure = element('b');
  entry.append(`${label} `, figure);
  legend.append(entry);
  return figure;
}

/** @param {SVGElement} svg @param {string} className */
function path(svg, className) {
  const made = document.createElementNS(SVG, 'path');
  made.setAttribute('class', className);
  svg.append(made);
  return made;
}

/** Leaves text that is right alone. @param {HTMLElement} target @param {string} text */
function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
