/** What the parts of one check share. */
import type { BlockCensus } from './block-census.js';
import type { BlockReader } from './block-reader.js';
import type { CheckFinding, Findings } from './findings.js';
import type { NodeNotes } from './node-notes.js';
import type { ProgressMeter } from './progress-meter.js';

/** What differs from target to target in sentences about what all of them have. */
export interface CheckWords {
  /** What the metadata is of: "pool", "clone". */
  readonly subject: string;
  /** What to do when reference counts are wrong, or cannot be read. A sentence. */
  readonly countsNextStep: string;
  /** What to do about leaked blocks. A sentence. */
  readonly leaksNextStep: string;
}

export interface CheckContext<Finding extends CheckFinding = CheckFinding> {
  readonly reader: BlockReader;
  readonly census: BlockCensus;
  readonly notes: NodeNotes;
  readonly findings: Findings<Finding>;
  readonly meter: ProgressMeter;
  readonly words: CheckWords;
}
