import type { MemoryMetadataDevice, MetadataDevice } from '@pdata/device';
import type { Progress } from '@pdata/persistent-data/maintenance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newPool, patchSuperblock, write, writeRange } from '../../../test/pool.js';
import { dumpText, mappingsIn, restored } from '../../../test/texts.js';
import type { ThinMetadata } from '../../metadata/thin-metadata.js';
import { type ListedThin, type ListOptions, listThin, type ThinMappings } from './list.js';

const list = (device: MetadataDevice, options?: ListOptions): ListedThin[] => [...listThin(device, options)];

/** By thin id, from a dump: data blocks that occur once in all of it are exclusive. */
function countedInDump(device: MetadataDevice, metadataSnapshot: boolean): Record<string, ThinMappings> {
  const uses = new Map<string, number>();
  const devices = Object.entries(mappingsIn(dumpText(device, { metadataSnapshot }))).map(([attributes, mappings]) => ({
    thinId: /dev_id="(\d+)"/.exec(attributes)![1]!,
    pairs: mappings.map((mapping) => mapping.split(' ') as [string, string]),
  }));
  for (const [, dataBlock] of devices.flatMap(({ pairs }) => pairs))
    uses.set(dataBlock, (uses.get(dataBlock) ?? 0) + 1);
  return Object.fromEntries(
    devices.map(({ thinId, pairs }) => {
      const exclusive = pairs.filter(([, dataBlock]) => uses.get(dataBlock) === 1).length;
      const highest = pairs.length === 0 ? undefined : Math.max(...pairs.map(([origin]) => Number(origin)));
      return [thinId, { mapped: pairs.length, exclusive, shared: pairs.length - exclusive, highest }];
    }),
  );
}

const listed = (device: MetadataDevice, metadataSnapshot = false): Record<string, ThinMappings | undefined> =>
  Object.fromEntries(list(device, { metadataSnapshot }).map(({ thinId, mappings }) => [thinId, mappings]));

describe('a list of thin devices', () => {
  it('counts as a dump does, in pools of any sharing, live and in their metadata snapshot', () => {
    const step = fc.record({
      action: fc.constantFrom('thin', 'snapshot', 'write', 'write', 'write', 'remove', 'delete', 'reserve'),
      thin: fc.nat(5),
      other: fc.nat(5),
      at: fc.nat(900),
      length: fc.integer({ min: 1, max: 400 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
        const { device, metadata } = newPool({ nrDataBlocks: 20_000 });
        let isReserved = false;
        for (const { action, thin, other, at, length } of steps) {
          const exists = (thinId: number): boolean => metadata.details(thinId) !== undefined;
          if (action === 'thin' && !exists(thin)) metadata.createThin(thin);
          if (action === 'snapshot' && !exists(thin) && exists(other)) metadata.createSnapshot(thin, other);
          if (action === 'write' && exists(thin)) writeRange(metadata, thin, at, at + length);
          if (action === 'remove' && exists(thin)) metadata.removeRange(thin, at, at + length);
          if (action === 'delete' && exists(thin)) metadata.deleteDevice(thin);
          if (action === 'reserve' && !isReserved) {
            metadata.commit();
            metadata.reserveMetadataSnapshot();
            isReserved = true;
          }
        }
        metadata.commit();
        expect(listed(device)).toEqual(countedInDump(device, false));
        if (isReserved) expect(listed(device, true)).toEqual(countedInDump(device, true));
        metadata.close();
      }),
      { numRuns: 40, seed: 20261120 },
    );
  });

  it('tells the details alone without reading a single mapping', () => {
    const { device, metadata } = pool((pool) => writeRange(pool, 1, 0, 600));
    metadata.close();
    const readBlocks: number[] = [];
    const read = device.read.bind(device);
    device.read = (firstBlockNr, into) => {
      for (let i = 0; i < into.length / 4096; i++) readBlocks.push(firstBlockNr + i);
      read(firstBlockNr, into);
    };
    expect(list(device, { mappings: false })).toEqual([
      { thinId: 1, mappedBlocks: 600n, transactionId: 0n, creationTime: 0, snapshottedTime: 0 },
    ]);
    expect(readBlocks).toHaveLength(3); // superblock, details, upper mapping tree
  });

  it('reads a leaf at most twice, however many devices share it', () => {
    const { device, metadata } = pool((pool) => {
      writeRange(pool, 1, 0, 3000);
      pool.commit();
      for (let thinId = 2; thinId <= 40; thinId++) pool.createSnapshot(thinId, 1);
      write(pool, 40, 7);
    });
    metadata.close();
    let nrBlocksRead = 0;
    const read = device.read.bind(device);
    device.read = (firstBlockNr, into) => {
      nrBlocksRead += into.length / 4096;
      read(firstBlockNr, into);
    };
    expect(listed(device)[40]).toEqual({ mapped: 3000, exclusive: 1, shared: 2999, highest: 2999 });
    expect(nrBlocksRead).toBeLessThan(80); // some 25 leaves
  });

  it('counts a data block that one device maps twice as shared', () => {
    const xml = `<superblock uuid="" time="0" transaction="0" version="2" data_block_size="128" nr_data_blocks="10">
      <device dev_id="1" mapped_blocks="3" transaction="5" creation_time="0" snap_time="0">
        <single_mapping origin_block="1" data_block="4" time="0"/>
        <single_mapping origin_block="2" data_block="4" time="0"/>
        <single_mapping origin_block="9" data_block="5" time="0"/>
      </device></superblock>`;
    expect(listed(restored(xml))).toEqual({ 1: { mapped: 3, exclusive: 1, shared: 2, highest: 9 } });
  });

  it('is empty for a pool without devices', () => {
    const { device, metadata } = pool(() => {}, false);
    metadata.close();
    const work = listThin(device);
    expect(work.next()).toEqual({ done: true, value: { nrDevices: 0, dataBlockSize: 128 } });
  });

  it('tells how far it is, and stops when it is asked to', () => {
    const { device, metadata } = pool((pool) => writeRange(pool, 1, 0, 600));
    metadata.close();
    const told: Progress[] = [];
    list(device, { onProgress: (progress) => told.push(progress) });
    expect(told.at(-1)!.done).toBe(told.at(-1)!.total);
    expect(told[0]!.stage).toBe('data mappings');
    const stop = AbortSignal.abort(new Error('enough'));
    expect(() => list(device, { signal: stop })).toThrow('enough');
  });
});

describe('a list of a damaged pool', () => {
  const damaged = (): MemoryMetadataDevice => {
    const { device, metadata } = pool((pool) => writeRange(pool, 1, 0, 600));
    metadata.close();
    return device;
  };

  it('refuses a data block outside the pool, and names device, block and key', () => {
    const device = damaged();
    patchSuperblock(device.bytes, (view) => view.setBigUint64(64, 300n, true));
    expect(() => list(device)).toThrow(
      expect.objectContaining({
        code: 'ERR_CORRUPT_BLOCK',
        thinId: 1,
        message: expect.stringMatching(
          /data block of key 300 is 300, expected below 300, the pool's number of data blocks/,
        ),
      }),
    );
  });

  it('refuses more data blocks than the metadata can have bitmaps for, before counting in memory', () => {
    const device = damaged();
    patchSuperblock(device.bytes, (view) => view.setBigUint64(64, 2n ** 60n, true));
    expect(() => list(device)).toThrow(
      expect.objectContaining({
        code: 'ERR_CORRUPT_BLOCK',
        effect: 'mappings cannot be told from garbage',
        message: expect.stringMatching(/^thin superblock in block 0: number of data blocks is 1152921504606846976/),
      }),
    );
    expect(list(device, { mappings: false })).toHaveLength(1);
  });
});

function pool(change: (metadata: ThinMetadata) => void, withThin = true) {
  const made = newPool({ nrDataBlocks: 5000 });
  if (withThin) made.metadata.createThin(1);
  change(made.metadata);
  made.metadata.commit();
  return made;
}
