/** Counting and failing syncs needs Node's `fdatasync` replaced; nothing else is. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { DescriptorSync } from './descriptor-sync.js';

type Callback = (error: Error | null) => void;
const { running, sync } = vi.hoisted(() => ({ running: [] as Callback[], sync: { fails: false } }));
vi.mock('node:fs', () => ({
  fdatasync: (_fd: number, callback: Callback) => running.push(callback),
  fdatasyncSync: () => {
    if (sync.fails) throw new Error('EIO: i/o error, fdatasync');
  },
}));

beforeEach(() => {
  running.length = 0;
  sync.fails = false;
});
afterEach(() => expect(running).toHaveLength(0));

/** Ends the sync that is running. */
function end(error: Error | null = null): void {
  const callback = running.shift();
  if (callback === undefined) throw new Error('no sync is running');
  callback(error);
}
const EIO = new Error('EIO: i/o error, fdatasync');
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it('does one sync after the other, and one for all who asked during one', async () => {
  const sync = new DescriptorSync(3, 'disk');
  const ended: string[] = [];
  const ask = (who: string): Promise<unknown> => sync.soon().then(() => ended.push(who));
  const all = [ask('first'), ask('second'), ask('third')];
  expect(running).toHaveLength(1);
  end();
  await settled();
  expect([ended, running.length]).toEqual([['first'], 1]);
  all.push(ask('fourth'));
  expect(running).toHaveLength(1);
  end();
  await settled();
  expect([ended, running.length]).toEqual([['first', 'second', 'third'], 1]);
  end();
  await Promise.all(all);
  expect(ended).toEqual(['first', 'second', 'third', 'fourth']);
});

it('fails all who waited, and everybody later, once a sync has failed', async () => {
  const sync = new DescriptorSync(3, 'disk');
  const outcomes = Promise.allSettled([sync.soon(), sync.soon(), sync.soon()]);
  end(EIO);
  const messages = (await outcomes).map((outcome) => (outcome.status === 'rejected' ? outcome.reason.message : 'fine'));
  const later =
    'cannot flush disk: an earlier flush failed, and what it covered may be lost; close it and open it again';
  expect(messages).toEqual(['cannot flush disk: i/o error', later, later]);
  await expect(sync.soon()).rejects.toThrow(later);
  expect(() => sync.now()).toThrow(later);
});

it('fails at once and for ever when a synchronous sync has failed', async () => {
  const device = new DescriptorSync(3, 'disk');
  sync.fails = true;
  expect(() => device.now()).toThrow('cannot flush disk: i/o error');
  sync.fails = false;
  expect(() => device.now()).toThrow('an earlier flush failed');
  await expect(device.soon()).rejects.toThrow('an earlier flush failed');
});

it('does not take a success for one while a synchronous sync was told of the failure', async () => {
  const device = new DescriptorSync(3, 'disk');
  const asking = expect(device.soon()).rejects.toThrow('cannot flush disk: i/o error');
  sync.fails = true;
  expect(() => device.now()).toThrow('i/o error');
  end();
  await asking;
});
