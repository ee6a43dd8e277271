/**
 * Trees against plain maps: any sequence of every operation on several trees that share blocks, with commits, aborts,
 * snapshots and deletions, over caches so small that blocks leave them in mid-operation. Each run ends in an audit of every
 * block's reference count, and of the counts of values, on a device that is opened anew.
 */
import { MemoryMetadataDevice } from '@pdata/device';
import { BTree, isLeaf, nodeValidator, nrEntries } from '@pdata/persistent-data';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { audit, type TreeKind } from './audit.js';
import { layersOf } from './nodes.js';
import { SmallTarget } from './small-target.js';
import { CountedTokens, type Token } from './values.js';

type Entries = Map<number, Token>;

/** `which` of the versions, `at` which key; `nr` neighbours, `stride` apart, are treated alike. */
type Step =
  | {
      readonly do: 'insert' | 'remove' | 'removeRange' | 'look';
      readonly which: number;
      readonly at: number;
      readonly nr: number;
      readonly stride: number;
      /** Overwrite with the token that is there, when there is one. */
      readonly same: boolean;
    }
  | { readonly do: 'snapshot' | 'delete' | 'thinOut' | 'commit' | 'abort'; readonly which: number };

const stepsBelow = (keys: number, maxRun: number): fc.Arbitrary<Step[]> => {
  const change = (name: 'insert' | 'remove' | 'removeRange' | 'look'): fc.Arbitrary<Step> =>
    fc.record({
      do: fc.constant(name),
      which: fc.nat(7),
      at: fc.nat(keys - 1),
      nr: fc.oneof(fc.nat(3), fc.nat(maxRun)),
      stride: fc.integer({ min: -2, max: 3 }),
      same: fc.boolean(),
    });
  const other = (name: 'snapshot' | 'delete' | 'thinOut' | 'commit' | 'abort'): fc.Arbitrary<Step> =>
    fc.record({ do: fc.constant(name), which: fc.nat(7) });
  return fc.array(
    fc.oneof(
      { weight: 40, arbitrary: change('insert') },
      { weight: 18, arbitrary: change('remove') },
      { weight: 8, arbitrary: change('removeRange') },
      { weight: 10, arbitrary: change('look') },
      { weight: 8, arbitrary: other('snapshot') },
      { weight: 4, arbitrary: other('delete') },
      { weight: 3, arbitrary: other('thinOut') },
      { weight: 9, arbitrary: other('commit') },
      { weight: 3, arbitrary: other('abort') },
    ),
    { maxLength: 80, size: 'max' },
  );
};

/** Several versions of one tree, each with its model. Versions share whatever they have not changed. */
class ModelRun {
  readonly device = new MemoryMetadataDevice({ nrBlocks: 3500 });
  readonly target: SmallTarget;
  readonly tokens: CountedTokens;
  readonly #cacheBlocks: number;
  readonly #keys: number;
  trees: BTree<Token>[];
  models: Entries[] = [new Map()];
  #committed: { roots: number[]; models: Entries[]; counts: Map<number, number> };
  #nextToken = 1;
  deepest = 1;

  constructor(valueSize: number, cacheBlocks: number, keys: number) {
    this.#cacheBlocks = cacheBlocks;
    this.#keys = keys;
    this.tokens = new CountedTokens(valueSize);
    this.target = SmallTarget.format(this.device, { cacheBlocks });
    this.trees = [BTree.create<Token>(this.target.tm, this.tokens)];
    this.#committed = { roots: [], models: [], counts: new Map() };
    this.#commit();
  }

  step(step: Step): void {
    const which = step.which % this.trees.length;
    const tree = this.trees[which] as BTree<Token>;
    const entries = this.models[which] as Entries;
    switch (step.do) {
      case 'insert':
        for (let i = 0; i <= step.nr; i++) this.#insert(tree, entries, this.#key(step.at + i * step.stride), step.same);
        break;
      case 'remove':
        for (let i = 0; i <= step.nr; i++) {
          const key = this.#key(step.at + i * step.stride);
          expect(tree.remove(key)).toBe(entries.delete(key));
        }
        break;
      case 'removeRange': {
        const end = step.at + step.nr;
        const doomed = [...entries.keys()].filter((key) => key >= step.at && key < end);
        expect(tree.removeRange(step.at, end)).toBe(doomed.length);
        for (const key of doomed) entries.delete(key);
        break;
      }
      case 'look':
        this.#look(tree, entries, step.at);
        break;
      case 'snapshot':
        this.#snapshot(tree, entries);
        break;
      case 'delete':
        if (this.trees.length === 1) break;
        tree.delete();
        this.trees.splice(which, 1);
        this.models.splice(which, 1);
        break;
      case 'thinOut':
        this.#thinOut(tree, entries);
        break;
      case 'commit':
        this.deepest = Math.max(this.deepest, layersOf(this.target.tm, tree.root).length);
        this.#commit();
        break;
      case 'abort':
        this.#abort();
        break;
    }
  }

  /** Everything, in the committed state as a newly opened device shows it. */
  finish(): void {
    this.trees.forEach((tree, i) => {
      const found = [...tree].map(({ key, value }) => [key, value]);
      const entries = [...(this.models[i] as Entries)].sort(([a], [b]) => a - b);
      if (JSON.stringify(found) !== JSON.stringify(entries)) expect(found).toEqual(entries);
    });
    this.#commit();
    const reopened = SmallTarget.open(this.device, { cacheBlocks: this.#cacheBlocks });
    const references = new Map<number, number>();
    const kind: TreeKind = {
      valueSize: this.tokens.size,
      value: (_, view, at) => {
        const token = view.getUint32(at, true);
        references.set(token, (references.get(token) ?? 0) + 1);
      },
    };
    audit(
      reopened.tm,
      reopened.roots.map((root) => ({ root, kind })),
    );
    expect(references).toEqual(this.tokens.counts);
  }

  #key(key: number): number {
    return Math.max(0, Math.min(this.#keys - 1, key));
  }

  #commit(): void {
    this.target.roots = this.trees.map(({ root }) => root);
    this.target.commit();
    this.#committed = {
      roots: this.target.roots,
      models: this.models.map((entries) => new Map(entries)),
      counts: new Map(this.tokens.counts),
    };
  }

  #abort(): void {
    this.target.abort();
    expect(this.target.roots).toEqual(this.#committed.roots);
    this.trees = this.target.roots.map((root) => new BTree<Token>(this.target.tm, this.tokens, root));
    this.models = this.#committed.models.map((entries) => new Map(entries));
    this.tokens.counts = new Map(this.#committed.counts);
  }

  #insert(tree: BTree<Token>, entries: Entries, key: number, same: boolean): void {
    const old = entries.get(key);
    // The same token again: the reference that the tree holds stays, and the caller needs none.
    const token = old !== undefined && same ? old.token : this.#nextToken++;
    const value = { token, tag: this.#nextToken % 1000 };
    if (token !== old?.token) this.tokens.take(token);
    if (tree.insert(key, value) !== (old === undefined)) expect.fail(`key ${key}: new is ${old === undefined}`);
    entries.set(key, value);
  }

  #snapshot(tree: BTree<Token>, entries: Entries): void {
    if (this.trees.length >= 6) return;
    this.target.tm.inc(tree.root);
    this.trees.push(new BTree(this.target.tm, this.tokens, tree.root));
    this.models.push(new Map(entries));
  }

  /** Removes keys until the root has a single child; then, under a snapshot, the one that puts the child in its place. */
  #thinOut(tree: BTree<Token>, entries: Entries): void {
    for (const key of [...entries.keys()].sort((a, b) => a - b)) {
      const root = tree.tm.read(tree.root, nodeValidator);
      const last = isLeaf(root) || nrEntries(root) === 1;
      if (last) this.#snapshot(tree, entries);
      expect(tree.remove(key)).toBe(entries.delete(key));
      if (last) return;
    }
  }

  #look(tree: BTree<Token>, entries: Entries, key: number): void {
    expect(tree.lookup(key)).toEqual(entries.get(key));
    const keys = [...entries.keys()].sort((a, b) => a - b);
    const entry = (at: number | undefined) => (at === undefined ? undefined : { key: at, value: entries.get(at) });
    expect(tree.floor(key)).toEqual(entry(keys.findLast((k) => k <= key)));
    expect(tree.ceiling(key)).toEqual(entry(keys.find((k) => k >= key)));
    expect(tree.first()).toEqual(entry(keys[0]));
    expect(tree.last()).toEqual(entry(keys.at(-1)));
    const wanted = keys.filter((k) => k >= key).slice(0, 400);
    const walked: number[] = [];
    tree.walk((k) => walked.push(k) < 400, key);
    expect(walked).toEqual(wanted);
    const cursor = tree.cursor(key);
    for (const k of wanted) {
      if (cursor.done || cursor.key !== k)
        expect.fail(`cursor at ${cursor.done ? 'the end' : cursor.key}, not at ${k}`);
      cursor.next();
    }
    if (wanted.length < 400) expect(cursor.done).toBe(true);
  }
}

describe.each([
  { valueSize: 8, cacheBlocks: 32, keys: 1500, maxRun: 400, numRuns: 60, depth: 2 },
  { valueSize: 400, cacheBlocks: 32, keys: 500, maxRun: 100, numRuns: 60, depth: 2 },
  { valueSize: 400, cacheBlocks: 64, keys: 5000, maxRun: 2500, numRuns: 12, depth: 3 },
])(
  'trees of $valueSize-byte values with keys below $keys over a cache of $cacheBlocks blocks',
  ({ valueSize, cacheBlocks, keys, maxRun, numRuns, depth }) => {
    it('behave like maps after any sequence of operations, and leave exact counts', () => {
      let deepest = 0;
      fc.assert(
        fc.property(stepsBelow(keys, maxRun), (steps) => {
          const run = new ModelRun(valueSize, cacheBlocks, keys);
          for (const step of steps) run.step(step);
          run.finish();
          deepest = Math.max(deepest, run.deepest);
        }),
        { seed: 20261120, numRuns, interruptAfterTimeLimit: 40_000, markInterruptAsFailure: true },
      );
      expect(deepest).toBe(depth);
    });
  },
);
