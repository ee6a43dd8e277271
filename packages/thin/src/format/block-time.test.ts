import { expect, it } from 'vitest';
import { dataBlockAt, setBlockTimeAt, timeAt } from './block-time.js';

const view = new DataView(new ArrayBuffer(16));

it('packs data block 5 at time 3 into the bytes that the kernel writes', () => {
  setBlockTimeAt(view, 8, 5, 3);
  expect([...new Uint8Array(view.buffer, 8)]).toEqual([3, 0, 0, 5, 0, 0, 0, 0]);
});

it.each(
  [0, 1, 255, 256, 2 ** 32, 2 ** 40 - 1].flatMap((dataBlock) =>
    [0, 1, 2 ** 24 - 1].map((time) => ({ dataBlock, time })),
  ),
)('keeps data block $dataBlock and time $time apart', ({ dataBlock, time }) => {
  setBlockTimeAt(view, 0, dataBlock, time);
  expect([dataBlockAt(view, 0), timeAt(view, 0)]).toEqual([dataBlock, time]);
  expect(view.getBigUint64(0, true)).toBe((BigInt(dataBlock) << 24n) | BigInt(time));
});
