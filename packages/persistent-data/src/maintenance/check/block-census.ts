/**
 * Who uses which metadata block, and how often: one role and one reference count a block.
 *
 * A block has one role. Reached in a second one (a mapping node that is also a bitmap), it would be written as the one and
 * read as the other, so that is a fatal finding, and the block keeps its first role. This is also what makes every walk end:
 * a block is looked into only when its first pointer is met, never again.
 *
 * Pointers from one node count once, however many trees share the node: that is what the metadata space map counts.
 */
import { nrBitmapsFor } from '../../space-map/bitmap.js';
import { approximately, counted, type Findings } from './findings.js';
import { ReferenceCounts } from './reference-counts.js';

/** What a block is used as. A target has its own besides those of {@link Role}, numbered from {@link FIRST_TARGET_ROLE} on. */
export interface Role {
  /** From 1 to 255, unique within a target. */
  readonly id: number;
  /** For messages: "node of the array index". */
  readonly name: string;
}

/** What every target has. */
export const Role = {
  superblock: { id: 1, name: 'superblock' },
  dataIndexNode: { id: 2, name: 'node of the data space map index' },
  dataOverflowNode: { id: 3, name: 'node of the data reference-count tree' },
  dataBitmap: { id: 4, name: 'data bitmap' },
  metadataIndex: { id: 5, name: 'metadata space map index' },
  metadataOverflowNode: { id: 6, name: 'node of the metadata reference-count tree' },
  metadataBitmap: { id: 7, name: 'metadata bitmap' },
} as const satisfies Record<string, Role>;

export const FIRST_TARGET_ROLE = 16;

/** first: look into it; again: somebody did; refused: no such block, or it has another role (told as a finding). */
export type Reached = 'first' | 'again' | 'refused';

/** Where a pointer was met, for the finding when it leads nowhere. */
export interface PointerSource {
  /** "mapping tree", "data space map"… */
  readonly structure: string;
  /** The block that holds the pointer; undefined: none does, the caller of the check gave it. */
  readonly blockNr: number | undefined;
  /** What is out of reach when the pointer is bad. */
  readonly effect: string;
  readonly nextStep: string;
}

export class BlockCensus {
  /** Blocks that may be referred to: those the space map manages and the device has. */
  readonly nrBlocks: number;
  readonly counts: ReferenceCounts;
  /** Pointers that led nowhere, or to a block of another role. */
  nrRefused = 0;
  /** The role of each block, by id; 0 for none yet. */
  readonly #roles: Uint8Array;
  readonly #names = new Map<number, string>();
  readonly #findings: Findings;

  constructor(nrBlocks: number, findings: Findings) {
    this.nrBlocks = nrBlocks;
    this.counts = new ReferenceCounts(nrBlocks, nrBitmapsFor(nrBlocks));
    this.#roles = new Uint8Array(nrBlocks);
    this.#findings = findings;
  }

  /**
   * A pointer to `blockNr` was met: counts it, and says whether it is the first.
   * @param isShareable whether blocks of this role may have several pointers to them
   */
  reach(blockNr: number, role: Role, isShareable: boolean, source: PointerSource): Reached {
    if (blockNr === 0 || blockNr >= this.nrBlocks) {
      if (role.id !== Role.superblock.id) return this.#refuse(source, this.#whyNot(blockNr));
    }
    this.counts.inc(blockNr);
    const known = this.#roles[blockNr] as number;
    if (known === 0) {
      this.#roles[blockNr] = role.id;
      this.#names.set(role.id, role.name);
      return 'first';
    }
    if (known !== role.id) {
      return this.#refuse(
        source,
        () => `block ${blockNr} as a ${role.name}, but that block is in use as a ${this.#names.get(known)}`,
      );
    }
    if (!isShareable) {
      return this.#refuse(source, () => `block ${blockNr}, a ${role.name} that something else points to`);
    }
    return 'again';
  }

  hasRole(blockNr: number, role: Role): boolean {
    return this.#roles[blockNr] === role.id;
  }

  #whyNot(blockNr: number): () => string {
    if (blockNr === 0) return () => 'block 0, which is the superblock';
    return () => `block ${approximately(blockNr)}, but the metadata has only ${counted(this.nrBlocks, 'block')}`;
  }

  #refuse({ structure, blockNr, effect, nextStep }: PointerSource, what: () => string): 'refused' {
    this.nrRefused++;
    this.#findings.addFatal(() =>
      blockNr === undefined
        ? { structure, message: `the root given for it is ${what()}`, effect, nextStep }
        : { structure, blockNr, message: `block ${blockNr} points to ${what()}`, effect, nextStep },
    );
    return 'refused';
  }
}
