/** Damage met while a clone's regions are read: which block contradicts the format, and of which regions nothing is known. */
import { type CorruptBlockDetail, CorruptBlockError, StoreError } from '@pdata/device';
import type { BitRun } from '@pdata/persistent-data';

/** A corrupt block, with what it means for the clone. */
export class CloneDamageError extends CorruptBlockError {
  /** Of these nothing is known; undefined where no region is concerned directly. */
  readonly regions: BitRun | undefined;
  /** What follows from it, as a sentence without its full stop. */
  readonly effect: string;
  /** What to do about it. */
  readonly nextStep: string;

  constructor(
    detail: CorruptBlockDetail,
    damage: { readonly regions?: BitRun | undefined; readonly effect: string; readonly nextStep: string },
  ) {
    super(detail);
    this.regions = damage.regions;
    this.effect = damage.effect;
    this.nextStep = damage.nextStep;
    this.message = `${this.message}: ${damage.effect}; ${damage.nextStep}`;
  }
}

/** The superblock is lost or says nonsense of them: the sizes, which nothing else tells. */
export class GeometryNeededError extends StoreError {
  override readonly name = 'GeometryNeededError';
  readonly code = 'ERR_GEOMETRY_NEEDED';
}

export const geometryNeeded = (cause: CorruptBlockError): GeometryNeededError =>
  new GeometryNeededError(
    `the region size and the target size have to be given, because the superblock is damaged (${cause.message})`,
    { cause },
  );

/** "regions 64 to 127", "region 5": `end` is exclusive. */
export const regionsInWords = ({ begin, end }: BitRun): string =>
  begin === end - 1 ? `region ${begin}` : `regions ${begin} to ${end - 1}`;

export const corruptNode = (blockNr: number, field: string, found: number | string, expected: number | string) =>
  new CorruptBlockError({ structure: 'hydration bitset', blockNr, field, found, expected });

/** For a reading that ends here: a dump. */
export const unreadableRegions = ({ detail }: CorruptBlockError, regions: BitRun): CloneDamageError =>
  new CloneDamageError(detail, {
    regions,
    effect: `whether ${regionsInWords(regions)} are hydrated cannot be read, and the dump is incomplete`,
    nextStep: 'run clone_check to see the whole damage, or dump with --repair to save the rest',
  });
