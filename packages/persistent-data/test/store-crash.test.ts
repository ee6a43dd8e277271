/**
 * Power cuts in the middle of commits that follow each other without waiting: whatever part of the writes since the last flush
 * reaches the medium, the store is found as some transaction left it, whole, and not older than what was promised.
 */
import { MemoryMetadataDevice } from '@pdata/device';
import { MetadataStore } from '@pdata/persistent-data/store';
import { crashImages, RecordingMetadataDevice, seededRandom } from '@pdata/testing';
import { expect, it } from 'vitest';
import { copyPlainStore, modelSchema, StoreUnderModel, wholePlainText, wholeStoreText } from './store-model.js';

const NR_BLOCKS = 240;

/** A medium whose asynchronous flushes take a few turns of the event loop, while the program goes on. */
class SlowDevice extends MemoryMetadataDevice {
  override async flushAsync(): Promise<void> {
    await turns(2);
    this.flush();
  }
}

const turns = async (nr: number): Promise<void> => {
  for (let i = 0; i < nr; i++) await new Promise((resolve) => setTimeout(resolve, 0));
};

it.each([
  { seed: 1, history: 0, cacheBlocks: 4096 },
  { seed: 2, history: 2, cacheBlocks: 4096 },
  { seed: 3, history: 0, cacheBlocks: 32 },
])(
  'leave a state that a transaction left, whole (seed $seed, history $history, $cacheBlocks blocks cached)',
  async ({ seed, history, cacheBlocks }) => {
    const random = seededRandom(seed);
    // Little room: what one commit lets go of is wanted by the next but one.
    const options = { history, cacheBlocks, maxBlocks: NR_BLOCKS };
    const initial = new Uint8Array(NR_BLOCKS * 4096);
    const made = new StoreUnderModel(new MemoryMetadataDevice({ bytes: initial }), random, options);
    await made.store.close();

    const device = new RecordingMetadataDevice(new SlowDevice({ bytes: initial.slice() }));
    const run = new StoreUnderModel(device, random, options);
    const states = [wholePlainText(run.model)];
    const promised: Promise<void>[] = [];
    let nrOverlaps = 0;
    let nrOnTheirWay = 0;
    for (let step = 0; step < 100; step++) {
      run.transaction(1 + Math.floor(random() * 4), 'may lack room');
      states.push(wholePlainText(copyPlainStore(run.model)));
      const what = random();
      if (what < 0.6) {
        const label = `${states.length - 1}`;
        if (nrOnTheirWay++ > 0) nrOverlaps++;
        promised.push(
          run.store.commit().then(() => {
            nrOnTheirWay--;
            device.promise(label);
          }),
        );
      } else if (what < 0.7) {
        run.store.commitSync();
        device.promise(`${states.length - 1}`);
      }
      if (random() < 0.5) await turns(1);
    }
    await Promise.all(promised);
    expect(nrOverlaps).toBeGreaterThan(5);
    const nrWritten = device.nrBlocksOf('write');
    expect(nrWritten, 'blocks written, so that most were used more than once').toBeGreaterThan(2 * NR_BLOCKS);

    // Promises of commits that overlap may be noted in another order than the states: the latest counts.
    let nrImages = 0;
    let nrNewer = 0;
    for (const image of crashImages({ initial, operations: device.operations, seed, imagesPerInterval: 5 })) {
      nrImages++;
      try {
        const reopened = MetadataStore.open(new MemoryMetadataDevice({ bytes: image.bytes }), modelSchema, options);
        const found = wholeStoreText(reopened);
        const least = Number(image.lastPromise ?? 0);
        const index = states.indexOf(found, least);
        if (index < 0) expect.fail(`a state that no transaction left since the promise of ${least}`);
        if (index > least) nrNewer++;
        expect((await reopened.check()).findings).toEqual([]);
      } catch (error) {
        throw new Error(`after a ${image.description}`, { cause: error });
      }
    }
    expect(nrImages).toBeGreaterThan(100);
    expect(nrNewer).toBeGreaterThan(0);
  },
  30_000,
);

it('in the middle of the making of a store leave an empty device, one that can be made a store again, or the store', () => {
  const device = new RecordingMetadataDevice(new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS }));
  MetadataStore.open(device, modelSchema);
  const images = [
    ...crashImages({
      initial: new Uint8Array(NR_BLOCKS * 4096),
      operations: device.operations,
      seed: 4,
      imagesPerInterval: 20,
    }),
  ];
  const kinds = new Set<string>();
  for (const { bytes, description } of images) {
    const isBlank = bytes.every((byte) => byte === 0);
    kinds.add(
      isBlank
        ? 'blank'
        : bytes[24] === 1
          ? 'made'
          : bytes.subarray(4096).some((byte) => byte !== 0)
            ? 'in part'
            : 'begun',
    );
    const store = MetadataStore.open(new MemoryMetadataDevice({ bytes }), modelSchema);
    expect(store.commitNr, description).toBe(1);
    store[Symbol.dispose]();
  }
  expect([...kinds].sort()).toEqual(['begun', 'blank', 'in part', 'made']);
});
