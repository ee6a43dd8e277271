/** What a mirror tells whoever listens. A listener that throws disturbs neither the mirror nor the other listeners. */
import type { LegErrorKind } from './legs.js';

export interface MirrorEvents {
  /** The first error of its kind on a leg, since the mirror was last in sync. */
  readonly legFailure: { readonly legNr: number; readonly kind: LegErrorKind; readonly error: unknown };
  /** The log did not take what had to be recorded. */
  readonly logFailure: { readonly error: unknown };
  /** Another leg is the default one: this is the `goodLeg` of the next time. */
  readonly defaultLeg: { readonly from: number; readonly to: number };
  /** A write is held back, the first since all were released. */
  readonly writesHeld: { readonly reason: string };
  /** A region was copied. */
  readonly resync: { readonly regionNr: number; readonly syncCount: number; readonly nrRegions: number };
  /** All regions are in sync, and were not before. */
  readonly inSync: { readonly nrRegions: number };
}
