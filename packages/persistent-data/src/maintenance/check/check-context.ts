/** What the parts of one check share. */
import type { BlockCensus } from './block-census.js';
import type { BlockReader } from './block-reader.js';
import type { Findings } from './findings.js';
import type { NodeNotes } from './node-notes.js';
import type { ProgressMeter } from './progress-meter.js';

export interface CheckContext {
  readonly reader: BlockReader;
  readonly census: BlockCensus;
  readonly notes: NodeNotes;
  readonly findings: Findings;
  readonly meter: ProgressMeter;
}
