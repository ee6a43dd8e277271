/**
 * The kernel's rules for splitting and joining nodes, on plain arrays: docs/format/btree.md, sections 4 and 5, written down a
 * second time, so that trees can be compared node by node. One tree, nothing shared.
 */
const INTERNAL_MAX = 252;
const WORTH_SHARING = 8;

export interface ModelNode {
  readonly leaf: boolean;
  keys: number[];
  kids: ModelNode[];
}

/** Index of the last key ≤ `key`, or -1. */
const floorOf = (node: ModelNode, key: number): number => node.keys.findLastIndex((k) => k <= key);
const lowest = (node: ModelNode): number => node.keys[0] as number;

export class KernelShapeModel {
  root: ModelNode = { leaf: true, keys: [], kids: [] };
  readonly #leafMax: number;

  constructor(leafMax: number) {
    this.#leafMax = leafMax;
  }

  /** The keys of every node, layer by layer from the root down. */
  get layers(): number[][][] {
    const layers: number[][][] = [];
    for (let nodes = [this.root]; nodes.length > 0; nodes = nodes.flatMap(({ kids }) => kids)) {
      layers.push(nodes.map(({ keys }) => keys));
    }
    return layers;
  }

  insert(key: number): void {
    let parent: ModelNode | undefined;
    let p = 0;
    let node = this.root;
    for (;;) {
      const full = node.keys.length === this.#max(node);
      if (full && !(node.leaf && node.keys.includes(key))) {
        if (parent === undefined) this.#splitRoot();
        else node = this.#makeRoom(parent, p, node, key);
        if (parent === undefined) node = this.root;
      }
      const i = floorOf(node, key);
      if (node.leaf) {
        if (i < 0 || node.keys[i] !== key) node.keys.splice(i + 1, 0, key);
        return;
      }
      if (i < 0) node.keys[0] = key;
      parent = node;
      p = Math.max(i, 0);
      node = node.kids[p] as ModelNode;
    }
  }

  /** `key` has to be there. */
  remove(key: number): void {
    let node = this.root;
    for (;;) {
      if (!node.leaf) this.#rebalance(node, key);
      if (node.leaf) {
        node.keys.splice(node.keys.indexOf(key), 1);
        return;
      }
      node = node.kids[floorOf(node, key)] as ModelNode;
    }
  }

  #max(node: ModelNode): number {
    return node.leaf ? this.#leafMax : INTERNAL_MAX;
  }

  #splitRoot(): void {
    const { root } = this;
    const half = Math.floor(root.keys.length / 2);
    const left: ModelNode = { leaf: root.leaf, keys: root.keys.slice(0, half), kids: root.kids.slice(0, half) };
    const right: ModelNode = { leaf: root.leaf, keys: root.keys.slice(half), kids: root.kids.slice(half) };
    this.root = { leaf: false, keys: [lowest(left), lowest(right)], kids: [left, right] };
  }

  #makeRoom(parent: ModelNode, p: number, node: ModelNode, key: number): ModelNode {
    const left = parent.kids[p - 1];
    const right = parent.kids[p + 1];
    const hasRoom = (n: ModelNode | undefined): n is ModelNode =>
      n !== undefined && this.#max(n) - n.keys.length >= WORTH_SHARING;
    let among: ModelNode[];
    if (hasRoom(left)) {
      deal([left, node], (total) => [Math.floor(total / 2)]);
      parent.keys[p] = lowest(node);
      among = [left, node];
    } else if (hasRoom(right)) {
      deal([node, right], (total) => [Math.floor(total / 2)]);
      parent.keys[p + 1] = lowest(right);
      among = [node, right];
    } else if (parent.keys.length <= 2 || p === 0 || p === parent.keys.length - 1) {
      const fresh: ModelNode = { leaf: node.leaf, keys: [], kids: [] };
      deal([node, fresh], (total) => [Math.floor(total / 2)]);
      parent.keys.splice(p + 1, 0, lowest(fresh));
      parent.kids.splice(p + 1, 0, fresh);
      among = [node, fresh];
    } else {
      const middle: ModelNode = { leaf: node.leaf, keys: [], kids: [] };
      const first = parent.kids[p - 1] as ModelNode;
      deal([first, middle, node], (total) => {
        const nrLeft = Math.floor(total / 3);
        return [nrLeft, Math.floor((total - nrLeft) / 2)];
      });
      parent.keys[p] = lowest(node);
      parent.keys.splice(p, 0, lowest(middle));
      parent.kids.splice(p, 0, middle);
      among = [first, middle, node];
    }
    return among.findLast((n) => lowest(n) <= key) ?? (among[0] as ModelNode);
  }

  #rebalance(node: ModelNode, key: number): void {
    const nr = node.keys.length;
    if (nr === 1) {
      const only = node.kids[0] as ModelNode;
      Object.assign(node, only);
      return;
    }
    const i = floorOf(node, key);
    if (i === 0) this.#balanceTwo(node, 0);
    else if (i === nr - 1) this.#balanceTwo(node, i - 1);
    else this.#balanceThree(node, i - 1);
  }

  #balanceTwo(node: ModelNode, at: number): void {
    const [left, right] = [node.kids[at] as ModelNode, node.kids[at + 1] as ModelNode];
    const total = left.keys.length + right.keys.length;
    const m = Math.floor(this.#max(left) / 3);
    if (total < 2 * (m + 1)) {
      deal([left, right], () => [total]);
      node.keys.splice(at + 1, 1);
      node.kids.splice(at + 1, 1);
      return;
    }
    deal([left, right], () => [Math.floor(total / 2)]);
    node.keys[at + 1] = lowest(right);
  }

  #balanceThree(node: ModelNode, at: number): void {
    const [left, center, right] = node.kids.slice(at, at + 3) as [ModelNode, ModelNode, ModelNode];
    const total = left.keys.length + center.keys.length + right.keys.length;
    const m = Math.floor(this.#max(left) / 3);
    if (total < 4 * m + 1) {
      const room = this.#max(left) - left.keys.length;
      const nrLeft = left.keys.length + Math.min(room, center.keys.length);
      deal([left, center, right], () => [nrLeft, 0]);
      node.keys[at + 2] = lowest(right);
      node.keys.splice(at + 1, 1);
      node.kids.splice(at + 1, 1);
      this.#balanceTwo(node, at);
      return;
    }
    const nrRight = Math.floor(total / 3);
    const nrLeft = nrRight + (total % 3 === 0 ? 0 : 1);
    deal([left, center, right], () => [nrLeft, total - nrLeft - nrRight]);
    node.keys[at + 1] = lowest(center);
    node.keys[at + 2] = lowest(right);
  }
}

/** Deals the entries of neighbours out again: so many to each but the last, the rest to that. */
function deal(nodes: ModelNode[], share: (total: number) => number[]): void {
  const keys = nodes.flatMap((node) => node.keys);
  const kids = nodes.flatMap((node) => node.kids);
  const shares = share(keys.length);
  nodes.forEach((node, i) => {
    const nr = shares[i] ?? keys.length;
    node.keys = keys.splice(0, nr);
    node.kids = kids.splice(0, nr);
  });
}
