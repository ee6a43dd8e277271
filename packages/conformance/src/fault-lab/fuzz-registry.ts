import type { FuzzTarget } from './fuzz-targets.js';
import { target as thin } from './thin-fuzz.js';

export const FUZZ_TARGETS: readonly FuzzTarget[] = [thin];
