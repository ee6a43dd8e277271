/**
 * One record of what happened to several devices, in one order: so that a crash hits all of them at the same moment.
 *
 * It is made of the recording devices there are; what they tell separately is put into one list of events here. Of each write
 * the content is kept once, and shared by all that look at it later.
 */
import { BLOCK_SIZE, type DataDevice, type MetadataDevice, SECTOR_SIZE } from '@pdata/device';
import { RecordingDataDevice } from '../recording-data-device.js';
import { RecordingMetadataDevice } from '../recording-metadata-device.js';
import { type ContentHash, contentHash } from './content-hash.js';

const SECTORS_PER_BLOCK = BLOCK_SIZE / SECTOR_SIZE;

/** What reaches a medium as one: a block of a metadata write, or a request of a data device. Torn between its sectors. */
export interface Change {
  /** Counts the changes of the recording from 0. */
  readonly nr: number;
  /** Index of the device in the recording. */
  readonly device: number;
  readonly firstSector: number;
  /** Undefined where zeros land. */
  readonly bytes: Uint8Array | undefined;
  readonly nrSectors: number;
  readonly hash: ContentHash;
  /** Sectors that cannot land any more, because a later change with force unit access is durable there; undefined: none. */
  readonly gone: Uint8Array | undefined;
}

export type CrashEvent<State> =
  | { readonly kind: 'change'; readonly change: Change }
  | { readonly kind: 'durable'; readonly changes: ReadonlySet<number>; readonly older: ReadonlySet<number> }
  | { readonly kind: 'grow'; readonly device: number; readonly size: number }
  | { readonly kind: 'begins' | 'promises'; readonly state: State };

const NONE: ReadonlySet<number> = new Set();

export class CrashRecording<State> {
  readonly events: CrashEvent<State>[] = [];
  #nrChanges = 0;

  metadata(index: number, inner: MetadataDevice): MetadataDevice {
    /** Of each operation of the device the numbers of the changes that it made. */
    const changesOf: number[][] = [];
    let nrDurable = 0;
    return new RecordingMetadataDevice(inner, {
      onOperation: (operation) => {
        const changes: number[] = [];
        changesOf.push(changes);
        if (operation.op === 'write' && operation.bytes !== undefined) {
          const { firstBlockNr, nrBlocks, bytes } = operation;
          for (let nr = 0; nr < nrBlocks; nr++) {
            const block = bytes.subarray(nr * BLOCK_SIZE, (nr + 1) * BLOCK_SIZE);
            changes.push(this.#change(index, (firstBlockNr + nr) * SECTORS_PER_BLOCK, SECTORS_PER_BLOCK, block));
          }
        } else if (operation.op === 'grow') {
          this.events.push({ kind: 'grow', device: index, size: operation.nrBlocks * BLOCK_SIZE });
        } else if (operation.op === 'flush') {
          const covered = new Set(changesOf.slice(nrDurable, operation.nrCovered).flat());
          nrDurable = Math.max(nrDurable, operation.nrCovered); // less when a flush that began later was over earlier
          this.events.push({ kind: 'durable', changes: covered, older: NONE });
        }
      },
    });
  }

  data(index: number, inner: DataDevice): DataDevice {
    /** The device counts its own changes. */
    const changes: number[] = [];
    const all = (nrs: ReadonlySet<number>): Set<number> => new Set([...nrs].map((nr) => changes[nr] as number));
    return new RecordingDataDevice(inner, {
      onChange: ({ nr, offset, length, bytes }) => {
        changes[nr] = this.#change(index, offset / SECTOR_SIZE, length / SECTOR_SIZE, bytes);
      },
      onDurable: ({ nrs, older }) => {
        this.events.push({ kind: 'durable', changes: all(nrs), older: all(older) });
      },
    });
  }

  begins(state: State): void {
    this.events.push({ kind: 'begins', state });
  }

  promises(state: State): void {
    this.events.push({ kind: 'promises', state });
  }

  #change(device: number, firstSector: number, nrSectors: number, bytes: Uint8Array | undefined): number {
    const nr = this.#nrChanges++;
    const hash = contentHash(bytes, nrSectors);
    this.events.push({ kind: 'change', change: { nr, device, firstSector, nrSectors, bytes, hash, gone: undefined } });
    return nr;
  }
}
