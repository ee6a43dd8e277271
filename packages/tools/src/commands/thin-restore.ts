/**
 * thin_restore: writes the metadata of a pool from the XML that thin_dump made.
 *
 * Everything that can be known beforehand is looked at before the target is touched: both paths, that the input is not
 * something else than XML, that they are not one file, the options. From the first piece of XML on the target has no valid
 * superblock until the very end, so whatever interrupts the restore, nobody takes half a pool for a whole one.
 *
 * Format: docs/format/tools.md, sections 2 and 5.
 */
import type { MetadataDevice } from '@pdata/device';
import { MAX_DATA_BLOCKS, type Progress, type RestoreOptions, type RestoreSummary, ThinRestorer } from '@pdata/thin';
import { value } from '../command-line/option-table.js';
import { anyText, u32, u64 } from '../command-line/value-types.js';
import { SUCCESS } from '../exit-codes.js';
import { ToolError } from '../failure/tool-error.js';
import { drive } from '../io/drive.js';
import { fileContent } from '../io/metadata-input.js';
import { THIN_ADVICE } from '../io/thin-input.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';
import { given } from './given.js';
import { checkXmlInput, explainedRestore, openOutput, type RestoreWords } from './restore-files.js';

const WORDS: RestoreWords = {
  tool: 'thin_restore',
  dump: 'thin_dump',
  subject: 'a thin pool',
  advice: THIN_ADVICE,
  sizeAdvice: 'thin_metadata_size tells a size',
  // 40 960 bytes: what thin-provisioning-tools take for the least a pool can live in.
  minBlocks: 10,
  busy: 'end what uses it (LVM: lvchange -an VG/POOL)',
};

export const thinRestore = defineCommand(
  {
    name: 'thin_restore',
    summary: 'Write the metadata of a thin pool from the XML of thin_dump.',
    options: {
      input: value(anyText, { short: 'i', placeholder: 'FILE', required: true, help: 'The XML. It is only read.' }),
      output: value(anyText, {
        short: 'o',
        placeholder: 'FILE',
        required: true,
        help: 'The metadata device, or a file large enough; it must exist. What it holds is lost.',
      }),
      'transaction-id': value(u64, {
        placeholder: 'NUM',
        help: "Transaction id to restore, if it is larger than the XML's.",
      }),
      'data-block-size': value(u32, {
        placeholder: 'SECTORS',
        help: "Data block size to restore, instead of the XML's.",
      }),
      'nr-data-blocks': value(u64, {
        placeholder: 'NUM',
        help: "Number of data blocks to restore, if it is larger than the XML's.",
      }),
      ...quietOption,
      ...jsonOption,
      ...hiddenOptions,
    },
    notes: `The superblock is written last: until the restore is complete, the output holds no valid metadata.

Exit codes: 0 done; 2 the command line cannot be understood; 64 anything else: XML with errors, an output that is
too small; 130 interrupted.

Examples:
  truncate -s 16M new.img && thin_restore -i pool.xml -o new.img
  thin_restore -i pool.xml -o /dev/vg/new_tmeta`,
  },
  async ({ options, io, progress, facts }) => {
    const { input, output } = options;
    const nrInputBytes = checkXmlInput(input, WORDS);
    const device = openOutput(output, input, WORDS);
    let restorer: ThinRestorer | undefined;
    try {
      const nrDataBlocks = options['nr-data-blocks'];
      // Above 2^53 the library would be handed, and tell, a rounded number.
      if (nrDataBlocks !== undefined && nrDataBlocks > MAX_DATA_BLOCKS) {
        throw unwritten(
          `the number of data blocks is ${nrDataBlocks}, expected a whole number up to ${MAX_DATA_BLOCKS}`,
        );
      }
      restorer = newRestorer(device, {
        ...given('transactionId', options['transaction-id']),
        ...given('dataBlockSize', options['data-block-size']),
        ...given('nrDataBlocks', nrDataBlocks === undefined ? undefined : Number(nrDataBlocks)),
      });
      io.catchInterrupts();
      const summary = await drive(restore(restorer, input), io, ({ stage, done }) =>
        progress.show({ stage, done, total: nrInputBytes }),
      );
      for (const warning of summary.warnings) progress.line(`warning: ${warning}`);
      Object.assign(facts, {
        devices: summary.nrDevices,
        mappings: summary.nrMappings,
        metadataBlocksUsed: summary.nrMetadataBlocks,
        metadataBlocks: device.nrBlocks,
        warnings: summary.warnings,
      });
      return SUCCESS;
    } catch (error) {
      throw explainedRestore(error, { input, output, hasBegunToWrite: restorer?.hasBegunToWrite ?? false }, WORDS);
    } finally {
      device.close();
    }
  },
);

function* restore(restorer: ThinRestorer, path: string): Generator<Progress, RestoreSummary> {
  for (const piece of fileContent(path)) yield restorer.push(piece);
  return restorer.end();
}

function newRestorer(device: MetadataDevice, options: RestoreOptions): ThinRestorer {
  try {
    return new ThinRestorer(device, options);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw unwritten(error.message, error);
  }
}

const unwritten = (message: string, cause?: unknown): ToolError =>
  new ToolError('ERR_OPTION', message, { effect: 'nothing has been written' }, { cause });
