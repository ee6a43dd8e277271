/**
 * What checks, dumps and restores of metadata are made of, whatever its target: reading many blocks, walking trees of a device that
 * may be damaged or hostile, holding space maps against the references found, and the XML of dumps.
 * `@pdata/thin` and `@pdata/clone` show how it is used.
 * @packageDocumentation
 */
export { ArrayAudit, type ArrayKind } from './check/array-audit.js';
export { BitmapComparison, BitmapIndex, type SpaceMapKind } from './check/bitmap-comparison.js';
export { BlockCensus, FIRST_TARGET_ROLE, type PointerSource, type Reached, Role } from './check/block-census.js';
export { BlockReader } from './check/block-reader.js';
export type { CheckContext, CheckWords } from './check/check-context.js';
export {
  approximately,
  type CheckFinding,
  type CheckNotice,
  type CheckSeverity,
  counted,
  DEFAULT_MAX_FINDINGS,
  Findings,
} from './check/findings.js';
export { freeLeaks, type LeakingMetadata, readAgain, writeSealed } from './check/free-leaks.js';
export { NodeNotes } from './check/node-notes.js';
export { NumberList, WideNumberList } from './check/number-list.js';
export { ProgressMeter } from './check/progress-meter.js';
export { ReferenceCounts } from './check/reference-counts.js';
export { DataSpaceMapAudit, MetadataSpaceMapAudit, SpaceMapAudit } from './check/space-maps.js';
export { type TreeKind, type TreeTotals, TreeWalker } from './check/tree-walker.js';
export { type RestoreParts, StreamRestorer } from './stream-restorer.js';
export { CHUNK_SIZE, Phrase, putNumber, TextBuffer } from './text/text-buffer.js';
export { ContentProblem, type TextPosition, XmlError, type XmlErrorType } from './text/xml-error.js';
export {
  type ElementTable,
  type Field,
  numberUpTo,
  optionalUpTo,
  TagFields,
  text,
  type XmlElement,
} from './text/xml-fields.js';
export { type XmlHandler, type XmlLanguage, XmlReader } from './text/xml-reader.js';
export {
  inWords,
  isWhiteSpace,
  MAX_NAME_LENGTH,
  MAX_TAG_LENGTH,
  MAX_VALUE_LENGTH,
  parseTag,
  type XmlAttribute,
  type XmlTag,
} from './text/xml-tag.js';
export { XmlWindow } from './text/xml-window.js';
export type { Progress, WorkOptions } from './work.js';
