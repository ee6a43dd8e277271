import { setImmediate as nextTurn } from 'node:timers/promises';
import { seededRandom } from '@pdata/testing';
import { expect, it } from 'vitest';
import { ExclusiveRanges } from './exclusive-ranges.js';

it('never lets two works on a common byte run at once, keeps their order, and loses none', async () => {
  const random = seededRandom(3);
  const ranges = new ExclusiveRanges();
  const running = new Set<{ begin: number; end: number }>();
  const lastOn = new Array<number>(64).fill(-1);
  let [nrDone, nrAtOnce] = [0, 0];
  const works = Array.from({ length: 300 }, (_, nr) => {
    const begin = Math.floor(random() * 60);
    const range = { begin, end: begin + 1 + Math.floor(random() * 4) };
    return ranges.run(range.begin, range.end, async () => {
      for (const other of running) expect(other.begin < range.end && range.begin < other.end).toBe(false);
      for (let at = range.begin; at < range.end; at++) {
        expect(lastOn[at]).toBeLessThan(nr);
        lastOn[at] = nr;
      }
      running.add(range);
      nrAtOnce = Math.max(nrAtOnce, running.size);
      await nextTurn();
      running.delete(range);
      nrDone++;
      if (nr % 7 === 0) throw new Error('this work fails');
    });
  });
  const results = await Promise.allSettled(works);
  expect(nrDone).toBe(300);
  expect(nrAtOnce).toBeGreaterThan(5);
  expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(43);
});
