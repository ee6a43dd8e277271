/**
 * The damage table: what each kind of damage is worth, beside what thin_check 1.1.0 makes of the same image.
 *
 * The verdicts of the real tool were found by running it on these images: clean (exit 0), leak (repaired by --auto-repair),
 * shape (passed by --ignore-non-fatal-errors, not repaired), fatal. Where ours is stricter, `because` says what would go
 * wrong: in each case the kernel refuses, or is misled by, what the real tool passes.
 */
import { describe, expect, it } from 'vitest';
import { checked, type Verdict, verdictOf } from '../../../test/check-runs.js';
import { type FixtureName, ImageEditor } from '../../../test/image-editor.js';

interface Damage {
  readonly what: string;
  readonly to?: FixtureName;
  readonly edit: (image: ImageEditor) => unknown;
  /** Verdict of 1.1.0, and ours unless `because` is given: then ours is fatal. */
  readonly real: Verdict;
  readonly because?: string;
  /** Part of a finding's message. */
  readonly says?: string | RegExp;
}

// Blocks of thin-basic: 116 top level, 114 details, 101 leaf (and root) of device 0, 112 data index, 109 data bitmap,
// 110 data counts, 117 metadata index, 115 metadata bitmap, 94 metadata counts.
const TOP = 116;
const DETAILS = 114;
const LEAF = 101;
const DATA_INDEX = 112;
const DATA_BITMAP = 109;
const DATA_COUNTS = 110;
const METADATA_INDEX = 117;
const METADATA_BITMAP = 115;
const METADATA_COUNTS = 94;
const NODES = {
  'mapping leaf': LEAF,
  'top level': TOP,
  details: DETAILS,
  'data index': DATA_INDEX,
  'data counts': DATA_COUNTS,
  'metadata counts': METADATA_COUNTS,
};

/** Changes a node's value `index`, resealed. */
const setValue = (image: ImageEditor, node: number, index: number, value: number | bigint) =>
  image.put64(node, image.valueAt(node, index), value).seal(node, 'node');
const setNode32 = (at: number, value: number) => (image: ImageEditor, node: number) =>
  image.put32(node, at, value).seal(node, 'node');

const superblock: Damage[] = [
  { what: 'a bit of the checksum', edit: (i) => i.put32(0, 0, i.u32(0, 0) ^ 1), real: 'fatal', says: 'checksum' },
  { what: 'a bit behind the fields', edit: (i) => i.put32(0, 4000, 1), real: 'fatal', says: 'checksum' },
  { what: 'all zero', edit: (i) => i.block(0).fill(0), real: 'fatal', says: 'all zero' },
  {
    what: 'magic',
    edit: (i) => i.superblock64(32, 5),
    real: 'clean',
    because: 'the kernel refuses it: this may be another kind of metadata',
    says: 'magic is 5',
  },
  { what: 'home', edit: (i) => i.superblock64(8, 5), real: 'clean', because: 'the kernel refuses it', says: 'blockNr' },
  { what: 'version 9', edit: (i) => i.superblock32(40, 9), real: 'clean' },
  { what: 'needs_check', edit: (i) => i.superblock32(4, 1), real: 'clean' },
  { what: 'unknown flags', edit: (i) => i.superblock32(4, 0x80), real: 'clean' },
  {
    what: 'incompatible features',
    edit: (i) => i.superblock32(360, 1),
    real: 'clean',
    because: 'the kernel refuses it',
  },
  { what: 'read-only features', edit: (i) => i.superblock32(356, 1), real: 'clean' },
  { what: 'compatible features', edit: (i) => i.superblock32(352, 1), real: 'clean' },
  {
    what: 'data block size 100',
    edit: (i) => i.superblock32(336, 100),
    real: 'clean',
    because: 'no pool can be activated with it',
  },
  { what: 'time 0', edit: (i) => i.superblock32(44, 0), real: 'clean' },
  { what: 'bytes behind a space-map root', edit: (i) => i.superblock32(64 + 40, 7), real: 'clean' },
  { what: 'metadata size at format time', edit: (i) => i.superblock64(344, 0), real: 'clean' },
  {
    what: '2^50 data blocks',
    edit: (i) => i.superblock64(64, 2n ** 50n),
    real: 'fatal', // it dies of it: out of memory
  },
  {
    what: 'fewer data blocks than are mapped',
    edit: (i) => i.superblock64(64, 100),
    real: 'clean',
    because: 'mappings lead behind the end of the data device',
    says: /is mapped to data block \d+ .*, but the pool has only 100 data blocks/,
  },
  { what: 'one data block more', edit: (i) => i.superblock64(64, 1025), real: 'clean' },
  {
    what: 'more data blocks than bitmaps',
    edit: (i) => i.superblock64(64, 17_000),
    real: 'clean',
    because: 'the kernel fails on the missing bitmap',
    says: 'lists 1 bitmap, but 2 are needed for the 17000 data blocks of the pool',
  },
  {
    what: '2^50 metadata blocks',
    edit: (i) => i.superblock64(192, 2n ** 50n),
    real: 'clean',
    because: 'the kernel refuses a device smaller than its metadata',
  },
  {
    what: 'a metadata block more than the device has',
    edit: (i) => i.superblock64(192, 1025),
    real: 'clean',
    because: 'the kernel refuses a device smaller than its metadata',
    says: 'the metadata has 1025 blocks, but the device only 1024',
  },
  { what: 'fewer metadata blocks than the device', edit: (i) => i.superblock64(192, 512), real: 'clean' },
  {
    what: 'fewer metadata blocks than are in use',
    edit: (i) => i.superblock64(192, 100),
    real: 'clean',
    because: 'the kernel cannot count the blocks behind',
  },
  { what: 'number of allocated data blocks', edit: (i) => i.superblock64(72, 5), real: 'clean' },
  { what: 'number of allocated metadata blocks', edit: (i) => i.superblock64(200, 5), real: 'clean' },
  { what: 'mapping root outside', edit: (i) => i.superblock64(320, 9999), real: 'fatal', says: 'points to block 9999' },
  { what: 'mapping root 0', edit: (i) => i.superblock64(320, 0), real: 'fatal' },
  { what: 'details root outside', edit: (i) => i.superblock64(328, 9999), real: 'fatal' },
  { what: 'one root for both trees', edit: (i) => i.superblock64(320, DETAILS), real: 'fatal' },
  { what: 'data index root 0', edit: (i) => i.superblock64(80, 0), real: 'fatal' },
  { what: 'data counts root outside', edit: (i) => i.superblock64(88, 9999), real: 'fatal' },
  { what: 'metadata index outside', edit: (i) => i.superblock64(208, 9999), real: 'fatal' },
  { what: 'metadata counts root outside', edit: (i) => i.superblock64(216, 9999), real: 'fatal' },
  { what: 'metadata snapshot outside', edit: (i) => i.superblock64(56, 5000), real: 'fatal' },
  { what: 'metadata snapshot that is none', edit: (i) => i.superblock64(56, 5), real: 'fatal' },
  { what: 'metadata snapshot that is a node', edit: (i) => i.superblock64(56, TOP), real: 'fatal' },
];

const nodes: Damage[] = Object.entries(NODES).flatMap(([name, node]): Damage[] => {
  const of = (what: string, edit: (image: ImageEditor, node: number) => unknown, real: Verdict): Damage => ({
    what: `${name}: ${what}`,
    edit: (image) => edit(image, node),
    real,
  });
  return [
    of('a bit', (i) => i.put32(node, 4000, i.u32(node, 4000) ^ 1), 'fatal'),
    of('zeroed', (i) => i.block(node).fill(0), 'fatal'),
    of('home', (i) => i.put64(node, 8, 5).seal(node, 'node'), 'fatal'),
    of('flags 3', setNode32(4, 3), 'fatal'),
    of('flags 0', setNode32(4, 0), 'fatal'),
    of('internal flag on a leaf', setNode32(4, 1), 'fatal'),
    of('more entries than fit', setNode32(16, 400), 'fatal'),
    of('2^31 entries', setNode32(16, 2 ** 31), 'fatal'),
    of('value size 0', setNode32(24, 0), 'fatal'),
    of('value size 12', setNode32(24, 12), 'fatal'),
    of('padding', setNode32(28, 77), 'clean'),
  ];
});

const trees: Damage[] = [
  {
    what: 'two keys swapped',
    edit: (i) => {
      const [a, b] = [i.u64(LEAF, 56), i.u64(LEAF, 64)];
      i.put64(LEAF, 56, b).put64(LEAF, 64, a).seal(LEAF, 'node');
    },
    real: 'fatal',
    says: /key 4 is \d+, expected above key 3/,
  },
  { what: 'a key twice', edit: (i) => i.put64(LEAF, 64, i.u64(LEAF, 56)).seal(LEAF, 'node'), real: 'fatal' },
  {
    what: 'mappings one too few',
    edit: (i) => setValue(i, DETAILS, 0, 127),
    real: 'fatal',
    says: 'its details say 127',
  },
  { what: 'mappings one too many', edit: (i) => setValue(i, DETAILS, 0, 125), real: 'fatal' },
  {
    what: 'a device without details',
    edit: (i) => setNode32(16, 4)(i, DETAILS),
    real: 'fatal',
    says: 'thin device 7 has mappings, but no entry in the device details tree',
  },
  {
    what: 'a device without mappings',
    edit: (i) => setNode32(16, 4)(i, TOP),
    real: 'fatal',
    says: 'thin device 7 has an entry in the device details tree, but no mapping tree',
  },
  {
    what: 'a device gone from both trees',
    edit: (i) => [setNode32(16, 4)(i, TOP), setNode32(16, 4)(i, DETAILS)],
    real: 'leak',
    says: 'are allocated, but nothing refers to',
  },
  ...[5000, 16_319, 16_320, 2 ** 39].map(
    (dataBlock): Damage => ({
      what: `a mapping to data block ${dataBlock} of 1024`,
      edit: (i) => setValue(i, LEAF, 3, BigInt(dataBlock) << 24n),
      real: 'fatal',
      says: `is mapped to data block ${dataBlock} `,
    }),
  ),
  {
    what: 'a mapping of the future',
    edit: (i) => setValue(i, LEAF, 3, i.u64(LEAF, i.valueAt(LEAF, 3)) | 0xffff),
    real: 'clean',
  },
  { what: 'a device root outside', edit: (i) => setValue(i, TOP, 0, 5000), real: 'fatal' },
  { what: "another device's root", edit: (i) => setValue(i, TOP, 0, 77), real: 'fatal' },
  { what: 'the details as a device root', edit: (i) => setValue(i, TOP, 0, DETAILS), real: 'fatal' },
  { what: 'the top level as a device root', edit: (i) => setValue(i, TOP, 0, TOP), real: 'fatal' },
  { what: 'the superblock as a device root', edit: (i) => setValue(i, TOP, 0, 0), real: 'fatal' },
  { what: 'a bitmap as a device root', edit: (i) => setValue(i, TOP, 0, DATA_BITMAP), real: 'fatal' },
  {
    what: 'a virtual block of 2^60',
    edit: (i) => i.put64(46, 32 + 8 * 14, 2n ** 60n).seal(46, 'node'),
    real: 'clean',
    because: 'no device is that long, and such keys cannot be told apart exactly',
  },
  {
    what: 'a thin id of 2^24',
    edit: (i) => [TOP, DETAILS].map((node) => i.put64(node, 64, 2 ** 24).seal(node, 'node')),
    real: 'clean',
  },
  { what: 'capacity 123 in the top level', edit: recapacitate(TOP, 123), real: 'clean' },
  { what: 'capacity 125 in the top level', edit: recapacitate(TOP, 125), real: 'shape', says: 'maxEntries is 125' },
  { what: 'capacity 125 in the details', edit: recapacitate(DETAILS, 125), real: 'shape' },
  { what: 'capacity 167 in the data index', edit: recapacitate(DATA_INDEX, 167), real: 'shape' },
  { what: 'capacity 300 in the details', edit: setDetailsCapacity, real: 'fatal' },
];

const spaceMaps: Damage[] = [
  // Counts of thin-basic: 188 is free, 87 has 1 reference, 7 has 2, 0 has 4.
  {
    what: 'data block leaked',
    edit: (i) => i.setPair('data', 188, 1),
    real: 'leak',
    says: 'data block 188 is allocated',
  },
  { what: 'data count 0 -> 2', edit: (i) => i.setPair('data', 188, 2), real: 'fatal' },
  { what: 'data count 0 -> 3', edit: (i) => i.setPair('data', 188, 3), real: 'fatal' },
  {
    what: 'data count 1 -> 0',
    edit: (i) => i.setPair('data', 87, 0),
    real: 'fatal',
    says: 'expected 1, but the space map says 0',
  },
  { what: 'data count 1 -> 2', edit: (i) => i.setPair('data', 87, 2), real: 'fatal' },
  { what: 'data count 1 -> 3', edit: (i) => i.setPair('data', 87, 3), real: 'fatal' },
  { what: 'data count 2 -> 0', edit: (i) => i.setPair('data', 7, 0), real: 'fatal' },
  { what: 'data count 2 -> 1', edit: (i) => i.setPair('data', 7, 1), real: 'fatal' },
  { what: 'data count 4 -> 2', edit: (i) => i.setPair('data', 0, 2), real: 'fatal' },
  { what: 'data count 4 -> 0', edit: (i) => i.setPair('data', 0, 0), real: 'fatal' },
  ...[0, 1, 2, 3, 5, 0xffffffff].map(
    (count): Damage => ({
      what: `large data count 4 -> ${count}`,
      edit: (i) => i.put32(DATA_COUNTS, i.valueAt(DATA_COUNTS, 0), count).seal(DATA_COUNTS, 'node'),
      real: 'fatal',
    }),
  ),
  {
    what: 'a large count missing',
    edit: (i) => i.put32(DATA_COUNTS, 16, i.u32(DATA_COUNTS, 16) - 1).seal(DATA_COUNTS, 'node'),
    real: 'clean',
    because: 'the kernel fails, and makes the pool read-only, when it next changes that count',
    says: 'but no entry in the reference-count tree',
  },
  { what: 'a large count for a free block', edit: addLargeCount(1023), real: 'fatal' },
  { what: 'a large count behind the last block', edit: addLargeCount(5000), real: 'fatal' }, // it panics
  { what: 'a large count of block 2^40', edit: addLargeCount(2 ** 40), real: 'fatal' },
  {
    what: 'metadata block leaked',
    edit: (i) => i.setPair('metadata', 900, 1),
    real: 'leak',
    says: 'metadata block 900',
  },
  { what: 'metadata count 0 -> 2', edit: (i) => i.setPair('metadata', 900, 2), real: 'fatal' },
  { what: 'metadata count 0 -> 3', edit: (i) => i.setPair('metadata', 900, 3), real: 'fatal' },
  { what: 'metadata count 1 -> 0, a leaf', edit: (i) => i.setPair('metadata', LEAF, 0), real: 'fatal' },
  { what: 'metadata count 1 -> 2, a leaf', edit: (i) => i.setPair('metadata', LEAF, 2), real: 'fatal' },
  { what: 'metadata count 1 -> 0, the superblock', edit: (i) => i.setPair('metadata', 0, 0), real: 'fatal' },
  {
    what: 'metadata count 1 -> 0, the bitmap itself',
    edit: (i) => i.setPair('metadata', METADATA_BITMAP, 0),
    real: 'fatal',
  },
  {
    what: 'leak of data, count of metadata too low',
    edit: (i) => [i.setPair('data', 188, 1), i.setPair('metadata', LEAF, 0)],
    real: 'fatal',
  },
  ...[0, 16_320].map((n): Damage => ({ what: `data: ${n} free`, edit: setHint('data', 8, n), real: 'clean' })),
  ...[0, 16_320].map((n): Damage => ({ what: `metadata: ${n} free`, edit: setHint('metadata', 8, n), real: 'clean' })),
  { what: 'data: none free before the end', edit: setHint('data', 12, 16_320), real: 'clean' },
  { what: 'metadata: none free before 2^32 - 1', edit: setHint('metadata', 12, 0xffffffff), real: 'clean' },
  { what: 'entries behind the last data block', edit: (i) => i.setPair('data', 1024, 1), real: 'clean' },
  { what: 'entries behind the last metadata block', edit: (i) => i.setPair('metadata', 1030, 1), real: 'clean' },
  {
    what: 'an unused entry of the metadata index',
    edit: (i) => i.put64(METADATA_INDEX, 16 + 16 * 3, 55).seal(METADATA_INDEX, 'index'),
    real: 'clean',
  },
  {
    what: 'the data index lists bitmap 1, not 0',
    edit: (i) => i.put64(DATA_INDEX, 32, 1).seal(DATA_INDEX, 'node'),
    real: 'clean',
    because: 'the kernel finds no bitmap for any data block',
  },
  {
    what: 'the data index lists nothing',
    edit: setIndexEmpty,
    real: 'leak', // and "repairs" it by freeing the bitmap
    because: 'the counts of all data blocks are lost',
  },
  { what: 'a bitmap twice in the data index', edit: addIndexEntry(DATA_BITMAP), real: 'fatal' },
  { what: 'a bitmap outside', edit: addIndexEntry(99_999), real: 'fatal' },
  { what: 'a leaf as a bitmap', edit: addIndexEntry(77), real: 'fatal' },
  ...Object.entries({ 'data bitmap': DATA_BITMAP, 'metadata bitmap': METADATA_BITMAP }).flatMap(
    ([name, nr]): Damage[] => [
      { what: `${name}: a bit`, edit: (i) => i.put32(nr, 4000, i.u32(nr, 4000) ^ 1), real: 'fatal', says: 'checksum' },
      {
        what: `${name}: home`,
        edit: (i) => i.put64(nr, 8, 5).seal(nr, 'bitmap'),
        real: 'clean',
        because: 'the kernel refuses it',
      },
      { what: `${name}: the unused word`, edit: (i) => i.put32(nr, 4, 5).seal(nr, 'bitmap'), real: 'clean' },
    ],
  ),
  { what: 'metadata index: a bit', edit: (i) => i.put32(METADATA_INDEX, 4000, 1), real: 'fatal' },
  {
    what: 'metadata index: home',
    edit: (i) => i.put64(METADATA_INDEX, 8, 5).seal(METADATA_INDEX, 'index'),
    real: 'fatal',
  },
];

// Blocks of thin-metasnap: 120 the metadata snapshot; 117 its top level, 115 its details, 101 a leaf of its own;
// 125 a leaf of the pool's own; 77 a leaf of both.
const snapshot: Damage[] = (
  [
    { what: 'a bit of the copy', edit: (i) => i.put32(120, 4000, 1), real: 'fatal' },
    {
      what: 'home of the copy',
      edit: (i) => i.put64(120, 8, 0).seal(120, 'superblock'),
      real: 'clean',
      because: 'the kernel refuses it',
    },
    {
      what: 'magic of the copy',
      edit: (i) => i.put64(120, 32, 0).seal(120, 'superblock'),
      real: 'clean',
      because: 'the kernel refuses it',
    },
    { what: 'space-map root of the copy', edit: (i) => i.put64(120, 64, 1).seal(120, 'superblock'), real: 'clean' },
    { what: 'its top level', edit: (i) => i.put32(117, 4000, 1), real: 'fatal' },
    { what: 'its details', edit: (i) => i.put32(115, 4000, 1), real: 'fatal' },
    { what: 'its own leaf', edit: (i) => i.put32(101, 4000, 1), real: 'fatal' },
    { what: 'a leaf of both', edit: (i) => i.put32(77, 4000, 1), real: 'fatal' },
    {
      what: 'mapped blocks in its details',
      edit: (i) => setValue(i, 115, 0, 99),
      real: 'fatal',
      says: 'of the metadata snapshot',
    },
    { what: 'a device missing from its details', edit: (i) => setNode32(16, 4)(i, 115), real: 'fatal' },
    { what: 'forgotten by the superblock', edit: (i) => i.superblock64(56, 0), real: 'fatal' },
  ] satisfies Damage[]
).map((damage) => ({ ...damage, to: 'thin-metasnap' }));

describe.each([
  ['superblock', superblock],
  ['nodes', nodes],
  ['trees', trees],
  ['space maps', spaceMaps],
  ['metadata snapshot', snapshot],
])('%s', (_, table) => {
  it.each(table)('$what: $real', ({ to = 'thin-basic', edit, real, because, says }) => {
    const image = ImageEditor.of(to);
    edit(image);
    const run = checked(image);
    expect(verdictOf(run)).toBe(because === undefined ? real : 'fatal');
    expect(run.summary.clean).toBe(verdictOf(run) === 'clean');
    expect(run.findings.length > 0).toBe(!run.summary.clean);
    if (says !== undefined) expect(run.findings.map(({ message }) => message).join('\n')).toMatch(says);
    for (const { message, effect, nextStep } of run.findings) {
      for (const text of [message, effect, nextStep]) expect(text).not.toMatch(/undefined|NaN|\[object/);
      expect(effect).not.toBe('');
      expect(nextStep).not.toBe('');
    }
  });
});

describe('notices', () => {
  it.each([
    ['wrong hints', setHint('data', 12, 16_320), 'wrong hints in the index for 1 of 1 bitmap ('],
    [
      'a wrong number of allocated blocks',
      (i: ImageEditor) => i.superblock64(200, 5),
      'metadata blocks allocated: 5 by the superblock, but really ',
    ],
    [
      'entries behind the end',
      (i: ImageEditor) => i.setPair('data', 1024, 1),
      '1 entry behind the last data block is in use',
    ],
    ['an odd version', (i: ImageEditor) => i.superblock32(40, 9), 'the version is 9'],
    ['mappings of the future', (i: ImageEditor) => i.superblock32(44, 0), "but the pool's own time is 0"],
    [
      'ids that the kernel cannot name',
      (i: ImageEditor) => [TOP, DETAILS].map((node) => i.put64(node, 64, 2 ** 24).seal(node, 'node')),
      'the id 16777216',
    ],
  ])('tell of %s, and leave the pool clean', (_, edit, says) => {
    const image = ImageEditor.of('thin-basic');
    edit(image);
    const { summary } = checked(image);
    expect(summary.clean).toBe(true);
    expect(summary.notices.map(({ message }) => message).join('\n')).toContain(says);
  });
});

describe('entries behind the last block', () => {
  it.each(['data', 'metadata'] as const)('of the %s device are harmless only until it grows', (kind) => {
    const image = ImageEditor.of('thin-basic');
    for (const behind of [1030, 1031]) image.setPair(kind, behind, 1);
    const { summary } = checked(image);
    expect(summary.clean).toBe(true);
    const says = `2 entries behind the last ${kind} block are in use`;
    const notice = summary.notices.find(({ message }) => message === says);
    expect(notice?.effect).toContain(`When the ${kind} device grows over them`);
    expect(notice?.nextStep).toMatch(/^Dump the metadata and restore it before growing the /);
  });
});

describe('a number that was rounded', () => {
  it('is not told as if it were exact', () => {
    const image = ImageEditor.of('thin-basic');
    setValue(image, TOP, 0, 2n ** 64n - 1n);
    const messages = checked(image).findings.map(({ message }) => message);
    expect(messages[0]).toContain('points to block about 18446744073709552000, but the metadata has only');
  });
});

describe('a root that the caller gives', () => {
  it.each([
    [{ mappingRoot: 5000 }, 'top-level mapping tree', 'the root given for it is block 5000, but the metadata has only'],
    [{ detailsRoot: 0 }, 'device details tree', 'the root given for it is block 0, which is the superblock'],
  ])('is blamed itself, and no block of the pool: %o', (options, structure, says) => {
    const [finding] = checked(ImageEditor.of('thin-basic'), options).findings;
    expect(finding).toMatchObject({ severity: 'fatal', structure, message: expect.stringContaining(says) });
    expect(finding).not.toHaveProperty('blockNr');
    expect(finding?.effect).toBe('This tree was not checked; the pool itself may be sound.');
    expect(finding?.nextStep).toContain("or leave the root out to check the superblock's own");
  });
});

describe('counts that cannot be verified', () => {
  it('are not reported as leaks when a leaf cannot be read', () => {
    const image = ImageEditor.of('thin-basic');
    image.put32(LEAF, 4000, 1);
    const { summary } = checked(image);
    expect(summary).toMatchObject({ leaks: { data: 0, metadata: 0 }, countsVerified: false });
    expect(summary.notices.map(({ message }) => message)).toEqual([
      'the reference counts were not compared, because not all references to blocks could be found',
    ]);
  });

  it('are not needed to find that a bitmap and the tree of large counts contradict each other', () => {
    const image = ImageEditor.of('thin-basic');
    image.put32(LEAF, 4000, 1);
    image.setPair('data', 0, 0);
    expect(checked(image).findings.map(({ message }) => message)).toContain(
      'the reference-count tree lists data block 0, but its bitmap does not say 3',
    );
  });
});

/** Gives a node another capacity, and moves its values to where they then belong. */
function recapacitate(node: number, max: number) {
  return (image: ImageEditor) => {
    const { max: old, valueSize, keys } = image.node(node);
    const block = image.block(node);
    const values = block.slice(32 + 8 * old, 32 + 8 * old + valueSize * keys.length);
    image.put32(node, 20, max);
    block.set(values, 32 + 8 * max);
    return image.seal(node, 'node');
  };
}

function setDetailsCapacity(image: ImageEditor) {
  return image.put32(DETAILS, 20, 300).seal(DETAILS, 'node');
}

function addLargeCount(key: number) {
  return (image: ImageEditor) => {
    const nr = image.u32(DATA_COUNTS, 16);
    image.put32(DATA_COUNTS, 16, nr + 1).put64(DATA_COUNTS, image.keyAt(nr), key);
    return image.put32(DATA_COUNTS, image.valueAt(DATA_COUNTS, nr), 5).seal(DATA_COUNTS, 'node');
  };
}

function setHint(kind: 'data' | 'metadata', field: number, value: number) {
  return (image: ImageEditor) => {
    if (kind === 'metadata') return image.put32(METADATA_INDEX, 16 + field, value).seal(METADATA_INDEX, 'index');
    return image.put32(DATA_INDEX, image.valueAt(DATA_INDEX, 0) + field, value).seal(DATA_INDEX, 'node');
  };
}

function setIndexEmpty(image: ImageEditor) {
  return image.put32(DATA_INDEX, 16, 0).seal(DATA_INDEX, 'node');
}

function addIndexEntry(bitmap: number) {
  return (image: ImageEditor) => {
    image.put32(DATA_INDEX, 16, 2).put64(DATA_INDEX, 40, 1);
    const at = image.valueAt(DATA_INDEX, 1);
    return image
      .put64(DATA_INDEX, at, bitmap)
      .put32(DATA_INDEX, at + 8, 16_320)
      .put32(DATA_INDEX, at + 12, 0)
      .seal(DATA_INDEX, 'node');
  };
}
