/** The error explorer explored: a little object that is right, and the same with each of the mistakes that objects make. */
import { BLOCK_SIZE, DeviceError, type MetadataDevice } from '@pdata/device';
import { describe, expect, it } from 'vitest';
import type { ErrorSubject, FaultSource } from './error-subject.js';
import { exploreErrors } from './explore-errors.js';

const MEDIA = { disk: { nrBlocks: 4 } } as const;

interface Mistakes {
  readonly swallows?: boolean;
  readonly showsTooEarly?: boolean;
  readonly throwsAnything?: boolean;
  readonly leaks?: boolean;
}

/** A number in block 1 or 2, and in block 0 which of them; block 3 counts the blocks in use. */
class Little {
  readonly device: MetadataDevice;
  readonly #mistakes: Mistakes;
  value: number;
  isDead = false;

  constructor(device: MetadataDevice, mistakes: Mistakes) {
    this.device = device;
    this.#mistakes = mistakes;
    this.value = valueOn(device);
  }

  set(value: number): void {
    if (this.isDead) throw new DeviceError('dead: open it again');
    const before = this.value;
    try {
      if (this.#mistakes.showsTooEarly) this.value = value;
      if (this.#mistakes.leaks) this.device.write(3, blockOf(2));
      const home = 3 - numberIn(this.device, 0);
      this.device.write(home, blockOf(value));
      this.device.flush();
      this.device.write(0, blockOf(home));
      this.device.flush();
      this.value = value;
    } catch (error) {
      if (this.#mistakes.swallows) return;
      this.isDead = true;
      if (this.#mistakes.showsTooEarly) this.value = value + before;
      if (this.#mistakes.throwsAnything) throw new TypeError('undefined is not a function');
      throw error;
    }
  }
}

function blockOf(value: number): Uint8Array {
  const bytes = new Uint8Array(BLOCK_SIZE);
  bytes[0] = value;
  return bytes;
}

function numberIn(device: MetadataDevice, nr: number): number {
  const bytes = new Uint8Array(BLOCK_SIZE);
  device.read(nr, bytes);
  return bytes[0] as number;
}

const valueOn = (device: MetadataDevice): number => numberIn(device, numberIn(device, 0));

function subject(
  mistakes: Mistakes = {},
  sources: Record<string, FaultSource> = {},
): ErrorSubject<Little, typeof MEDIA> {
  return {
    name: 'little',
    media: MEDIA,
    prepare({ disk }) {
      disk.write(1, blockOf(5));
      disk.write(0, blockOf(1));
      disk.write(3, blockOf(1));
    },
    open: ({ disk }) => new Little(disk, mistakes),
    operations: { set: (little) => little.set(9) },
    inspect: (little) => `${little.value}`,
    close() {},
    recover({ disk }) {
      if (numberIn(disk, 3) !== 1 && !(mistakes.leaks && valueOn(disk) === 9)) throw new Error('a block leaked');
      return `${valueOn(disk)}`;
    },
    sources,
  };
}

it('finds nothing where there is nothing to find, and says what it tried', async () => {
  const report = await exploreErrors({ subject: subject() });
  expect(report.violations).toEqual([]);
  // One read, two writes and two flushes, each once and for ever; the writes in half, too.
  expect(report.runs).toEqual({ set: 2 * 5 + 2 });
  expect(report.summary).toBe('little: 12 runs of 1 operations with a fault each: no violation');
});

describe('an object that', () => {
  it.each<[string, Mistakes, string]>([
    ['takes no notice', { swallows: true }, 'it succeeds all the same'],
    ['shows what it does not know', { showsTooEarly: true }, 'the object shows neither the old state nor the new: 14'],
    ['throws whatever comes', { throwsAnything: true }, 'it throws TypeError: undefined is not a function'],
    ['leaks', { leaks: true }, 'a block leaked'],
  ])('%s, is found out', async (_, mistakes, says) => {
    const { violations } = await exploreErrors({ subject: subject(mistakes) });
    expect(violations.join('\n')).toMatch(says);
  });
});

it('fails sources besides devices, and says when an operation asks for nothing that could fail', async () => {
  let armed = 0;
  let nrDone = 0;
  const source: FaultSource = {
    watch: () => {
      nrDone = 0;
    },
    get nrDone() {
      return nrDone;
    },
    arm: (nth) => {
      armed = nth;
    },
    disarm: () => {
      armed = 0;
    },
  };
  const withSource = {
    ...subject({}, { luck: source }),
    operations: {
      set: (little: Little) => {
        if (++nrDone === armed) throw new DeviceError('out of luck');
        little.set(9);
      },
    },
  };
  const { runs, violations } = await exploreErrors({ subject: withSource });
  expect([runs, violations]).toEqual([{ set: 14 }, []]);
  const idle = { ...subject(), operations: { idle: () => {} } };
  await expect(exploreErrors({ subject: idle })).rejects.toThrow('idle of little changes nothing on the devices');
});
