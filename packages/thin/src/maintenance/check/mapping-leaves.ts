/**
 * Counts the data blocks that the leaves of mapping trees refer to: the innermost loop of a check, once per mapping.
 *
 * No allocation and no call per mapping. A leaf shared by many devices passes once, so its data blocks count once: that is
 * what the data space map counts.
 *
 * Format: docs/format/thin.md, section 2; docs/format/conventions.md, section 3 (block and time in one word).
 */
import { type Block, keyAt, valuesOffset } from '@pdata/persistent-data';
import type { ReferenceCounts } from '@pdata/persistent-data/maintenance';
import { approximately, counted } from '@pdata/persistent-data/maintenance';
import { dataBlockAt, timeAt } from '../../format/block-time.js';
import type { ThinFindings } from './findings.js';

export class MappingLeaves {
  /** The latest time any mapping carries. */
  latestTime = 0;
  /** Mappings to data blocks that the pool does not have. */
  nrOutside = 0;
  readonly #counts: ReferenceCounts;
  /** Data blocks of the pool, as the superblock has it. */
  readonly #nrDataBlocks: number;
  readonly #findings: ThinFindings;

  constructor(counts: ReferenceCounts, nrDataBlocks: number, findings: ThinFindings) {
    this.#counts = counts;
    this.#nrDataBlocks = nrDataBlocks;
    this.#findings = findings;
  }

  count(leaf: Block, nr: number): void {
    const { view } = leaf;
    const counts = this.#counts;
    const { flat, nrBlocks } = counts;
    let latest = this.latestTime;
    const start = valuesOffset(leaf);
    const end = start + 8 * nr;
    for (let at = start; at < end; at += 8) {
      // The two halves taken apart here, not by dataBlockAt and timeAt, which would read the lower one twice.
      const low = view.getUint32(at, true);
      const blockNr = view.getUint32(at + 4, true) * 256 + (low >>> 24);
      const time = low & 0xffffff;
      if (time > latest) latest = time;
      const count = flat[blockNr];
      if (count !== undefined && count < 254) flat[blockNr] = count + 1;
      else if (blockNr < nrBlocks) counts.inc(blockNr);
      else this.#outside(leaf, at, (at - start) / 8);
    }
    this.latestTime = latest;
  }

  #outside(leaf: Block, at: number, index: number): void {
    const dataBlock = dataBlockAt(leaf.view, at);
    // Inside the pool, yet without a bitmap: the index of the data space map is to blame, and was found incomplete before.
    if (dataBlock < this.#nrDataBlocks) return;
    this.nrOutside++;
    this.#findings.addFatal(() => ({
      structure: 'mapping tree',
      blockNr: leaf.nr,
      message:
        `virtual block ${approximately(keyAt(leaf, index))} is mapped to data block ${dataBlock} (at time ${timeAt(leaf.view, at)}), ` +
        `but the pool has only ${counted(this.#nrDataBlocks, 'data block')}`,
      effect: 'Reading or writing that virtual block would reach behind the end of the data device.',
      nextStep:
        'Restore a backup of the metadata, or save what can be read: thin_dump --repair, then thin_restore to another device.',
    }));
  }
}
