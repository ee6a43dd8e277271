import { BLOCK_SIZE, MemoryMetadataDevice, StoreError } from '@pdata/device';
import { Block, NoSpaceError } from '@pdata/persistent-data';
import type { Progress } from '@pdata/persistent-data/maintenance';
import { crashImages, FaultyMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FIXTURES, fixtureBytes, fixtureImage } from '../../../test/fixture-images.js';
import { expectSound, thrownBy } from '../../../test/pool.js';
import { dumpText, mappingsById, restore, restored, withoutPlaces } from '../../../test/texts.js';
import { readThinSuperblock, thinSuperblockValidator } from '../../format/superblock.js';
import { restoreThin, ThinRestorer } from './restore.js';
import { ThinXmlError } from './thin-xml-error.js';

const encode = (xml: string): Uint8Array => new TextEncoder().encode(xml);
const NR_BLOCKS = 64;

const pool = (inner: string, attributes: Record<string, string | number> = {}): string => {
  const all = {
    uuid: '',
    time: 5,
    transaction: 7,
    version: 2,
    data_block_size: 128,
    nr_data_blocks: 1000,
    ...attributes,
  };
  const text = Object.entries(all)
    .map(([name, value]) => `${name}="${value}"`)
    .join(' ');
  return `<superblock ${text}>\n${inner}\n</superblock>`;
};
const device = (thinId: number, nrMappings: number, inner: string): string =>
  `<device dev_id="${thinId}" mapped_blocks="${nrMappings}" transaction="1" creation_time="2" snap_time="3">\n${inner}\n</device>\n`;
const single = (origin: number, data: number, time = 1): string =>
  `<single_mapping origin_block="${origin}" data_block="${data}" time="${time}"/>\n`;
const range = (origin: number, data: number, length: number, time = 1): string =>
  `<range_mapping origin_begin="${origin}" data_begin="${data}" length="${length}" time="${time}"/>\n`;

/** Whether anybody would take what is on the device for a pool. */
function hasSuperblock({ bytes }: { readonly bytes: Uint8Array }): boolean {
  try {
    thinSuperblockValidator.check(new Block(bytes.slice(0, BLOCK_SIZE), 0));
    return true;
  } catch {
    return false;
  }
}

describe.each(FIXTURES)('%s', (fixture) => {
  it('is the same after dump, restore, dump', () => {
    const text = dumpText(fixtureImage(fixture));
    const target = restored(text);
    expectSound(target);
    const again = dumpText(target);
    expect(withoutPlaces(again) === withoutPlaces(text)).toBe(true);
    // And once more, now to the letter: the names of shared parts are where this restore puts them.
    expect(dumpText(restored(again)) === again).toBe(true);
  });
});

describe('the restored superblock', () => {
  const read = (target: MemoryMetadataDevice) => readThinSuperblock(new Block(target.bytes.slice(0, BLOCK_SIZE), 0));

  it('says what the XML says, and nothing of what it was before', () => {
    const xml = pool(device(9, 2, range(0, 0, 2)), {
      uuid: 'abc',
      flags: 1,
      version: 1,
      metadata_snap: 33,
      transaction: '18446744073709551615',
    });
    expect(read(restored(xml, NR_BLOCKS))).toMatchObject({
      flags: 0,
      uuid: new Uint8Array(16),
      version: 2,
      time: 5,
      transactionId: 18446744073709551615n,
      heldRoot: 0,
      dataBlockSize: 128,
      metadataBlockSize: 8,
      metadataNrBlocks: NR_BLOCKS,
      compatFlags: 0,
      compatRoFlags: 0,
      incompatFlags: 0,
    });
  });

  it('takes the larger transaction id and number of data blocks, and the data block size it is told', () => {
    const xml = pool(device(0, 1, single(0, 1)));
    const target = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
    restore(xml, target, { transactionId: 8n, nrDataBlocks: 20_000, dataBlockSize: 256 });
    expect(read(target)).toMatchObject({ transactionId: 8n, dataSpaceMap: { nrBlocks: 20_000 }, dataBlockSize: 256 });
    restore(xml, target, { transactionId: 6n, nrDataBlocks: 5 });
    expect(read(target)).toMatchObject({ transactionId: 7n, dataSpaceMap: { nrBlocks: 1000 }, dataBlockSize: 128 });
    expectSound(target);
  });

  it('makes room for what a dump of a metadata snapshot does not count', () => {
    const text = dumpText(fixtureImage('thin-metasnap'), { metadataSnapshot: true });
    expect(thrownBy(() => restored(text)).message).toMatch(/outside the data device, which has 0 \(nr_data_blocks\)/);
    const target = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
    restore(text, target, { nrDataBlocks: 1024 });
    expectSound(target);
  });
});

it('restores a pool without devices, and one with devices in any order', () => {
  expectSound(restored(pool(''), NR_BLOCKS));
  const { devices } = expectSound(
    restored(pool(device(7, 0, '') + device(3, 1, single(0, 0)) + device(16777215, 0, '')), NR_BLOCKS),
  );
  expect([...devices.keys()]).toEqual([3, 7, 16777215]);
});

it('warns of what the kernel would get wrong, or what was left out', () => {
  const target = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
  const unused = `<def name="x">${single(0, 0)}</def>`;
  const { warnings } = restore(pool(unused + device(0, 1, single(0, 0, 6))), target);
  expect(warnings).toEqual([
    '1 mappings in <def> elements belong to no device and were left out',
    "the pool's time is 5, but there are mappings of time 6: they are never taken as shared, so a snapshot may be overwritten",
  ]);
  const later = restore(pool(device(0, 0, ''), { time: 2 }), target).warnings;
  expect(later).toEqual([
    "the pool's time is 2, but thin device 0 has a later one: what is written to it may be copied without need",
  ]);
});

/** Index of the next byte from `at` on that `isWanted`, or of the last byte. */
function nextOf(bytes: readonly number[], at: number, isWanted: (byte: number) => boolean): number {
  const found = bytes.findIndex((byte, i) => i >= at && isWanted(byte));
  return found < 0 ? bytes.length - 1 : found;
}

it('accepts of mutated XML only what it can give back, and refuses the rest with line and column', () => {
  const parts = `<def name="1">\n${range(50, 200, 300)}</def>\n`;
  const devices = [0, 1, 2].map((thinId) =>
    device(thinId, 307, `${single(3, 10 + thinId)}${range(5, 20 + 10 * thinId, 6)}<ref name="1"/>`),
  );
  const bytes = encode(pool(parts + devices.join('')));
  const characters = fc.constantFrom(...'0123456789"<>/ =\n');
  const mutation = fc.tuple(
    fc.constantFrom('set', 'insert', 'remove', 'swap', 'digit', 'digit', 'space', 'space'),
    fc.nat(bytes.length - 1),
    characters,
  );
  let nrAccepted = 0;
  fc.assert(
    fc.property(fc.array(mutation, { minLength: 1, maxLength: 2 }), (mutations) => {
      const mutated = [...bytes];
      for (const [how, at, character] of mutations) {
        if (how === 'set') mutated[at] = character.charCodeAt(0);
        else if (how === 'insert') mutated.splice(at, 0, character.charCodeAt(0));
        else if (how === 'remove') mutated.splice(at, 1);
        // Where the text stays well-formed: another digit for a digit, more white space.
        else if (how === 'digit')
          mutated[nextOf(mutated, at, (byte) => byte >= 0x30 && byte <= 0x39)] = 0x30 + (at % 10);
        else if (how === 'space')
          mutated.splice(
            nextOf(mutated, at, (byte) => byte <= 0x20),
            0,
            0x20,
          );
        else mutated.splice(at, 2, ...mutated.slice(at, at + 2).reverse());
      }
      const xml = Buffer.from(mutated).toString('latin1');
      const target = new MemoryMetadataDevice({
        bytes: fixtureBytes('thin-basic').subarray(0, NR_BLOCKS * BLOCK_SIZE),
      });
      try {
        const { warnings } = restore(xml, target);
        nrAccepted++;
        expect(mappingsById(dumpText(target))).toEqual(mappingsById(xml));
        if (warnings.length === 0) expectSound(target);
      } catch (error) {
        if (error instanceof NoSpaceError) return; // a digit more in nr_data_blocks
        expect(error).toBeInstanceOf(ThinXmlError);
        expect((error as ThinXmlError).line).toBeGreaterThan(0);
        expect((error as ThinXmlError).column).toBeGreaterThan(0);
        expect(hasSuperblock(target)).toBe(false);
      }
    }),
    { seed: 6, numRuns: 400 },
  );
  // Neither way is left untried.
  expect(nrAccepted).toBeGreaterThan(40);
  expect(nrAccepted).toBeLessThan(360);
});

describe('refuses', () => {
  const def = `<def name="d">\n${range(10, 0, 5)}</def>\n`;
  it.each([
    [
      'mappings that do not ascend',
      pool(device(0, 2, single(5, 0) + single(5, 1))),
      '4:1',
      'virtual block 5 does not come after 5, the one before: they must ascend and not overlap',
    ],
    [
      'ranges that overlap',
      pool(device(0, 4, range(5, 0, 3) + single(7, 9))),
      '4:1',
      'virtual block 7 does not come after 7, the one before: they must ascend and not overlap',
    ],
    [
      'a reference out of order',
      pool(def + device(0, 6, `${single(10, 9)}<ref name="d"/>`)),
      '7:1',
      `<ref> to 'd', which begins at virtual block 10, not after 10, the one before`,
    ],
    [
      'a reference to what comes later',
      pool(device(0, 5, '<ref name="d"/>') + def),
      '3:1',
      `<ref> to 'd', which no <def> before it defines`,
    ],
    [
      'a part that refers to itself',
      pool(`<def name="d">\n<ref name="d"/></def>`),
      '3:1',
      `<ref> to 'd', which no <def> before it defines`,
    ],
    ['a part that occurs twice', pool(def + def), '5:1', `<def> 'd' occurs twice`],
    ['a device that occurs twice', pool(device(3, 0, '') + device(3, 0, '')), '5:1', 'thin device 3 occurs twice'],
    [
      'a data block outside the device',
      pool(device(0, 1, single(0, 1000))),
      '3:1',
      'data block 1000 is outside the data device, which has 1000 (nr_data_blocks)',
    ],
    [
      'a range that leaves the device',
      pool(device(0, 2, range(0, 999, 2))),
      '3:1',
      'data block 1000 is outside the data device, which has 1000 (nr_data_blocks)',
    ],
    [
      'too few mappings',
      pool(device(0, 3, range(0, 0, 2))),
      '5:1',
      'thin device 0 ends with 2 mapped blocks, but its mapped_blocks is 3: is the XML complete?',
    ],
    [
      'too many mappings',
      pool(device(0, 1, range(0, 0, 2))),
      '5:1',
      'thin device 0 ends with 2 mapped blocks, but its mapped_blocks is 1: is the XML complete?',
    ],
    [
      'a device dumped without its mappings',
      dumpText(fixtureImage('thin-basic'), { skipMappings: true }),
      '3:3',
      'thin device 0 ends with 0 mapped blocks, but its mapped_blocks is 126: is the XML complete?',
    ],
    [
      'a data block size that is too small',
      pool('', { data_block_size: 64 }),
      '1:1',
      'the data block size is 64 sectors, expected a multiple of 128 sectors from 128 to 2097152',
    ],
    [
      'a data block size that is no multiple',
      pool('', { data_block_size: 200 }),
      '1:1',
      'the data block size is 200 sectors, expected a multiple of 128 sectors from 128 to 2097152',
    ],
    [
      'a data block size that is too large',
      pool('', { data_block_size: 2097280 }),
      '1:1',
      'the data block size is 2097280 sectors, expected a multiple of 128 sectors from 128 to 2097152',
    ],
    ['a pool time above 24 bits', pool('', { time: 16777216 }), '1:27', 'time is 16777216, expected at most 16777215'],
    [
      'more data blocks than 40 bits number',
      pool('', { nr_data_blocks: 2 ** 40 + 1 }),
      '1:96',
      'nr_data_blocks is 1099511627777, expected at most 1099511627776',
    ],
    [
      'malformed XML',
      `${pool(device(0, 1, single(0, 0))).slice(0, -5)}`,
      '7:1',
      'the text ends inside this tag: is it complete?',
    ],
  ])('%s, and leaves no valid superblock', (_, xml, at, problem) => {
    const [line, column] = at.split(':').map(Number);
    const target = new MemoryMetadataDevice({ bytes: fixtureBytes('thin-basic') });
    expect(hasSuperblock(target)).toBe(true);
    const error = thrownBy(() => restore(xml, target)) as ThinXmlError;
    expect(error).toBeInstanceOf(ThinXmlError);
    expect({ line: error.line, column: error.column, problem: error.problem }).toEqual({ line, column, problem });
    expect(hasSuperblock(target)).toBe(false);
  });

  it('options out of their range, and a target that is read-only, without touching it', () => {
    const bytes = fixtureBytes('thin-basic');
    const [target, readOnly] = [
      new MemoryMetadataDevice({ bytes }),
      new MemoryMetadataDevice({ bytes, readOnly: true }),
    ];
    for (const options of [
      { dataBlockSize: 100 },
      { nrDataBlocks: -1 },
      { nrDataBlocks: 2 ** 41 },
      { transactionId: 2n ** 64n },
    ]) {
      expect(thrownBy(() => restore(pool(''), target, options))).toBeInstanceOf(RangeError);
    }
    expect(thrownBy(() => restore(pool(''), readOnly))).toMatchObject({ code: 'ERR_READ_ONLY' });
    expect(hasSuperblock(target)).toBe(true);
  });

  it('metadata that does not fit, in one sentence, and at once when that can be known', () => {
    const text = dumpText(fixtureImage('thin-large'));
    const target = new MemoryMetadataDevice({ nrBlocks: 1000 });
    const error = thrownBy(() => restore(text, target));
    expect(error).toBeInstanceOf(NoSpaceError);
    expect(error.message).toMatch(
      /^memory is too small for this metadata: its 1000 blocks of 4096 bytes were used up at line \d+ of the XML/,
    );
    expect(hasSuperblock(target)).toBe(false);
    const many = thrownBy(() => restore(pool('', { nr_data_blocks: 2 ** 40 }), target));
    expect(many).toBeInstanceOf(NoSpaceError);
    expect((many.cause as Error).message).toBe('the bitmaps of 1099511627776 data blocks need 67372037 blocks');
  });
});

describe('an interruption', () => {
  const text = dumpText(fixtureImage('thin-basic'));
  const old = fixtureBytes('thin-basic');

  it('by a failing device leaves no valid superblock until the last write', () => {
    const recording = new RecordingMetadataDevice(new MemoryMetadataDevice({ bytes: old.slice() }));
    restore(text, recording);
    const nrWrites = recording.nrOf('write');
    const nrFlushes = recording.nrOf('flush');
    expect(nrWrites).toBeGreaterThanOrEqual(3);
    expect(recording.summary.slice(0, 2)).toEqual(['write block 0', 'flush']);
    expect(recording.summary.slice(-3)).toEqual(['flush', 'write block 0', 'flush']);
    for (const [operation, nr] of [
      ['write', nrWrites],
      ['flush', nrFlushes],
    ] as const) {
      for (let nth = 1; nth <= nr; nth++) {
        const medium = new MemoryMetadataDevice({ bytes: old.slice() });
        const faulty = new FaultyMetadataDevice(medium, { operation, nth });
        expect(thrownBy(() => restore(text, faulty))).toBeInstanceOf(StoreError);
        const hadNotBegun = operation === 'write' && nth === 1;
        const wasOver = operation === 'flush' && nth === nr;
        expect(hasSuperblock(medium)).toBe(hadNotBegun || wasOver);
      }
    }
  });

  it('by a loss of power leaves the old pool, none, or the new one, whole', () => {
    const recording = new RecordingMetadataDevice(new MemoryMetadataDevice({ bytes: old.slice() }));
    restore(text, recording);
    const seen = new Set<string>();
    for (const { bytes, description } of crashImages({ initial: old, operations: recording.operations, seed: 8 })) {
      const image = new MemoryMetadataDevice({ bytes });
      if (!hasSuperblock(image)) seen.add('none');
      else {
        // Old and new say the same; they are told apart by where things are.
        expect(dumpText(image) === text, description).toBe(true);
        seen.add(Buffer.compare(bytes.subarray(0, BLOCK_SIZE), old.subarray(0, BLOCK_SIZE)) === 0 ? 'old' : 'new');
      }
    }
    expect([...seen].sort()).toEqual(['new', 'none', 'old']);
  });

  it('by a signal stops the work, and by nobody calling end leaves it unfinished', () => {
    const controller = new AbortController();
    const target = new MemoryMetadataDevice({ bytes: old.slice() });
    const work = restoreThin([encode(text.slice(0, 100)), encode(text.slice(100))], target, {
      signal: controller.signal,
    });
    expect(work.next().done).toBe(false);
    controller.abort(new Error('enough'));
    expect(() => {
      while (!work.next().done);
    }).toThrow('enough');
    expect(hasSuperblock(target)).toBe(false);
  });
});

describe('ThinRestorer', () => {
  it('takes the XML in any pieces', () => {
    const text = dumpText(fixtureImage('thin-metasnap'));
    const expected = restored(text, NR_BLOCKS);
    for (const size of [1, 13, 4096]) {
      const target = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
      const restorer = new ThinRestorer(target);
      const bytes = encode(text);
      for (let at = 0; at < bytes.length; at += size) restorer.push(bytes.subarray(at, at + size));
      expect(restorer.end()).toMatchObject({ nrDevices: 6, nrMappings: 480 });
      expect(Buffer.compare(target.bytes, expected.bytes)).toBe(0);
    }
  });

  it('is over after its end, and after an error', () => {
    const restorer = new ThinRestorer(new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS }));
    restorer.push(encode(pool('')));
    restorer.end();
    expect(() => restorer.end()).toThrow(RangeError);
    const failed = new ThinRestorer(new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS }));
    expect(() => failed.push(encode('<nonsense/>'))).toThrow(ThinXmlError);
    expect(() => failed.push(encode(pool('')))).toThrow(RangeError);
    expect(() => failed.end()).toThrow(RangeError);
  });

  it('tells progress in bytes, now and then', () => {
    const reports: Progress[] = [];
    const text = dumpText(fixtureImage('thin-large'));
    const target = new MemoryMetadataDevice({ nrBlocks: 2048 });
    restore(text, target, { onProgress: (progress) => void reports.push(progress) });
    const restorer = new ThinRestorer(target, { onProgress: (progress) => void reports.push(progress) });
    const bytes = encode(text);
    for (let at = 0; at < bytes.length; at += 10_000) restorer.push(bytes.subarray(at, at + 10_000));
    restorer.end();
    expect(reports.length).toBeGreaterThan(5);
    expect(reports.length).toBeLessThan(20);
    expect(reports.at(-1)?.done).toBeGreaterThan(7_000_000);
  });
});
