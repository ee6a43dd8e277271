import { expect, it } from 'vitest';
import { BufferPool, HEADROOM } from './buffer-pool.js';

it('hands out room for what was asked, in powers of two, behind the headroom', () => {
  const pool = new BufferPool(2 ** 20);
  for (const [length, capacity] of [
    [1, 4096],
    [4096, 4096],
    [4097, 8192],
    [65_536, 65_536],
    [65_537, 131_072],
    [2 ** 20, 2 ** 20],
    [2 ** 20 + 1, 2 ** 20 + 1],
    [2 ** 25, 2 ** 25],
  ] as const) {
    const buffer = pool.take(length);
    expect(buffer.capacity).toBe(capacity);
    expect(buffer.bytes.length).toBe(HEADROOM + capacity);
    expect(buffer.data(length).length).toBe(length);
    expect(buffer.data(length).byteOffset).toBe(buffer.bytes.byteOffset + HEADROOM);
  }
});

it('hands out again what was given back, to requests of that size alone', () => {
  const pool = new BufferPool(2 ** 20);
  const buffer = pool.take(5000);
  pool.give(buffer);
  expect(pool.take(4096) === buffer).toBe(false);
  expect(pool.take(8192) === buffer).toBe(true);
  expect(pool.take(8192) === buffer).toBe(false);
});

it('keeps no more than it may, and nothing large', () => {
  const pool = new BufferPool(10_000);
  const [a, b, c] = [pool.take(4096), pool.take(4096), pool.take(4096)];
  for (const buffer of [a, b, c]) pool.give(buffer);
  expect([pool.take(1) === b, pool.take(1) === a]).toEqual([true, true]);
  expect(pool.take(1) === c).toBe(false);
  const large = pool.take(2 ** 22);
  pool.give(large);
  expect(pool.take(2 ** 22) === large).toBe(false);
});

it('remembers views, and makes others when another part is asked for', () => {
  const buffer = new BufferPool(0).take(4096);
  expect(buffer.data(512)).toBe(buffer.data(512));
  expect(buffer.data(1024).length).toBe(1024);
  const wire = buffer.wire(HEADROOM - 16, HEADROOM + 512);
  expect(buffer.wire(HEADROOM - 16, HEADROOM + 512)).toBe(wire);
  const shifted = buffer.wire(HEADROOM - 15, HEADROOM + 513);
  expect(shifted.byteOffset).toBe(wire.byteOffset + 1);
  expect(shifted.length).toBe(wire.length);
});
