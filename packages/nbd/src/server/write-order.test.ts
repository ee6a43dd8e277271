import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type OrderedWrite, WriteOrder } from './write-order.js';

interface Tried extends OrderedWrite {
  nr: number;
  state: 'waiting' | 'active' | 'done';
}

const write = (nr: number, begin: number, end: number, exclusive: boolean): Tried => ({
  nr,
  begin,
  end,
  exclusive,
  state: 'waiting',
  orderPrevious: undefined,
  orderNext: undefined,
  admitted() {
    expect(this.state).toBe('waiting');
    this.state = 'active';
  },
});
const clash = (a: OrderedWrite, b: OrderedWrite): boolean =>
  (a.exclusive || b.exclusive) && a.begin < b.end && b.begin < a.end;

it('lets whole sectors in at once, whatever they overlap', () => {
  const order = new WriteOrder();
  expect(order.enter(write(1, 0, 4096, false))).toBe(true);
  expect(order.enter(write(2, 512, 1024, false))).toBe(true);
});

it('holds an exclusive write back until what it overlaps is done, and what overlaps it until it is done', () => {
  const order = new WriteOrder();
  const [plain, exclusive, later, elsewhere] = [
    write(1, 0, 1024, false),
    write(2, 512, 1024, true),
    write(3, 512, 1024, false),
    write(4, 2048, 4096, true),
  ];
  expect([plain, exclusive, later, elsewhere].map((one) => order.enter(one))).toEqual([true, false, false, true]);
  order.leave(plain);
  expect([exclusive.state, later.state]).toEqual(['active', 'waiting']);
  order.leave(exclusive);
  expect(later.state).toBe('active');
});

it('never lets two in that clash, never lets one overtake another that it clashes with, and forgets none', () => {
  const entry = fc.record({ begin: fc.nat(15), length: fc.integer({ min: 1, max: 6 }), exclusive: fc.boolean() });
  const step = fc.oneof(entry, fc.record({ leave: fc.nat(40) }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const order = new WriteOrder();
      const entered: Tried[] = [];
      const actives = (): Tried[] => entered.filter(({ state }) => state === 'active');
      const leave = (one: Tried): void => {
        one.state = 'done';
        order.leave(one);
      };
      const check = (): void => {
        for (const a of entered.filter(({ state }) => state !== 'done')) {
          const earlier = entered.filter((b) => b.nr < a.nr && b.state !== 'done' && clash(a, b));
          expect(a.state).toBe(earlier.length === 0 ? 'active' : 'waiting');
        }
      };
      for (const one of steps) {
        if ('leave' in one) {
          const active = actives();
          const chosen = active[one.leave % Math.max(1, active.length)];
          if (chosen) leave(chosen);
        } else {
          const tried = write(entered.length, one.begin, one.begin + one.length, one.exclusive);
          entered.push(tried);
          if (order.enter(tried)) tried.state = 'active';
        }
        check();
      }
      for (let rounds = 0; rounds <= steps.length && actives().length > 0; rounds++) {
        for (const active of actives()) leave(active);
      }
      expect(entered.every(({ state }) => state === 'done')).toBe(true);
    }),
    { seed: 3, numRuns: 300 },
  );
});
