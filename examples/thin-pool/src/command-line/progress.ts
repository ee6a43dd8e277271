/** One line on a terminal that is written over: what is being done, how much of it, how fast. Nothing where there is no terminal. */
import { formatShare, formatSize } from '../words/sizes.js';
import type { Io } from './command.js';

const EVERY_MS = 200;

export interface ProgressLine {
  show(done: number, whole?: number): void;
  end(): void;
}

export function progressLine(io: Io, what: string): ProgressLine {
  if (!io.errIsTerminal) return { show() {}, end() {} };
  const began = performance.now();
  let last = 0;
  return {
    show(done, whole) {
      const now = performance.now();
      if (now - last < EVERY_MS) return;
      last = now;
      const speed = `${formatSize((done / (now - began)) * 1000)}/s`;
      const share = whole === undefined ? '' : ` of ${formatSize(whole)} (${formatShare(done, whole)})`;
      io.err(`\r\x1b[K${what}: ${formatSize(done)}${share}, ${speed}`);
    },
    end() {
      if (last > 0) io.err('\r\x1b[K');
    },
  };
}
