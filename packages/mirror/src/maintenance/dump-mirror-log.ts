/**
 * A disk log as text: which regions are clean, and which a restart copies, as ranges, in the order of the mirror.
 *
 *   xml               <mirror_log version nr_regions [region_size] [length]>
 *                       <regions state="clean" begin length [sector sectors]/> …
 *                     </mirror_log>
 *   json              {"log": {"version", "nrRegions", "regionSize", "length"}, "regions": [[begin, length, "clean"], …]}
 *   human_readable    a line for each range
 *
 * `state` is `clean` (a restart takes the legs for equal), `dirty` (its bit is 0: a restart copies it) or `new` (the log does not describe it,
 * for the mirror has grown: copied too). Ranges cover the mirror as given, or else the regions of the log. Sectors are given when the
 * region size is known. Real tools have no such dump, so the form is ours.
 */
import type { DataDevice } from '@pdata/device';
import type { LogHeader } from '../format/log-layout.js';
import { headerProblem } from './check-mirror-log.js';
import { LogDamageError } from './log-damage-error.js';
import { bitRuns, headerOf } from './log-reading.js';
import {
  type MirrorGeometry,
  nrRegionsNow,
  type SectorRange,
  sectorsOfRegions,
  type WorkOptions,
} from './mirror-geometry.js';

export interface LogDumpOptions extends WorkOptions, MirrorGeometry {
  /** Default xml. */
  readonly format?: 'xml' | 'json' | 'human_readable';
}

export interface LogDumpSummary {
  readonly nrRegions: number;
  readonly nrRanges: number;
}

interface RangeOfRegions {
  readonly begin: number;
  readonly end: number;
  readonly state: 'clean' | 'dirty' | 'new';
  readonly sectors: SectorRange | undefined;
}

interface LogWriter {
  begin(header: LogHeader, geometry: MirrorGeometry): string;
  range(range: RangeOfRegions, isFirst: boolean): string;
  end(): string;
}

/** Text is given away when so much has come together. */
const CHUNK = 64 * 1024;

/**
 * Dumps a log without writing to it: yields UTF-8 text in pieces.
 *
 * @throws {RangeError} when no mirror can have the length or the region size
 * @throws {@link LogDamageError} before anything is yielded, when the log cannot be used
 * @throws the reason of `signal`, when it is aborted
 */
export async function* dumpMirrorLog(
  device: DataDevice,
  options: LogDumpOptions = {},
): AsyncGenerator<Uint8Array, LogDumpSummary, undefined> {
  const nrNow = nrRegionsNow(options);
  const header = await headerOf(device);
  const problem = headerProblem(device, header, nrNow);
  if (problem !== undefined) throw new LogDamageError(device.name, problem);

  const writer = WRITERS[options.format ?? 'xml'];
  const encoder = new TextEncoder();
  let text = writer.begin(header, options);
  let nrRanges = 0;
  try {
    for await (const range of rangesOf(device, header.nrRegions, nrNow ?? header.nrRegions, options)) {
      text += writer.range(range, nrRanges++ === 0);
      if (text.length < CHUNK) continue;
      yield encoder.encode(text);
      text = '';
    }
  } catch (error) {
    yield encoder.encode(text + writer.end()); // what is open is closed, so that what there is can be read
    throw error;
  }
  yield encoder.encode(text + writer.end());
  return { nrRegions: header.nrRegions, nrRanges };
}

async function* rangesOf(
  device: DataDevice,
  nrDescribed: number,
  nrNow: number,
  options: LogDumpOptions,
): AsyncGenerator<RangeOfRegions, void> {
  for await (const { begin, end, value } of bitRuns(device, Math.min(nrDescribed, nrNow), options)) {
    yield { begin, end, state: value ? 'clean' : 'dirty', sectors: sectorsOfRegions(begin, end, options) };
  }
  if (nrNow <= nrDescribed) return;
  yield { begin: nrDescribed, end: nrNow, state: 'new', sectors: sectorsOfRegions(nrDescribed, nrNow, options) };
}

const xmlWriter: LogWriter = {
  begin({ version, nrRegions }, { regionSize, length }) {
    const geometry = [
      ['region_size', regionSize],
      ['length', length],
    ].flatMap(([name, value]) => (value === undefined ? [] : [` ${name}="${value}"`]));
    return `<mirror_log version="${version}" nr_regions="${nrRegions}"${geometry.join('')}>\n`;
  },
  range({ begin, end, state, sectors }) {
    const where = sectors === undefined ? '' : ` sector="${sectors.begin}" sectors="${sectors.end - sectors.begin}"`;
    return `  <regions state="${state}" begin="${begin}" length="${end - begin}"${where}/>\n`;
  },
  end: () => '</mirror_log>\n',
};

const jsonWriter: LogWriter = {
  begin({ version, nrRegions }, { regionSize, length }) {
    const log = JSON.stringify({ version, nrRegions, regionSize, length });
    return `{\n  "log": ${log},\n  "regions": [`;
  },
  range({ begin, end, state, sectors }, isFirst) {
    const where = sectors === undefined ? [] : [sectors.begin, sectors.end - sectors.begin];
    return `${isFirst ? '' : ','}\n    ${JSON.stringify([begin, end - begin, state, ...where])}`;
  },
  end: () => '\n  ]\n}',
};

const IN_WORDS = { clean: 'clean', dirty: 'to be copied', new: 'to be copied, not in the log' } as const;

const textWriter: LogWriter = {
  begin: ({ version, nrRegions }) => `mirror log: version ${version}, ${nrRegions} regions\n`,
  range({ begin, end, state, sectors }) {
    const regions = end - begin === 1 ? `region ${begin}` : `regions ${begin}..${end - 1}`;
    const where = sectors === undefined ? '' : ` (sectors ${sectors.begin}..${sectors.end - 1})`;
    return `${regions}${where}: ${IN_WORDS[state]}\n`;
  },
  end: () => '',
};

const WRITERS = { xml: xmlWriter, json: jsonWriter, human_readable: textWriter } as const;
