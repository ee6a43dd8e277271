/** Everything of ours that the explorers are pointed at. A new target is one file beside this one, and a line here. */
import type { CrashMedia, CrashReport, CrashSubject, CrashViolation } from '@pdata/testing';
import { type CrashExploration, exploreCrashes, replayCrash } from '@pdata/testing';
import { subject as clone } from './clone-subject.js';
import { subject as core } from './core-subject.js';
import { subject as mirror } from './mirror-subject.js';
import { subject as store } from './store-subject.js';
import { subject as thinMetadata } from './thin-metadata-subject.js';
import { subject as thinPool } from './thin-pool-subject.js';

/** How one subject is explored: all that differs from call to call. */
export type ExplorationOptions = Omit<CrashExploration<unknown, CrashMedia, unknown>, 'subject'>;

export interface KnownSubject {
  readonly name: string;
  explore(options: ExplorationOptions): Promise<CrashReport>;
  replay(token: string, options?: Omit<ExplorationOptions, 'seed'>): Promise<CrashViolation | undefined>;
}

export const SUBJECTS: readonly KnownSubject[] = [
  known(core),
  known(thinMetadata),
  known(thinPool),
  known(clone),
  known(mirror),
  known(store),
];

/** Hides what a subject's operations and states are. */
function known<Operation, Media extends CrashMedia, State>(
  subject: CrashSubject<Operation, Media, State>,
): KnownSubject {
  return {
    name: subject.name,
    explore: (options) => exploreCrashes({ ...options, subject }),
    replay: (token, options) => replayCrash({ ...options, subject }, token),
  };
}
