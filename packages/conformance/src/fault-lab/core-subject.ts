/**
 * The core under the crash explorer: trees of data blocks, with snapshots, on both space maps; the model is a map for each tree.
 *
 * A data block that is handed out must be free now and in the last commit; the model knows, and says so at once.
 */
import { type BTree, NoSpaceError, u64At } from '@pdata/persistent-data';
import type { CrashSubject } from '@pdata/testing';
import { CoreTarget, VALUE_SIZE } from './core-target.js';
import { SpaceAudit } from './space-audit.js';

export type CoreOperation =
  | { readonly op: 'map'; readonly tree: number; readonly key: number; readonly length: number }
  | { readonly op: 'unmap'; readonly tree: number; readonly key: number; readonly length: number }
  /** Removes the highest keys, one by one, until so many are left. */
  | { readonly op: 'cut'; readonly tree: number; readonly nrLeft: number }
  | { readonly op: 'snapshot' | 'delete'; readonly tree: number }
  | { readonly op: 'commit' | 'abort' };

type Model = ReadonlyMap<number, number>;

/** Few, so that freed blocks are soon wanted again, and often none is left. */
const NR_BLOCKS = 56;
const NR_DATA_BLOCKS = 400;
const MOST_TREES = 5;
const KEYS = 60;

const MEDIA = { metadata: { nrBlocks: NR_BLOCKS } } as const;

export const subject: CrashSubject<CoreOperation, typeof MEDIA> = {
  name: 'core',
  media: MEDIA,
  operations,
  prepare({ metadata }) {
    CoreTarget.format(metadata, NR_DATA_BLOCKS);
  },
  run(list, { devices: { metadata }, begins, promises }) {
    const run = new CoreRun(CoreTarget.open(metadata, list.length % 2 === 0 ? 32 : NR_BLOCKS));
    begins(run.state);
    promises(run.state);
    for (const operation of list) {
      run.apply(operation, () => {
        const { state } = run;
        begins(state);
        run.target.commit();
        promises(state);
      });
    }
  },
  recover({ metadata }, { thorough }) {
    const target = CoreTarget.open(metadata);
    const state = auditedState(target);
    if (thorough) workOn(target);
    return state;
  },
};

function operations(random: () => number): CoreOperation[] {
  const pick = (below: number): number => Math.floor(random() * below);
  const phrase = (): CoreOperation[] => {
    const tree = pick(MOST_TREES);
    // A root that is left with one child, which a snapshot shares: its next removal takes the child's place.
    if (random() < 0.06)
      return [
        { op: 'cut', tree, nrLeft: 4 + pick(5) },
        { op: 'snapshot', tree },
        { op: 'cut', tree, nrLeft: 3 },
      ];
    return [one()];
  };
  const one = (): CoreOperation => {
    const dice = random();
    const range = { tree: pick(MOST_TREES), key: pick(KEYS), length: 1 + pick(14) };
    if (dice < 0.34) return { op: 'map', ...range };
    if (dice < 0.42) return { op: 'unmap', ...range };
    if (dice < 0.48) return { op: 'unmap', tree: range.tree, key: pick(12), length: 20 + pick(KEYS) }; // down to a leaf
    if (dice < 0.59) return { op: 'snapshot', tree: range.tree };
    if (dice < 0.67) return { op: 'delete', tree: range.tree };
    if (dice < 0.7) return { op: 'abort' };
    return { op: 'commit' };
  };
  return Array.from({ length: 16 + pick(16) }, phrase).flat();
}

/** The target and its model, changed together. */
export class CoreRun {
  readonly target: CoreTarget;
  #trees: Model[] = [new Map()];
  #committed = this.#trees;

  constructor(target: CoreTarget) {
    this.target = target;
  }

  /** What a reader is to find: each tree in words. */
  get state(): string {
    return inWords(this.#trees.map((model) => [...model].sort(([a], [b]) => a - b)));
  }

  apply(operation: CoreOperation, commit: () => void): void {
    const { target } = this;
    switch (operation.op) {
      case 'commit':
        commit();
        this.#committed = this.#trees;
        return;
      case 'abort':
        target.abort();
        this.#trees = this.#committed;
        return;
      default:
        try {
          this.#change(operation);
        } catch (error) {
          if (!(error instanceof NoSpaceError)) throw error;
          target.abort();
          this.#trees = this.#committed;
        }
    }
  }

  #change(operation: Exclude<CoreOperation, { op: 'commit' | 'abort' }>): void {
    const { target } = this;
    const index = operation.tree % target.trees.length;
    const tree = target.trees[index] as BTree<number>;
    const model = this.#trees[index] as Model;
    switch (operation.op) {
      case 'map': {
        const changed = new Map(model);
        for (let key = operation.key; key < operation.key + operation.length; key++) {
          const dataBlock = target.data.newBlock();
          this.#expectFree(dataBlock, changed);
          tree.insert(key, dataBlock);
          changed.set(key, dataBlock);
          this.#trees = this.#trees.with(index, changed);
        }
        return;
      }
      case 'unmap': {
        tree.removeRange(operation.key, operation.key + operation.length);
        const left = [...model].filter(([key]) => key < operation.key || key >= operation.key + operation.length);
        this.#trees = this.#trees.with(index, new Map(left));
        return;
      }
      case 'cut': {
        const keys = [...model.keys()].sort((a, b) => a - b);
        for (const key of keys.slice(operation.nrLeft).reverse()) tree.remove(key);
        this.#trees = this.#trees.with(
          index,
          new Map([...model].filter(([key]) => keys.indexOf(key) < operation.nrLeft)),
        );
        return;
      }
      case 'snapshot':
        if (target.trees.length >= MOST_TREES) return;
        target.snapshot(tree);
        this.#trees = [...this.#trees, model];
        return;
      case 'delete':
        if (target.trees.length === 1) return;
        target.trees.splice(index, 1);
        tree.delete();
        this.#trees = this.#trees.toSpliced(index, 1);
    }
  }

  /** Used by nobody, now or in the last commit: a crash could still show that one. */
  #expectFree(dataBlock: number, changed: Model): void {
    for (const model of [...this.#trees, ...this.#committed, changed])
      for (const used of model.values())
        if (used === dataBlock) throw new Error(`data block ${dataBlock} was handed out while in use`);
  }
}

/** What a reader finds, read through the library's own trees, every reference counted. */
export function auditedState(target: CoreTarget): string {
  const audit = new SpaceAudit(target.tm);
  for (const { root } of target.trees) audit.tree(root, VALUE_SIZE, (view, at) => audit.dataBlock(u64At(view, at)));
  audit.compareData(target.dataRoot);
  audit.compareMetadata(target.metadataRoot);
  return inWords(
    target.trees.map((tree) => {
      const entries: (readonly [number, number])[] = [];
      tree.walk((key, view, at) => void entries.push([key, u64At(view, at)]));
      return entries;
    }),
  );
}

function inWords(trees: readonly (readonly (readonly [number, number])[])[]): string {
  return trees.map((entries) => entries.map(([key, value]) => `${key}:${value}`).join(' ')).join('; ');
}

/** Goes on from what a crash left: everything is changed once, committed, and audited again. */
function workOn(target: CoreTarget): void {
  try {
    for (const tree of target.trees) {
      tree.removeRange(5, 9);
      for (let key = 0; key < 40; key += 7) tree.insert(key, target.data.newBlock());
    }
    if (target.trees.length > 1) target.trees.pop()?.delete();
  } catch (error) {
    if (!(error instanceof NoSpaceError)) throw error;
    target.abort();
  }
  const before = inWords(target.trees.map((tree) => [...tree].map(({ key, value }) => [key, value])));
  target.commit();
  const reopened = CoreTarget.open(target.blocks.device);
  if (auditedState(reopened) !== before) throw new Error('what was committed after the crash is not what is found');
}
