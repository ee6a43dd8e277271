import {
  BLOCK_SIZE,
  CorruptBlockError,
  DeviceError,
  MemoryMetadataDevice,
  type MetadataDevice,
  ReadOnlyError,
} from '@pdata/device';
import { FaultyMetadataDevice, RecordingMetadataDevice, seededRandom } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { type BlockValidator, checkHomeAndChecksum, sealHomeAndChecksum, setU64At, u64At } from './block.js';
import { BlockManager } from './block-manager.js';

/** A kind of block with nothing but a home and a checksum, that counts how often it is checked and prepared. */
class Kind implements BlockValidator {
  nrChecks = 0;
  nrPrepares = 0;
  readonly structure: string;
  readonly #xor: number;

  constructor(structure: string, xor: number) {
    this.structure = structure;
    this.#xor = xor;
  }

  check(block: Parameters<BlockValidator['check']>[0]): void {
    this.nrChecks++;
    checkHomeAndChecksum(block, this.structure, 8, this.#xor);
  }

  prepare(block: Parameters<BlockValidator['prepare']>[0]): void {
    this.nrPrepares++;
    sealHomeAndChecksum(block, 8, this.#xor);
  }
}

const leaf = (): Kind => new Kind('leaf', 4711);

/** A manager over a device whose blocks all hold valid `kind` blocks, value = 1000 + number. */
function filled(
  nrBlocks: number,
  { cacheBlocks = 32, wrap = (device: MetadataDevice): MetadataDevice => device } = {},
): { blocks: BlockManager; kind: Kind; device: MetadataDevice; memory: MemoryMetadataDevice } {
  const memory = new MemoryMetadataDevice({ nrBlocks });
  const writer = new BlockManager(memory, { cacheBlocks: 1000 });
  const kind = leaf();
  for (let nr = 0; nr < nrBlocks; nr++) setU64At(writer.zero(nr, kind).view, 16, 1000 + nr);
  writer.flush();
  kind.nrPrepares = 0;
  const device = wrap(memory);
  return { blocks: new BlockManager(device, { cacheBlocks }), kind, device, memory };
}

const numberIn = (blocks: BlockManager, nr: number, kind: Kind): number => u64At(blocks.read(nr, kind).view, 16);
/** What lies on the device itself. */
const onDevice = (memory: MemoryMetadataDevice, nr: number): number =>
  u64At(new DataView(memory.bytes.buffer), nr * BLOCK_SIZE + 16);

describe('validators', () => {
  it('check a block once a stay in the cache', () => {
    const { blocks, kind } = filled(100);
    for (let i = 0; i < 5; i++) blocks.read(7, kind);
    expect(kind.nrChecks).toBe(1);
    for (let nr = 10; nr < 90; nr++) blocks.read(nr, kind); // pushes 7 out
    blocks.read(7, kind);
    expect(kind.nrChecks).toBe(82);
    expect(blocks.counters.nrRead).toBe(82);
  });

  it('refuse a cached block that was known as another kind, and it stays what it was', () => {
    const { blocks, kind } = filled(10);
    blocks.read(3, kind);
    expect(() => blocks.read(3, new Kind('bitmap', 4711))).toThrow(
      expect.objectContaining({
        code: 'ERR_CORRUPT_BLOCK',
        detail: { structure: 'bitmap', blockNr: 3, field: 'kind', found: 'leaf', expected: 'bitmap' },
      }),
    );
    expect(numberIn(blocks, 3, kind)).toBe(1003);
    expect(kind.nrChecks).toBe(1);
  });

  it('are asked again for a block that failed: nothing of it stays', () => {
    const { blocks, kind, memory } = filled(10);
    memory.bytes[5 * BLOCK_SIZE + 100]! ^= 1;
    expect(() => blocks.read(5, kind)).toThrow(/^leaf in block 5: checksum is 0x[0-9a-f]{8}, expected 0x[0-9a-f]{8}$/);
    expect(() => blocks.write(5, kind)).toThrow(CorruptBlockError);
    memory.bytes[5 * BLOCK_SIZE + 100]! ^= 1;
    expect(numberIn(blocks, 5, kind)).toBe(1005);
    expect(kind.nrChecks).toBe(3);
  });

  it('tell a misdirected write from damaged bytes', () => {
    const { blocks, kind, memory } = filled(10);
    memory.bytes.copyWithin(4 * BLOCK_SIZE, 5 * BLOCK_SIZE, 6 * BLOCK_SIZE);
    expect(() => blocks.read(4, kind)).toThrow('leaf in block 4: blockNr is 5, expected 4');
  });

  it('prepare a block each time it is written, not before', () => {
    const { blocks, kind } = filled(10);
    setU64At(blocks.write(3, kind).view, 16, 5);
    setU64At(blocks.write(3, kind).view, 16, 6);
    expect(kind.nrPrepares).toBe(0);
    blocks.flush();
    expect(kind.nrPrepares).toBe(1);
    blocks.flush();
    expect(kind.nrPrepares).toBe(1);
    blocks.drop();
    expect(numberIn(blocks, 3, kind)).toBe(6);
  });
});

describe('overwriting', () => {
  it('zero() needs nothing from the device: a corrupt block, or one that cannot be read, is no obstacle', () => {
    const { blocks, kind, memory } = filled(10, {
      wrap: (device) => new FaultyMetadataDevice(device, { operation: 'read', blockNr: 6 }),
    });
    memory.bytes.fill(0xaa, 5 * BLOCK_SIZE, 6 * BLOCK_SIZE);
    expect(() => blocks.read(5, kind)).toThrow(CorruptBlockError);
    expect(() => blocks.read(6, kind)).toThrow(DeviceError);
    for (const nr of [5, 6]) {
      const { bytes } = blocks.zero(nr, kind);
      expect(bytes.every((byte) => byte === 0)).toBe(true);
      expect(numberIn(blocks, nr, kind)).toBe(0);
    }
    expect(blocks.counters.nrRead).toBe(1);
    blocks.flush();
    expect(onDevice(memory, 5)).toBe(0);
  });

  it('zero() and copy() make another kind of a cached block, dirty or not', () => {
    const { blocks, kind } = filled(10);
    const other = new Kind('bitmap', 99);
    setU64At(blocks.write(2, kind).view, 16, 7);
    blocks.zero(2, other);
    blocks.read(3, kind);
    blocks.zero(3, other);
    expect(blocks.read(2, other).nr).toBe(2);
    expect(() => blocks.read(3, kind)).toThrow('kind is bitmap, expected leaf');
    expect(blocks.copy(4, 3, kind).nr).toBe(3);
    expect(numberIn(blocks, 3, kind)).toBe(1004);
    expect(numberIn(blocks, 4, kind)).toBe(1004);
    blocks.flush();
    blocks.drop();
    expect(numberIn(blocks, 3, kind)).toBe(1004);
    expect(u64At(blocks.read(2, other).view, 16)).toBe(0);
  });

  it('copy() of a corrupt block changes nothing', () => {
    const { blocks, kind, memory } = filled(10);
    memory.bytes[5 * BLOCK_SIZE + 20]! ^= 1;
    expect(() => blocks.copy(5, 6, kind)).toThrow(CorruptBlockError);
    expect(numberIn(blocks, 6, kind)).toBe(1006);
  });

  it('copy() holds its source while it makes room for the copy', () => {
    const { blocks, kind } = filled(400);
    for (let nr = 0; nr < 200; nr++) {
      expect(u64At(blocks.copy(nr, 200 + nr, kind).view, 16)).toBe(1000 + nr);
    }
    blocks.flush();
    blocks.drop();
    for (let nr = 0; nr < 200; nr++) expect(numberIn(blocks, 200 + nr, kind)).toBe(1000 + nr);
  });
});

describe('a small cache', () => {
  it('behaves like the array of blocks it stands for, whatever the order of reads, changes, drops and flushes', () => {
    const { blocks, kind } = filled(300);
    const random = seededRandom(8);
    const below = (n: number): number => Math.floor(random() * n);
    const model = Array.from({ length: 300 }, (_, nr) => 1000 + nr);
    for (let step = 0; step < 30_000; step++) {
      const nr = 1 + below(299); // never block 0: reached by a committed superblock
      const choice = below(100);
      if (choice < 60) {
        const found = numberIn(blocks, nr, kind);
        if (found !== model[nr]) expect(found, `block ${nr} at step ${step}`).toBe(model[nr]);
      } else if (choice < 90) {
        setU64At(blocks.write(nr, kind).view, 16, step);
        model[nr] = step;
      } else if (choice < 95) {
        setU64At(blocks.zero(nr, kind).view, 16, step);
        model[nr] = step;
      } else if (choice < 99) {
        const from = 1 + below(299);
        if (from === nr) continue;
        blocks.copy(from, nr, kind);
        model[nr] = model[from] as number;
      } else blocks.flush();
    }
    blocks.flush();
    blocks.drop();
    expect(model.map((_, nr) => numberIn(blocks, nr, kind))).toEqual(model);
  });

  it('writes dirty blocks early to make room, and reads them back as they were', () => {
    const { blocks, kind, memory } = filled(200);
    for (let nr = 1; nr < 200; nr++) setU64At(blocks.write(nr, kind).view, 16, nr);
    expect(blocks.counters.nrWritten).toBeGreaterThan(150);
    expect(onDevice(memory, 1)).toBe(1);
    for (let nr = 1; nr < 200; nr++) expect(numberIn(blocks, nr, kind)).toBe(nr);
  });

  it('never writes block 0 early: the committed superblock reaches it', () => {
    const { blocks, kind, memory } = filled(200);
    setU64At(blocks.write(0, kind).view, 16, 7);
    for (let round = 0; round < 3; round++) {
      for (let nr = 1; nr < 200; nr++) setU64At(blocks.write(nr, kind).view, 16, nr);
    }
    expect(onDevice(memory, 100)).toBe(100);
    expect(onDevice(memory, 0)).toBe(1000);
    expect(numberIn(blocks, 0, kind)).toBe(7);
    blocks.flush();
    expect(onDevice(memory, 0)).toBe(7);
  });

  it('reads a run of blocks once while they fit, and again when they do not', () => {
    const { blocks, kind } = filled(64);
    for (let round = 0; round < 10; round++) for (let nr = 0; nr < 30; nr++) blocks.read(nr, kind);
    expect(blocks.counters.nrRead).toBe(30);
    for (let nr = 0; nr < 64; nr++) blocks.read(nr, kind);
    expect(blocks.counters.nrRead).toBeGreaterThanOrEqual(64);
  });
});

describe('operations', () => {
  it('hold every block they touch: 100 of them in a cache of 32', () => {
    const { blocks, kind } = filled(300);
    for (let nr = 0; nr < 300; nr++) blocks.read(nr, kind);
    const nrRead = blocks.counters.nrRead;
    blocks.hold(() => {
      const held = Array.from({ length: 100 }, (_, nr) => blocks.write(1 + nr, kind));
      held.forEach((block, i) => {
        expect([block.nr, u64At(block.view, 16)]).toEqual([1 + i, 1001 + i]);
        setU64At(block.view, 16, i); // after later blocks were fetched: a change without telling
      });
      expect(held.map((block) => blocks.read(block.nr, kind))).toEqual(held);
    });
    expect(blocks.counters.nrRead - nrRead).toBeLessThanOrEqual(100);
    blocks.flush();
    blocks.drop();
    for (let i = 0; i < 100; i++) expect(numberIn(blocks, 1 + i, kind)).toBe(i);
  });

  it('do not let a block be written half changed: what is held stays dirty', () => {
    const { blocks, kind, memory } = filled(200);
    for (let nr = 150; nr < 180; nr++) blocks.write(nr, kind); // to be written early by the operation below
    blocks.hold(() => {
      const early = blocks.write(1, kind);
      for (let nr = 2; nr < 150; nr++) blocks.write(nr, kind);
      expect(blocks.counters.nrWritten).toBeGreaterThan(0);
      setU64At(early.view, 16, 42);
    });
    for (let nr = 150; nr < 200; nr++) blocks.read(nr, kind); // now it may be written
    blocks.flush();
    expect(onDevice(memory, 1)).toBe(42);
  });

  it('nest, and end when the outermost does, after an error too', () => {
    const { blocks, kind } = filled(100);
    expect(() =>
      blocks.hold(() => {
        blocks.hold(() => blocks.read(1, kind));
        throw new Error('given up');
      }),
    ).toThrow('given up');
    blocks.flush(); // an invariant refuses that inside an operation
    expect(blocks.counters.nrFlushes).toBe(1);
  });

  it('may be cut off by an abort: what was dropped inside one leaves a manager that works', () => {
    const { blocks, kind } = filled(100);
    blocks.hold(() => {
      setU64At(blocks.write(5, kind).view, 16, 1);
      blocks.drop();
    });
    expect(numberIn(blocks, 5, kind)).toBe(1005);
    blocks.hold(() => {
      const held = Array.from({ length: 60 }, (_, nr) => blocks.read(nr, kind));
      expect(held.map(({ nr }) => nr)).toEqual(held.map((_, nr) => nr));
    });
    setU64At(blocks.write(6, kind).view, 16, 2);
    blocks.flush();
    expect(numberIn(blocks, 6, kind)).toBe(2);
  });

  it('refuse a flush: blocks may be half changed', () => {
    const { blocks } = filled(10);
    expect(() => blocks.hold(() => blocks.flush())).toThrow('flush inside an operation');
  });
});

describe('writing', () => {
  it('goes to the device in ascending runs of neighbours, then one flush', () => {
    const recording = { device: undefined as unknown as RecordingMetadataDevice };
    const { blocks, kind } = filled(300, {
      cacheBlocks: 300,
      wrap: (device) => {
        recording.device = new RecordingMetadataDevice(device);
        return recording.device;
      },
    });
    for (const nr of [9, 3, 5, 4, 200, 7, 201]) setU64At(blocks.write(nr, kind).view, 16, nr);
    blocks.flush();
    expect(recording.device.summary).toEqual([
      'write blocks 3..5',
      'write block 7',
      'write block 9',
      'write blocks 200..201',
      'flush',
    ]);
    recording.device.clear();
    blocks.flush();
    expect(recording.device.summary).toEqual(['flush']);
  });

  it('splits a very long run', () => {
    const { blocks, kind } = filled(700, { cacheBlocks: 1000 });
    for (let nr = 1; nr < 700; nr++) setU64At(blocks.write(nr, kind).view, 16, 2 * nr);
    blocks.flush();
    blocks.drop();
    for (let nr = 1; nr < 700; nr++) expect(numberIn(blocks, nr, kind)).toBe(2 * nr);
    expect(blocks.counters.nrWritten).toBe(699);
  });

  it('is refused by a manager that became read-only, and reading goes on', () => {
    const { blocks, kind, memory } = filled(10);
    setU64At(blocks.write(3, kind).view, 16, 5);
    blocks.setReadOnly();
    expect(blocks.readOnly).toBe(true);
    for (const refused of [
      () => blocks.write(4, kind),
      () => blocks.zero(4, kind),
      () => blocks.copy(4, 5, kind),
      () => blocks.flush(),
    ]) {
      expect(refused).toThrow(ReadOnlyError);
    }
    expect(numberIn(blocks, 4, kind)).toBe(1004);
    expect(onDevice(memory, 3)).toBe(1003);
  });

  it('is refused over a device that is open for reading only', () => {
    const { memory, kind } = filled(40);
    const blocks = new BlockManager(new MemoryMetadataDevice({ bytes: memory.bytes, readOnly: true }));
    expect(blocks.readOnly).toBe(true);
    expect(() => blocks.write(4, kind)).toThrow(/memory is read-only/);
    for (let nr = 0; nr < 40; nr++) expect(numberIn(blocks, nr, kind)).toBe(1000 + nr);
  });
});

describe('block numbers outside the device', () => {
  it.each([10, 11, -1, 1.5, Number.NaN, 2 ** 32, 2 ** 32 + 3, 2 ** 53, 1.8e19, Number.POSITIVE_INFINITY])(
    '%d is a corrupt block for every access',
    (nr) => {
      const { blocks, kind } = filled(10);
      for (const refused of [
        () => blocks.read(nr, kind),
        () => blocks.write(nr, kind),
        () => blocks.zero(nr, kind),
        () => blocks.copy(nr, 3, kind),
        () => blocks.copy(3, nr, kind),
      ]) {
        expect(refused).toThrow(CorruptBlockError);
      }
      // From 2^53 on it may have been rounded on its way here, and is not shown as exact.
      const shown = nr === 2 ** 53 ? 'about 9007199254740992' : nr === 1.8e19 ? 'about 18000000000000000000' : `${nr}`;
      expect(() => blocks.read(nr, kind)).toThrow(
        `leaf in block ${shown}: block number is ${shown}, expected below 10, the size of the device`,
      );
      expect(numberIn(blocks, 3, kind)).toBe(1003);
      blocks.flush();
      expect(blocks.counters.nrWritten).toBe(0);
    },
  );

  it('are inside once the device has grown and the manager was told', () => {
    const { blocks, kind, memory } = filled(10);
    memory.grow(20);
    expect(() => blocks.zero(15, kind)).toThrow(CorruptBlockError);
    expect(blocks.nrBlocks).toBe(10);
    setU64At(blocks.write(9, kind).view, 16, 1);
    blocks.deviceGrew();
    expect(blocks.nrBlocks).toBe(20);
    setU64At(blocks.zero(15, kind).view, 16, 77);
    expect(numberIn(blocks, 9, kind)).toBe(1);
    blocks.flush();
    expect(onDevice(memory, 15)).toBe(77);
  });
});

describe('a failing device', () => {
  const faulty = (): {
    blocks: BlockManager;
    kind: Kind;
    device: FaultyMetadataDevice;
    memory: MemoryMetadataDevice;
  } => {
    const made = filled(200, { wrap: (device) => new FaultyMetadataDevice(device) });
    return { ...made, device: made.device as FaultyMetadataDevice };
  };

  it('has its read errors passed on, and no half-loaded block stays', () => {
    const { blocks, kind, device } = faulty();
    for (let nr = 0; nr < 100; nr++) blocks.read(nr, kind);
    device.inject({ operation: 'read', nth: 101 });
    expect(() => blocks.read(150, kind)).toThrow(DeviceError);
    for (let nr = 0; nr < 200; nr++) expect(numberIn(blocks, nr, kind)).toBe(1000 + nr);
  });

  it('has its write errors passed on from an eviction, and nothing is lost', () => {
    const { blocks, kind, device } = faulty();
    device.inject({ operation: 'write', nth: 1 });
    device.inject({ operation: 'write', nth: 3 });
    let nrErrors = 0;
    for (let nr = 1; nr < 200; nr += 2) {
      // Not neighbours, so that each is a request of its own.
      for (;;) {
        try {
          setU64At(blocks.write(nr, kind).view, 16, nr);
          break;
        } catch (error) {
          expect(error).toBeInstanceOf(DeviceError);
          nrErrors++;
        }
      }
    }
    expect(nrErrors).toBe(2);
    for (let nr = 1; nr < 200; nr++) expect(numberIn(blocks, nr, kind)).toBe(nr % 2 === 1 ? nr : 1000 + nr);
    blocks.flush();
    blocks.drop();
    for (let nr = 1; nr < 200; nr++) expect(numberIn(blocks, nr, kind)).toBe(nr % 2 === 1 ? nr : 1000 + nr);
  });

  it('has its write and flush errors passed on from a flush, which is not counted', () => {
    const { blocks, kind, device } = faulty();
    setU64At(blocks.write(5, kind).view, 16, 1);
    device.inject({ operation: 'write', nth: 1 });
    expect(() => blocks.flush()).toThrow(/cannot write block 5/);
    expect(device.nrDone('flush')).toBe(0); // nothing is said to be durable after a failed write
    device.inject({ operation: 'flush', nth: 1 });
    expect(() => blocks.flush()).toThrow(/cannot flush/);
    expect(blocks.counters.nrFlushes).toBe(0);
  });
});

it.each([Number.NaN, -1, 0.5])('refuses a cache of %d blocks, rather than take all memory', (cacheBlocks) => {
  expect(() => new BlockManager(new MemoryMetadataDevice({ nrBlocks: 3 }), { cacheBlocks })).toThrow(RangeError);
});

it('forgets every change with drop()', () => {
  const { blocks, kind, memory } = filled(100);
  for (let nr = 0; nr < 20; nr++) setU64At(blocks.write(nr, kind).view, 16, 0);
  blocks.drop();
  for (let nr = 0; nr < 100; nr++) expect(numberIn(blocks, nr, kind)).toBe(1000 + nr);
  blocks.flush();
  expect(onDevice(memory, 5)).toBe(1005);
  expect(blocks.counters.nrWritten).toBe(0);
});

describe('u64 fields', () => {
  it.each([
    [0, '0000000000000000'],
    [83886083, '0300000500000000'], // data block 5 at time 3, as docs/format/conventions.md has it
    [2 ** 32 - 1, 'ffffffff00000000'],
    [2 ** 32, '0000000001000000'],
    [2 ** 53 - 1, 'ffffffffffff1f00'],
  ])('%d is written and read to the bit', (value, hex) => {
    const view = new DataView(new ArrayBuffer(8));
    setU64At(view, 0, value);
    expect(Buffer.from(view.buffer).toString('hex')).toBe(hex);
    expect(u64At(view, 0)).toBe(value);
  });

  it('above 2^53 - 1 lose digits but stay above', () => {
    const view = new DataView(new ArrayBuffer(8));
    for (const value of [2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n]) {
      view.setBigUint64(0, value, true);
      expect(u64At(view, 0)).toBeGreaterThan(2 ** 53 - 1);
    }
  });
});
