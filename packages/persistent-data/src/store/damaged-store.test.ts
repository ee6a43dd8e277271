/** Damage under right checksums, each kind found by the format fuzzer: it is refused in words, where it is first met. */
import { BLOCK_SIZE, CorruptBlockError, MemoryMetadataDevice } from '@pdata/device';
import { thrownBy } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { Block, type BlockValidator, setU64At, u64At } from '../block/block.js';
import { nodeValidator, valueOffset } from '../btree/node.js';
import { array, bitset, btree, MetadataStore, record, schema, spaceMap, u32, u64, unit } from './index.js';
import { overflowValidator } from './overflow.js';
import { entryOffset, pageKeySize, pageValidator } from './page-node.js';
import { readState, stateValidator } from './state-block.js';
import { storeSuperblockValidator } from './superblock.js';

const shape = schema({
  version: 1,
  collections: {
    homes: btree({ key: u64, value: unit('units') }),
    texts: btree({ key: u64, value: record<string>() }),
    words: array(u32),
    bits: bitset(),
    units: spaceMap(),
  },
});
const OPTIONS = { history: 2, maxBlocks: 0, now: () => 1_700_000_000_000 } as const;
const AT = { stateNr: 48, mapsRoot: 200, directoryNr: 208, historyLength: 216 } as const;

/** Changes blocks of a device, and makes their checksums right. */
class Surgery {
  readonly device: MemoryMetadataDevice;

  constructor(device: MemoryMetadataDevice) {
    this.device = device;
  }

  superblock(at: number): number {
    return u64At(this.#block(0).view, at);
  }

  /** Of a collection of the current state. */
  rootOf(collectionId: number): number {
    const entry = readState(this.#block(this.superblock(AT.stateNr))).find(
      (each) => each.collectionId === collectionId,
    );
    return entry?.root ?? 0;
  }

  /** Of an array, or a bitset. */
  firstBlockOf(root: number): number {
    const node = this.#block(root);
    return u64At(node.view, valueOffset(node, 0));
  }

  change(nr: number, validator: BlockValidator, work: (block: Block) => void): void {
    const block = this.#block(nr);
    validator.check(block);
    work(block);
    validator.prepare(block);
    this.device.write(nr, block.bytes);
  }

  #block(nr: number): Block {
    const block = new Block(new Uint8Array(BLOCK_SIZE), nr);
    this.device.read(nr, block.bytes);
    return block;
  }
}

async function damaged(damage: (surgery: Surgery) => void): Promise<MemoryMetadataDevice> {
  const device = new MemoryMetadataDevice({ nrBlocks: 256 });
  const store = MetadataStore.open(device, shape, OPTIONS);
  store.transaction(({ units, words, bits }) => {
    units.extend(10);
    words.resize(20, 7);
    bits.resize(20);
  });
  await store.commit();
  store.transaction(({ homes, texts, units }) => {
    homes.set(1, units.allocate());
    texts.set(1, 'one, and enough behind it for the head of a chain');
  });
  store.snapshot('kept');
  store.transaction(({ words }) => words.set(3, 3));
  await store.close();
  damage(new Surgery(device));
  return device;
}

function change(store: MetadataStore<typeof shape.collections>): void {
  store.transaction(({ homes, texts }) => {
    homes.set(1, undefined);
    texts.set(2, 'two');
  });
  store.commitSync();
}

describe('a store is refused', () => {
  it.each([
    {
      what: 'whose state lacks a collection that the directory has',
      damage: (surgery: Surgery) =>
        surgery.change(surgery.superblock(AT.stateNr), stateValidator, ({ view }) => view.setUint32(4, 1, true)),
      says: /state table in block \d+: collection 2 is missing, expected an entry/,
    },
    {
      what: 'that uses more blocks than it has',
      damage: (surgery: Surgery) =>
        surgery.change(0, storeSuperblockValidator, ({ view }) => setU64At(view, 72, 2 ** 50)),
      says: /store superblock in block 0: nrAllocated is \d+, expected at most 256, its nrBlocks/,
    },
    {
      what: 'with a collection longer than anything',
      damage: (surgery: Surgery) =>
        surgery.change(surgery.superblock(AT.stateNr), stateValidator, ({ view }) => setU64At(view, 48, 2 ** 60)),
      says: /state table in block \d+: length of entry 0 is about 11529\d+, expected at most 2\^53 - 1/,
    },
    {
      what: 'that has lost a space map of units',
      damage: (surgery: Surgery) =>
        surgery.change(surgery.superblock(AT.mapsRoot), nodeValidator, ({ view }) => view.setUint32(16, 0, true)),
      says: /tree of space maps in block \d+: map of collection \d is missing, expected a root/,
    },
  ])('$what', async ({ damage, says }) => {
    const device = await damaged(damage);
    const refusal = thrownBy(() => MetadataStore.open(device, shape, OPTIONS));
    expect(refusal).toBeInstanceOf(CorruptBlockError);
    const { message } = refusal as CorruptBlockError;
    const [, fault] =
      /^the store on memory is damaged: (.*); nothing has been changed: put back a copy of it$/.exec(message) ?? [];
    expect(fault).toMatch(says);
  });
});

describe('a change is refused, and nothing has happened,', () => {
  it.each([
    {
      what: 'when the history is shorter than the superblock says, which a commit would look for without an end',
      damage: (surgery: Surgery) =>
        surgery.change(0, storeSuperblockValidator, ({ view }) => setU64At(view, AT.historyLength, 2 ** 50)),
      says: /^store superblock in block 0: historyLength is \d+, expected as many as the history has$/,
    },
    {
      what: 'when values name units that their map does not have',
      damage: (surgery: Surgery) =>
        surgery.change(surgery.superblock(AT.mapsRoot), nodeValidator, (block) =>
          setU64At(block.view, valueOffset(block, 0), 0),
        ),
      says: /^space map of units in block \d+: nrBlocks is 0, expected above 0, which a value names$/,
    },
    {
      what: 'when the directory names a space map that there is not',
      damage: (surgery: Surgery) =>
        surgery.change(surgery.superblock(AT.directoryNr), overflowValidator, ({ bytes }) => {
          const text = new TextDecoder('latin1').decode(bytes);
          bytes[text.lastIndexOf('since')] = 0x78; // the last collection, which is the map, has none then
        }),
      says: /^store directory in block 0: collection homes is units of \w+, expected units of a space map that the store has$/,
    },
  ])('$what', async ({ damage, says }) => {
    const device = await damaged(damage);
    const before = device.bytes.slice();
    const store = MetadataStore.open(device, shape, OPTIONS);
    expect(() => change(store)).toThrow(CorruptBlockError);
    expect(() => change(store)).toThrow(says);
    expect(device.bytes.every((byte, at) => byte === before[at])).toBe(true);
  });
});

it('a comparison is refused where an array has elements of another size', async () => {
  let words = 0;
  const device = await damaged((surgery) => {
    words = surgery.rootOf(3);
    const bits = surgery.firstBlockOf(surgery.rootOf(4));
    surgery.change(words, nodeValidator, (block) => setU64At(block.view, valueOffset(block, 0), bits));
  });
  const store = MetadataStore.open(device, shape, OPTIONS);
  expect(() => [...store.diff('kept', undefined).words]).toThrow(
    /^array block in block \d+: valueSize is 8, expected 4$/,
  );
});

it('a check tells of a tree of another kind, whose values are shorter than those that would be there', async () => {
  const device = await damaged((surgery) => {
    const [homes, words] = [surgery.rootOf(1), surgery.rootOf(3)];
    const nr = surgery.superblock(AT.stateNr);
    surgery.change(nr, stateValidator, ({ view }) => setU64At(view, 40, words));
    surgery.change(words, nodeValidator, ({ view }) => {
      view.setUint32(4, 2, true); // a leaf, of values of four bytes
      view.setUint32(20, 336, true);
      view.setUint32(24, 4, true);
    });
    expect(homes).not.toBe(words);
  });
  const store = MetadataStore.open(device, shape, OPTIONS);
  expect((await store.check()).findings.join('\n')).toMatch(
    /btree node in block \d+: valueSize is 4, expected at least 8/,
  );
});

it('makes no room for a record longer than the device', async () => {
  const device = await damaged((surgery) => {
    const leaf = surgery.rootOf(2);
    surgery.change(leaf, pageValidator, (block) => {
      const at = entryOffset(block, 0) + pageKeySize(block);
      block.view.setUint16(22, block.view.getUint16(at, true) - 12, true); // what the head of a chain does not need
      block.view.setUint16(at, 0xffff, true);
      block.view.setUint32(at + 2, 0xffffffff, true);
      setU64At(block.view, at + 6, 1);
    });
  });
  const store = MetadataStore.open(device, shape, OPTIONS);
  expect(() => store.collections.texts.get(1)).toThrow(
    /overflow block in block \d+: content of the chain is 4294967295 bytes, expected at most \d+$/,
  );
});

it('tells the caller who names a unit that there is not that it is his mistake', async () => {
  const store = MetadataStore.open(await damaged(() => {}), shape, OPTIONS);
  expect(() => store.transaction(({ homes }) => homes.set(2, 10))).toThrow(RangeError);
  expect((await store.check()).findings).toEqual([]);
});
