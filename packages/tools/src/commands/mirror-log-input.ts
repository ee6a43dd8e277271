/** What mirror_check and mirror_dump share: the log's device, opened for reading only, and the options that describe its mirror. */
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { LogDamageError, type MirrorGeometry } from '@pdata/mirror';
import { InvalidValue, type ParseValue, value } from '../command-line/option-table.js';
import { sizeInBytes } from '../command-line/value-types.js';
import { ToolError } from '../failure/tool-error.js';
import { inputStats } from '../io/metadata-input.js';
import { given } from './given.js';
import { withDataFile } from './serve-files.js';

/** A size in sectors, as table lines have it; units as everywhere. */
const sizeInSectors: ParseValue<number> = (text) => {
  const bytes = sizeInBytes(text);
  if (bytes % BigInt(SECTOR_SIZE) !== 0n) throw new InvalidValue(`not a multiple of ${SECTOR_SIZE} bytes`);
  return Number(bytes / BigInt(SECTOR_SIZE));
};

export const geometryOptions = {
  'region-size': value(sizeInSectors, {
    placeholder: 'SIZE',
    help: "Size of a region: then places are told in sectors, too. In sectors, as in the mirror's table line, unless it has a unit.",
  }),
  length: value(sizeInSectors, {
    placeholder: 'SIZE',
    help: 'Length of the mirror, with --region-size: then the log is looked at as the mirror would use it. In sectors, too.',
  }),
} as const;

export function geometryOf(options: {
  readonly 'region-size': number | undefined;
  readonly length: number | undefined;
}): MirrorGeometry {
  return { ...given('regionSize', options['region-size']), ...given('length', options.length) };
}

export const LOG_INPUT = {
  name: 'INPUT',
  help: "The log's device, or an image of it. It is only read.",
} as const;

const ADVICE = {
  what: "log's device",
  busy: 'deactivate the mirror first (LVM: lvchange -an VG/LV; else dmsetup remove NAME), or stop the server that uses it',
};

/** Opens the log at `path` for `work`; what is wrong with the options or the log becomes a `ToolError`. */
export async function withMirrorLog<T>(path: string, work: (log: DataDevice) => Promise<T>): Promise<T> {
  const stats = inputStats(path, ADVICE.what);
  if (stats.isFile() && stats.size < SECTOR_SIZE) {
    throw new ToolError('ERR_INPUT_SIZE', `'${path}' is too small for a mirror log`, {
      effect: `it holds ${stats.size} bytes, and a log has a header of ${SECTOR_SIZE} at least`,
      nextStep: "give the log's device: it is the first in the mirror line of `dmsetup table`",
    });
  }
  return withDataFile(path, 'read', ADVICE, async (log) => {
    try {
      return await work(log);
    } catch (error) {
      throw explained(error);
    }
  });
}

function explained(error: unknown): unknown {
  if (error instanceof RangeError) {
    const nextStep = 'give the size and the length of the table line: `dmsetup table` shows it';
    return new ToolError('ERR_OPTION', error.message, { nextStep }, { cause: error });
  }
  if (!(error instanceof LogDamageError)) return error;
  const [effect, nextStep] = [error.effect, error.nextStep].map(withoutFullStop);
  return new ToolError(error.code, withoutFullStop(error.message), { effect, nextStep }, { cause: error });
}

const withoutFullStop = (text: string): string => text.replace(/\.$/, '');
