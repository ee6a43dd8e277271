import { describe, expect, it } from 'vitest';
import { CopyBuffers } from './copy-buffers.js';

const KIB = 1024;

describe('memory for copies', () => {
  it('is given again when it was given back, by size', () => {
    const buffers = new CopyBuffers(64 * KIB);
    const first = buffers.tryTake(5000) as Uint8Array;
    expect([first.byteLength, buffers.nrBytesInUse]).toEqual([8192, 8192]);
    buffers.giveBack(first);
    expect(buffers.tryTake(8192)).toBe(first);
    expect(buffers.tryTake(4096)?.byteLength).toBe(4096);
  });

  it('is never more than it may be, kept buffers included; who finds none waits, in order', async () => {
    const buffers = new CopyBuffers(16 * KIB);
    const [a, b] = [buffers.tryTake(8192), buffers.tryTake(8192)] as [Uint8Array, Uint8Array];
    expect(buffers.tryTake(1)).toBeUndefined();
    const given: string[] = [];
    const taken = async (name: string, length: number): Promise<Uint8Array> => {
      const buffer = await buffers.take(length);
      given.push(name);
      return buffer;
    };
    const [large, small] = [taken('large', 16 * KIB), taken('small', 512)];
    buffers.giveBack(a);
    await Promise.resolve();
    expect([given, buffers.tryTake(512)], 'nobody overtakes').toEqual([[], undefined]);
    buffers.giveBack(b);
    buffers.giveBack(await large);
    expect((await small).byteLength).toBe(4096);
    expect(given).toEqual(['large', 'small']);
    expect(buffers.nrBytesInUse).toBe(4096);
  });

  it('copies', () => {
    const buffers = new CopyBuffers(4096);
    const from = new Uint8Array(512).fill(7);
    const copied = buffers.copy(from, buffers.tryTake(512) as Uint8Array);
    from.fill(8);
    expect(copied).toEqual(new Uint8Array(512).fill(7));
  });
});
