/**
 * Thousands of damaged images, none of which may get a clean bill, crash the check, or keep it for long.
 *
 * Among them every kind of pointer and header field that made thin-provisioning-tools read out of bounds or overflow
 * (892851c9, f18565dd, 2026-04).
 *
 * Every choice follows from a seed, and the seed is in the message of a failing case.
 */
import { BLOCK_SIZE, DeviceOpenError, MemoryMetadataDevice, StoreError } from '@pdata/device';
import { seededRandom } from '@pdata/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { checked, runCheck, type Verdict, verdictOf } from '../../../test/check-runs.js';
import { type BlockKind, type FixtureName, ImageEditor } from '../../../test/image-editor.js';

/** Far more than a check of 4 MiB takes, far less than an endless walk. */
const MAX_MILLISECONDS = 5000;

/** Damages an image, checks it, and puts it back: images are large, damage is small. */
class Patient {
  readonly image: ImageEditor;
  readonly allocated: readonly number[];
  readonly kinds = new Map<number, BlockKind>();
  readonly #saved = new Map<number, Uint8Array>();

  constructor(readonly name: FixtureName) {
    this.image = ImageEditor.of(name);
    this.allocated = this.image.allocated();
    for (const blockNr of this.allocated) {
      const kind = this.image.kindOf(blockNr);
      if (kind === undefined) throw new Error(`block ${blockNr} of ${name} has no known checksum`);
      this.kinds.set(blockNr, kind);
    }
  }

  /** To be called before block `blockNr` is changed. */
  touch(blockNr: number): void {
    if (!this.#saved.has(blockNr)) this.#saved.set(blockNr, this.image.block(blockNr).slice());
  }

  examine(what: string): Verdict {
    const start = performance.now();
    try {
      const run = checked(this.image, { maxFindings: 20 });
      const verdict = verdictOf(run);
      if ((verdict === 'clean') !== (run.findings.length === 0))
        throw new Error(`${what}: findings and verdict disagree`);
      if (performance.now() - start > MAX_MILLISECONDS) throw new Error('took too long');
      return verdict;
    } catch (error) {
      throw new Error(`${what}: ${error}`, { cause: error });
    } finally {
      for (const [blockNr, bytes] of this.#saved) this.image.block(blockNr).set(bytes);
      this.#saved.clear();
    }
  }
}

const FIXTURES = ['thin-basic', 'thin-metasnap'] as const;

describe.each(FIXTURES)('%s', (name) => {
  let patient: Patient;
  beforeAll(() => {
    patient = new Patient(name);
  });

  it('is never clean with one bit flipped in a block that is in use', () => {
    const random = seededRandom(1);
    const missed: string[] = [];
    for (const blockNr of patient.allocated) {
      for (let n = 0; n < 50; n++) {
        const bit = Math.floor(random() * BLOCK_SIZE * 8);
        patient.touch(blockNr);
        const block = patient.image.block(blockNr);
        block[bit >> 3] = (block[bit >> 3] as number) ^ (1 << (bit & 7));
        const what = `bit ${bit} of block ${blockNr}`;
        if (patient.examine(what) !== 'fatal') missed.push(what);
      }
    }
    expect(missed).toEqual([]);
  });

  it('stays clean with any bytes in a block that is free', () => {
    const random = seededRandom(2);
    const inUse = new Set(patient.allocated);
    for (let n = 0; n < 200; n++) {
      const blockNr = Math.floor(random() * patient.image.nrBlocks);
      if (inUse.has(blockNr)) continue;
      patient.touch(blockNr);
      patient.image.block(blockNr).fill(Math.floor(random() * 256));
      expect(patient.examine(`noise in free block ${blockNr}`)).toBe('clean');
    }
  });

  it('is never clean with a block in use zeroed, or overwritten by another', () => {
    const missed: string[] = [];
    const examine = (what: string): void => {
      if (patient.examine(what) !== 'fatal') missed.push(what);
    };
    for (const blockNr of patient.allocated) {
      patient.touch(blockNr);
      patient.image.block(blockNr).fill(0);
      examine(`block ${blockNr} zeroed`);
      for (const other of patient.allocated) {
        if (other === blockNr) continue;
        patient.touch(blockNr);
        patient.image.block(blockNr).set(patient.image.block(other));
        examine(`block ${other} written to block ${blockNr}`);
      }
      // A torn write: the first sectors new, the rest what was there long ago.
      patient.touch(blockNr);
      patient.image.block(blockNr).fill(0xff, 512 * (1 + (blockNr % 7)));
      examine(`block ${blockNr} torn`);
    }
    expect(missed).toEqual([]);
  });

  it('is never clean when cut short', () => {
    const { bytes } = patient.image;
    for (let nrBlocks = 1; nrBlocks < patient.image.nrBlocks; nrBlocks += 7) {
      const device = new MemoryMetadataDevice({ bytes: bytes.subarray(0, nrBlocks * BLOCK_SIZE + 100) });
      const run = runCheck(device, { maxFindings: 5 });
      expect(verdictOf(run), `${nrBlocks} blocks`).toBe('fatal');
    }
    expect(() => new MemoryMetadataDevice({ bytes: bytes.subarray(0, BLOCK_SIZE - 1) })).toThrow(DeviceOpenError);
  });

  it('is never clean with a wrong pointer under a right checksum', () => {
    const random = seededRandom(3);
    const { image } = patient;
    const pointers: { blockNr: number; at: number }[] = [
      ...[80, 88, 208, 216, 320, 328].map((at) => ({ blockNr: 0, at })),
      ...(image.heldRoot === 0 ? [] : [320, 328].map((at) => ({ blockNr: image.heldRoot, at }))),
      { blockNr: image.spaceMap('metadata').bitmapRoot, at: 16 },
      { blockNr: image.spaceMap('data').bitmapRoot, at: image.valueAt(image.spaceMap('data').bitmapRoot, 0) },
      ...image.node(image.mappingRoot).keys.map((_, i) => ({
        blockNr: image.mappingRoot,
        at: image.valueAt(image.mappingRoot, i),
      })),
    ];
    const missed: string[] = [];
    for (const { blockNr, at } of pointers) {
      const original = image.u64(blockNr, at);
      const elsewhere = Array.from({ length: 5 }, () => Math.floor(random() * 2 ** (random() * 52)));
      for (const target of [...patient.allocated, 0, image.nrBlocks, 2 ** 53, ...elsewhere]) {
        if (target === original) continue;
        patient.touch(blockNr);
        image.put64(blockNr, at, target).seal(blockNr, patient.kinds.get(blockNr) as BlockKind);
        const what = `pointer at byte ${at} of block ${blockNr} to ${target} instead of ${original}`;
        if (patient.examine(what) !== 'fatal') missed.push(what);
      }
    }
    expect(missed).toEqual([]);
  });

  it('ends in a verdict, whatever is changed under right checksums', () => {
    const random = seededRandom(4);
    const verdicts = { clean: 0, leak: 0, shape: 0, fatal: 0 };
    for (let n = 0; n < 2000; n++) {
      const changes: string[] = [];
      for (let nrChanges = 1 + Math.floor(random() * 3); nrChanges > 0; nrChanges--)
        changes.push(change(patient, random));
      verdicts[patient.examine(`seed 4, case ${n}: ${changes.join('; ')}`)]++;
    }
    // Stale slots, ids, times and the like can be anything; but most changes of a field must be found.
    expect(verdicts.fatal).toBeGreaterThan(800);
    expect(verdicts.clean).toBeLessThan(1000);
  });
});

/** Changes one field of a block in use, and makes its checksum right again. */
function change(patient: Patient, random: () => number): string {
  const { image, allocated, kinds } = patient;
  const pick = (below: number): number => Math.floor(random() * below);
  const blockNr = allocated[pick(allocated.length)] as number;
  const kind = kinds.get(blockNr) as BlockKind;
  patient.touch(blockNr);
  // Where fields are: headers most often, then keys and values in use, then anywhere.
  const nr = kind === 'node' ? Math.min(image.u32(blockNr, 16), 252) : 0;
  const places = [
    4 * (1 + pick(7)),
    8 * pick(46),
    nr === 0 ? 16 + 4 * pick(40) : image.keyAt(pick(nr)),
    nr === 0 ? 16 + 4 * pick(40) : Math.min(image.valueAt(blockNr, pick(nr)), BLOCK_SIZE - 8),
    4 * pick(1022),
  ];
  const at = Math.max(4, places[pick(places.length)] as number);
  const values = [0n, 1n, 3n, 251n, 252n, 253n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 64n - 1n];
  const value = [
    () => values[pick(values.length)] as bigint,
    () => BigInt(image.u32(blockNr, at)) + BigInt(pick(3)),
    () => BigInt(allocated[pick(allocated.length)] as number),
    () => BigInt(pick(2 ** 32)) << BigInt(pick(32)),
  ][pick(4)]?.() as bigint;
  if (random() < 0.5 && at + 8 <= BLOCK_SIZE) image.put64(blockNr, at, BigInt.asUintN(64, value));
  else image.put32(blockNr, at, Number(BigInt.asUintN(32, value)));
  image.seal(blockNr, kind);
  return `${value} at byte ${at} of block ${blockNr}, a ${kind}`;
}

describe('an image of noise', () => {
  it('is refused with one finding', () => {
    const random = seededRandom(5);
    const bytes = Uint8Array.from({ length: 64 * BLOCK_SIZE }, () => Math.floor(random() * 256));
    const { summary } = runCheck(new MemoryMetadataDevice({ bytes }));
    expect(summary).toMatchObject({ clean: false, fatal: 1 });
  });

  it('is refused too when the blocks below a good superblock are noise', () => {
    const random = seededRandom(6);
    const image = ImageEditor.of('thin-basic');
    for (let at = BLOCK_SIZE; at < image.bytes.length; at++) image.bytes[at] = Math.floor(random() * 256);
    expect(verdictOf(checked(image))).toBe('fatal');
  });

  it('is refused as typed errors where a check cannot even begin', () => {
    expect(() => new MemoryMetadataDevice({ bytes: new Uint8Array(100) })).toThrow(StoreError);
  });
});
