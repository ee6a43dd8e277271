/**
 * Trees against plain maps: random runs of every operation on several trees that share blocks, with commits, aborts,
 * snapshots and deletions, over caches so small that blocks leave them in mid-operation. Each run ends in an audit of every
 * block's reference count, and of the counts of values.
 */
import { MemoryMetadataDevice } from '@pdata/device';
import { BTree } from '@pdata/persistent-data';
import { seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { audit, type TreeKind } from './audit.js';
import { SmallTarget } from './small-target.js';
import { CountedTokens, type Token } from './values.js';

interface Model {
  readonly entries: Map<number, Token>;
}

/** Several versions of one tree, each with its model. Versions share whatever they have not changed. */
class ModelRun {
  readonly device = new MemoryMetadataDevice({ nrBlocks: 4000 });
  readonly target: SmallTarget;
  readonly tokens = new CountedTokens();
  readonly random: () => number;
  trees: BTree<Token>[];
  models: Model[] = [{ entries: new Map() }];
  #committed: { roots: number[]; models: Model[]; counts: Map<number, number> };

  constructor(
    seed: number,
    readonly cacheBlocks: number,
    readonly keys: number,
  ) {
    this.random = seededRandom(seed);
    this.target = SmallTarget.format(this.device, { cacheBlocks });
    this.trees = [BTree.create<Token>(this.target.tm, this.tokens)];
    this.#committed = { roots: [], models: [], counts: new Map() };
    this.commit();
  }

  below(n: number): number {
    return Math.floor(this.random() * n);
  }

  commit(): void {
    this.target.roots = this.trees.map(({ root }) => root);
    this.target.commit();
    this.#committed = {
      roots: this.target.roots,
      models: this.models.map(({ entries }) => ({ entries: new Map(entries) })),
      counts: new Map(this.tokens.counts),
    };
  }

  abort(): void {
    this.target.abort();
    expect(this.target.roots).toEqual(this.#committed.roots);
    this.trees = this.target.roots.map((root) => new BTree<Token>(this.target.tm, this.tokens, root));
    this.models = this.#committed.models.map(({ entries }) => ({ entries: new Map(entries) }));
    this.tokens.counts = new Map(this.#committed.counts);
  }

  /** One random step on one random version. */
  step(): void {
    const which = this.below(this.trees.length);
    const tree = this.trees[which] as BTree<Token>;
    const { entries } = this.models[which] as Model;
    const key = this.below(this.keys);
    const choice = this.below(1000);
    if (choice < 500) {
      // Runs of neighbours, ascending or descending, as well as single keys.
      const nr = this.below(4) === 0 ? 1 + this.below(300) : 1;
      for (let i = 0; i < nr; i++) this.#insert(tree, entries, this.below(2) === 0 ? key + i : key);
    } else if (choice < 700) {
      expect(tree.remove(key)).toBe(entries.delete(key));
    } else if (choice < 760) {
      const end = key + this.below(this.keys / 2);
      let nr = 0;
      for (const old of [...entries.keys()]) {
        if (old >= key && old < end && entries.delete(old)) nr++;
      }
      expect(tree.removeRange(key, end)).toBe(nr);
    } else if (choice < 940) this.#look(tree, entries, key);
    else if (choice < 960 && this.trees.length < 6) {
      this.target.tm.inc(tree.root);
      this.trees.push(new BTree(this.target.tm, this.tokens, tree.root));
      this.models.push({ entries: new Map(entries) });
    } else if (choice < 970 && this.trees.length > 1) {
      tree.delete();
      this.trees.splice(which, 1);
      this.models.splice(which, 1);
    } else if (choice < 990) this.commit();
    else if (choice < 994) this.abort();
  }

  #insert(tree: BTree<Token>, entries: Map<number, Token>, key: number): void {
    const old = entries.get(key);
    // The same token again: the reference that the tree holds stays, and the caller needs none.
    const token = old !== undefined && this.below(3) === 0 ? old.token : this.below(0xffffffff);
    const value = { token, tag: this.below(1000) };
    if (token !== old?.token) this.tokens.take(token);
    expect(tree.insert(key, value)).toBe(old === undefined);
    entries.set(key, value);
  }

  #look(tree: BTree<Token>, entries: Map<number, Token>, key: number): void {
    expect(tree.lookup(key)).toEqual(entries.get(key));
    const keys = [...entries.keys()].sort((a, b) => a - b);
    const entry = (at: number | undefined) => (at === undefined ? undefined : { key: at, value: entries.get(at) });
    expect(tree.floor(key)).toEqual(entry(keys.findLast((k) => k <= key)));
    expect(tree.ceiling(key)).toEqual(entry(keys.find((k) => k >= key)));
    expect(tree.first()).toEqual(entry(keys[0]));
    expect(tree.last()).toEqual(entry(keys.at(-1)));
    const from = this.below(this.keys);
    const wanted = keys.filter((k) => k >= from).slice(0, 400);
    const walked: number[] = [];
    tree.walk((k) => walked.push(k) < 400, from);
    expect(walked).toEqual(wanted);
    const cursor = tree.cursor(from);
    for (const k of wanted) {
      if (cursor.done || cursor.key !== k)
        expect.fail(`cursor at ${cursor.done ? 'the end' : cursor.key}, not at ${k}`);
      cursor.next();
    }
    if (wanted.length < 400) expect(cursor.done).toBe(true);
  }

  /** Everything, in the committed state as a newly opened device shows it. */
  finish(): void {
    this.trees.forEach((tree, i) => {
      const found = [...tree].map(({ key, value }) => [key, value]);
      const entries = [...(this.models[i] as Model).entries].sort(([a], [b]) => a - b);
      if (JSON.stringify(found) !== JSON.stringify(entries)) expect(found).toEqual(entries);
    });
    this.commit();
    const reopened = SmallTarget.open(this.device, { cacheBlocks: this.cacheBlocks });
    const references = new Map<number, number>();
    const kind: TreeKind = {
      valueSize: 8,
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
}

describe.each([
  { cacheBlocks: 32, keys: 600 },
  { cacheBlocks: 32, keys: 20_000 },
  { cacheBlocks: 1000, keys: 3000 },
])('trees with keys below $keys over a cache of $cacheBlocks blocks', ({ cacheBlocks, keys }) => {
  it.each([1, 2, 3, 4, 5, 6])('behave like maps, and leave exact counts (seed %i)', (seed) => {
    const run = new ModelRun(seed, cacheBlocks, keys);
    for (let step = 0; step < 1200; step++) run.step();
    run.finish();
  });
});
