/**
 * What a loss of power could leave on the medium, for each place of a recorded workload.
 *
 * A crash between two flushes finds everything that the flushes before it covered, and of the writes after it any part:
 * none, all, or some blocks of them, in any order, the one being written torn between its 512-byte sectors. A crash in
 * the middle of an interval leaves nothing that a crash at its end could not leave too (a part of fewer writes is a part
 * of all of them), so only the ends of intervals are tried:
 *
 *   write 5, write 6, flush, write 0, flush          three intervals: 5 and 6 in part; 0 in part; nothing in doubt
 *
 * Each interval gives the four corner cases (none, all, only the last write, all but the last) and then random subsets.
 * Everything follows from the seed. Growing is taken to be durable at once.
 *
 * A promise noted in an interval holds for all its images: the crash may come at the interval's end, after the promise, with
 * nothing of the writes in doubt on the medium. So a commit that returns before its flush is over is found out.
 */
import { BLOCK_SIZE } from '@pdata/device';
import type { RecordedOperation } from './recording-metadata-device.js';
import { seededRandom } from './seeded-random.js';

const SECTOR_SIZE = 512;
const SECTORS_PER_BLOCK = BLOCK_SIZE / SECTOR_SIZE;

export interface CrashWorkload {
  /** The medium before the first operation; not changed. */
  readonly initial: Uint8Array;
  /** From a {@link RecordingMetadataDevice} that keeps bytes. */
  readonly operations: readonly RecordedOperation[];
  readonly seed: number;
  /** Images for every interval that has writes in doubt, corner cases included. Default 12. */
  readonly imagesPerInterval?: number;
  /** Only what a crash right after the last operation could leave. Default false: a crash at any place of the workload. */
  readonly onlyAtEnd?: boolean;
}

export interface CrashImage {
  /** The medium after the crash. Made anew for each image: the caller's to keep and change. */
  readonly bytes: Uint8Array;
  /** For the message of a failing test: where the crash was, what landed, and the seed. */
  readonly description: string;
  /** Flushes that were over before the crash. */
  readonly nrFlushes: number;
  /** Label of the last promise made before the crash: at least this must be found. */
  readonly lastPromise: string | undefined;
  /** Label of the next one: what was on its way to being promised may be found too, whole. Undefined after the last. */
  readonly nextPromise: string | undefined;
}

/** One block of one write. */
interface BlockWrite {
  readonly blockNr: number;
  readonly bytes: Uint8Array;
}

/** An interval between two flushes: what is safe at its start is in `base`, what may land is in `inDoubt`. */
interface Interval {
  readonly base: Uint8Array;
  readonly inDoubt: readonly BlockWrite[];
  readonly nrFlushes: number;
  /** Operations before the flush that ends the interval. */
  readonly end: number;
}

/** @throws {TypeError} when the recording kept no bytes */
export function* crashImages(workload: CrashWorkload): Generator<CrashImage> {
  const { operations, seed, imagesPerInterval = 12, onlyAtEnd = false } = workload;
  const random = seededRandom(seed);
  const nrFlushesInAll = operations.filter(({ op }) => op === 'flush').length;
  for (const { base, inDoubt, nrFlushes, end } of intervals(workload.initial, operations)) {
    if (onlyAtEnd && end < operations.length) continue;
    const place = `crash after flush ${nrFlushes} of ${nrFlushesInAll}`;
    const lastPromise = labelOf(operations.slice(0, end).findLast(isPromise));
    const nextPromise = labelOf(operations.slice(end).find(isPromise));
    const nrImages = inDoubt.length === 0 ? 1 : imagesPerInterval;
    for (let nr = 0; nr < nrImages; nr++) {
      const bytes = base.slice();
      const whatLanded = land(bytes, inDoubt, nr, random);
      const description = `${place}: ${whatLanded} (seed ${seed}, image ${nr} of the interval)`;
      yield { bytes, description, nrFlushes, lastPromise, nextPromise };
    }
  }
}

function* intervals(initial: Uint8Array, operations: readonly RecordedOperation[]): Generator<Interval> {
  let base: Uint8Array = new Uint8Array(initial); // a copy: slice() of a Buffer would be none
  let nrInBase = 0; // operations whose writes are in `base`
  let nrFlushes = 0;
  for (let end = 0; end <= operations.length; end++) {
    const operation = operations[end];
    if (operation?.op === 'grow') base = enlarged(base, operation.nrBlocks);
    if (operation !== undefined && operation.op !== 'flush') continue;

    yield { base, inDoubt: blockWrites(operations.slice(nrInBase, end)), nrFlushes, end };

    if (operation === undefined) return;
    nrFlushes++;
    for (const { blockNr, bytes } of blockWrites(operations.slice(nrInBase, operation.nrCovered))) {
      base.set(bytes, blockNr * BLOCK_SIZE);
    }
    nrInBase = Math.max(nrInBase, operation.nrCovered); // less when a flush that began later was over earlier
  }
}

/** Lets some of `writes` reach `image`. The first four calls of an interval are its corner cases. */
function land(image: Uint8Array, writes: readonly BlockWrite[], nr: number, random: () => number): string {
  if (writes.length === 0) return 'nothing was in doubt';
  const last = writes.length - 1;
  const density = random();
  const lands = (index: number): boolean => {
    if (nr === 0) return false;
    if (nr === 1) return true;
    if (nr === 2) return index === last;
    if (nr === 3) return index !== last;
    return random() < density;
  };
  // The last write of an interval is most often the one that counts (a superblock), so it is torn most often.
  const torn = nr < 4 || random() < 0.5 ? -1 : random() < 0.5 ? last : Math.floor(random() * writes.length);
  const landed: string[] = [];
  writes.forEach(({ blockNr, bytes }, index) => {
    if (index === torn) {
      const sectors = Array.from({ length: SECTORS_PER_BLOCK }, (_, sector) => sector).filter(() => random() < 0.5);
      for (const sector of sectors) {
        const at = sector * SECTOR_SIZE;
        image.set(bytes.subarray(at, at + SECTOR_SIZE), blockNr * BLOCK_SIZE + at);
      }
      landed.push(`${blockNr} torn, sectors [${sectors}]`);
    } else if (lands(index)) {
      image.set(bytes, blockNr * BLOCK_SIZE);
      landed.push(`${blockNr}`);
    }
  });
  const some = landed.length <= 20 ? landed : [...landed.slice(0, 20), '…'];
  return `${landed.length} of ${writes.length} block writes in doubt landed: ${some.join(', ') || 'none'}`;
}

function blockWrites(operations: readonly RecordedOperation[]): BlockWrite[] {
  return operations.flatMap((operation) => {
    if (operation.op !== 'write') return [];
    const { firstBlockNr, nrBlocks, bytes } = operation;
    if (bytes === undefined) throw new TypeError('crash images need a recording that keeps bytes');
    return Array.from({ length: nrBlocks }, (_, index) => ({
      blockNr: firstBlockNr + index,
      bytes: bytes.subarray(index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE),
    }));
  });
}

function isPromise(operation: RecordedOperation): boolean {
  return operation.op === 'promise';
}

function labelOf(operation: RecordedOperation | undefined): string | undefined {
  return operation?.op === 'promise' ? operation.label : undefined;
}

function enlarged(image: Uint8Array, nrBlocks: number): Uint8Array {
  const larger = new Uint8Array(Math.max(image.byteLength, nrBlocks * BLOCK_SIZE));
  larger.set(image);
  return larger;
}
