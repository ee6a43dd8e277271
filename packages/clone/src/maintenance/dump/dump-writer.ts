/**
 * The two forms of a dump. Both are described in docs/format/clone.md, section 12: no other program writes or reads them.
 *
 *   <superblock version="1" region_size="8" target_size="32768" nr_regions="4096">
 *     <hydrated begin="0" end="17"/>             regions 0 to 16
 *     <in_doubt begin="64" end="128"/>           only in a repairing dump
 *   </superblock>
 *
 *   { "superblock": { "version": 1, "regionSize": 8, "targetSize": 32768, "nrRegions": 4096 },
 *     "hydrated": [ [0,17], … ],
 *     "inDoubt": [ [64,128], … ] }
 *
 * A dump that ends in an error still is valid JSON: `abandon` closes what is open. XML stays incomplete, which tells it from one
 * that is not.
 */
import type { BitRun } from '@pdata/persistent-data';
import { Phrase, putNumber, TextBuffer } from '@pdata/persistent-data/maintenance';
import { CLONE_VERSION } from '../../format/superblock.js';
import type { CloneOutline } from '../regions/outline.js';
import type { RegionRun } from '../regions/region-runs.js';

export interface DumpWriter {
  readonly buffer: TextBuffer;
  begin(outline: CloneOutline): void;
  run(run: RegionRun): void;
  /** @param inDoubt all of the ranges in doubt, once more */
  end(inDoubt: readonly BitRun[]): void;
  /** The dump ends here, in an error. True when something was written to make it valid. */
  abandon(): boolean;
}

const XML = {
  hydrated: new Phrase('  <hydrated begin="'),
  inDoubt: new Phrase('  <in_doubt begin="'),
  end: new Phrase('" end="'),
  close: new Phrase('"/>\n'),
} as const;

export class XmlWriter implements DumpWriter {
  readonly buffer = new TextBuffer();

  begin({ regionSize, targetSize, nrRegions }: CloneOutline): void {
    this.buffer.text(
      `<superblock version="${CLONE_VERSION}" region_size="${regionSize}" target_size="${targetSize}" nr_regions="${nrRegions}">\n`,
    );
  }

  run({ kind, begin, end }: RegionRun): void {
    const { buffer } = this;
    const { view } = buffer;
    const afterBegin = putNumber(view, XML[kind].put(view, buffer.at), begin);
    buffer.at = XML.close.put(view, putNumber(view, XML.end.put(view, afterBegin), end));
  }

  end(): void {
    this.buffer.text('</superblock>\n');
  }

  abandon(): boolean {
    return false;
  }
}

export class JsonWriter implements DumpWriter {
  readonly buffer = new TextBuffer();
  #state: 'nothing' | 'hydrated' | 'end' = 'nothing';
  #isFollower = false;

  begin({ regionSize, targetSize, nrRegions }: CloneOutline): void {
    this.buffer.text(
      `{\n  "superblock": {"version": ${CLONE_VERSION}, "regionSize": ${regionSize}, "targetSize": ${targetSize}, "nrRegions": ${nrRegions}},\n  "hydrated": [`,
    );
    this.#state = 'hydrated';
  }

  run({ kind, begin, end }: RegionRun): void {
    if (kind === 'inDoubt') return; // in a list of their own, at the end
    this.buffer.text(`${this.#isFollower ? ',' : ''}\n    [${begin},${end}]`);
    this.#isFollower = true;
  }

  end(inDoubt: readonly BitRun[]): void {
    const ranges = inDoubt.map(({ begin, end }) => `[${begin},${end}]`).join(', ');
    this.buffer.text(`],\n  "inDoubt": [${ranges}]\n}`);
    this.#state = 'end';
  }

  abandon(): boolean {
    if (this.#state !== 'hydrated') return false;
    this.end([]);
    return true;
  }
}
