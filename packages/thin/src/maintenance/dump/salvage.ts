/**
 * What a repairing dump knows of a damaged pool before it prints: as outline.ts, with every block of every mapping tree read
 * beforehand, so that what is printed is consistent (a device's `mapped_blocks` is the number of mappings that follow) and
 * what is lost can be told.
 *
 * The roots are the superblock's own; should it be unreadable, they are searched for (lost-roots.ts). Whatever cannot be
 * read is passed over: a leaf, a part of a tree, a whole device. A device whose record is lost gets one that is safe: its
 * snapshot time is the pool's, so that the kernel takes every older mapping as shared and copies rather than overwrites.
 *
 * A dump is repaired to be restored. So mappings outside the data device are left out (outside-mappings.ts), a number of data
 * blocks that no device can have is replaced by the end of what is mapped, a data block size that none can have is asked
 * for, and what is printed as it is although a restore will refuse it, such as a time of more than 24 bits, is told.
 *
 * An intact pool gives the same outline as outline.ts, hence the same text.
 */
import { CorruptBlockError } from '@pdata/device';
import { MAX_DATA_BLOCKS, MAX_TIME } from '../../format/block-time.js';
import { checkDataBlockSize, MAX_THIN_ID } from '../../format/limits.js';
import type { DumpOptions } from './dump-options.js';
import type { DumpedDevice, DumpedSuperblock } from './dump-writer.js';
import type { ForgivingSource } from './forgiving-source.js';
import type { OnDamage } from './leaf-walk.js';
import { dataBlockSizeNeeded, findLostRoots } from './lost-roots.js';
import { MappingCensus } from './mapping-census.js';
import { corruptNode, type NodeReader } from './node-reader.js';
import { OutsideMappings } from './outside-mappings.js';
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

const REFUSED_TIME = 'a restore will refuse it: times have 24 bits, and mappings cannot carry a later one';

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
    const endOfData = this.#endOfData(roots.superblock);
    const census = new MappingCensus(this.#reader, this.#options.signal, endOfData);
    for (const rootNr of new Set(mappingRoots.values())) census.visit(rootNr);
    const devices: PoolDevice[] = [];
    for (const [thinId, rootNr] of mappingRoots) {
      const outside = new OutsideMappings();
      const nrMappings = census.count(
        rootNr,
        (error, _blockNr, low, high) => {
          this.#lose(error, thinId, `${virtualBlocksInWords(low, high)} of thin device ${thinId} are lost`);
        },
        (virtualBlock, dataBlock, leafNr) => outside.add(virtualBlock, dataBlock, leafNr),
      );
      this.#loseOutside(outside, thinId, endOfData);
      this.#tellThinId(thinId, roots);
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
    return {
      superblock: this.#restorable(roots.superblock, census),
      devices,
      bad: census.bad,
      endOfData: census.hasOutside ? endOfData : Number.POSITIVE_INFINITY,
      lost: this.#lost,
    };
  }

  #roots(): PoolRoots {
    try {
      const roots = readRoots(this.#device, false);
      this.#requireDataBlockSize(roots.superblock);
      return roots;
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
      const snapshottedTime = Math.min(time, MAX_TIME - 1);
      return { thinId, mappedBlocks, transactionId, creationTime: 0, snapshottedTime };
    }
    const hasLostSome = this.#lost.some((damage) => damage.thinId === thinId);
    if (record.mappedBlocks !== mappedBlocks && !hasLostSome) {
      const field = `mapped blocks of thin device ${thinId}`;
      const error = corruptNode(roots.detailsRoot, field, String(record.mappedBlocks), nrMappings);
      this.#lose(error, thinId, `nothing is lost by it: the true number is printed`);
    }
    this.#tellTimes(record, roots);
    return { ...record, mappedBlocks };
  }

  /** @throws {@link DataBlockSizeNeededError} */
  #requireDataBlockSize({ dataBlockSize }: DumpedSuperblock): void {
    const expected = checkDataBlockSize(dataBlockSize);
    if (expected === undefined || this.#options.dataBlockSize !== undefined) return;
    throw dataBlockSizeNeeded(corruptSuperblock('data block size', dataBlockSize, expected));
  }

  /** Where the data device ends as far as it is known: what is printed for it decides what a restore takes. */
  #endOfData({ nrDataBlocks }: DumpedSuperblock): number {
    if (nrDataBlocks > MAX_DATA_BLOCKS) return Number.POSITIVE_INFINITY;
    return Math.max(Number(nrDataBlocks), Number(this.#options.nrDataBlocks ?? 0));
  }

  #loseOutside(outside: OutsideMappings, thinId: number, endOfData: number): void {
    const { first } = outside;
    if (first === undefined) return;
    const error = corruptNode(
      first.leafNr,
      `data block of virtual block ${first.virtualBlock}`,
      first.dataBlock,
      `below ${endOfData}, where the data device ends`,
    );
    this.#lose(
      error,
      thinId,
      `${outside.inWords()} of thin device ${thinId} ${outside.nr === 1 ? 'is lost: it is' : 'are lost: they are'} mapped outside the data device and left out`,
      `${COMPARE}; if the data device is larger than ${endOfData} blocks, dump again with --nr-data-blocks`,
    );
  }

  /** The superblock's figures, as far as they can be known, such that a restore takes them. */
  #restorable(superblock: DumpedSuperblock, census: MappingCensus): DumpedSuperblock {
    const { time, nrDataBlocks } = superblock;
    if (time >= MAX_TIME) {
      const error = corruptSuperblock('time', time, `below ${MAX_TIME}`);
      const latest = 'the latest that a mapping or a device has';
      const nextStep = `set time in the <superblock> of the dump to ${latest}, and restore it then`;
      this.#lose(error, undefined, `it is printed as it is, but ${REFUSED_TIME}`, nextStep);
    }
    if (nrDataBlocks <= MAX_DATA_BLOCKS) return superblock;
    const nrMapped = BigInt(census.highestDataBlock + 1);
    if (BigInt(this.#options.nrDataBlocks ?? 0) < nrMapped) {
      this.#lose(
        corruptSuperblock('nr data blocks', nrDataBlocks, `at most ${MAX_DATA_BLOCKS}`),
        undefined,
        `the size of the data device is lost, and ${nrMapped} blocks, the end of what is mapped, are printed for it`,
        'if the data device is larger, dump again with --nr-data-blocks',
      );
    }
    return { ...superblock, nrDataBlocks: nrMapped };
  }

  #tellThinId(thinId: number, { mappingRoot }: PoolRoots): void {
    if (thinId <= MAX_THIN_ID) return;
    const error = corruptNode(mappingRoot, 'thin id', thinId, `at most ${MAX_THIN_ID}`);
    this.#lose(
      error,
      undefined,
      `thin device ${thinId} is printed as it is, but a restore will refuse it: thin ids have 24 bits`,
      'give it an unused dev_id in the dump, and restore it then',
    );
  }

  #tellTimes({ thinId, creationTime, snapshottedTime }: DumpedDevice, { detailsRoot }: PoolRoots): void {
    const times = { 'creation time': creationTime, 'snapshotted time': snapshottedTime };
    for (const [name, time] of Object.entries(times)) {
      if (time < MAX_TIME) continue;
      const error = corruptNode(detailsRoot, `${name} of thin device ${thinId}`, time, `below ${MAX_TIME}`);
      const nextStep = 'correct it in the dump, to no more than the time in its <superblock>, and restore it then';
      this.#lose(error, thinId, `it is printed as it is, but ${REFUSED_TIME}`, nextStep);
    }
  }

  #lose(error: CorruptBlockError, thinId: number | undefined, effect: string, nextStep = COMPARE): void {
    this.#lost.push(new ThinDamageError(this.#device.explain(error).detail, { thinId, effect, nextStep }));
  }
}

function corruptSuperblock(field: string, found: number | bigint, expected: string): CorruptBlockError {
  return new CorruptBlockError({ structure: 'thin superblock', blockNr: 0, field, found, expected });
}

function thinIdsInWords(low: number, high: number): string {
  if (high === Number.POSITIVE_INFINITY) return low === 0 ? 'all thin devices' : `the thin devices from ${low} on`;
  return low === high - 1 ? `thin device ${low}` : `the thin devices ${low} to ${high - 1}`;
}
