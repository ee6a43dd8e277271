import { MemoryMetadataDevice } from '@pdata/device';
import { FaultyMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import { expect, it } from 'vitest';
import { SmallTarget, superblockValidator } from '../../test/small-target.js';
import { numbers } from '../../test/values.js';
import { setU64At, u64At } from '../block/block.js';
import type { BlockManager } from '../block/block-manager.js';
import { BTree } from '../btree/tree.js';
import { CommitPipeline } from './commit-pipeline.js';
import type { SealedCounts } from './space-map.js';

/** Where the tests' superblock keeps its number: behind what the target has in it. */
const NUMBER_AT = 480;

interface Sealed extends SealedCounts {
  readonly nr: number;
}

/** A medium whose flushes end when the test says so. */
class HeldDevice extends MemoryMetadataDevice {
  readonly held: (() => void)[] = [];
  constructor(
    nrBlocks: number,
    readonly flushIsAtomic: boolean,
  ) {
    super({ nrBlocks });
  }
  override async flushAsync(): Promise<void> {
    await new Promise<void>((resolve) => this.held.push(resolve));
    this.flush();
  }
  async letOneEnd(): Promise<void> {
    this.held.shift()?.();
    for (let i = 0; i < 10; i++) await Promise.resolve();
  }
}

function pipelineOn(device: MemoryMetadataDevice | FaultyMetadataDevice): {
  recording: RecordingMetadataDevice;
  pipeline: CommitPipeline<Sealed>;
  events: string[];
  blocks: BlockManager;
} {
  const recording = new RecordingMetadataDevice(device);
  SmallTarget.format(recording, { cacheBlocks: 64 });
  recording.clear();
  const target = SmallTarget.open(recording, { cacheBlocks: 64 });
  const { tm } = target;
  const tree = BTree.create(tm, numbers);
  const events: string[] = [];
  let nr = 0;
  const pipeline = new CommitPipeline<Sealed>(
    {
      blocks: tm.blocks,
      superblockValidator,
      seal: () => {
        tree.insert(++nr, nr);
        const own = nr;
        events.push(`seal ${own}`);
        const sealed = tm.seal(true);
        return {
          nr: own,
          release: () => {
            events.push(`release ${own}`);
            sealed.release();
          },
        };
      },
      fill: ({ view }, { nr: own }) => {
        events.push(`superblock ${own}`);
        setU64At(view, NUMBER_AT, own);
      },
    },
    { nr: 0, release: () => events.push('release 0') },
  );
  return { recording, pipeline, events, blocks: tm.blocks };
}

it('lets all who ask while one commit is on its way share the next, and two commits a flush', async () => {
  const device = new HeldDevice(300, false);
  const { pipeline, events, recording } = pipelineOn(device);
  const done: string[] = [];
  const ask = (who: string): Promise<void> => pipeline.commit().then(() => void done.push(who));
  const all = [ask('a'), ask('b')];
  await Promise.resolve();
  expect(events).toEqual(['seal 1']);
  all.push(ask('c'), ask('d'), ask('e'));
  await device.letOneEnd(); // the blocks of 1
  expect(done).toEqual([]);
  expect(events).toEqual(['seal 1', 'seal 2', 'superblock 1']);
  await device.letOneEnd(); // the superblock of 1, the blocks of 2
  expect(done).toEqual(['a', 'b']);
  await device.letOneEnd(); // the superblock of 2
  await Promise.all(all);
  expect(done).toEqual(['a', 'b', 'c', 'd', 'e']);
  expect(events).toEqual(['seal 1', 'seal 2', 'superblock 1', 'release 0', 'superblock 2', 'release 1']);
  expect(recording.nrOf('flush')).toBe(3);
  expect(pipeline.isRunning).toBe(false);
});

it('needs one flush a commit where a flush is a transaction', async () => {
  const device = new HeldDevice(300, true);
  const { pipeline, recording } = pipelineOn(device);
  Object.defineProperty(recording, 'flushIsAtomic', { value: true });
  const done = pipeline.commit();
  await Promise.resolve();
  await Promise.resolve();
  expect(device.held.length).toBe(1);
  await device.letOneEnd();
  await done;
  expect(recording.nrOf('flush')).toBe(1);
});

it('overtakes what is on its way with a synchronous commit, and never writes an older superblock over a newer', async () => {
  const device = new HeldDevice(300, false);
  const { pipeline, events, blocks } = pipelineOn(device);
  const first = pipeline.commit();
  await Promise.resolve();
  pipeline.commitNow();
  expect(events).toEqual(['seal 1', 'seal 2', 'superblock 2', 'release 0']);
  expect(pipeline.durable.nr).toBe(2);
  while (device.held.length > 0) await device.letOneEnd();
  await first;
  expect(events.filter((event) => event.startsWith('superblock'))).toEqual(['superblock 2']);
  expect(events).toContain('release 1');
  expect(u64At(blocks.read(0, superblockValidator).view, NUMBER_AT)).toBe(2);
});

it('tells everybody who waits when a flush fails, and takes nothing more', async () => {
  const device = new FaultyMetadataDevice(new MemoryMetadataDevice({ nrBlocks: 300 }));
  const { pipeline, blocks } = pipelineOn(device);
  device.inject({ operation: 'flush', nth: device.nrDone('flush') + 1 });
  const [a, b] = [pipeline.commit(), pipeline.commit()];
  await expect(a).rejects.toThrow('flush');
  await expect(b).rejects.toThrow('flush');
  await pipeline.idle();
  expect(blocks.readOnly).toBe(true);
  expect(pipeline.durable.nr).toBe(0);
  await expect(pipeline.commit()).rejects.toThrow('flush');
  expect(() => pipeline.commitNow()).toThrow('flush');
});

it('tells only those who asked when a state cannot be sealed', async () => {
  const device = new MemoryMetadataDevice({ nrBlocks: 300 });
  const target = SmallTarget.format(device, { cacheBlocks: 64 });
  let mayFail = true;
  const pipeline = new CommitPipeline<Sealed>(
    {
      blocks: target.tm.blocks,
      superblockValidator,
      seal: () => {
        if (mayFail) throw new Error('no room');
        return { nr: 1, ...target.tm.seal(true) };
      },
      fill: ({ view }, { nr }) => setU64At(view, NUMBER_AT, nr),
    },
    { nr: 0, release: () => {} },
  );
  await expect(pipeline.commit()).rejects.toThrow('no room');
  mayFail = false;
  await pipeline.commit();
  expect(pipeline.durable.nr).toBe(1);
});
