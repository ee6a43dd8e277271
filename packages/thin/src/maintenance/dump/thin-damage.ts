/**
 * Damage met while a pool is read: which block contradicts the format, whose it is, and what is lost by it.
 */
import { type CorruptBlockDetail, CorruptBlockError } from '@pdata/device';

export interface ThinDamage {
  /** The thin device whose tree holds the block; undefined where it belongs to the whole pool. */
  readonly thinId: number | undefined;
  /** What cannot be read because of it, as a sentence without its full stop. */
  readonly effect: string;
  /** What to do about it. */
  readonly nextStep: string;
}

/** A corrupt block, with the device it belongs to and what it means for that device. */
export class ThinDamageError extends CorruptBlockError implements ThinDamage {
  readonly thinId: number | undefined;
  readonly effect: string;
  readonly nextStep: string;

  constructor(detail: CorruptBlockDetail, damage: ThinDamage) {
    super(detail);
    this.thinId = damage.thinId;
    this.effect = damage.effect;
    this.nextStep = damage.nextStep;
    this.message = `${this.message}: ${damage.effect}; ${damage.nextStep}`;
  }
}

/** "virtual blocks 252 to 503", "virtual blocks from 252 on": the keys in from..to (exclusive, may be Infinity). */
export function virtualBlocksInWords(from: number, to: number): string {
  if (to === Number.POSITIVE_INFINITY) return from === 0 ? 'all virtual blocks' : `virtual blocks from ${from} on`;
  return from === to - 1 ? `virtual block ${from}` : `virtual blocks ${from} to ${to - 1}`;
}
