import fc from 'fast-check';
import { expect, it } from 'vitest';
import { SharedLeaves } from './shared-leaves.js';

const NR_BLOCKS = 40;

/** The rule as a sentence has it, with sets and whole sequences. */
function runsByTheRule(devices: readonly number[][]): { shared: string[]; all: string[] } {
  const before = new Map<number, Set<number>>();
  const after = new Map<number, Set<number>>();
  const note = (map: Map<number, Set<number>>, key: number, value: number): void => {
    map.set(key, (map.get(key) ?? new Set()).add(value));
  };
  for (const leaves of devices) {
    leaves.forEach((leaf, i) => {
      note(before, leaf, leaves[i - 1] ?? -1);
      note(after, leaf, leaves[i + 1] ?? -1);
    });
  }
  const isJoined = (a: number, b: number): boolean =>
    a !== -1 && before.get(b)!.size === 1 && after.get(a)!.size === 1 && before.get(b)!.has(a) && after.get(a)!.has(b);
  const users = new Map<string, number>();
  for (const leaves of devices) {
    let run: number[] = [];
    const end = (): void => {
      if (run.length > 0) users.set(run.join(' '), (users.get(run.join(' ')) ?? 0) + 1);
      run = [];
    };
    leaves.forEach((leaf, i) => {
      if (!isJoined(leaves[i - 1] ?? -1, leaf)) end();
      run.push(leaf);
    });
    end();
  }
  const shared = [...users].filter(([, nr]) => nr > 1).map(([run]) => run);
  shared.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  return { shared, all: [...users.keys()].sort() };
}

function runsFound(devices: readonly number[][]): { shared: string[]; all: string[] } {
  const leaves = new SharedLeaves(NR_BLOCKS);
  for (const device of devices) {
    for (const leaf of device) leaves.add(leaf, 0, Number.POSITIVE_INFINITY);
    leaves.endDevice();
  }
  const runFrom = (head: number): string => {
    const run = [];
    for (let leaf = head; leaf >= 0; leaf = leaves.nextInRun(leaf)) run.push(leaf);
    return run.join(' ');
  };
  const heads = new Set(devices.flat().filter((leaf) => leaves.isHead(leaf)));
  return { shared: [...leaves.sharedHeads()].map(runFrom), all: [...heads].map(runFrom).sort() };
}

it('finds the parts of the example in its header', () => {
  const [a, b, c, d, e, f, g] = [1, 2, 3, 4, 5, 6, 7] as const;
  const devices = [
    [a, b, c, d],
    [a, b, e, f, g],
    [e, f, g],
  ];
  expect(runsFound(devices)).toEqual({ shared: ['1 2', '5 6 7'], all: ['1 2', '3 4', '5 6 7'] });
});

it('takes the beginning and the end of a device as neighbours', () => {
  // Both hold 2 after 1, but the second goes on with 3: the end of the first is another neighbour of 2.
  expect(
    runsFound([
      [1, 2],
      [1, 2, 3],
    ]).shared,
  ).toEqual(['1 2']);
  expect(
    runsFound([
      [2, 3],
      [1, 2, 3],
    ]).shared,
  ).toEqual(['2 3']);
  expect(runsFound([[1, 2, 3], [2]]).all).toEqual(['1', '2', '3']);
});

it('finds the runs of the rule in any set of devices', () => {
  // Copy-on-write: a snapshot begins as a copy of another device's leaves, then some are replaced, removed or added.
  const change = fc.tuple(fc.nat(100), fc.constantFrom('replace', 'remove', 'split'), fc.nat(100));
  const snapshot = fc.tuple(fc.nat(100), fc.array(change, { maxLength: 4 }));
  const pools = fc.tuple(fc.nat(8), fc.array(snapshot, { maxLength: 6 })).map(([nr, snapshots]) => {
    let fresh = nr + 1;
    const devices = [Array.from({ length: nr }, (_, i) => i + 1)];
    for (const [of, changes] of snapshots) {
      const leaves = [...devices[of % devices.length]!];
      for (const [where, how] of changes) {
        const at = where % (leaves.length + 1);
        if (how === 'remove') leaves.splice(at, 1);
        else if (how === 'replace') leaves.splice(at, 1, fresh++);
        else leaves.splice(at, 0, fresh++);
      }
      devices.push(leaves);
    }
    return devices;
  });
  fc.assert(
    fc.property(pools, (devices) => {
      expect(runsFound(devices)).toEqual(runsByTheRule(devices));
    }),
    { seed: 3, numRuns: 2000 },
  );
});

it('keeps the narrowest bounds that several parents give a leaf', () => {
  const leaves = new SharedLeaves(NR_BLOCKS);
  leaves.add(7, 10, 500);
  leaves.endDevice();
  leaves.add(7, 20, 900);
  leaves.endDevice();
  expect([leaves.lowOf(7), leaves.highOf(7)]).toEqual([20, 500]);
});
