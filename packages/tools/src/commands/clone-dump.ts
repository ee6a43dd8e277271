/**
 * clone_dump: the metadata of a clone as XML or JSON: its sizes, and which regions are hydrated.
 *
 * The output is written as it is made. An output file is opened only when the input has proved readable, and never over the input.
 *
 * Format: docs/format/clone.md, section 12.
 */
import { type DumpOptions, dumpClone, type RegionsSummary } from '@pdata/clone';
import { flag, value } from '../command-line/option-table.js';
import { anyText } from '../command-line/value-types.js';
import { SUCCESS } from '../exit-codes.js';
import { withCloneInput } from '../io/clone-input.js';
import { drive } from '../io/drive.js';
import { fileOutput, standardOutput } from '../io/dump-output.js';
import { PDATA_VERSION } from '../version.js';
import { bitsetRootOption, refusingOptions, regionOptions, sizeOptions } from './clone-options.js';
import { tellLosses } from './clone-report.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';
import { streamJson } from './stream-json.js';

export const cloneDump = defineCommand(
  {
    name: 'clone_dump',
    summary: 'Print the metadata of a clone.',
    version: PDATA_VERSION,
    positional: { name: 'INPUT', help: "The clone's metadata device, or an image of it. It is only read." },
    options: {
      output: value(anyText, {
        short: 'o',
        placeholder: 'FILE',
        help: 'Write to this file, which is created or replaced, instead of standard output.',
      }),
      repair: flag({
        short: 'r',
        help: 'Dump what can be read when something cannot, and say which regions are in doubt.',
      }),
      ...sizeOptions,
      ...bitsetRootOption,
      ...quietOption,
      ...jsonOption,
      ...hiddenOptions,
    },
    notes: `XML:
  <superblock version="1" region_size="8" target_size="32768" nr_regions="4096">
    <hydrated begin="0" end="17"/>       regions 0 to 16: the destination holds their data
    <in_doubt begin="64" end="128"/>     with --repair: nothing is known of regions 64 to 127
  </superblock>
Sizes are in sectors. Regions that are not named are not hydrated: their data is the source's. A restore takes
regions in doubt for not hydrated, too; what was written to them since the clone was made is then out of sight,
and hydration overwrites it from the source. If it matters, copy these regions from the destination first.
JSON: {"tool", "dump": {"superblock", "hydrated", "inDoubt"}, "ok", "exitCode", "lost", "errors"}; a range of
regions is [begin, end], without end.

--region-size and --target-size, with --repair, stand in for a superblock that cannot be read: the newest bitset
that is whole is then searched for on the whole device.

This command, and the XML, are pdata's own: no other tool reads the metadata of clones.

Exit codes: 0 done, also by --repair with losses; 2 the command line cannot be understood; 64 anything else: no
metadata, damaged metadata (the output is then incomplete), a reader that closed the pipe.

Examples:
  clone_dump /dev/vg/clone-meta > clone.xml
  clone_dump --json meta.img
  clone_dump --repair --region-size 8 --target-size 32768 damaged.img -o saved.xml`,
  },
  (job) => {
    const { options, positional, io, progress } = job;
    return withCloneInput(positional, 'read', async (device) => {
      const toFile = options.output !== undefined;
      const output = toFile ? fileOutput(options.output, positional) : standardOutput(io);
      const dumpOptions: DumpOptions = {
        format: options.json ? 'json' : 'xml',
        repair: options.repair,
        ...regionOptions(options),
        // Text that goes to a terminal and a bar on the same one would mix.
        ...(toFile ? { onProgress: progress.show } : {}),
      };
      const dump = refusingOptions('nothing has been dumped', () => dumpClone(device, dumpOptions));
      try {
        const summary: RegionsSummary = options.json
          ? await streamJson('clone_dump', dump, output, job)
          : await drive(dump, io, (chunk) => output.write(chunk));
        output.close();
        tellLosses(summary, progress, io.isDebugging);
        return SUCCESS;
      } finally {
        output.close();
      }
    });
  },
);
