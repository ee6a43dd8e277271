import { expect, it } from 'vitest';
import { faster, heading, limited, table, within } from './report.js';
import { duration, median } from './statistics.js';

it('takes the middle of an odd number of values, and the mean of the middle two', () => {
  expect(median([5, 1, 9])).toBe(5);
  expect(median([5, 1, 9, 7])).toBe(6);
  expect(median([])).toBeNaN();
});

it('shows durations in a unit that fits', () => {
  expect(duration([12.34, 12.3, 13])).toBe('12.3 s (12.3–13.0)');
  expect(duration([1.5, 1.25, 1.75])).toBe('1.50 s (1.25–1.75)');
  expect(duration([0.4, 0.41, 0.43])).toBe('410 ms (400–430)');
  expect(duration([0.001])).toBe('1000 µs (1000–1000)');
  expect(duration([])).toBe('n/a');
});

it('judges ratios and limits by their targets', () => {
  expect(faster(2.5, 2)).toEqual({ ratio: '2.50x', target: '≥ 2x', met: 'yes' });
  expect(faster(1.99, 2).met).toBe('NO');
  expect(faster(7)).toEqual({ ratio: '7.00x', target: '', met: '' });
  expect(within(1.01, 1)).toEqual({ ratio: '1.01x', target: '≤ 1x', met: 'NO' });
  expect(within(Number.NaN, 1)).toEqual({ ratio: 'n/a', target: '≤ 1x', met: 'not measured' });
  expect(limited(13, 12, ' blocks')).toEqual({ ratio: '', target: '≤ 12 blocks', met: 'NO' });
});

it('lines up the columns of a table', () => {
  expect(
    table([
      ['work', 'time'],
      ['a', '1 s'],
      ['longer', ''],
    ]),
  ).toBe(['work     time', '------   ----', 'a        1 s', 'longer'].join('\n'));
});

it('says in its heading how to measure again', () => {
  const lines = heading('pnpm bench --runs 5', 5, 1).split('\n');
  expect(lines.map((line) => line.split(' ')[0])).toEqual([
    'date',
    'command',
    'revision',
    'machine',
    'system',
    'load',
    'measured',
  ]);
  expect(lines[4]).toContain(`Node ${process.versions.node}`);
});
