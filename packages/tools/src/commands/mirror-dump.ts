/**
 * mirror_dump: which regions a mirror's log calls clean, and which a restart would copy, as XML, as text for people, or as JSON.
 *
 * An output file is opened only when the log has proved readable, and never over the input.
 * Format: docs/format/mirror-log.md, section 2; that of the dump, @pdata/mirror's maintenance/dump-mirror-log.ts.
 */
import { dumpMirrorLog } from '@pdata/mirror';
import { value } from '../command-line/option-table.js';
import { anyText, oneOf } from '../command-line/value-types.js';
import { SUCCESS } from '../exit-codes.js';
import { drive } from '../io/drive.js';
import { fileOutput, standardOutput } from '../io/dump-output.js';
import { PDATA_VERSION } from '../version.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';
import { geometryOf, geometryOptions, LOG_INPUT, withMirrorLog } from './mirror-log-input.js';
import { streamDocument } from './streamed-document.js';

export const mirrorDump = defineCommand(
  {
    name: 'mirror_dump',
    summary: 'Print the log of a mirror: which regions are in sync, and which a restart would copy.',
    version: PDATA_VERSION,
    positional: LOG_INPUT,
    options: {
      format: value(oneOf('xml', 'human_readable'), {
        short: 'f',
        placeholder: 'TYPE',
        help: 'Form of the output, xml or human_readable [default: xml]. For JSON: --json.',
      }),
      output: value(anyText, {
        short: 'o',
        placeholder: 'FILE',
        help: 'Write to this file, which is created or replaced, instead of standard output.',
      }),
      ...geometryOptions,
      ...quietOption,
      ...jsonOption,
      ...hiddenOptions,
    },
    notes: `Ranges of regions, in order, with one of three states:

  clean   all legs are equal
  dirty   a restart copies it: it was being written to, or had not been copied yet
  new     a restart copies it: the mirror, as given by --length, has grown, and the log does not describe it

JSON: {"tool", "dump": {"log": {"version", "nrRegions", "regionSize", "length"}, "regions"}, "ok", "exitCode",
"errors"}; a range is [first region, regions, state], and with --region-size [first region, regions, state, first
sector, sectors].

Exit codes: 0 done; 2 the command line cannot be understood; 64 anything else: no log, a damaged log, a reader that
closed the pipe.

Examples:
  mirror_dump /dev/mapper/vg-lv_mlog
  mirror_dump --region-size 1024 --length 2097152 -f human_readable log.img
  mirror_dump --json -o log.json log.img`,
  },
  (job) => {
    const { options, positional, io, progress } = job;
    return withMirrorLog(positional, async (log) => {
      const toFile = options.output !== undefined;
      const output = toFile ? fileOutput(options.output, positional) : standardOutput(io);
      const dump = dumpMirrorLog(log, {
        ...geometryOf(options),
        format: options.json ? 'json' : (options.format ?? 'xml'),
        // Text that goes to a terminal and a bar on the same one would mix.
        ...(toFile ? { onProgress: progress.show } : {}),
      });
      try {
        if (options.json) await streamDocument('mirror_dump', dump, output, job);
        else await drive(dump, io, (chunk) => output.write(chunk));
        output.close();
        return SUCCESS;
      } finally {
        output.close();
      }
    });
  },
);
