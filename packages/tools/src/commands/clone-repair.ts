/**
 * clone_repair: new metadata for a clone from what can be read of damaged metadata. The input is only read.
 *
 * Format: docs/format/clone.md, sections 11 and 12.
 */
import { repairClone } from '@pdata/clone';
import { value } from '../command-line/option-table.js';
import { anyText } from '../command-line/value-types.js';
import { SUCCESS } from '../exit-codes.js';
import { ToolError } from '../failure/tool-error.js';
import { withCloneInput } from '../io/clone-input.js';
import { drive } from '../io/drive.js';
import { PDATA_VERSION } from '../version.js';
import { bitsetRootOption, refusingOptions, regionOptions, sizeOptions } from './clone-options.js';
import { tellLosses } from './clone-report.js';
import { CLONE_RESTORE_WORDS } from './clone-restore.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';
import { explainedRestore, openOutput } from './restore-files.js';

export const cloneRepair = defineCommand(
  {
    name: 'clone_repair',
    summary: 'Write what can be read of the damaged metadata of a clone to another device.',
    version: PDATA_VERSION,
    options: {
      input: value(anyText, {
        short: 'i',
        placeholder: 'FILE',
        required: true,
        help: "The clone's metadata device, or an image of it. It is only read.",
      }),
      output: value(anyText, {
        short: 'o',
        placeholder: 'FILE',
        required: true,
        help: 'Another device, or a file large enough; it must exist. What it holds is lost.',
      }),
      ...sizeOptions,
      ...bitsetRootOption,
      ...quietOption,
      ...jsonOption,
      ...hiddenOptions,
    },
    notes: `A bit that cannot be read counts as not set: its region is taken for not hydrated, and shows what the source
holds. So nothing is ever read that was not written. But what was written to such a region since the clone was
made is then out of sight, and HYDRATION OVERWRITES IT from the source. All such regions are listed on standard
error, as sectors (and in JSON as inDoubt): if data may have been written to them, copy them from the
destination before the clone is activated, or activate it with no_hydration.

When the superblock is lost, --region-size and --target-size are needed (START target-size clone … region-size
in dmsetup table). The whole device is then searched for bitsets, and of those that are whole the one with the
most hydrated regions taken; it says which others there are: --override-bitset-root takes another. So it does
when no part of the bitset can be reached from the superblock.

Leaked blocks, and wrong counts, are gone afterwards: the output is built anew. Until it is complete, it holds
no valid metadata.

This command is pdata's own: no other tool reads the metadata of clones.

Exit codes: 0 done, also with regions in doubt; 2 the command line cannot be understood; 64 anything else: no
metadata, an output that is too small; 130 interrupted.

Examples:
  truncate -s 4M new.img && clone_repair -i damaged.img -o new.img
  clone_repair -i /dev/vg/clone-meta -o new.img --region-size 8 --target-size 32768`,
  },
  ({ options, io, progress, facts }) => {
    const { input, output } = options;
    return withCloneInput(input, 'read', async (source) => {
      const target = openOutput(output, input, CLONE_RESTORE_WORDS);
      let isBegun = false;
      try {
        const work = refusingOptions('nothing has been written', () =>
          repairClone(source, target, regionOptions(options)),
        );
        io.catchInterrupts();
        const summary = await drive(work, io, (state) => {
          isBegun = true;
          progress.show(state);
        });
        tellLosses(summary, progress, io.isDebugging);
        const { nrMetadataBlocks, lost, ...rest } = summary;
        const losses = lost.map(({ message, regions }) => ({ message, regions }));
        Object.assign(facts, rest, {
          lost: losses,
          metadataBlocksUsed: nrMetadataBlocks,
          metadataBlocks: target.nrBlocks,
        });
        return SUCCESS;
      } catch (error) {
        if (!isBegun || error instanceof ToolError) throw error;
        throw explainedRestore(error, { input, output, hasBegunToWrite: true }, CLONE_RESTORE_WORDS);
      } finally {
        target.close();
      }
    });
  },
);
