import type { MemoryMetadataDevice } from '@pdata/device';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { expectSound } from '../../../test/pool.js';
import { readPoolImage } from '../../../test/pool-image.js';
import { dumped, mappingsIn, restored, withoutPlaces } from '../../../test/texts.js';

/** Where leaves become too small (84), full (252), or have to be evened out. */
const SIZES = [0, 1, 5, 83, 84, 85, 100, 251, 252, 253, 300, 335, 336, 504, 505, 587, 588, 600];

/** `nr` mappings from virtual block `from` on, with gaps, each to its own data block. */
const mappings = (from: number, nr: number, data = from): string =>
  Array.from(
    { length: nr },
    (_, i) => `<single_mapping origin_block="${from + 2 * i}" data_block="${data + i}" time="1"/>\n`,
  ).join('');

interface Item {
  readonly xml: string;
  readonly nr: number;
}

const REGION = 2000;
const device = (thinId: number, items: readonly Item[]): string => {
  const nr = items.reduce((sum, item) => sum + item.nr, 0);
  const inner = items.map(({ xml }) => xml).join('');
  return `<device dev_id="${thinId}" mapped_blocks="${nr}" transaction="0" creation_time="0" snap_time="1">\n${inner}</device>\n`;
};
const pool = (inner: string): string =>
  `<superblock uuid="" time="1" transaction="0" data_block_size="128" nr_data_blocks="40000">\n${inner}</superblock>`;

/** Restores, audits, and compares what a dump says with what the XML said. */
function roundTrip(xml: string): MemoryMetadataDevice {
  const target = restored(xml, 1024);
  expectSound(target);
  const { text } = dumped(target);
  expect(mappingsIn(text)).toEqual(mappingsIn(xml));
  // What was shared stays shared, and so on for ever.
  expect(withoutPlaces(dumped(restored(text, 1024)).text)).toBe(withoutPlaces(text));
  return target;
}

it('evens out leaves so that none is too small, whatever their number of mappings', () => {
  for (const nr of [...SIZES, 1000, 2520]) {
    const item = { xml: mappings(0, nr), nr };
    roundTrip(pool(device(0, [item])));
  }
});

it('keeps any mixture of shared parts and own mappings in sound trees', () => {
  const size = fc.constantFrom(...SIZES);
  const choice = fc.tuple(fc.boolean(), fc.boolean(), size);
  const aPool = fc.tuple(
    fc.array(size, { maxLength: 4 }),
    fc.array(fc.array(choice, { maxLength: 5 }), { minLength: 1, maxLength: 4 }),
  );
  fc.assert(
    fc.property(aPool, ([parts, devices]) => {
      const defs = parts.map((nr, i) => `<def name="part ${i}">\n${mappings(2 * i * REGION, nr)}</def>\n`);
      const xmls = devices.map((choices, thinId) => {
        const items = choices.flatMap(([shared, own, nr], i) => {
          const ref = shared && i < parts.length ? [{ xml: `<ref name="part ${i}"/>\n`, nr: parts[i] as number }] : [];
          const at = (2 * i + 1) * REGION;
          return own ? [...ref, { xml: mappings(at, nr), nr }] : ref;
        });
        return device(thinId, items);
      });
      roundTrip(pool(defs.join('') + xmls.join('')));
    }),
    { seed: 4, numRuns: 150 },
  );
});

it('keeps parts that are made of other parts', () => {
  const nr = 300;
  const defs =
    `<def name="a">${mappings(0, nr)}</def><def name="b">${mappings(REGION, nr)}</def>` +
    `<def name="ab"><ref name="a"/><ref name="b"/></def><def name="ab+"><ref name="ab"/>${mappings(2 * REGION, 10)}</def>`;
  const devices = ['a', 'ab', 'ab', 'ab+', 'b'].map((name, i) => {
    const total = { a: nr, b: nr, ab: 2 * nr, 'ab+': 2 * nr + 10 }[name] as number;
    return device(i, [{ xml: `<ref name="${name}"/>`, nr: total }]);
  });
  const target = restored(pool(defs + devices.join('')));
  const { devices: found } = expectSound(target);
  expect([...found.values()].map(({ mappings }) => mappings.size)).toEqual([300, 600, 600, 610, 300]);
});

it('gives devices of the same shared leaves one tree', () => {
  const defs = `<def name="a">${mappings(0, 1000)}</def>`;
  const devices = (nr: number): string =>
    Array.from({ length: nr }, (_, i) => device(i, [{ xml: '<ref name="a"/>', nr: 1000 }])).join('');
  const blocksIn = (nr: number): number => expectSound(restored(pool(defs + devices(nr)))).metadataSpaceMap.nrAllocated;
  expect(blocksIn(100)).toBe(blocksIn(2));
});

it('shares a leaf too small for a neighbour only where it has none', () => {
  const defs = `<def name="small">${mappings(0, 10)}</def>`;
  const ref = { xml: '<ref name="small"/>', nr: 10 };
  const more = { xml: mappings(REGION, 10), nr: 10 };
  const { dataSpaceMap } = expectSound(
    restored(pool(defs + device(0, [ref]) + device(1, [ref]) + device(2, [ref, more]))),
  );
  // Once from the leaf that devices 0 and 1 share, once from device 2's copy of it.
  expect(dataSpaceMap.counts.get(0)).toBe(2);
  expect(dataSpaceMap.counts.get(REGION)).toBe(1);
});

it('forgets a part that no device uses', () => {
  const defs = `<def name="unused">${mappings(0, 1000)}</def>`;
  const own = { xml: mappings(REGION, 3), nr: 3 };
  const { dataSpaceMap, metadataSpaceMap } = roundTripImage(pool(defs + device(0, [own])));
  expect(dataSpaceMap.nrAllocated).toBe(3);
  expect(metadataSpaceMap.nrAllocated).toBe(roundTripImage(pool(device(0, [own]))).metadataSpaceMap.nrAllocated);
});

function roundTripImage(xml: string): ReturnType<typeof readPoolImage> {
  return readPoolImage(roundTrip(xml).bytes);
}

it('counts a data block that hundreds of leaves refer to', () => {
  const items = Array.from({ length: 300 }, (_, i) => device(i, [{ xml: mappings(0, 1, 7), nr: 1 }]));
  const { dataSpaceMap } = expectSound(restored(pool(items.join(''))));
  expect(dataSpaceMap.counts.get(7)).toBe(300);
});
