/**
 * Damage with a purpose, judged by 1.1.0 and by us: the same exit codes with every option, and so the same class (clean,
 * leak, fatal); a fatal image is never written to; a leak is repaired to the satisfaction of all three checkers.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  type FixtureName,
  fixture,
  openScratch,
  realCheckComplaint,
  requireTools,
  runOurTool,
  runRealToolAside,
} from '../src/index.js';
import { ImageSurgery } from './image-surgery.js';

const NR_BLOCKS = 1024;
const NR_DATA_BLOCKS = 1024;
const mappingLeaf = (image: ImageSurgery): number => image.child(image.mappingRoot, 2);
const freeDataBlock = (image: ImageSurgery): number => image.firstWithCount(image.dataBitmap, 0, NR_DATA_BLOCKS, 900);
const freeBlock = (image: ImageSurgery): number => image.firstWithCount(image.metadataBitmap, 0, NR_BLOCKS, 900);
const DETAILS = 32 + 8 * 126;
const VALUES = 32 + 8 * 252;

type Damage = (image: ImageSurgery) => unknown;

/** Both call it clean, or 1.1.0 calls it clean and we say more than it does without failing. */
const harmless: Record<string, Damage> = {
  'no damage': () => undefined,
  'needs_check is set': (i) => i.setU32(0, 'superblock', 4, 1),
  'padding of a node is not zero': (i) => i.setU32(mappingLeaf(i), 'node', 28, 7),
};

const leaks: Record<string, Damage> = {
  'a data block leaked': (i) => i.setCount(i.dataBitmap, freeDataBlock(i), 1),
  'three data blocks leaked': (i) => [950, 960, 970].forEach((nr) => void i.setCount(i.dataBitmap, nr, 1)),
  'a metadata block leaked': (i) => i.setCount(i.metadataBitmap, freeBlock(i), 1),
  'a data and a metadata block leaked, needs_check is set': (i) =>
    i
      .setCount(i.dataBitmap, freeDataBlock(i), 1)
      .setCount(i.metadataBitmap, freeBlock(i), 1)
      .setU32(0, 'superblock', 4, 1),
};

const fatal: Record<string, Damage> = {
  'a data count of 1 is 0': (i) => i.setCount(i.dataBitmap, i.firstWithCount(i.dataBitmap, 1, NR_DATA_BLOCKS), 0),
  'a data count of 2 is 1': (i) => i.setCount(i.dataBitmap, i.firstWithCount(i.dataBitmap, 2, NR_DATA_BLOCKS), 1),
  'a data count of 3 or more is 2': (i) =>
    i.setCount(i.dataBitmap, i.firstWithCount(i.dataBitmap, 3, NR_DATA_BLOCKS), 2),
  'a data count of 3 or more is another': (i) => i.setU32(i.dataOverflow, 'node', 32 + 8 * 336, 77),
  'a metadata count of 1 is 0': (i) => i.setCount(i.metadataBitmap, mappingLeaf(i), 0),
  'the superblock has a wrong checksum': (i) => i.flip(0, 100),
  'a mapping leaf has a wrong checksum': (i) => i.flip(mappingLeaf(i), 100),
  'the top level has a wrong checksum': (i) => i.flip(i.mappingRoot, 100),
  'the details have a wrong checksum': (i) => i.flip(i.detailsRoot, 100),
  'the data index has a wrong checksum': (i) => i.flip(i.dataIndex, 100),
  'the data bitmap has a wrong checksum': (i) => i.flip(i.dataBitmap, 100),
  'the data overflow tree has a wrong checksum': (i) => i.flip(i.dataOverflow, 100),
  'the metadata index has a wrong checksum': (i) => i.flip(i.metadataIndex, 100),
  'the metadata bitmap has a wrong checksum': (i) => i.flip(i.metadataBitmap, 100),
  'the metadata overflow tree has a wrong checksum': (i) => i.flip(i.metadataOverflow, 100),
  'mapped_blocks is wrong': (i) => i.setU64(i.detailsRoot, 'node', DETAILS + 24 * 2, 77),
  'the details lack a device': (i) => i.setU32(i.detailsRoot, 'node', 16, i.u32(i.detailsRoot, 16) - 1),
  'the mappings lack a device': (i) => i.setU32(i.mappingRoot, 'node', 16, i.u32(i.mappingRoot, 16) - 1),
  'the trees name different devices': (i) => i.setU64(i.detailsRoot, 'node', 32 + 8 * 2, 3),
  'two devices have one root': (i) => i.setU64(i.mappingRoot, 'node', VALUES + 8, i.child(i.mappingRoot, 0)),
  'a root is beyond the device': (i) => i.setU64(i.mappingRoot, 'node', VALUES + 8, 5000),
  'a root is the top level itself': (i) => i.setU64(i.mappingRoot, 'node', VALUES + 8, i.mappingRoot),
  'keys do not ascend': (i) => i.setU64(mappingLeaf(i), 'node', 32 + 8 * 3, 0),
  'a data block is beyond the pool': (i) => i.setU64(mappingLeaf(i), 'node', VALUES + 8 * 3, 5000 * 2 ** 24),
  'a data block is mapped twice': (i) => i.setU64(mappingLeaf(i), 'node', VALUES + 8 * 3, i.child(mappingLeaf(i), 4)),
  'a leaf says it lives elsewhere': (i) => i.setU64(mappingLeaf(i), 'node', 8, 99),
  'a leaf has a capacity of 250': (i) => i.setU32(mappingLeaf(i), 'node', 20, 250),
  'a leaf is neither leaf nor internal': (i) => i.setU32(mappingLeaf(i), 'node', 4, 0),
  'a leaf is both leaf and internal': (i) => i.setU32(mappingLeaf(i), 'node', 4, 3),
  'a leaf calls itself internal': (i) => i.setU32(mappingLeaf(i), 'node', 4, 1),
  'a leaf has values of 4 bytes': (i) => i.setU32(mappingLeaf(i), 'node', 24, 4),
  'a leaf holds more than fits': (i) => i.setU32(mappingLeaf(i), 'node', 16, 253),
  'the mapping root is beyond the device': (i) => i.setU64(0, 'superblock', 320, 9999),
  'the details root is the mapping root': (i) => i.setU64(0, 'superblock', 328, i.mappingRoot),
  'the held root is a leaf': (i) => i.setU64(0, 'superblock', 56, mappingLeaf(i)),
  'the held root is beyond the device': (i) => i.setU64(0, 'superblock', 56, 9999),
};

/** 1.1.0 calls these clean; whoever uses such a pool would suffer from them, so we do not. */
const noticedByUsAlone: Record<string, Damage> = {
  'the magic number is wrong': (i) => i.setU64(0, 'superblock', 32, 1),
  'the data map counts fewer blocks than are mapped': (i) => i.setU64(0, 'superblock', 64, 100),
};

/** Nobody is harmed, and repairing is not asked for; but it is said. */
const notes: Record<string, Damage> = {
  'an index calls a part of the data map full that has free blocks': (i) =>
    i.setU32(i.dataIndex, 'node', 32 + 8 * 168 + 12, 1000),
  'the data map counts more blocks as used than are': (i) => i.setU64(0, 'superblock', 64 + 8, i.u64(0, 64 + 8) + 5),
};

const OPTIONS = [
  [],
  ['-q'],
  ['--ignore-non-fatal-errors'],
  ['--auto-repair'],
  ['--clear-needs-check-flag'],
  ['--clear-needs-check-flag', '--ignore-non-fatal-errors'],
  ['--super-block-only'],
  ['-m'],
];

function damaged(damage: Damage, name: FixtureName = 'thin-basic'): Uint8Array {
  const image = new ImageSurgery(fixture(name).metadata());
  damage(image);
  return image.bytes;
}

interface Verdict {
  readonly status: number;
  readonly stdout: string;
  readonly isChanged: boolean;
}

async function verdicts(bytes: Uint8Array, options: readonly string[]): Promise<{ ours: Verdict; theirs: Verdict }> {
  using scratch = openScratch();
  const judge = (name: string): [string, (status: number, stdout: string) => Verdict] => {
    const path = scratch.path(name);
    writeFileSync(path, bytes);
    return [path, (status, stdout) => ({ status, stdout, isChanged: !readFileSync(path).equals(bytes) })];
  };
  const [our, ourVerdict] = judge('ours.img');
  const ours = await runOurTool('thin_check', [...options, our]);
  const [their, theirVerdict] = judge('theirs.img');
  const theirs = await runRealToolAside('1.1.0', 'thin_check', [...options, their]);
  return { ours: ourVerdict(ours.status, ours.stdout), theirs: theirVerdict(theirs.status, theirs.stdout) };
}

const hasTools = requireTools();

describe.runIf(hasTools).each([
  ['clean', harmless],
  ['leaking', leaks],
  ['fatally damaged', fatal],
])('an image that is %s', { concurrent: true }, (_, damages) => {
  it.each(Object.entries(damages))('(%s) has the verdicts of 1.1.0, with every option', async (what, damage) => {
    const bytes = damaged(damage);
    const all = await Promise.all(OPTIONS.map(async (options) => ({ options, ...(await verdicts(bytes, options)) })));
    for (const { options, ours, theirs } of all)
      expect({ what, options, ...ours }).toEqual({ what, options, ...theirs });
  });
});

describe('an image that leaks', { concurrent: true }, () => {
  it.each(Object.entries(leaks))('(%s) is clean for everybody after --auto-repair', async (what, damage) => {
    using scratch = openScratch();
    writeFileSync(scratch.path('meta.img'), damaged(damage));
    const repaired = await runOurTool('thin_check', ['--auto-repair', scratch.path('meta.img')]);
    expect(repaired.status).toBe(0);
    expect((await runOurTool('thin_check', [scratch.path('meta.img')])).status).toBe(0);
    if (hasTools) {
      expect(await realCheckComplaint('1.1.0', scratch.path('meta.img')), what).toBeUndefined();
      expect(await realCheckComplaint('0.9.0', scratch.path('meta.img')), what).toBeUndefined();
    }
  });
});

describe('an image that is fatally damaged', { concurrent: true }, () => {
  it.each(Object.entries(fatal))('(%s) is reported and never written to', async (_, damage) => {
    using scratch = openScratch();
    const bytes = damaged(damage);
    const path = scratch.path('meta.img');
    for (const options of [[], ['--auto-repair'], ['--clear-needs-check-flag'], ['--ignore-non-fatal-errors']]) {
      writeFileSync(path, bytes);
      const { status, stderr } = await runOurTool('thin_check', [...options, path]);
      expect({ options, status }).toEqual({ options, status: 64 });
      expect(stderr).not.toMatch(/bug in pdata|undefined|NaN/);
      expect(readFileSync(path).equals(bytes)).toBe(true);
    }
  });
});

describe('what 1.1.0 does not notice', { concurrent: true }, () => {
  it.each(Object.entries(noticedByUsAlone))('(%s) is no clean bill from us', async (_, damage) => {
    using scratch = openScratch();
    const path = scratch.path('meta.img');
    writeFileSync(path, damaged(damage));
    const ours = await runOurTool('thin_check', [path]);
    expect(ours.status).toBe(64);
    if (hasTools) expect(await realCheckComplaint('1.1.0', path)).toBeUndefined();
  });

  it.each(Object.entries(notes))('(%s) is clean for us too, with a note', async (_, damage) => {
    using scratch = openScratch();
    const path = scratch.path('meta.img');
    writeFileSync(path, damaged(damage));
    const ours = await runOurTool('thin_check', [path]);
    expect(ours.status).toBe(0);
    expect(ours.stderr).toMatch(/^note: data space map: /m);
    if (hasTools) expect(await realCheckComplaint('1.1.0', path)).toBeUndefined();
  });
});
