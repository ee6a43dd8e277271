import { BLOCK_SIZE, DeviceError, MemoryMetadataDevice } from '@pdata/device';
import { Block, nodeValidator } from '@pdata/persistent-data';
import { FaultyMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { FIXTURES, fixtureBytes, fixtureImage } from '../../../test/fixture-images.js';
import { expectSound, newPool, thrownBy, writeRange } from '../../../test/pool.js';
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
