import { BLOCK_SIZE, type CorruptBlockError, MemoryMetadataDevice } from '@pdata/device';
import { Block, nodeValidator } from '@pdata/persistent-data';
import type { Progress } from '@pdata/persistent-data/maintenance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FIXTURES,
  fixtureBytes,
  fixtureImage,
  type GoldenDump,
  goldenDumps,
  goldenText,
} from '../../../test/fixture-images.js';
import { mappingsOf, newPool, patchSuperblock, thrownBy, write } from '../../../test/pool.js';
import { readPoolImage } from '../../../test/pool-image.js';
import { dumped, dumpText, mappingsIn } from '../../../test/texts.js';
import { dumpThin } from './dump.js';
import type { DumpOptions } from './dump-options.js';
import { ThinDamageError } from './thin-damage.js';

/** The library's options for a command line of thin_dump. */
function optionsOf({ options }: GoldenDump): DumpOptions {
  const devices: number[] = [];
  let parsed: DumpOptions = {};
  for (let i = 0; i < options.length; i++) {
    const value = options[i + 1] ?? '';
    if (options[i] === '--metadata-snap') parsed = { ...parsed, metadataSnapshot: true };
    else if (options[i] === '--skip-mappings') parsed = { ...parsed, skipMappings: true };
    else if (options[i] === '--repair') parsed = { ...parsed, repair: true };
    else if (options[i] === '--format') parsed = { ...parsed, format: value as 'human_readable' };
    else if (options[i] === '--dev-id') devices.push(Number(value));
    else if (options[i] === '--transaction-id') parsed = { ...parsed, transactionId: BigInt(value) };
    else if (options[i] === '--data-block-size') parsed = { ...parsed, dataBlockSize: Number(value) };
    else if (options[i] === '--nr-data-blocks') parsed = { ...parsed, nrDataBlocks: Number(value) };
    else throw new Error(`an option the test does not know: ${options[i]}`);
    if (!['--metadata-snap', '--skip-mappings', '--repair'].includes(options[i] as string)) i++;
  }
  return devices.length > 0 ? { ...parsed, devices } : parsed;
}

describe.each(FIXTURES)('%s', (fixture) => {
  const runs = goldenDumps().filter((run) => run.fixture === fixture);

  it('has dumps by the real tool to compare with', () => {
    expect(runs.length).toBeGreaterThanOrEqual(15);
  });

  it.each(runs.map((run) => [run.options.join(' ') || 'no options', run] as const))(
    'prints what thin_dump 1.1.0 prints with %s',
    (_, run) => {
      const text = dumpText(fixtureImage(fixture), optionsOf(run));
      // Not toBe: the difference of two texts of 8 MB takes minutes to print.
      expect(text === goldenText(run)).toBe(true);
    },
  );
});

describe('options out of their range', () => {
  it.each<[unknown, RegExp]>([
    [
      { dataBlockSize: 17 },
      /^the data block size is 17 sectors, expected a multiple of 128 sectors from 128 to 2097152$/,
    ],
    [{ dataBlockSize: -1 }, /^the data block size is -1 sectors/],
    [{ dataBlockSize: Number.NaN }, /^the data block size is NaN sectors/],
    [{ transactionId: -1n }, /^the transaction id is -1, expected a whole number up to 18446744073709551615$/],
    [{ transactionId: 2n ** 64n }, /^the transaction id is 18446744073709551616/],
    [{ nrDataBlocks: Number.NaN }, /^the number of data blocks is NaN, expected a whole number up to 1099511627776$/],
    [{ nrDataBlocks: -1 }, /^the number of data blocks is -1/],
    [{ nrDataBlocks: 1.5 }, /^the number of data blocks is 1.5/],
    [{ nrDataBlocks: 2n ** 40n + 1n }, /^the number of data blocks is 1099511627777/],
    [{ format: 'yaml' }, /^the format of a dump is xml, human_readable, json, not 'yaml'$/],
    [{ repair: true, metadataSnapshot: true }, /^a dump of the metadata snapshot cannot repair/],
  ])('%o are refused before the first step', (options, message) => {
    const error = thrownBy(() => dumpThin(newPool().device, options as DumpOptions));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toMatch(message);
  });
});

describe('sharing', () => {
  it('prints once what devices share, and all of it', () => {
    const action = fc.record({
      what: fc.constantFrom('write', 'write', 'write', 'snapshot', 'discard'),
      of: fc.nat(100),
      from: fc.nat(1500),
      length: fc.integer({ min: 1, max: 300 }),
      step: fc.integer({ min: 1, max: 7 }),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 14 }), (actions) => {
        const { device, metadata } = newPool({ nrDataBlocks: 20_000 });
        metadata.createThin(0);
        for (let block = 0; block < 900; block++) write(metadata, 0, block);
        let nrDevices = 1;
        for (const { what, of, from, length, step } of actions) {
          const thinId = of % nrDevices;
          if (what === 'snapshot') metadata.createSnapshot(nrDevices++, thinId);
          else if (what === 'discard') metadata.removeRange(thinId, from, from + length);
          else for (let block = from; block < from + length; block += step) write(metadata, thinId, block);
        }
        metadata.commit();
        const { text, summary } = dumped(device);
        const found = mappingsIn(text);
        expect(Object.keys(found).length).toBe(nrDevices);
        const image = readPoolImage(device.bytes);
        for (const [attributes, mappings] of Object.entries(found)) {
          const thinId = Number(/dev_id="(\d+)"/.exec(attributes)?.[1]);
          const expected = [...image.devices.get(thinId)!.mappings];
          expect(mappings).toEqual(expected.map(([block, { dataBlock, time }]) => `${block} ${dataBlock} ${time}`));
          expect(mappings.length).toBe(mappingsOf(metadata, thinId).size);
        }
        expect(text.match(/<def /g)?.length ?? 0).toBe(summary.nrSharedParts);
        metadata.close();
      }),
      { seed: 20, numRuns: 25 },
    );
  });

  it('prints an empty tree that two devices share as an empty part', () => {
    const { device, metadata } = newPool();
    metadata.createThin(3);
    metadata.createSnapshot(4, 3);
    metadata.commit();
    const { text } = dumped(device);
    const [, name] = /<def name="(\d+)">\n {2}<\/def>/.exec(text) ?? [];
    expect(name).toBeDefined();
    expect(text.split(`<ref name="${name}"/>`).length).toBe(3);
  });
});

describe('damage', () => {
  /** thin-large's device 0 has its own leaves beside shared ones; block numbers come from the image. */
  const isLeafOf = (bytes: Uint8Array, nr: number, valueSize: number): boolean => {
    const view = new DataView(bytes.buffer, bytes.byteOffset + nr * BLOCK_SIZE, BLOCK_SIZE);
    return view.getUint32(4, true) === 2 && view.getUint32(24, true) === valueSize;
  };

  const damagedLeaf = (): { bytes: Uint8Array; leafNr: number } => {
    const bytes = fixtureBytes('thin-large');
    const { roles } = readPoolImage(bytes);
    const leafNr = [...roles].find(([nr, role]) => role === 'node' && isLeafOf(bytes, nr, 8))?.[0] as number;
    bytes[leafNr * BLOCK_SIZE + 100]! ^= 1;
    return { bytes, leafNr };
  };

  it('ends a plain dump by an error that names block, device and effect, before the closing tag', () => {
    const { bytes, leafNr } = damagedLeaf();
    let text = '';
    const error = thrownBy(() => {
      for (const chunk of dumpThin(new MemoryMetadataDevice({ bytes, readOnly: true }))) {
        text += Buffer.from(chunk).toString('latin1');
      }
    });
    expect(error).toBeInstanceOf(ThinDamageError);
    expect((error as ThinDamageError).detail).toMatchObject({ blockNr: leafNr, field: 'checksum' });
    expect(error.message).toMatch(/virtual blocks .* cannot be read, and the dump is incomplete; run thin_check/);
    expect(text).not.toContain('</superblock>');
  });

  it('does not mind damage outside the devices asked for', () => {
    const { bytes } = damagedLeaf();
    const device = new MemoryMetadataDevice({ bytes, readOnly: true });
    const intact = fixtureImage('thin-large');
    const ids = [...readPoolImage(intact.bytes).devices.keys()];
    const unharmed = ids.filter((id) => {
      try {
        return dumpText(device, { devices: [id] }) === dumpText(intact, { devices: [id] });
      } catch {
        return false;
      }
    });
    expect(unharmed.length).toBeGreaterThan(0);
    expect(unharmed.length).toBeLessThan(ids.length);
    expect(dumpText(device, { skipMappings: true })).toBe(dumpText(intact, { skipMappings: true }));
  });

  it('tells a damaged superblock from a damaged metadata snapshot', () => {
    const bytes = fixtureBytes('thin-metasnap');
    const held = readPoolImage(bytes).heldRoot;
    bytes[held * BLOCK_SIZE + 400]! ^= 1;
    const device = new MemoryMetadataDevice({ bytes, readOnly: true });
    expect(dumpText(device)).toBe(dumpText(fixtureImage('thin-metasnap')));
    const error = thrownBy(() => dumpText(device, { metadataSnapshot: true })) as CorruptBlockError;
    expect(error.detail).toMatchObject({ structure: 'thin superblock', blockNr: held, field: 'checksum' });
  });

  it('refuses a device that only one of the two trees knows', () => {
    const bytes = fixtureBytes('thin-basic');
    const detailsRoot = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(328, true));
    const leaf = bytes.subarray(detailsRoot * BLOCK_SIZE, (detailsRoot + 1) * BLOCK_SIZE);
    const view = new DataView(leaf.buffer, leaf.byteOffset, BLOCK_SIZE);
    view.setUint32(16, view.getUint32(16, true) - 1, true);
    nodeValidator.prepare(new Block(leaf, detailsRoot));
    const error = thrownBy(() => dumpText(new MemoryMetadataDevice({ bytes, readOnly: true })));
    expect(error).toBeInstanceOf(ThinDamageError);
    expect(error.message).toMatch(/the record of thin device \d+ is lost/);
  });

  it('does not walk in circles', () => {
    const bytes = fixtureBytes('thin-large');
    const { roles } = readPoolImage(bytes);
    const rootNr = [...roles].find(([nr, role]) => role === 'device root' && !isLeafOf(bytes, nr, 8))?.[0] as number;
    const root = bytes.subarray(rootNr * BLOCK_SIZE, (rootNr + 1) * BLOCK_SIZE);
    const view = new DataView(root.buffer, root.byteOffset, BLOCK_SIZE);
    for (let i = 0; i < view.getUint32(16, true); i++) view.setBigUint64(2048 + 8 * i, BigInt(rootNr), true);
    nodeValidator.prepare(new Block(root, rootNr));
    const error = thrownBy(() => dumpText(new MemoryMetadataDevice({ bytes, readOnly: true })));
    expect(error).toBeInstanceOf(ThinDamageError);
    expect(error.message).toMatch(/depth is more than 24, expected a tree without cycles/);
  });

  it('does not follow the same children over and over', () => {
    // Six layers of nodes, each of which has one and the same child 252 times: 252^6 paths.
    const { device, metadata } = newPool();
    metadata.createThin(0);
    metadata.commit();
    metadata.close();
    const { bytes } = device;
    const [rootNr] = [...readPoolImage(bytes).roles].find(([, role]) => role === 'device root') as [number, string];
    const layers = [rootNr, 900, 901, 902, 903, 904];
    layers.forEach((nr, depth) => {
      const node = new Block(bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE), nr);
      node.bytes.fill(0);
      [1, 0, 0, 252, 252, 8].forEach((field, i) => {
        if (i !== 1 && i !== 2) node.view.setUint32([4, 8, 12, 16, 20, 24][i] as number, field, true);
      });
      for (let i = 0; i < 252; i++) {
        node.view.setBigUint64(32 + 8 * i, BigInt(i), true);
        node.view.setBigUint64(2048 + 8 * i, BigInt(layers[depth + 1] ?? 905), true);
      }
      nodeValidator.prepare(node);
    });
    const started = performance.now();
    const readOnly = new MemoryMetadataDevice({ bytes, readOnly: true });
    expect(thrownBy(() => dumpText(readOnly))).toBeInstanceOf(ThinDamageError);
    expect(dumped(readOnly, { repair: true }).summary.lost.length).toBeLessThan(2000);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('refuses roots and children that leave the device', () => {
    const bytes = fixtureBytes('thin-basic');
    patchSuperblock(bytes, (view) => view.setBigUint64(320, 2n ** 60n, true));
    const error = thrownBy(() => dumpText(new MemoryMetadataDevice({ bytes, readOnly: true })));
    expect(error).toBeInstanceOf(ThinDamageError);
    expect(error.message).toContain('tree root');
  });

  it('ends in a typed error or in text, whatever bits are flipped', () => {
    // Headers, first keys and first values more often than the rest, much of which is stale.
    const place = fc.oneof(
      fc.nat(31),
      fc.integer({ min: 32, max: 80 }),
      fc.integer({ min: 2048, max: 2096 }),
      fc.nat(4095),
    );
    const random = fc.tuple(place, fc.nat(7));
    const intact = fixtureBytes('thin-metasnap');
    const used = [...readPoolImage(intact).roles.keys()];
    fc.assert(
      fc.property(
        fc.nat(used.length - 1),
        fc.array(random, { minLength: 1, maxLength: 3 }),
        fc.boolean(),
        (at, flips, sealed) => {
          const bytes = intact.slice();
          const nr = used[at] as number;
          const block = bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
          for (const [byte, bit] of flips) block[byte]! ^= 1 << bit;
          // With a good checksum again, so that the flipped fields themselves are looked at.
          if (sealed && nr !== 0) nodeValidator.prepare(new Block(block, nr));
          const device = new MemoryMetadataDevice({ bytes, readOnly: true });
          const runs: DumpOptions[] = [
            {},
            { repair: true },
            { repair: true, dataBlockSize: 128 },
            { metadataSnapshot: true },
          ];
          for (const options of runs) {
            try {
              const text = dumpText(device, options);
              expect(text.endsWith('</superblock>')).toBe(true);
            } catch (error) {
              // With the superblock intact there is always something to be repaired from.
              if (options.repair && nr !== 0) throw error;
              expect((error as CorruptBlockError).code).toMatch(
                /^ERR_(CORRUPT_BLOCK|NO_METADATA_SNAPSHOT|DATA_BLOCK_SIZE_NEEDED)$/,
              );
            }
          }
        },
      ),
      { seed: 5, numRuns: 600 },
    );
  });
});

describe('as a generator', () => {
  it('uses its memory again, and tells progress now and then', () => {
    const reports: Progress[] = [];
    const work = dumpThin(fixtureImage('thin-large'), { onProgress: (progress) => void reports.push(progress) });
    const buffers = new Set<ArrayBufferLike>();
    for (const chunk of work) buffers.add(chunk.buffer);
    expect(buffers.size).toBe(1);
    expect(reports.length).toBeGreaterThan(10);
    expect(reports.length).toBeLessThan(500);
  });

  it('stops when told to', () => {
    const controller = new AbortController();
    const work = dumpThin(fixtureImage('thin-large'), { signal: controller.signal });
    expect(work.next().done).toBe(false);
    controller.abort(new Error('enough'));
    expect(() => work.next()).toThrow('enough');
  });

  it('refuses to repair a metadata snapshot, and to dump one that is not there', () => {
    expect(
      thrownBy(() => dumpText(fixtureImage('thin-metasnap'), { repair: true, metadataSnapshot: true })),
    ).toBeInstanceOf(RangeError);
    expect(thrownBy(() => dumpText(fixtureImage('thin-basic'), { metadataSnapshot: true }))).toMatchObject({
      code: 'ERR_NO_METADATA_SNAPSHOT',
    });
  });
});
