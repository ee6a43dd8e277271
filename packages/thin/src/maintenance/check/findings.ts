/** What a check of a pool says: as any check, and of which thin device. The classes are those of docs/format/tools.md, section 2. */
import type { CheckFinding as FindingOfAny, Findings } from '@pdata/persistent-data/maintenance';

/** One fault. Its texts are complete sentences for people; match on the other fields. */
export interface CheckFinding extends FindingOfAny {
  readonly thinId?: number;
}

/** Something odd that neither harms nor decides: old tools have left wrong hints in good pools. */
export type CheckNotice = Omit<CheckFinding, 'severity'>;

export type ThinFindings = Findings<CheckFinding>;
