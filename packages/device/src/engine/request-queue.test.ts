import { describe, expect, it } from 'vitest';
import { type QueueEntry, RequestQueue } from './request-queue.js';

const BLOCK = 1000;

/** Notes in `order` when the entry is granted. */
async function note(queue: RequestQueue, entry: QueueEntry, name: string, order: string[]): Promise<void> {
  if (!entry.granted) await queue.granting(entry);
  order.push(name);
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('requests to one volume', () => {
  it('are all let in when they do not overlap, or only read', () => {
    const queue = new RequestQueue();
    expect(queue.enter(0, 0, 10, true).granted).toBe(true);
    expect(queue.enter(0, 10, 20, true).granted).toBe(true);
    expect(queue.enter(0, 20, 30, false).granted).toBe(true);
    expect(queue.enter(0, 20, 30, false).granted).toBe(true);
    expect(queue.enter(256, 256 * BLOCK, 257 * BLOCK, true).granted, 'a block in the same list').toBe(true);
  });

  it('are done in order of arrival when they overlap', async () => {
    const queue = new RequestQueue();
    const order: string[] = [];
    const first = queue.enter(0, 0, 10, true);
    const second = queue.enter(0, 5, 15, false);
    const third = queue.enter(0, 12, 20, true);
    const other = queue.enter(0, 20, 30, true);
    expect([first, second, third, other].map(({ granted }) => granted)).toEqual([true, false, false, true]);
    const ends = [note(queue, second, 'second', order), note(queue, third, 'third', order)];
    queue.leave(other);
    await settled();
    expect(order).toEqual([]);
    queue.leave(first);
    await settled();
    expect(order).toEqual(['second']);
    queue.leave(second);
    await Promise.all(ends);
    expect(order).toEqual(['second', 'third']);
  });

  it('keep their place when one of them turns out to need the whole block', async () => {
    const queue = new RequestQueue();
    const order: string[] = [];
    const reads = queue.enter(0, 100, 200, false);
    const writes = queue.enter(0, 0, 10, true);
    queue.widen(writes, 0, BLOCK);
    expect(writes.granted, 'while another reads').toBe(false);
    const later = queue.enter(0, 300, 310, true);
    expect(later.granted, 'behind one that waits').toBe(false);
    const ends = [note(queue, writes, 'widened', order), note(queue, later, 'later', order)];
    queue.leave(reads);
    await settled();
    expect(order).toEqual(['widened']);
    queue.leave(writes);
    await Promise.all(ends);
    expect(order).toEqual(['widened', 'later']);
  });

  it('do not wait for each other when two that were let in together both need the whole block', async () => {
    const queue = new RequestQueue();
    const order: string[] = [];
    const before = queue.enter(0, 0, BLOCK, true);
    const a = queue.enter(0, 0, 10, true);
    const b = queue.enter(0, 20, 30, true);
    const both = [queue.granting(a), queue.granting(b)];
    queue.leave(before);
    await Promise.all(both);
    queue.widen(a, 0, BLOCK);
    const aEnds = note(queue, a, 'a', order);
    queue.widen(b, 0, BLOCK);
    const bEnds = note(queue, b, 'b', order);
    await aEnds;
    expect(order).toEqual(['a']);
    queue.leave(a);
    await bEnds;
    expect(order).toEqual(['a', 'b']);
  });
});
