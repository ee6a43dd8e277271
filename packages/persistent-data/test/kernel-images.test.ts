/**
 * Images that a real kernel made (packages/conformance/fixtures, README.md there says how): every tree obeys every rule, every
 * count equals the references found, and changing such an image leaves one that obeys them as well.
 *
 * Only as much of a thin pool's superblock is read as leads to its roots: docs/format/thin.md, section 1.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { MemoryMetadataDevice } from '@pdata/device';
import {
  BlockManager,
  type BlockValidator,
  BTree,
  checkHomeAndChecksum,
  DataSpaceMap,
  NestedBTree,
  openTransactionManagerOn,
  readSpaceMapRoot,
  type SpaceMapRoot,
  setU64At,
  type TransactionManager,
  u64At,
  type ValueType,
} from '@pdata/persistent-data';
import { describe, expect, it } from 'vitest';
import { type AuditRoot, audit, auditIndexBlock, nestedKind } from './audit.js';
import { layersOf } from './nodes.js';

const fixtures = new URL('../../conformance/fixtures/', import.meta.url);

const thinSuperblock: BlockValidator = {
  structure: 'thin superblock',
  check: (block) => checkHomeAndChecksum(block, 'thin superblock', 8, 160774),
  prepare: () => expect.fail('nothing is committed here'),
};

interface Pool {
  readonly tm: TransactionManager;
  readonly data: DataSpaceMap;
  readonly dataRoot: SpaceMapRoot;
  readonly mappingRoot: number;
  readonly detailsRoot: number;
  readonly heldRoot: number;
}

function openPool(name: string): Pool {
  const bytes = new Uint8Array(gunzipSync(readFileSync(new URL(`${name}/meta.img.gz`, fixtures))));
  const blocks = new BlockManager(new MemoryMetadataDevice({ name, bytes }), { cacheBlocks: 200 });
  const { view } = blocks.read(0, thinSuperblock);
  const dataRoot = readSpaceMapRoot(view, 64);
  const [mappingRoot, detailsRoot, heldRoot] = [320, 328, 56].map((at) => u64At(view, at)) as [number, number, number];
  const tm = openTransactionManagerOn(blocks, readSpaceMapRoot(view, 192));
  return { tm, data: DataSpaceMap.open(tm, dataRoot), dataRoot, mappingRoot, detailsRoot, heldRoot };
}

const MAPPINGS = nestedKind(2, {
  valueSize: 8,
  value: (auditor, view, at) => auditor.dataBlock(Math.floor(u64At(view, at) / 2 ** 24)),
});
const DETAILS = { valueSize: 24 };

function rootsOf({ mappingRoot, detailsRoot, heldRoot }: Pool): AuditRoot[] {
  const roots: AuditRoot[] = [
    { root: mappingRoot, kind: MAPPINGS },
    { root: detailsRoot, kind: DETAILS },
  ];
  if (heldRoot === 0) return roots;
  roots.push((auditor) => {
    auditor.block(heldRoot);
    const view = auditor.read(heldRoot, thinSuperblock);
    auditor.tree(u64At(view, 320), MAPPINGS);
    auditor.tree(u64At(view, 328), DETAILS);
  });
  return roots;
}

/** Mappings by their data block; the time, in the low 24 bits, would not fit beside it, and is not needed. */
const mapping = (data: DataSpaceMap): ValueType<number> => {
  const blockAt = (view: DataView, at: number): number => Math.floor(u64At(view, at) / 2 ** 24);
  return {
    size: 8,
    decode: blockAt,
    encode: (view, at, block) => setU64At(view, at, block * 2 ** 24),
    inc: (view, at, count) => {
      for (let i = 0; i < count; i++) data.inc(blockAt(view, at + 8 * i));
    },
    dec: (view, at, count) => {
      for (let i = 0; i < count; i++) data.dec(blockAt(view, at + 8 * i));
    },
    equal: (a, atA, b, atB) => blockAt(a, atA) === blockAt(b, atB),
  };
};

describe.each(['thin-basic', 'thin-metasnap', 'thin-powercut', 'thin-large'])("the kernel's image %s", (name) => {
  it('obeys every rule of trees and space maps, and every count equals the references found', () => {
    const pool = openPool(name);
    const { nrNodes, dataReferences } = audit(pool.tm, rootsOf(pool), pool.dataRoot);
    auditIndexBlock(pool.tm);
    expect(nrNodes).toBeGreaterThanOrEqual(name === 'thin-large' ? 500 : 10);
    expect(dataReferences.size).toBeGreaterThan(100);
    expect(pool.heldRoot > 0).toBe(name === 'thin-metasnap');
  });

  it('is changed into one that obeys them: devices deleted, mapped, unmapped and copied', () => {
    const pool = openPool(name);
    const { tm, data } = pool;
    const mappings = new NestedBTree(tm, 2, mapping(data), pool.mappingRoot);
    const ids = (layersOf(tm, pool.mappingRoot).at(-1) ?? []).flatMap(({ keys }) => keys);
    expect(ids.length).toBeGreaterThan(1);
    for (const [i, id] of ids.entries()) {
      const keys = [...(mappings.subtree([id]) as BTree<number>)].map(({ key }) => key);
      if (keys.length === 0) continue;
      const [first, middle] = [keys[0] as number, keys[keys.length >> 1] as number];
      mappings.removeRange([id], middle, middle + 20);
      expect(mappings.remove([id, first])).toBe(first < middle || first >= middle + 20);
      for (let nr = 0; nr < 30; nr++) mappings.insert([id, 1_000_000 + 7 * nr + i], data.newBlock());
      expect(mappings.lookup([id, middle])).toBeUndefined();
    }
    const details = new BTree<number>(tm, { ...mapping(data), size: 24 }, pool.detailsRoot);
    expect(details.first()?.key).toBe(ids[0]);
    data.settle();
    tm.preCommit();
    const changed = { ...pool, mappingRoot: mappings.root };
    audit(tm, rootsOf(changed), data.root);
  });
});
