/**
 * Is everything in a pool as it should be? Metadata (all of it, by `checkThin`), catalogue, and data file against each other.
 *
 * A pool that nobody has open is checked as it lies there, open for reading only. One that is open is checked at its last commit.
 */
import type { MetadataDevice } from '@pdata/device';
import { checkThin, type RepairSummary, repairThin, ThinMetadata, type ThinPool } from '@pdata/thin';
import { type CatalogueRecord, problemOfRecord, thinIdOf, type VolumeRecord } from '../catalogue/records.js';
import type { CheckFinding, CheckReport } from '../pool-host.js';
import { quoted } from '../words/pool-error.js';
import { formatSize } from '../words/sizes.js';
import { inSlices, lookAtCommitted } from './committed-state.js';
import { trimUnused } from './full-disk.js';
import { openParts, type PoolParts } from './pool-directory.js';

export interface RepairReport {
  /** Leaked blocks that were freed. */
  readonly freed: { readonly data: number; readonly metadata: number };
  readonly needsCheckCleared: boolean;
  /** The check after the repair. */
  readonly check: CheckReport;
}

/**
 * Frees what leaked and clears the flag that keeps a pool read-only, in a pool that nobody has open. Nothing is written to metadata in
 * which something worse was found.
 */
export async function repairPoolDirectory(directory: string): Promise<RepairReport> {
  const parts = await openParts(directory, 'write');
  let summary: RepairSummary;
  try {
    // On a full disk a repair would find no room; otherwise this changes nothing that anybody could see.
    await trimUnused(parts);
    summary = await inSlices(repairThin(parts.metadata));
  } finally {
    await parts.close();
  }
  const { repaired, needsCheckCleared } = summary;
  return { freed: repaired, needsCheckCleared, check: await checkPoolDirectory(directory) };
}

/** Checks a pool that nobody has open. Writes nothing. */
export async function checkPoolDirectory(directory: string): Promise<CheckReport> {
  const parts = await openParts(directory, 'read');
  try {
    return await inSlices(checkAll(parts, [...parts.catalogue.entries()], parts.metadata));
  } finally {
    await parts.close();
  }
}

/**
 * Checks a pool that is open here, at its last commit.
 * @returns when it has begun, what resolves when it is over: only the beginning must not be disturbed by other changes
 */
export async function beginCheck(parts: PoolParts, pool: ThinPool): Promise<{ readonly over: Promise<CheckReport> }> {
  await pool.commit();
  const entries = [...parts.catalogue.entries()];
  return { over: lookAtCommitted(parts, (device) => checkAll(parts, entries, device)) };
}

type Entries = readonly (readonly [key: string, record: CatalogueRecord])[];

function* checkAll(parts: PoolParts, entries: Entries, device: MetadataDevice): Generator<unknown, CheckReport> {
  const findings: CheckFinding[] = [];
  const steps = checkThin(device);
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done !== true) {
      const { severity, message } = step.value;
      findings.push({ where: 'metadata', severity: severity === 'fatal' ? 'fatal' : 'harmless', message });
      yield;
      continue;
    }
    const { value: summary } = step;
    const notes = summary.notices.map(({ message }) => message);
    if (summary.needsCheck)
      notes.push(
        'The pool says of itself that it has to be checked, and is read-only until check --repair has done it.',
      );
    if (summary.fatal === 0) {
      const { nrDataBlocks, blockSize, thinIds } = outline(device);
      findings.push(...checkData(parts, nrDataBlocks * blockSize));
      const catalogue = checkCatalogue(entries, thinIds);
      findings.push(...catalogue.findings);
      notes.push(...catalogue.notes);
    } else notes.push('Catalogue and data file were not compared with metadata that are damaged.');
    return {
      clean: findings.length === 0,
      findings: findings.sort((a, b) => (a.severity === b.severity ? 0 : a.severity === 'fatal' ? -1 : 1)),
      notes,
      nrVolumes: summary.nrDevices,
      nrMappings: summary.nrMappings,
      leaked: { data: summary.leaks.data, metadata: summary.leaks.metadata },
    };
  }
}

function outline(device: MetadataDevice): { nrDataBlocks: number; blockSize: number; thinIds: Set<number> } {
  const metadata = ThinMetadata.open(device);
  try {
    return {
      nrDataBlocks: metadata.nrDataBlocks,
      blockSize: metadata.dataBlockSize * 512,
      thinIds: new Set([...metadata.devices()].map(({ thinId }) => thinId)),
    };
  } finally {
    metadata.close();
  }
}

function checkData({ data }: PoolParts, expected: number): CheckFinding[] {
  if (data.size >= expected) return [];
  const message = `The data file has ${formatSize(data.size)} (${data.size} bytes), and the metadata count on ${formatSize(expected)} (${expected} bytes).`;
  return [{ where: 'data', severity: 'fatal', message }];
}

/** What opening the pool puts right by itself is a note, not a finding. */
function checkCatalogue(entries: Entries, thinIds: Set<number>): { findings: CheckFinding[]; notes: string[] } {
  const findings: CheckFinding[] = [];
  const notes: string[] = [];
  const seen = new Map<string, number>();
  const unnamed = new Set(thinIds);
  const find = (severity: CheckFinding['severity'], message: string) =>
    findings.push({ where: 'catalogue', severity, message });
  for (const [key, stored] of entries) {
    const thinId = thinIdOf(key);
    if (thinId === undefined) continue;
    const problem = problemOfRecord(stored);
    if (problem !== undefined) {
      find('harmless', `The record of device ${thinId} cannot be used: ${problem}.`);
      continue;
    }
    const record = stored as VolumeRecord;
    if (!thinIds.has(thinId)) {
      notes.push(
        `${quoted(record.name)} was being made or removed when the pool was last closed; its record will be dropped.`,
      );
      continue;
    }
    unnamed.delete(thinId);
    if (record.kind === 'leftover') {
      notes.push(`Device ${thinId} was being removed when the pool was last closed; that will be finished.`);
      continue;
    }
    if (record.kind === 'receiving') {
      notes.push(
        record.receiving?.becomes === 'volume'
          ? `The import of ${quoted(record.name)} has not come to its end; if it never does, it is removed when the pool is opened.`
          : `${quoted(record.name)} has been received in part; see thin-pool receive --list.`,
      );
    }
    for (const [what, value] of [
      ['name', record.name],
      ['identity', record.identity],
    ] as const) {
      const other = seen.get(`${what} ${value}`);
      if (other !== undefined && record.replaces === undefined) {
        find(
          what === 'name' ? 'harmless' : 'fatal',
          `Devices ${other} and ${thinId} have the same ${what} ${quoted(value)}.`,
        );
      }
      seen.set(`${what} ${value}`, thinId);
    }
  }
  for (const thinId of unnamed) notes.push(`Device ${thinId} has no record; it will be called thin-${thinId}.`);
  return { findings, notes };
}
