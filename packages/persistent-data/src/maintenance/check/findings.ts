/**
 * What a check says: findings, notices, a summary; and the collector that counts every finding and keeps only so many.
 *
 * A damaged device can hold a fault per entry of its trees. All are counted, `maxFindings` are told in words: the words of the others are
 * never built, so that a check of a ruined device takes no more time or memory than that of a good one.
 *
 * The classes are those of the real tools, found by running them (docs/format/tools.md, section 2):
 *   fatal   the metadata must not be used: something cannot be read, is lost, or would be overwritten
 *   shape   a node breaks a rule for writers (fill, capacity) that no reader depends on; `--ignore-non-fatal-errors` passes it
 *   leak    a block is allocated (count 1) and nothing refers to it: space lost, nothing else; repairable
 */

export type CheckSeverity = 'fatal' | 'shape' | 'leak';

/** One fault. Its texts are complete sentences for people; match on the other fields. A target may add fields of its own. */
export interface CheckFinding {
  readonly severity: CheckSeverity;
  /** In the words of docs/format: "array index", "metadata space map", "clone superblock"… */
  readonly structure: string;
  /** The metadata block at fault. */
  readonly blockNr?: number;
  /** What is wrong. */
  readonly message: string;
  /** What it means. */
  readonly effect: string;
  /** What to do. */
  readonly nextStep: string;
}

/** Something odd that neither harms nor decides: old tools have left wrong hints in good metadata. */
export type CheckNotice = Omit<CheckFinding, 'severity'>;

/** Findings that are told when the caller sets no limit. */
export const DEFAULT_MAX_FINDINGS = 1000;

/** For messages: a u64 above 2^53 was rounded when it was read, so its last digits are not those on the disk. */
export const approximately = (nr: number): string => (nr > Number.MAX_SAFE_INTEGER ? `about ${nr}` : `${nr}`);

/** "1 block", "2 blocks"; for nouns that only add an s, or are given both ways. */
export const counted = (nr: number, one: string, many = `${one}s`): string => `${nr} ${nr === 1 ? one : many}`;

export class Findings<Finding extends CheckFinding = CheckFinding> {
  /** Findings of severity fatal. */
  fatal = 0;
  /** Findings of severity shape. */
  shape = 0;
  /** Leaked blocks (not findings: a run of leaked blocks is one finding). */
  readonly leaks = { data: 0, metadata: 0 };
  readonly notices: Omit<Finding, 'severity'>[] = [];
  /** Findings that were counted but not told. */
  leftOut = 0;
  readonly #max: number;
  #queue: Finding[] = [];
  #nrTold = 0;

  constructor(maxFindings: number) {
    this.#max = maxFindings;
  }

  addFatal(describe: () => Omit<Finding, 'severity'>): void {
    this.fatal++;
    this.#tell('fatal', describe);
  }

  addShape(describe: () => Omit<Finding, 'severity'>): void {
    this.shape++;
    this.#tell('shape', describe);
  }

  addLeak(kind: 'data' | 'metadata', nrBlocks: number, describe: () => Omit<Finding, 'severity'>): void {
    this.leaks[kind] += nrBlocks;
    this.#tell('leak', describe);
  }

  addNotice(notice: Omit<Finding, 'severity'>): void {
    if (this.notices.length < this.#max) this.notices.push(notice);
  }

  /** The findings since the last call. */
  *drain(): Generator<Finding, void> {
    if (this.#queue.length === 0) return;
    const queue = this.#queue;
    this.#queue = [];
    yield* queue;
  }

  #tell(severity: CheckSeverity, describe: () => Omit<Finding, 'severity'>): void {
    if (this.#nrTold >= this.#max) {
      this.leftOut++;
      return;
    }
    this.#nrTold++;
    this.#queue.push({ severity, ...describe() } as Finding);
  }
}
