/**
 * What a repairing dump knows of a damaged pool before it prints: as outline.ts, with every block of every mapping tree read
 * beforehand, so that what is printed is consistent (a device's `mapped_blocks` is the number of mappings that follow) and
 * what is lost can be told.
 *
 * The roots are the superblock's own; should it be unreadable, they are searched for (lost-roots.ts). Whatever cannot be
 * read is passed over: a leaf, a part of a tree, a whole device. A device whose record is lost gets one that is safe: its
 * snapshot time is the pool's, so that the kernel takes every older mapping as shared and copies rather than overwrites.
 *
 * An intact pool gives the same outline as outline.ts, hence the same text.
 */
import { CorruptBlockError } from '@pdata/device';
import type { DumpOptions } from './dump-options.js';
import type { DumpedDevice } from './dump-writer.js';
import type { ForgivingSource } from './forgiving-source.js';
import type { OnDamage } from './leaf-walk.js';
import { findLostRoots } from './lost-roots.js';
import { MappingCensus } from './mapping-census.js';
import { corruptNode, type NodeReader } from './node-reader.js';
import {
  type PoolDevice,
  type PoolOutline,
  type PoolRoots,
  readDetails,
  readMappingRoots,
  readRoots,
} from './pool-roots.js';
import { ThinDamageError, virtualBlocksInWords } from './thin-damage.js';

const COMPARE = 'restore this dump to another device, and compare what it lacks with a backup';

export function salvage(device: ForgivingSource, reader: NodeReader, options: DumpOptions): PoolOutline {
  return new Salvage(device, reader, options).run();
}

class Salvage {
  readonly #device: ForgivingSource;
  readonly #reader: NodeReader;
  readonly #options: DumpOptions;
  readonly #lost: ThinDamageError[] = [];

  constructor(device: ForgivingSource, reader: NodeReader, options: DumpOptions) {
    this.#device = device;
    this.#reader = reader;
    this.#options = options;
  }

  run(): PoolOutline {
    const roots = this.#roots();
    const details = this.#details(roots);
    const mappingRoots = readMappingRoots(this.#reader, roots.mappingRoot, (error, _blockNr, low, high) => {
      this.#lose(
        error,
        undefined,
        `all mappings of ${thinIdsInWords(low, high)} are lost, and the devices are left out`,
      );
    });
    const census = new MappingCensus(this.#reader, this.#options.signal);
    for (const rootNr of new Set(mappingRoots.values())) census.visit(rootNr);
    const devices: PoolDevice[] = [];
    for (const [thinId, rootNr] of mappingRoots) {
      const nrMappings = census.count(rootNr, (error, _blockNr, low, high) => {
        this.#lose(error, thinId, `${virtualBlocksInWords(low, high)} of thin device ${thinId} are lost`);
      });
      devices.push({ rootNr, printed: this.#record(thinId, details.get(thinId), nrMappings, roots) });
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
    return { superblock: roots.superblock, devices, bad: census.bad, lost: this.#lost };
  }

  #roots(): PoolRoots {
    try {
      return readRoots(this.#device, false);
    } catch (error) {
      if (!(error instanceof CorruptBlockError)) throw error;
      const found = findLostRoots(this.#device, this.#reader, this.#options, this.#device.explain(error));
      this.#lose(
        error,
        undefined,
        `the newest trees that are whole were searched for and found at blocks ${found.mappingRoot} and ${found.detailsRoot}; ` +
          `whether they are the last ones cannot be known`,
      );
      return found;
    }
  }

  #details(roots: PoolRoots): Map<number, DumpedDevice> {
    const onDamage: OnDamage = (error, _blockNr, low, high) => {
      this.#lose(error, undefined, `the records of ${thinIdsInWords(low, high)} are lost, and made anew`);
    };
    return readDetails(this.#reader, roots.detailsRoot, onDamage);
  }

  #record(thinId: number, record: DumpedDevice | undefined, nrMappings: number, roots: PoolRoots): DumpedDevice {
    const { time, transactionId } = roots.superblock;
    const mappedBlocks = BigInt(nrMappings);
    if (record === undefined) {
      const error = corruptNode(
        roots.detailsRoot,
        `thin device ${thinId}`,
        'missing',
        'present, as in the mapping tree',
      );
      this.#lose(
        error,
        thinId,
        `the record of thin device ${thinId} is lost, and made anew from its ${nrMappings} mappings`,
      );
      return { thinId, mappedBlocks, transactionId, creationTime: 0, snapshottedTime: time };
    }
    const hasLostSome = this.#lost.some((damage) => damage.thinId === thinId);
    if (record.mappedBlocks !== mappedBlocks && !hasLostSome) {
      const field = `mapped blocks of thin device ${thinId}`;
      const error = corruptNode(roots.detailsRoot, field, String(record.mappedBlocks), nrMappings);
      this.#lose(error, thinId, `nothing is lost by it: the true number is printed`);
    }
    return { ...record, mappedBlocks };
  }

  #lose(error: CorruptBlockError, thinId: number | undefined, effect: string): void {
    this.#lost.push(new ThinDamageError(this.#device.explain(error).detail, { thinId, effect, nextStep: COMPARE }));
  }
}

function thinIdsInWords(low: number, high: number): string {
  if (high === Number.POSITIVE_INFINITY) return low === 0 ? 'all thin devices' : `the thin devices from ${low} on`;
  return low === high - 1 ? `thin device ${low}` : `the thin devices ${low} to ${high - 1}`;
}
