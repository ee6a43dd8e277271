import { describe, expect, it } from 'vitest';
import { SharedRun } from './shared-run.js';

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A run that ends when it is told. */
function manual(): { run: SharedRun; begun: () => number; end: (error?: Error) => void } {
  const ends: ((error?: Error) => void)[] = [];
  let nrBegun = 0;
  const run = new SharedRun(() => {
    nrBegun++;
    return new Promise((resolve, reject) => {
      ends.push((error) => (error === undefined ? resolve() : reject(error)));
    });
  });
  return { run, begun: () => nrBegun, end: (error) => ends.shift()?.(error) };
}

describe('a run for all who ask', () => {
  it('covers who asks while it runs with the next one, and all of them with one', async () => {
    const { run, begun, end } = manual();
    const over: string[] = [];
    void run.run().then(() => over.push('first'));
    for (const name of ['second', 'third', 'fourth']) void run.run().then(() => over.push(name));
    expect(begun()).toBe(1);
    end();
    await settled();
    expect(over).toEqual(['first']);
    expect(begun()).toBe(2);
    end();
    await settled();
    expect(over).toEqual(['first', 'second', 'third', 'fourth']);
    expect(begun()).toBe(2);
  });

  it('fails for those it covered, and not for the next', async () => {
    const { run, begun, end } = manual();
    const first = run.run();
    const second = run.run();
    end(new Error('broken'));
    await expect(first).rejects.toThrow('broken');
    await settled();
    expect(begun()).toBe(2);
    end();
    await expect(second).resolves.toBeUndefined();
    await run.idle();
    expect(begun()).toBe(2);
  });
});
