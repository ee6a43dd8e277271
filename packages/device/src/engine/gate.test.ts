import { describe, expect, it } from 'vitest';
import { Gate } from './gate.js';

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What has happened so far, in order. */
function noting(): { happened: string[]; note: (what: string) => () => void } {
  const happened: string[] = [];
  return { happened, note: (what) => () => happened.push(what) };
}

describe('a gate', () => {
  it('is closed when all have left, and nobody overtakes who waits to close it', async () => {
    const { happened, note } = noting();
    const gate = new Gate();
    await gate.enter(2);
    void gate.close().then(note('closed'));
    void gate.enter().then(note('entered'));
    expect(gate.tryEnter()).toBe(false);
    gate.leave();
    await settled();
    expect(happened).toEqual([]);
    gate.leave();
    await settled();
    expect(happened).toEqual(['closed']);
    gate.open();
    await settled();
    expect(happened).toEqual(['closed', 'entered']);
  });

  it('lets those in who waited, before it is closed again', async () => {
    const { happened, note } = noting();
    const gate = new Gate();
    await gate.close();
    void gate.close().then(note('closed again'));
    void gate.enter().then(note('entered'));
    gate.open();
    await settled();
    expect(happened).toEqual(['entered']);
    gate.leave();
    await settled();
    expect(happened).toEqual(['entered', 'closed again']);
  });
});
