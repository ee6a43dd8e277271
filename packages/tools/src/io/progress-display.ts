/**
 * Progress on standard error: a bar on a terminal, one line for each title elsewhere, nothing when quiet.
 *
 * The bar is one line that is overwritten, at most ten times a second, and erased before anything else is printed, so that
 * it never mixes with messages and leaves no trace when the work is done.
 */
import type { Progress } from '@pdata/thin';
import type { Io } from './io.js';
import { printable } from './printable.js';

const REDRAW_MS = 100;
/** Short work shows no bar at all. */
const FIRST_DRAW_MS = 300;
const BAR_WIDTH = 30;
const ERASE_LINE = '\r\x1b[K';

export class ProgressDisplay {
  readonly #io: Io;
  readonly #isQuiet: () => boolean;
  #lastTitle = '';
  #nextDraw: number;
  #isDrawn = false;

  constructor(io: Io, isQuiet: () => boolean) {
    this.#io = io;
    this.#isQuiet = isQuiet;
    this.#nextDraw = io.now() + FIRST_DRAW_MS;
  }

  /** A step begins: its title as a line of its own, unless it is the one already shown. */
  title(text: string): void {
    if (text === this.#lastTitle) return;
    this.#lastTitle = text;
    this.line(text);
  }

  /** How far a step is. Draws only on a terminal. */
  readonly show = ({ stage, done, total }: Progress): void => {
    const { errColumns } = this.#io;
    if (this.#isQuiet() || errColumns === 0) return;
    const now = this.#io.now();
    if (now < this.#nextDraw) return;
    this.#nextDraw = now + REDRAW_MS;
    this.#isDrawn = true;
    this.#io.err(`\r${bar(stage, done, total, errColumns)}\x1b[K`);
  };

  /** A line of text, in place of the bar. */
  line(text: string): void {
    if (this.#isQuiet()) return;
    this.clear();
    this.#io.err(`${printable(text)}\n`);
  }

  /** Takes the bar away. */
  clear(): void {
    if (this.#isDrawn) this.#io.err(ERASE_LINE);
    this.#isDrawn = false;
  }
}

function bar(stage: string, done: number, total: number, columns: number): string {
  if (total <= 0) return `${stage} ${done}`.slice(0, columns - 1);
  const part = Math.min(1, done / total);
  const percent = `${Math.floor(part * 100)}%`.padStart(4);
  const nrFilled = Math.floor(part * BAR_WIDTH);
  const drawn = `[${'='.repeat(nrFilled)}${'>'.repeat(nrFilled < BAR_WIDTH ? 1 : 0)}`.padEnd(BAR_WIDTH + 1);
  return `${drawn}] ${percent} ${stage}`.slice(0, columns - 1);
}
