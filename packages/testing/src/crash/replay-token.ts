/**
 * A crash in one line, so that it can be had again: which workload, which of its operations, where the crash came, what landed.
 *
 *   thin/17/0-3,5/41/0,2,3~a5     subject thin, workload 17, its operations 0 to 3 and 5, before event 41 of the recording;
 *                                 of the changes in doubt 0 and 2 landed, and sectors 0, 2, 5 and 7 of 3
 */
import type { Choice, Landed } from './crash-choices.js';

export interface ReplayToken {
  readonly subject: string;
  readonly seed: number;
  /** Indices into the operations of the workload, ascending. */
  readonly operations: readonly number[];
  readonly place: number;
  readonly choice: Choice;
}

export function writeReplayToken({ subject, seed, operations, place, choice }: ReplayToken): string {
  const landed = choice.map(({ index, landing }) => (landing === 'whole' ? `${index}` : `${index}~${bits(landing)}`));
  return [subject, seed, ranges(operations), place, landed.join(',') || 'none'].join('/');
}

/** @throws RangeError for what is no token */
export function readReplayToken(token: string): ReplayToken {
  const [, subject, seed, operations, place, landed] =
    /^([\w-]+)\/(\d+)\/((?:\d+(?:-\d+)?,?)*)\/(\d+)\/(none|(?:\d+(?:~[0-9a-f]+)?,?)+)$/.exec(token) ?? [];
  if (subject === undefined || landed === undefined) {
    throw new RangeError(`"${token}" is no crash that was printed here: expected SUBJECT/SEED/OPERATIONS/PLACE/LANDED`);
  }
  return {
    subject,
    seed: Number(seed),
    operations: (operations ?? '')
      .split(',')
      .filter((part) => part !== '')
      .flatMap(numbersOf),
    place: Number(place),
    choice: landed === 'none' ? [] : landed.split(',').map(landedOf),
  };
}

function ranges(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let from = 0; from < numbers.length; ) {
    let to = from;
    while (numbers[to + 1] === (numbers[to] as number) + 1) to++;
    parts.push(to === from ? `${numbers[from]}` : `${numbers[from]}-${numbers[to]}`);
    from = to + 1;
  }
  return parts.join(',');
}

function numbersOf(range: string): number[] {
  const [first = 0, last = first] = range.split('-').map(Number);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** Four sectors a hexadecimal digit, the first in its lowest bit; a last digit that is incomplete is filled with zeros. */
function bits(landing: Uint8Array): string {
  let digits = '';
  for (let at = 0; at < landing.length; at += 4) {
    let digit = 0;
    for (let bit = 0; bit < 4; bit++) if (landing[at + bit]) digit |= 1 << bit;
    digits += digit.toString(16);
  }
  return digits;
}

function landedOf(part: string): Landed {
  const [index, digits] = part.split('~');
  if (digits === undefined) return { index: Number(index), landing: 'whole' };
  const landing = Uint8Array.from({ length: 4 * digits.length }, (_, nr) => {
    const digit = Number.parseInt(digits[nr >>> 2] as string, 16);
    return (digit >>> (nr & 3)) & 1;
  });
  return { index: Number(index), landing };
}
