/**
 * What a repairing dump knows of a damaged pool before it prints: as outline.ts, with every block of every mapping tree read
 * beforehand, so that what is printed is consistent (a device's `mapped_blocks` is the number of mappings that follow) and
 * what is lost can be told.
 *
 * The roots are the superblock's own. Whatever cannot be read is passed over: a leaf, a part of a tree, a whole device. A
 * device whose record is lost gets one that is safe: its snapshot time is the pool's, so that the kernel takes every older
 * mapping as shared and copies rather than overwrites.
 *
 * An intact pool gives the same outline as outline.ts, hence the same text.
 */
import { CorruptBlockError, type MetadataDevice } from '@pdata/device';
import { nrEntries } from '@pdata/persistent-data';
import type { DumpOptions } from './dump.js';
import type { DumpedDevice } from './dump-writer.js';
import { LeafWalk, type OnDamage } from './leaf-walk.js';
import { corruptNode, MAX_CHILDREN, type NodeReader } from './node-reader.js';
import {
  type PoolDevice,
  type PoolOutline,
  type PoolRoots,
  readDetails,
  readMappingRoots,
  readRoots,
} from './outline.js';
import { ThinDamageError, virtualBlocksInWords } from './thin-damage.js';

const RESTORE_BACKUP = 'restore this dump to other metadata and check what it lacks against a backup';

export function salvage(device: MetadataDevice, reader: NodeReader, options: DumpOptions): PoolOutline {
  return new Salvage(reader, readRoots(device, false), options).run();
}

class Salvage {
  readonly #bad = new Set<number>();
  readonly #lost: ThinDamageError[] = [];

  constructor(
    readonly reader: NodeReader,
    readonly roots: PoolRoots,
    readonly options: DumpOptions,
  ) {}

  run(): PoolOutline {
    const { reader, roots } = this;
    const details = readDetails(
      reader,
      roots.detailsRoot,
      this.#onLost((low, high) => {
        return `the records of ${thinIdsInWords(low, high)} are lost, and new ones are made from their mappings`;
      }),
    );
    const mappingRoots = readMappingRoots(
      reader,
      roots.mappingRoot,
      this.#onLost((low, high) => {
        return `all mappings of ${thinIdsInWords(low, high)} are lost, and the devices are left out`;
      }),
    );
    const devices: PoolDevice[] = [];
    for (const [thinId, rootNr] of mappingRoots) {
      const nrMappings = this.#count(thinId, rootNr);
      devices.push({ rootNr, printed: this.#record(thinId, details.get(thinId), nrMappings) });
    }
    for (const thinId of details.keys()) {
      if (mappingRoots.has(thinId)) continue;
      const error = corruptNode(
        roots.mappingRoot,
        `thin device ${thinId}`,
        'missing',
        'present, as in the details tree',
      );
      this.#lose(error, thinId, `all mappings of thin device ${thinId} are lost, and the device is left out`);
    }
    return { superblock: roots.superblock, devices, bad: this.#bad, lost: this.#lost };
  }

  /** The mappings of a device that can be read; what cannot becomes bad and lost. */
  #count(thinId: number, rootNr: number): bigint {
    let nrMappings = 0;
    const lose = (error: CorruptBlockError, blockNr: number, low: number, high: number): void => {
      this.#bad.add(blockNr);
      this.#lose(error, thinId, `${virtualBlocksInWords(low, high)} of thin device ${thinId} are lost`);
    };
    for (const batch of new LeafWalk(this.reader, lose).batches(rootNr)) {
      this.options.signal?.throwIfAborted();
      for (let from = 0; from < batch.nr; from += MAX_CHILDREN) {
        const nr = Math.min(MAX_CHILDREN, batch.nr - from);
        this.reader.readLeaves(batch.blockNrs.subarray(from, from + nr), nr);
        for (let i = 0; i < nr; i++) {
          const [blockNr, low, high] = [batch.blockNrs[from + i]!, batch.lows[from + i]!, batch.lows[from + i + 1]!];
          try {
            nrMappings += nrEntries(this.reader.leaf(i, low, high));
          } catch (error) {
            if (!(error instanceof CorruptBlockError)) throw error;
            lose(error, blockNr, low, high);
          }
        }
      }
    }
    return BigInt(nrMappings);
  }

  #record(thinId: number, record: DumpedDevice | undefined, nrMappings: bigint): DumpedDevice {
    const { time, transactionId } = this.roots.superblock;
    if (!record) {
      return { thinId, mappedBlocks: nrMappings, transactionId, creationTime: 0, snapshottedTime: time };
    }
    return { ...record, mappedBlocks: nrMappings };
  }

  #onLost(effect: (low: number, high: number) => string): OnDamage {
    return (error, _blockNr, low, high) => this.#lose(error, undefined, effect(low, high));
  }

  #lose(error: CorruptBlockError, thinId: number | undefined, effect: string): void {
    this.#lost.push(new ThinDamageError(error.detail, { thinId, effect, nextStep: RESTORE_BACKUP }));
  }
}

function thinIdsInWords(low: number, high: number): string {
  if (high === Number.POSITIVE_INFINITY) return low === 0 ? 'all thin devices' : `the thin devices from ${low} on`;
  return low === high - 1 ? `thin device ${low}` : `the thin devices ${low} to ${high - 1}`;
}
