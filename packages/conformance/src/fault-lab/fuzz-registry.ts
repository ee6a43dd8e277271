import { target as clone } from './clone-fuzz.js';
import type { FuzzTarget } from './fuzz-targets.js';
import { target as mirror } from './mirror-fuzz.js';
import { target as store } from './store-fuzz.js';
import { target as thin } from './thin-fuzz.js';

export const FUZZ_TARGETS: readonly FuzzTarget[] = [thin, clone, mirror, store];
