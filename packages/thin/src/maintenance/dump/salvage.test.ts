import { BLOCK_SIZE, DeviceError, MemoryMetadataDevice } from '@pdata/device';
import { Block, nodeValidator } from '@pdata/persistent-data';
import { FaultyMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { FIXTURES, fixtureBytes, fixtureImage } from '../../../test/fixture-images.js';
import { expectSound, newPool, patchSuperblock, thrownBy, writeRange } from '../../../test/pool.js';
import { readPoolImage } from '../../../test/pool-image.js';
import { dumped, dumpText, mappingsIn, restored } from '../../../test/texts.js';
import { DataBlockSizeNeededError } from './lost-roots.js';
import { ThinDamageError } from './thin-damage.js';

const repaired = (bytes: Uint8Array, options = {}) =>
  dumped(new MemoryMetadataDevice({ bytes, readOnly: true }), { repair: true, ...options });

const blockOf = (bytes: Uint8Array, nr: number): Block =>
  new Block(bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE), nr);
const u64 = (block: Block, at: number): number => Number(block.view.getBigUint64(at, true));

/** Leaves, and the internal nodes right above them, of the tree at `rootNr`. */
function nodesOf(bytes: Uint8Array, rootNr: number): { leaves: number[]; lowest: number[] } {
  const root = blockOf(bytes, rootNr);
  if (root.view.getUint32(4, true) === 2) return { leaves: [rootNr], lowest: [] };
  const children = Array.from({ length: root.view.getUint32(16, true) }, (_, i) => u64(root, 2048 + 8 * i));
  const below = children.map((child) => nodesOf(bytes, child));
  const isLowest = below.every(({ lowest }) => lowest.length === 0);
  return {
    leaves: below.flatMap(({ leaves }) => leaves),
    lowest: isLowest ? [rootNr] : below.flatMap(({ lowest }) => lowest),
  };
}

/** A pool of one device with many leaves, a snapshot that shares most of them, and a small device. */
function aPool(): { bytes: Uint8Array; roots: number[]; detailsRoot: number; mappingRoot: number } {
  const { device, metadata } = newPool({ nrDataBlocks: 10_000 });
  metadata.createThin(1);
  writeRange(metadata, 1, 0, 3000);
  metadata.createSnapshot(2, 1);
  writeRange(metadata, 2, 1000, 1010);
  metadata.createThin(7);
  writeRange(metadata, 7, 5, 25);
  metadata.commit();
  metadata.close();
  const { bytes } = device;
  const superblock = blockOf(bytes, 0);
  const [mappingRoot, detailsRoot] = [u64(superblock, 320), u64(superblock, 328)];
  const roots = [0, 1, 2].map((i) => u64(blockOf(bytes, mappingRoot), 2048 + 8 * i));
  return { bytes, roots, mappingRoot, detailsRoot };
}

const damage = (bytes: Uint8Array, nr: number): void => {
  bytes[nr * BLOCK_SIZE + 50]! ^= 0x10;
};

const idOf = (attributes: string): number => Number(/dev_id="(\d+)"/.exec(attributes)?.[1]);

/** That a repaired dump is one that can be restored, and that the result is sound. */
function expectRestorable(text: string): void {
  const target = restored(text);
  expectSound(target);
  expect(mappingsIn(dumpText(target))).toEqual(mappingsIn(text));
}

describe.each(FIXTURES)('%s', (fixture) => {
  it('is dumped as without --repair when nothing is damaged', () => {
    const { text, summary } = repaired(fixtureBytes(fixture));
    expect(text === dumpText(fixtureImage(fixture))).toBe(true);
    expect(summary.lost).toEqual([]);
  });

  it('is found again, to the last mapping, when its superblock is lost', () => {
    const bytes = fixtureBytes(fixture);
    bytes.fill(0, 0, BLOCK_SIZE);
    const { text, summary } = repaired(bytes, { dataBlockSize: 128 });
    expect(summary.lost.length).toBe(1);
    expect(summary.lost[0]?.message).toMatch(
      /thin superblock in block 0: .* searched for and found at blocks \d+ and \d+/,
    );
    const rest = (xml: string): string => xml.slice(xml.indexOf('\n'));
    expect(rest(text) === rest(dumpText(fixtureImage(fixture)))).toBe(true);
    // nr_data_blocks is the end of what is mapped.
    expectRestorable(text);
  });
});

describe('a damaged leaf', () => {
  it('loses its own mappings and no others, of every device that shares it', () => {
    const { bytes, roots } = aPool();
    const [shared] = nodesOf(bytes, roots[0] as number).leaves as [number];
    const before = mappingsIn(dumpText(new MemoryMetadataDevice({ bytes, readOnly: true })));
    damage(bytes, shared);
    const { text, summary } = repaired(bytes);
    expect(summary.lost.map(({ thinId, detail }) => [thinId, detail.blockNr])).toEqual([
      [1, shared],
      [2, shared],
    ]);
    expect(summary.lost[0]?.effect).toMatch(/^virtual blocks 0 to \d+ of thin device 1 are lost$/);
    const nrLost = Number(/to (\d+)/.exec(summary.lost[0]?.effect ?? '')?.[1]) + 1;
    const after = mappingsIn(text);
    for (const [attributes, mappings] of Object.entries(before)) {
      const thinId = idOf(attributes);
      const left = thinId === 7 ? mappings : mappings.slice(nrLost);
      expect(after[attributes.replace(/mapped_blocks="\d+"/, `mapped_blocks="${left.length}"`)]).toEqual(left);
    }
    expectRestorable(text);
  });

  it('does not take with it what lies beside it', () => {
    const { bytes, roots } = aPool();
    const { leaves } = nodesOf(bytes, roots[1] as number);
    for (const leafNr of leaves) {
      const copy = bytes.slice();
      damage(copy, leafNr);
      const { text, summary } = repaired(copy);
      expect(summary.lost.length).toBeGreaterThan(0);
      expect(summary.nrDevices).toBe(3);
      expectRestorable(text);
    }
  });
});

describe('damage above the leaves', () => {
  it('of an internal node loses what is below it, and says so', () => {
    const { bytes, roots } = aPool();
    damage(bytes, roots[0] as number);
    const { text, summary } = repaired(bytes);
    expect(summary.lost.map(({ effect }) => effect)).toEqual(['all virtual blocks of thin device 1 are lost']);
    expect(
      Object.entries(mappingsIn(text)).map(([attributes, mappings]) => [idOf(attributes), mappings.length]),
    ).toEqual([
      [1, 0],
      [2, 3000],
      [7, 20],
    ]);
    expectRestorable(text);
  });

  it('of one child pointer loses one child', () => {
    const { bytes, roots } = aPool();
    const root = blockOf(bytes, roots[0] as number);
    root.view.setBigUint64(2048 + 8, 999_999n, true);
    nodeValidator.prepare(root);
    const { text, summary } = repaired(bytes);
    const [first, second] = [u64(root, 32 + 8), u64(root, 32 + 16)];
    expect(summary.lost.map(({ effect }) => effect)).toEqual([
      `virtual blocks ${first} to ${second - 1} of thin device 1 are lost`,
    ]);
    expect(mappingsIn(text)[Object.keys(mappingsIn(text))[0] as string]?.length).toBe(3000 - (second - first));
    expectRestorable(text);
  });

  it('of the details tree makes new records that are safe', () => {
    const { bytes, detailsRoot } = aPool();
    const { time } = readPoolImage(bytes);
    damage(bytes, detailsRoot);
    const { text, summary } = repaired(bytes);
    expect(summary.lost[0]?.effect).toBe('the records of all thin devices are lost, and made anew');
    expect(summary.lost.length).toBe(4);
    expect([...text.matchAll(/snap_time="(\d+)"/g)].map(([, snapped]) => Number(snapped))).toEqual([time, time, time]);
    expectRestorable(text);
  });

  it('of the upper mapping tree loses the devices, and names them', () => {
    const { bytes, mappingRoot } = aPool();
    damage(bytes, mappingRoot);
    const { summary } = repaired(bytes);
    expect(summary.nrDevices).toBe(0);
    expect(summary.lost.map(({ effect }) => effect)).toEqual([
      'all mappings of all thin devices are lost, and the devices are left out',
      'all mappings of thin device 1 are lost, and the device is left out',
      'all mappings of thin device 2 are lost, and the device is left out',
      'all mappings of thin device 7 are lost, and the device is left out',
    ]);
  });
});

it('corrects a record that disagrees with the mappings', () => {
  const { bytes, detailsRoot } = aPool();
  const details = blockOf(bytes, detailsRoot);
  details.view.setBigUint64(1040, 2999n, true);
  nodeValidator.prepare(details);
  const { text, summary } = repaired(bytes);
  expect(summary.lost.map(({ thinId, effect }) => [thinId, effect])).toEqual([
    [1, 'nothing is lost by it: the true number is printed'],
  ]);
  expectRestorable(text);
});

it('takes what the disk does not give back as damage, and a plain dump does not', () => {
  const { bytes, roots } = aPool();
  const [leafNr] = nodesOf(bytes, roots[0] as number).leaves as [number];
  const medium = new MemoryMetadataDevice({ bytes, readOnly: true });
  const device = new FaultyMetadataDevice(medium, { operation: 'read', blockNr: leafNr });
  expect(thrownBy(() => dumpText(device))).toBeInstanceOf(DeviceError);
  const { text, summary } = dumped(device, { repair: true });
  expect(summary.lost.map(({ thinId, detail }) => [thinId, detail.blockNr, detail.found])).toEqual([
    [1, leafNr, 'unreadable'],
    [2, leafNr, 'unreadable'],
  ]);
  expectRestorable(text);
  device.inject({ operation: 'read', blockNr: 0 });
  const withoutSuperblock = dumped(device, { repair: true, dataBlockSize: 128 });
  expect(withoutSuperblock.summary.lost[0]?.message).toMatch(/^thin superblock in block 0: block is unreadable/);
  expectRestorable(withoutSuperblock.text);
});

describe('without a superblock', () => {
  it('needs to be told the data block size', () => {
    const bytes = fixtureBytes('thin-basic');
    bytes[100]! ^= 1;
    expect(thrownBy(() => repaired(bytes))).toBeInstanceOf(DataBlockSizeNeededError);
  });

  it('says that this is no metadata device when nothing of a pool is on it', () => {
    const bytes = new Uint8Array(64 * BLOCK_SIZE).fill(7);
    const error = thrownBy(() => repaired(bytes, { dataBlockSize: 128 }));
    expect(error).toBeInstanceOf(ThinDamageError);
    expect(error.message).toMatch(/no trees of a pool were found either; make sure that this is the metadata device/);
  });

  it('finds what can still be read when leaves are damaged too', () => {
    const { bytes, roots } = aPool();
    const [leaf] = nodesOf(bytes, roots[0] as number).leaves as [number];
    bytes.fill(0, 0, BLOCK_SIZE);
    damage(bytes, leaf);
    const { text, summary } = repaired(bytes, { dataBlockSize: 128 });
    expect(summary.nrDevices).toBe(3);
    // A damaged leaf takes less than a tenth with it: the newest trees are taken all the same.
    expect(summary.lost.map(({ thinId }) => thinId)).toEqual([undefined, 1, 2]);
    expectRestorable(text);
  });
});

describe('a mapping to a data block that the data device does not have', () => {
  /** Sends the given entries of a leaf to data blocks from 2^29 on, and seals it again. */
  function sendOutside(bytes: Uint8Array, leafNr: number, entries: readonly number[]): void {
    const leaf = blockOf(bytes, leafNr);
    for (const i of entries) leaf.view.setBigUint64(2048 + 8 * i, (BigInt(2 ** 29 + i) << 24n) | 1n, true);
    nodeValidator.prepare(leaf);
  }
  const plain = (bytes: Uint8Array): string => dumpText(new MemoryMetadataDevice({ bytes, readOnly: true }));
  const blocksOf = (text: string): Map<number, string[]> =>
    new Map(Object.entries(mappingsIn(text)).map(([attributes, mappings]) => [idOf(attributes), mappings]));

  it.each([
    ['xml', {}],
    ['the devices alone', { skipMappings: true }],
  ])('is left out of all devices that share it, counted out and told: %s', (_, options) => {
    const { bytes, roots } = aPool();
    const before = blocksOf(plain(bytes));
    sendOutside(bytes, nodesOf(bytes, roots[0] as number).leaves[0] as number, [0, 5, 6, 7, 20]);
    const { text, summary } = repaired(bytes, options);
    expect(summary.lost.map(({ thinId, effect }) => [thinId, effect])).toEqual(
      [1, 2].map((thinId) => [
        thinId,
        `virtual blocks 0, 5 to 7, 20 of thin device ${thinId} are lost: they are mapped outside the data device and left out`,
      ]),
    );
    expect(summary.lost[0]?.message).toMatch(
      /data block of virtual block 0 is 536870912, expected below 10000, .*; if the data device is larger than 10000 blocks, dump again with --nr-data-blocks$/,
    );
    expect([...text.matchAll(/mapped_blocks="(\d+)"/g)].map(([, nr]) => Number(nr))).toEqual([2995, 2995, 20]);
    if ('skipMappings' in options) return;
    const dropped = new Set(['0', '5', '6', '7', '20']);
    for (const [thinId, mappings] of blocksOf(text)) {
      const left = before.get(thinId)!.filter((mapping) => thinId === 7 || !dropped.has(mapping.split(' ')[0]!));
      expect(mappings).toEqual(left);
    }
    expectRestorable(text);
  });

  it('is printed by a dump that does not repair, as 1.1.0 does', () => {
    const { bytes, roots } = aPool();
    sendOutside(bytes, roots[2] as number, [3]);
    expect(plain(bytes)).toContain('<single_mapping origin_block="8" data_block="536870915" time="1"/>');
    const { text, summary } = repaired(bytes);
    expect(summary.lost.map(({ effect }) => effect)).toEqual([
      'virtual block 8 of thin device 7 is lost: it is mapped outside the data device and left out',
    ]);
    expectRestorable(text);
  });

  it('is not outside when the data device is said to be larger', () => {
    const { bytes, roots } = aPool();
    sendOutside(bytes, roots[2] as number, [3]);
    const { text, summary } = repaired(bytes, { nrDataBlocks: 2 ** 29 + 4 });
    expect(summary.lost).toEqual([]);
    expect(text === plain(bytes).replace('nr_data_blocks="10000"', 'nr_data_blocks="536870916"')).toBe(true);
  });

  it('takes a whole leaf with it when all are', () => {
    const { bytes, roots } = aPool();
    sendOutside(bytes, roots[2] as number, [...Array(20).keys()]);
    const { text, summary } = repaired(bytes);
    expect(summary.lost.map(({ effect }) => effect)).toEqual([expect.stringMatching(/^virtual blocks 5 to 24 of/)]);
    expect(blocksOf(text).get(7)).toEqual([]);
    expectRestorable(text);
  });

  it('is told by number when there are very many', () => {
    const { bytes, roots } = aPool();
    sendOutside(
      bytes,
      nodesOf(bytes, roots[0] as number).leaves[0] as number,
      [...Array(60).keys()].map((i) => 2 * i),
    );
    const { text, summary } = repaired(bytes);
    expect(summary.lost.length).toBe(2);
    expect(summary.lost[0]?.effect).toMatch(/^virtual blocks 0, 2, 4, 6, 8, 10, 12, 14 and 52 more of thin device 1 /);
    expectRestorable(text);
  });
});

describe('a superblock with figures that no pool has', () => {
  function poolWith(patch: (view: DataView) => void): Uint8Array {
    const { bytes } = aPool();
    patchSuperblock(bytes, patch);
    return bytes;
  }
  const NR_DATA_BLOCKS_AT = 64;

  it.each([0, 17, 129, 2097280])('needs to be told the data block size instead of %i', (size) => {
    const bytes = poolWith((view) => view.setUint32(336, size, true));
    const error = thrownBy(() => repaired(bytes));
    expect(error).toBeInstanceOf(DataBlockSizeNeededError);
    expect(error.message).toMatch(
      new RegExp(
        `^data block size needs to be provided due to corruption in the superblock \\(.* is ${size}, expected a`,
      ),
    );
    const { text, summary } = repaired(bytes, { dataBlockSize: 256 });
    expect(summary.lost).toEqual([]);
    expect(text).toContain('data_block_size="256"');
    expectRestorable(text);
  });

  it('loses a number of data blocks that is too large, and takes the end of what is mapped', () => {
    const bytes = poolWith((view) => view.setBigUint64(NR_DATA_BLOCKS_AT, 2n ** 40n + 1n, true));
    const { text, summary } = repaired(bytes);
    expect(text).toContain('nr_data_blocks="3030"');
    expect(summary.lost.map(({ message }) => message)).toEqual([
      'thin superblock in block 0: nr data blocks is 1099511627777, expected at most 1099511627776: the size of the data ' +
        'device is lost, and 3030 blocks, the end of what is mapped, are printed for it; if the data device is larger, ' +
        'dump again with --nr-data-blocks',
    ]);
    expectRestorable(text);
    const told = repaired(bytes, { nrDataBlocks: 10_000 });
    expect(told.summary.lost).toEqual([]);
    expect(told.text).toContain('nr_data_blocks="10000"');
  });

  it('leaves out what a number of data blocks that is too small does not reach', () => {
    const bytes = poolWith((view) => view.setBigUint64(NR_DATA_BLOCKS_AT, 1000n, true));
    const { text, summary } = repaired(bytes);
    expect(summary.lost.map(({ thinId }) => thinId)).toEqual([1, 2, 7]);
    expectRestorable(text);
    expect(repaired(bytes, { nrDataBlocks: 10_000 }).summary.lost).toEqual([]);
  });

  it('keeps a time that no mapping can carry, and says that a restore refuses it', () => {
    const bytes = poolWith((view) => view.setUint32(44, 2 ** 24, true));
    const { text, summary } = repaired(bytes);
    expect(text).toContain('time="16777216" transaction=');
    expect(summary.lost.map(({ message }) => message)).toEqual([
      expect.stringMatching(
        /^thin superblock in block 0: time is 16777216, expected below 16777216: it is printed as it is, but a restore will refuse it: times have 24 bits/,
      ),
    ]);
    expect(thrownBy(() => restored(text)).message).toMatch(/time is 16777216/);
    expectRestorable(text.replace('time="16777216"', 'time="1"'));
  });
});

it('keeps a time of a device that no mapping can carry, and says that a restore refuses it', () => {
  const { bytes, detailsRoot } = aPool();
  const details = blockOf(bytes, detailsRoot);
  details.view.setUint32(1040 + 20, 2 ** 24 + 7, true);
  nodeValidator.prepare(details);
  const { text, summary } = repaired(bytes);
  expect(text).toContain('snap_time="16777223"');
  expect(summary.lost.map(({ thinId, detail }) => [thinId, detail.blockNr, detail.found])).toEqual([
    [1, detailsRoot, 2 ** 24 + 7],
  ]);
});

it('keeps a thin id that no device can have, and says that a restore refuses it', () => {
  const { bytes, mappingRoot, detailsRoot } = aPool();
  for (const rootNr of [mappingRoot, detailsRoot]) {
    const root = blockOf(bytes, rootNr);
    root.view.setBigUint64(32 + 16, 2n ** 24n, true);
    nodeValidator.prepare(root);
  }
  const { text, summary } = repaired(bytes);
  expect(summary.lost.map(({ effect }) => effect)).toEqual([
    'thin device 16777216 is printed as it is, but a restore will refuse it: thin ids have 24 bits',
  ]);
  expect(thrownBy(() => restored(text)).message).toMatch(/dev_id is 16777216/);
  expectRestorable(text.replace('dev_id="16777216"', 'dev_id="7"'));
});
