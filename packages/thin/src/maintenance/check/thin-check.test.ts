import { BLOCK_SIZE, type MetadataDevice } from '@pdata/device';
import type { Progress } from '@pdata/persistent-data/maintenance';
import { FaultyMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checked, runCheck, verdictOf } from '../../../test/check-runs.js';
import { ImageEditor } from '../../../test/image-editor.js';
import { ThinMetadata } from '../../metadata/thin-metadata.js';
import { NoMetadataSnapshotError } from '../no-metadata-snapshot-error.js';
import { checkThin } from './thin-check.js';

describe('pools that a kernel wrote', () => {
  it.each([
    { name: 'thin-basic', transactionId: 5n, metadataFreeBlocks: 1010, nrDevices: 5, nrMappings: 473 },
    { name: 'thin-metasnap', transactionId: 5n, metadataFreeBlocks: 1005, nrDevices: 6, nrMappings: 480 },
  ] as const)('finds nothing wrong with $name, and counts what it holds', ({ name, ...expected }) => {
    const { findings, summary } = checked(ImageEditor.of(name));
    expect(findings).toEqual([]);
    expect(summary).toEqual({
      clean: true,
      fatal: 0,
      shape: 0,
      leaks: { data: 0, metadata: 0 },
      findingsLeftOut: 0,
      notices: [],
      needsCheck: false,
      countsVerified: true,
      ...expected,
    });
  });

  it('says that a wiped device was never formatted', () => {
    const { findings, summary } = checked(ImageEditor.of('thin-powercut'));
    expect(summary).toMatchObject({ clean: false, fatal: 1 });
    expect(summary.transactionId).toBeUndefined();
    expect(findings[0]?.message).toContain('block 0 is all zero');
  });

  it('reports needs_check without taking it for damage', () => {
    const image = ImageEditor.of('thin-basic').superblock32(4, 1);
    expect(checked(image).summary).toMatchObject({ clean: true, needsCheck: true });
  });
});

describe('parts of a check', () => {
  it('looks at the superblock only, when asked to', () => {
    const image = ImageEditor.of('thin-basic');
    image.put32(image.detailsRoot, 100, 1);
    expect(checked(image, { superblockOnly: true }).summary).toMatchObject({ clean: true, countsVerified: false });
    expect(checked(image).summary.clean).toBe(false);
  });

  it('leaves mappings and space maps alone with skipMappings, but compares the devices of both trees', () => {
    const image = ImageEditor.of('thin-basic');
    for (const root of image.node(image.mappingRoot).values) image.put32(root, 100, 1);
    image.put32(image.bitmapOf('data', 0), 100, 1);
    expect(checked(image, { skipMappings: true }).summary).toMatchObject({ clean: true, nrDevices: 5 });
    image.put32(image.detailsRoot, 16, 4).seal(image.detailsRoot, 'node');
    const { findings } = checked(image, { skipMappings: true });
    expect(findings.map(({ thinId, message }) => [thinId, message])).toEqual([
      [7, 'thin device 7 has mappings, but no entry in the device details tree'],
    ]);
  });

  it('checks the metadata snapshot alone, however the pool has gone on since', () => {
    const image = ImageEditor.of('thin-metasnap');
    const held = image.heldRoot;
    const live = image.leaves(image.mappingRoot).flatMap((leaf) => image.node(leaf).values);
    const kept = new Set(image.node(image.u64(held, 320)).values);
    for (const root of live) if (!kept.has(root)) image.put32(root, 100, 1);
    expect(checked(image).summary.clean).toBe(false);
    expect(checked(image, { metadataSnapshot: true }).summary).toMatchObject({ clean: true, nrDevices: 5 });
    for (const root of kept) image.put32(root, 100, 1);
    expect(checked(image, { metadataSnapshot: true }).summary.clean).toBe(false);
  });

  it('has nothing to check when no metadata snapshot is held', () => {
    expect(() => checked(ImageEditor.of('thin-basic'), { metadataSnapshot: true })).toThrow(NoMetadataSnapshotError);
  });

  it('takes other roots than those of the superblock', () => {
    const image = ImageEditor.of('thin-basic');
    const { mappingRoot, detailsRoot } = image;
    image.superblock64(320, 5).superblock64(328, 6);
    expect(checked(image).summary.clean).toBe(false);
    expect(checked(image, { mappingRoot, detailsRoot }).summary.clean).toBe(true);
    expect(verdictOf(checked(image, { mappingRoot: 99_999, detailsRoot }))).toBe('fatal');
  });
});

describe('a pool of many leaves', () => {
  it('is read once, in long runs, and never written', () => {
    const device = new RecordingMetadataDevice(poolOf({ nrMappings: 60_000 }));
    const read = new Map<number, number>();
    let nrReads = 0;
    const counting = new Proxy<MetadataDevice>(device, {
      get(target, property) {
        if (property !== 'read') return Reflect.get(target, property, target);
        return (firstBlockNr: number, into: Uint8Array) => {
          nrReads++;
          const nr = into.length / BLOCK_SIZE;
          for (let i = 0; i < nr; i++) read.set(firstBlockNr + i, (read.get(firstBlockNr + i) ?? 0) + 1);
          target.read(firstBlockNr, into);
        };
      },
    });
    const { summary } = runCheck(counting);
    expect(summary).toMatchObject({ clean: true, nrMappings: 60_000, notices: [] });
    expect(device.operations.filter(({ op }) => op !== 'flush')).toEqual([]);
    // Some 300 leaves; what lies between two wanted blocks may pass twice.
    expect(nrReads).toBeLessThan(30);
    const nrTwice = [...read.values()].filter((times) => times > 1).length;
    expect(nrTwice).toBeLessThan(read.size / 10);
  });

  it('goes on behind a block that the device cannot read', () => {
    const device = poolOf({ nrMappings: 60_000 });
    const image = new ImageEditor(device.bytes);
    const root = image.node(image.mappingRoot).values[0] as number;
    const leaf = image.leaves(root)[7] as number;
    const { findings, summary } = runCheck(new FaultyMetadataDevice(device, { operation: 'read', blockNr: leaf }));
    expect(findings.map(({ blockNr }) => blockNr)).toEqual([leaf, undefined]);
    expect(findings[0]?.message).toContain(`block ${leaf}`);
    expect(summary).toMatchObject({ fatal: 2, countsVerified: false });
    expect(findings[1]?.message).toMatch(
      /^the mappings of thin device 0 are damaged in 1 place: 59\d\d\d of 60000 can/,
    );
  });

  it('tells how far it is, and stops when it is aborted', () => {
    const device = poolOf({ nrMappings: 60_000 });
    const told: Progress[] = [];
    runCheck(device, { onProgress: (progress) => told.push(progress) });
    expect([...new Set(told.map(({ stage }) => stage))]).toEqual([
      'superblock',
      'device details tree',
      'mapping tree',
      'data space map',
      'metadata space map',
    ]);
    expect(told.length).toBeLessThan(500);
    for (const { done, total } of told) expect(total === 0 || done <= total).toBe(true);

    const controller = new AbortController();
    const aborting = () =>
      runCheck(device, {
        signal: controller.signal,
        onProgress: ({ stage }) => {
          if (stage === 'mapping tree') controller.abort(new Error('enough'));
        },
      });
    expect(aborting).toThrow('enough');
  });

  it('counts all findings, and tells as many as asked for', () => {
    const device = poolOf({ nrMappings: 60_000 });
    const image = new ImageEditor(device.bytes);
    for (let dataBlock = 0; dataBlock < 16_000; dataBlock++) {
      const bitmap = image.bitmapOf('data', 0);
      const at = bitmap * BLOCK_SIZE + 16 + (dataBlock >> 2);
      image.bytes[at] = (image.bytes[at] as number) & ~(3 << (2 * (dataBlock & 3)));
    }
    image.seal(image.bitmapOf('data', 0), 'bitmap');
    const { findings, summary } = runCheck(device, { maxFindings: 10 });
    expect(findings).toHaveLength(10);
    expect(summary).toMatchObject({ fatal: 16_000, findingsLeftOut: 15_990 });
    expect(runCheck(device).findings).toHaveLength(1000);
  });

  it('yields findings while it works', () => {
    const device = poolOf({ nrMappings: 60_000 });
    const image = new ImageEditor(device.bytes);
    image.put32(image.detailsRoot, 200, 1);
    const stages: string[] = [];
    const work = checkThin(device, { onProgress: ({ stage }) => stages.push(stage) });
    expect(work.next()).toMatchObject({ done: false, value: { structure: 'device details tree' } });
    expect(stages).not.toContain('mapping tree');
    work.return({} as never);
  });
});

describe('pools of our own making', () => {
  it('are clean to the last hint after any operations', () => {
    const step = fc.record({
      what: fc.constantFrom('create', 'snapshot', 'write', 'write', 'write', 'discard', 'delete', 'hold', 'commit'),
      thin: fc.nat(7),
      other: fc.nat(7),
      from: fc.nat(3000),
      length: fc.integer({ min: 1, max: 400 }),
      stride: fc.integer({ min: 1, max: 9 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
        const image = new ImageEditor(new Uint8Array(1024 * BLOCK_SIZE));
        const pool = ThinMetadata.format(image.device(), { dataBlockSize: 128, nrDataBlocks: 50_000 });
        const has = (thinId: number): boolean => pool.details(thinId) !== undefined;
        for (const { what, thin, other, from, length, stride } of steps) {
          if (what === 'commit') pool.commit();
          else if (what === 'hold') {
            if (pool.heldRoot === undefined) pool.reserveMetadataSnapshot();
            else pool.releaseMetadataSnapshot();
          } else if (!has(thin)) {
            if (what === 'snapshot' && has(other)) pool.createSnapshot(thin, other);
            else pool.createThin(thin);
          } else if (what === 'delete') pool.deleteDevice(thin);
          else if (what === 'discard') pool.removeRange(thin, from, from + length);
          else if (what === 'write') {
            for (let i = 0; i < length; i++) pool.insert(thin, from + i * stride, pool.allocateDataBlock());
          }
        }
        pool.commit();
        const nrDevices = [...pool.devices()].length;
        const nrMappings = [...pool.devices()].reduce((nr, { details }) => nr + details.mappedBlocks, 0);
        pool.close();
        const { findings, summary } = checked(image);
        expect(findings).toEqual([]);
        expect(summary).toMatchObject({ clean: true, notices: [], countsVerified: true, nrDevices, nrMappings });
      }),
      { seed: 3, numRuns: 40 },
    );
  });

  it('may have more large counts than a leaf holds', () => {
    const device = poolOf({ nrMappings: 3000, nrDataBlocks: 60_000 });
    const pool = ThinMetadata.open(device);
    for (let n = 1; n <= 4; n++) {
      pool.createSnapshot(n, 0);
      // One write in every leaf parts it from the others: its data blocks get one more reference each.
      for (let i = 0; i < 3000; i += 50) pool.insert(n, i, pool.allocateDataBlock());
    }
    pool.commit();
    pool.close();
    const image = new ImageEditor(device.bytes);
    const { refCountRoot } = image.spaceMap('data');
    expect(image.leaves(refCountRoot).length).toBeGreaterThan(5);
    expect(checked(image).summary).toMatchObject({ clean: true, notices: [], nrMappings: 15_000 });

    const leaf = image.leaves(refCountRoot)[3] as number;
    const { keys, values } = image.node(leaf);
    image.put32(leaf, image.valueAt(leaf, 5), (values[5] as number) + 1).seal(leaf, 'node');
    expect(checked(image).findings.map(({ message }) => message)).toEqual([
      `bad reference count for data block ${keys[5]}: expected ${values[5]}, but the space map says ${(values[5] as number) + 1}`,
    ]);
  });
});

/** One device whose virtual blocks are mapped in a scattered order, in memory. */
function poolOf({ nrMappings, nrDataBlocks = nrMappings }: { nrMappings: number; nrDataBlocks?: number }) {
  const image = new ImageEditor(new Uint8Array(4096 * BLOCK_SIZE));
  const device = image.device();
  const pool = ThinMetadata.format(device, { dataBlockSize: 128, nrDataBlocks });
  pool.createThin(0);
  // 7919 is a prime that divides none of the sizes used: every block once, none beside the one before.
  for (let i = 0; i < nrMappings; i++) pool.insert(0, (i * 7919) % nrMappings, pool.allocateDataBlock());
  pool.commit();
  pool.close();
  return device;
}
