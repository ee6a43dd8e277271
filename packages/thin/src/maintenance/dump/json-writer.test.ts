import { MemoryMetadataDevice } from '@pdata/device';
import { Block, floorIndex, isLeaf, keyAt, nodeValidator, valueSize } from '@pdata/persistent-data';
import { describe, expect, it } from 'vitest';
import { type DumpOptions, dumpThin, restoreThin } from '../../index.js';

const XML = `<superblock uuid="" time="3" transaction="18446744073709551615" version="2" data_block_size="128" nr_data_blocks="4096">
  <def name="shared">
    <range_mapping origin_begin="1000" data_begin="10" length="200" time="1"/>
  </def>
  <device dev_id="1" mapped_blocks="200" transaction="4" creation_time="0" snap_time="1">
    <ref name="shared"/>
  </device>
  <device dev_id="2" mapped_blocks="200" transaction="5" creation_time="1" snap_time="1">
    <ref name="shared"/>
  </device>
  <device dev_id="3" mapped_blocks="2" transaction="5" creation_time="2" snap_time="2">
    <single_mapping origin_block="5" data_block="6" time="0"/>
    <single_mapping origin_block="6" data_block="7" time="1"/>
  </device>
  <device dev_id="4" mapped_blocks="0" transaction="5" creation_time="2" snap_time="2">
  </device>
</superblock>`;

function restored(xml: string): MemoryMetadataDevice {
  const device = new MemoryMetadataDevice({ nrBlocks: 64 });
  for (const _ of restoreThin([new TextEncoder().encode(xml)], device)) {
    // Progress; the work is what counts.
  }
  return device;
}

function jsonOf(device: MemoryMetadataDevice, options: DumpOptions = {}): { text: string; error: unknown } {
  const decoder = new TextDecoder();
  let text = '';
  try {
    for (const chunk of dumpThin(device, { ...options, format: 'json' }))
      text += decoder.decode(chunk, { stream: true });
    return { text, error: undefined };
  } catch (error) {
    return { text, error };
  }
}

describe('a dump as JSON', () => {
  it('has what the XML has, in its order', () => {
    const dump = JSON.parse(jsonOf(restored(XML)).text);
    const name = dump.defs[0].name;
    expect(dump).toEqual({
      superblock: {
        time: 3,
        transaction: '18446744073709551615',
        needsCheck: false,
        version: 2,
        dataBlockSize: 128,
        nrDataBlocks: 4096,
      },
      defs: [{ name: expect.any(Number), mappings: [[1000, 10, 200, 1]] }],
      devices: [
        { devId: 1, mappedBlocks: 200, transaction: 4, creationTime: 0, snapTime: 1, mappings: [{ ref: name }] },
        { devId: 2, mappedBlocks: 200, transaction: 5, creationTime: 1, snapTime: 1, mappings: [{ ref: name }] },
        {
          devId: 3,
          mappedBlocks: 2,
          transaction: 5,
          creationTime: 2,
          snapTime: 2,
          mappings: [
            [5, 6, 1, 0],
            [6, 7, 1, 1],
          ],
        },
        { devId: 4, mappedBlocks: 0, transaction: 5, creationTime: 2, snapTime: 2, mappings: [] },
      ],
    });
  });

  it('is an empty list where there is nothing', () => {
    const device = restored(XML.replace(/<def.*<\/device>\n/s, ''));
    expect(JSON.parse(jsonOf(device).text)).toMatchObject({ defs: [], devices: [] });
    const skipped = JSON.parse(jsonOf(restored(XML), { skipMappings: true }).text);
    expect(skipped.devices.map((thin: { mappings: unknown }) => thin.mappings)).toEqual([[], [], [], []]);
  });

  it('is valid, and says what came before the damage, when the pool is damaged', () => {
    const singles = Array.from(
      { length: 600 },
      (_, i) => `<single_mapping origin_block="${i}" data_block="${4000 - i}" time="2"/>`,
    );
    const many = `<device dev_id="9" mapped_blocks="600" transaction="5" creation_time="2" snap_time="2">${singles.join('')}</device>`;
    const device = restored(XML.replace('</superblock>', `${many}</superblock>`));
    device.bytes[leafWithKey(device, 599) * 4096 + 100]! ^= 1;

    const { text, error } = jsonOf(device);
    expect(error).toMatchObject({ code: 'ERR_CORRUPT_BLOCK', thinId: 9 });
    const { devices } = JSON.parse(text);
    expect(devices.map((thin: { devId: number }) => thin.devId)).toEqual([1, 2, 3, 4, 9]);
    const before = devices[4].mappings;
    expect(before[0]).toEqual([0, 4000, 1, 2]);
    expect(before.length).toBeGreaterThan(100);
    expect(before.length).toBeLessThan(600);
  });
});

/** The leaf of 8-byte values that holds `key`, found by looking at every block. */
function leafWithKey(device: MemoryMetadataDevice, key: number): number {
  for (let nr = 1; nr < device.nrBlocks; nr++) {
    const block = new Block(device.bytes.subarray(nr * 4096, (nr + 1) * 4096), nr);
    try {
      nodeValidator.check(block);
    } catch {
      continue;
    }
    if (isLeaf(block) && valueSize(block) === 8 && keyAt(block, floorIndex(block, key)) === key) return nr;
  }
  throw new Error(`no leaf holds key ${key}`);
}
