/**
 * Reads and writes past the page cache, by libuv's threads: through aligned memory, in whole blocks of the device.
 *
 * The bytes pass through slots of 256 KiB, of which there are 16 for the process: whoever finds none waits for one, so memory
 * is bounded however much is in flight. A request larger than a slot is moved in as many steps.
 *
 * On a device with blocks of 4096 bytes a read of a part of one reads all of it. A write of a part is refused: it would have
 * to read the rest first and keep every other writer of that block out meanwhile, and nobody who knows the device's block
 * size (file systems, the kernel's targets) writes less.
 */
import { alignedMemory } from './aligned-memory.js';
import { readWhole, writeWhole } from './positional-transfer.js';

const SLOT_SIZE = 256 * 1024;
const NR_SLOTS = 16;

let slots: Uint8Array[] | undefined;
const waiting: ((slot: Uint8Array) => void)[] = [];

/** @throws a system error, or an Error at an unexpected end */
export async function readDirect(fd: number, into: Uint8Array, position: number, blockSize: number): Promise<void> {
  await inSteps(position, into.byteLength, async (slot, from, to) => {
    const start = Math.floor(from / blockSize) * blockSize;
    const end = Math.ceil(to / blockSize) * blockSize;
    await readWhole(fd, slot.subarray(0, end - start), start);
    into.set(slot.subarray(from - start, to - start), from - position);
  });
}

/** @throws a system error, or an Error when the range is not whole blocks of the device */
export async function writeDirect(fd: number, from: Uint8Array, position: number, blockSize: number): Promise<void> {
  if (position % blockSize !== 0 || from.byteLength % blockSize !== 0) {
    throw new Error(`the device writes whole blocks of ${blockSize} bytes, and nothing less`);
  }
  await inSteps(position, from.byteLength, async (slot, start, end) => {
    const step = slot.subarray(0, end - start);
    step.set(from.subarray(start - position, end - position));
    await writeWhole(fd, step, start);
  });
}

/** Runs `step` for parts of the range that fit a slot, also when they are widened to whole blocks. */
async function inSteps(
  position: number,
  length: number,
  step: (slot: Uint8Array, from: number, to: number) => Promise<void>,
): Promise<void> {
  if (length === 0) return;
  const slot = await takeSlot();
  try {
    const end = position + length;
    for (let from = position; from < end; ) {
      const to = Math.min(end, (Math.floor(from / SLOT_SIZE) + 1) * SLOT_SIZE);
      await step(slot, from, to);
      from = to;
    }
  } finally {
    giveBack(slot);
  }
}

async function takeSlot(): Promise<Uint8Array> {
  slots ??= slotsIn(alignedMemory(NR_SLOTS * SLOT_SIZE));
  return slots.pop() ?? new Promise((resolve) => waiting.push(resolve));
}

function giveBack(slot: Uint8Array): void {
  const next = waiting.shift();
  if (next === undefined) slots?.push(slot);
  else next(slot);
}

function slotsIn(memory: Uint8Array): Uint8Array[] {
  return Array.from({ length: NR_SLOTS }, (_, nr) => memory.subarray(nr * SLOT_SIZE, (nr + 1) * SLOT_SIZE));
}
