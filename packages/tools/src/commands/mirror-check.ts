/**
 * mirror_check: whether a mirror's log can be used, and what a restart of the mirror would copy. Reads only.
 *
 * There is no real tool to stand in for; options, output and exit codes are made like those of thin_check.
 * Format: docs/format/mirror-log.md, sections 2 and 3.
 */
import { checkMirrorLog, type LogCheckSummary, type LogFinding } from '@pdata/mirror';
import { FAILURE, SUCCESS } from '../exit-codes.js';
import { drive } from '../io/drive.js';
import type { ProgressDisplay } from '../io/progress-display.js';
import { PDATA_VERSION } from '../version.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';
import { geometryOf, geometryOptions, LOG_INPUT, withMirrorLog } from './mirror-log-input.js';

export const mirrorCheck = defineCommand(
  {
    name: 'mirror_check',
    summary: 'Check the log of a mirror, and tell what a restart of the mirror would copy.',
    version: PDATA_VERSION,
    positional: LOG_INPUT,
    options: { ...geometryOptions, ...quietOption, ...jsonOption, ...hiddenOptions },
    notes: `The log is that of a device-mapper mirror ("mirror disk 2 LOG REGION_SIZE …" in its table line; LVM:
NAME_mlog). It has a bit for each region: 1 says that all legs are equal there; 0 that the region was being
written to, or had not been copied yet: a restart copies it from the first leg to the others.

On standard output: NR_REGIONS=…, IN_SYNC=…, TO_COPY=… (regions), and with --region-size SECTORS_TO_COPY=…;
nothing with --quiet. On standard error: each fault with its place, effect and next step, and a verdict.

  fatal   this is no log, or one that must not be used: of another version, damaged, or cut short
  shape   it breaks a rule of the format that nobody depends on when reading

Exit codes: 0 sound, whether or not there is something to copy; 2 the command line cannot be understood; 64
anything else: faults were found, the log cannot be read, no mirror can have the sizes given.

Examples:
  mirror_check /dev/mapper/vg-lv_mlog
  mirror_check --region-size 1024 --length 2097152 log.img      table line: 0 2097152 mirror disk 2 LOG 1024 …
  mirror_check --region-size 512k --length 1g --json log.img    the same`,
  },
  ({ options, positional, io, progress, print, facts }) =>
    withMirrorLog(positional, async (log) => {
      const findings: LogFinding[] = [];
      const work = checkMirrorLog(log, { ...geometryOf(options), onProgress: progress.show });
      const summary = await drive(work, io, (finding) => {
        findings.push(finding);
        progress.line(faultText(finding.severity, finding));
      });
      const { nrRegions, nrInSync, nrToCopy, sectorsToCopy } = summary;
      const figures = { NR_REGIONS: nrRegions, IN_SYNC: nrInSync, TO_COPY: nrToCopy, SECTORS_TO_COPY: sectorsToCopy };
      for (const [name, figure] of Object.entries(figures)) if (figure !== undefined) print(`${name}=${figure}`);
      tellVerdict(summary, progress);
      Object.assign(facts, summary, { findings });
      return summary.clean ? SUCCESS : FAILURE;
    }),
);

function faultText(kind: string, { structure, message, effect, nextStep }: Omit<LogFinding, 'severity'>): string {
  return `${kind}: ${structure}: ${message}\n  effect: ${effect}\n  next step: ${nextStep}`;
}

function tellVerdict({ notices, fatal, nrToCopy, nrInSync }: LogCheckSummary, progress: ProgressDisplay): void {
  for (const notice of notices) progress.line(faultText('note', notice));
  if (fatal > 0) progress.line('the log cannot be used');
  if (nrToCopy === undefined || nrInSync === undefined) return;
  const nrRegions = nrInSync + nrToCopy;
  progress.line(
    nrToCopy === 0
      ? `all ${nrRegions} regions are in sync: a restart copies nothing`
      : `a restart copies ${nrToCopy} of ${nrRegions} regions`,
  );
}
