/**
 * Random sequences of every operation on a pool's metadata, against a plain model. Every query is compared on the way; every
 * run ends with a commit, an audit of all reference counts, and a reading of the medium that does not use the code under test.
 */
import { DeviceError, MemoryMetadataDevice } from '@pdata/device';
import { NoSpaceError } from '@pdata/persistent-data';
import { FaultyMetadataDevice } from '@pdata/testing';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DeviceExistsError, MetadataSnapshotError, NoSuchDeviceError, ThinMetadata } from '../src/index.js';
import { DATA_BLOCK_SIZE, expectSound, isAbortRequired, thrownBy } from './pool.js';
import type { ImageDevice } from './pool-image.js';
import { type ModelDevice, PoolModel } from './pool-model.js';

/** A device that is left alone, and compared at the end. */
const FILLED = 77;
const THIN_IDS = [0, 1, 2, 3, 4, 2 ** 24 - 1];

const thinId = fc.constantFrom(...THIN_IDS);
/** Two neighbourhoods, so that ranges meet, and the highest keys. */
const virtualBlock = fc.oneof(
  { weight: 8, arbitrary: fc.nat(900) },
  { weight: 1, arbitrary: fc.integer({ min: 2 ** 40, max: 2 ** 40 + 300 }) },
);
const extent = fc.record({ thinId, begin: virtualBlock, length: fc.integer({ min: 1, max: 500 }) });

const operation = fc.oneof(
  { weight: 3, arbitrary: fc.record({ op: fc.constant('createThin' as const), thinId }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('createSnapshot' as const), thinId, originId: thinId }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('deleteDevice' as const), thinId }) },
  {
    weight: 10,
    arbitrary: fc.record({ op: fc.constant('write' as const), extent, step: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('removeRange' as const), extent }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('setTransactionId' as const),
      next: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('reserve' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('release' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('resizeData' as const), more: fc.nat(20000) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('resizeMetadata' as const), more: fc.nat(700) }) },
  {
    weight: 5,
    arbitrary: fc.record({ op: fc.constant('failRead' as const), nth: fc.integer({ min: 1, max: 6 }) }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('commit' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('abort' as const) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('reopen' as const) }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

interface Shape {
  readonly cacheBlocks: number;
  readonly nrMetadataBlocks: number;
  readonly nrDataBlocks: number;
  /** Data blocks that a device has from the start, so that what comes is in the next bitmap. */
  readonly nrFilled: number;
  /** Blocks that a growth of the metadata stays below. */
  readonly growth: number;
}

/** Operations that a device must not fail in: afterwards it would not be known which of two states is the committed one. */
const COMMITTING: readonly Operation['op'][] = ['commit', 'abort', 'reopen', 'reserve'];

function isExpected(error: unknown): boolean {
  return error instanceof DeviceError || (error instanceof NoSpaceError && error.of === 'metadata');
}

/** The pool under test and its model, changed together. */
class Run {
  readonly device: MemoryMetadataDevice;
  metadata: ThinMetadata;
  readonly model: PoolModel;
  readonly #faulty: FaultyMetadataDevice;
  readonly #shape: Shape;
  #failsAtRead = 0;

  constructor(shape: Shape) {
    this.device = new MemoryMetadataDevice({ nrBlocks: shape.nrMetadataBlocks });
    this.#faulty = new FaultyMetadataDevice(this.device);
    this.metadata = ThinMetadata.format(this.#faulty, { dataBlockSize: DATA_BLOCK_SIZE, ...shape });
    this.model = new PoolModel(shape.nrMetadataBlocks, shape.nrDataBlocks);
    this.#shape = shape;
    if (shape.nrFilled > 0) {
      this.apply({ op: 'createThin', thinId: FILLED });
      this.#write({ thinId: FILLED, begin: 0, length: shape.nrFilled }, 1);
    }
    for (const thinId of [0, 1]) this.apply({ op: 'createThin', thinId });
    this.commit();
  }

  apply(operation: Operation): void {
    this.#faulty.heal();
    if (!COMMITTING.includes(operation.op)) this.#failIfDue();
    try {
      this.#apply(operation);
    } catch (error) {
      this.#faulty.heal();
      if (!isExpected(error)) throw error;
      // Refused with nothing changed, or half-way with only an abort left: anything else is wrong.
      if (isAbortRequired(this.metadata)) {
        this.metadata.abort();
        this.model.abort();
      }
    }
  }

  /** Has one of the next reads fail, if that was asked for. */
  #failIfDue(): void {
    if (this.#failsAtRead > 0) {
      this.#faulty.inject({ operation: 'read', nth: this.#faulty.nrDone('read') + this.#failsAtRead });
    }
    this.#failsAtRead = 0;
  }

  #apply(operation: Operation): void {
    const { metadata, model } = this;
    switch (operation.op) {
      case 'createThin': {
        const { thinId } = operation;
        if (model.has(thinId)) {
          expectRefusal(() => metadata.createThin(thinId), DeviceExistsError);
          return;
        }
        metadata.createThin(thinId);
        model.createThin(thinId);
        return;
      }
      case 'createSnapshot': {
        const { thinId, originId } = operation;
        if (model.has(thinId) || !model.has(originId)) {
          const refusal = model.has(thinId) ? DeviceExistsError : NoSuchDeviceError;
          expectRefusal(() => metadata.createSnapshot(thinId, originId), refusal);
          return;
        }
        metadata.createSnapshot(thinId, originId);
        model.createSnapshot(thinId, originId);
        return;
      }
      case 'deleteDevice': {
        const { thinId } = operation;
        if (!model.has(thinId)) {
          expectRefusal(() => metadata.deleteDevice(thinId), NoSuchDeviceError);
          return;
        }
        metadata.deleteDevice(thinId);
        model.deleteDevice(thinId);
        return;
      }
      case 'write':
        if (model.has(operation.extent.thinId)) this.#write(operation.extent, operation.step);
        return;
      case 'removeRange': {
        const { thinId, begin, length } = operation.extent;
        if (!model.has(thinId)) return;
        const nr = metadata.removeRange(thinId, begin, begin + length);
        expect(nr).toBe(model.removeRange(thinId, begin, begin + length));
        return;
      }
      case 'setTransactionId':
        metadata.setTransactionId(model.state.transactionId, operation.next);
        model.set({ transactionId: operation.next });
        return;
      case 'reserve':
        if (model.state.held !== undefined) {
          expectRefusal(() => metadata.reserveMetadataSnapshot(), MetadataSnapshotError);
          return;
        }
        model.commit();
        expect(metadata.reserveMetadataSnapshot()).toBe(metadata.heldRoot);
        model.reserve();
        return;
      case 'release':
        if (model.state.held === undefined) {
          expectRefusal(() => metadata.releaseMetadataSnapshot(), MetadataSnapshotError);
          return;
        }
        metadata.releaseMetadataSnapshot();
        model.release();
        return;
      case 'resizeData': {
        const nrDataBlocks = model.state.nrDataBlocks + operation.more;
        metadata.resizeData(nrDataBlocks);
        model.set({ nrDataBlocks });
        return;
      }
      case 'resizeMetadata': {
        const nrMetadataBlocks = model.state.nrMetadataBlocks + (operation.more % this.#shape.growth);
        metadata.resizeMetadata(nrMetadataBlocks);
        model.set({ nrMetadataBlocks });
        return;
      }
      case 'failRead':
        this.#failsAtRead = operation.nth;
        return;
      case 'commit':
        this.commit();
        return;
      case 'abort':
        metadata.abort();
        model.abort();
        return;
      case 'reopen':
        metadata.close();
        this.metadata = ThinMetadata.open(this.#faulty, { cacheBlocks: this.#shape.cacheBlocks });
        model.abort();
        return;
    }
  }

  #write({ thinId, begin, length }: { thinId: number; begin: number; length: number }, step: number): void {
    const { metadata, model } = this;
    const written: [number, number][] = [];
    let unused: number | undefined;
    try {
      for (let virtualBlock = begin; virtualBlock < begin + length; virtualBlock += step) {
        const mapping = metadata.find(thinId, virtualBlock);
        require(mapping?.shared === model.isShared(thinId, virtualBlock), `sharing of block ${virtualBlock}`);
        if (mapping?.shared === false) continue;
        const dataBlock = metadata.allocateDataBlock();
        unused = dataBlock;
        require(model.isFree(dataBlock), `data block ${dataBlock} was in use`);
        const isNew = metadata.insert(thinId, virtualBlock, dataBlock);
        require(isNew === (mapping === undefined), `whether block ${virtualBlock} was new`);
        unused = undefined;
        written.push([virtualBlock, dataBlock]);
      }
    } catch (error) {
      this.#faulty.heal();
      if (!(error instanceof NoSpaceError || error instanceof DeviceError)) throw error;
      // What was written before the space ran out stays, unless an abort is all that is left.
      if (isAbortRequired(metadata)) throw error;
      if (unused !== undefined) metadata.decDataBlocks(unused, unused + 1);
    }
    model.insert(thinId, written);
  }

  commit(): void {
    const { metadata, model } = this;
    this.#faulty.heal();
    metadata.commit();
    model.commit();
    this.compare();
  }

  /** Every query, against the model. */
  compare(): void {
    const { metadata, model } = this;
    const { state } = model;
    expect({
      time: metadata.time,
      transactionId: metadata.transactionId,
      nrDataBlocks: metadata.nrDataBlocks,
      nrMetadataBlocks: metadata.nrMetadataBlocks,
      holds: metadata.heldRoot !== undefined,
      nrFreeDataBlocks: metadata.nrFreeDataBlocks,
    }).toEqual({
      time: state.time,
      transactionId: state.transactionId,
      nrDataBlocks: state.nrDataBlocks,
      nrMetadataBlocks: state.nrMetadataBlocks,
      holds: state.held !== undefined,
      nrFreeDataBlocks: model.nrFreeDataBlocks,
    });
    expect([...metadata.devices()]).toEqual(
      [...state.devices].sort(([a], [b]) => a - b).map(([thinId, device]) => ({ thinId, details: detailsOf(device) })),
    );
    for (const [thinId, device] of state.devices) if (thinId !== FILLED) this.#compareDevice(thinId, device);
  }

  #compareDevice(thinId: number, device: ModelDevice): void {
    const { metadata, model } = this;
    const { mappings } = device;
    expect(metadata.details(thinId)).toEqual(detailsOf(device));
    const found: [number, number, boolean][] = [];
    let behind = -1;
    for (const range of metadata.mappedRanges(thinId)) {
      require(range.begin >= behind, `ranges in order, at ${range.begin}`);
      behind = range.end;
      for (let i = 0; range.begin + i < range.end; i++) {
        found.push([range.begin + i, range.dataBegin + i, range.shared]);
      }
    }
    const expected = [...mappings.keys()]
      .sort((a, b) => a - b)
      .map((virtualBlock) => [
        virtualBlock,
        mappings.get(virtualBlock)?.dataBlock,
        model.isShared(thinId, virtualBlock),
      ]);
    expectSame(found, expected);
    const [highest] = expected[expected.length - 1] ?? [];
    expect(metadata.highestMapped(thinId)).toBe(highest);
    for (const virtualBlock of [0, 77, 500, 1200, highest as number | undefined]) {
      if (virtualBlock === undefined) continue;
      const mapping = mappings.get(virtualBlock);
      expect(metadata.find(thinId, virtualBlock)).toEqual(
        mapping === undefined ? undefined : { ...mapping, shared: model.isShared(thinId, virtualBlock) },
      );
      if (mapping === undefined) continue;
      const { dataBlock } = mapping;
      const count = metadata.dataBlockCount(dataBlock);
      expect(count).toBeGreaterThanOrEqual(1);
      expect(count).toBeLessThanOrEqual(model.usesOf(dataBlock));
      expect(metadata.isDataBlockShared(dataBlock)).toBe(count > 1);
    }
  }

  finish(): void {
    this.#faulty.heal();
    this.compare();
    this.commit();
    const { state } = this.model;
    const image = expectSound(this.device);
    expect(image.transactionId).toBe(state.transactionId);
    expect(image.time).toBe(state.time);
    expectSame(inPlainWords(image.devices), inPlainWords(state.devices));
    expectSame(inPlainWords(image.held ?? new Map()), inPlainWords(state.held ?? new Map()));
    this.metadata.close();
  }
}

function detailsOf({ mappings, transactionId, creationTime, snapshottedTime }: ModelDevice): object {
  return { mappedBlocks: mappings.size, transactionId, creationTime, snapshottedTime };
}

function inPlainWords(devices: ReadonlyMap<number, ModelDevice | ImageDevice>): object {
  return [...devices]
    .sort(([a], [b]) => a - b)
    .map(([thinId, { mappings, transactionId, creationTime, snapshottedTime }]) => [
      thinId,
      [`${transactionId}`, creationTime, snapshottedTime],
      [...mappings]
        .sort(([a], [b]) => a - b)
        .map(([virtualBlock, { dataBlock, time }]) => [virtualBlock, dataBlock, time]),
    ]);
}

/** That `work` is refused with a `refusal`; or was not even looked at, for want of a block that could not be read. */
function expectRefusal(work: () => unknown, refusal: new (...args: never[]) => Error): void {
  const error = thrownBy(work);
  if (error instanceof DeviceError) throw error;
  expect(error).toBeInstanceOf(refusal);
}

/** For inner loops, where `expect` would take most of the time. */
function require(holds: boolean, what: string): void {
  if (!holds) throw new Error(`contradicts the model: ${what}`);
}

/** Equality of large plain values: only a difference takes the slow way, which can show it. */
function expectSame(found: object, expected: object): void {
  if (JSON.stringify(found) !== JSON.stringify(expected)) expect(found).toEqual(expected);
}

it.each([
  {
    title: 'with a cache of 32 blocks, over three data bitmaps',
    cacheBlocks: 32,
    nrMetadataBlocks: 1500,
    nrDataBlocks: 36000,
    nrFilled: 15500,
    growth: 700,
    numRuns: 12,
    seed: 1,
  },
  {
    title: 'with little metadata space',
    cacheBlocks: 32,
    nrMetadataBlocks: 28,
    nrDataBlocks: 20000,
    nrFilled: 0,
    growth: 5,
    numRuns: 60,
    seed: 2,
  },
  {
    title: 'with little data space',
    cacheBlocks: 64,
    nrMetadataBlocks: 1500,
    nrDataBlocks: 600,
    nrFilled: 0,
    growth: 700,
    numRuns: 40,
    seed: 3,
  },
])('behaves like plain maps under any sequence of operations, $title', ({ seed, numRuns, ...shape }) => {
  fc.assert(
    fc.property(fc.array(operation, { minLength: 20, maxLength: 120, size: 'max' }), (operations) => {
      const run = new Run(shape);
      for (const operation of operations) run.apply(operation);
      run.finish();
    }),
    { seed, numRuns },
  );
});
