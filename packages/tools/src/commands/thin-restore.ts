/**
 * thin_restore: writes the metadata of a pool from the XML that thin_dump made.
 *
 * Everything that can be known beforehand is looked at before the target is touched: both paths, that the input is not
 * something else than XML, that they are not one file, the options. From the first piece of XML on the target has no valid
 * superblock until the very end, so whatever interrupts the restore, nobody takes half a pool for a whole one.
 *
 * Format: docs/format/tools.md, sections 2 and 5.
 */
import { type Stats, statSync } from 'node:fs';
import { BLOCK_SIZE, DeviceBusyError, DeviceOpenError, type MetadataDevice } from '@pdata/device';
import { openFileMetadataDevice } from '@pdata/device/node';
import {
  MAX_DATA_BLOCKS,
  type Progress,
  type RestoreOptions,
  type RestoreSummary,
  ThinRestorer,
  ThinXmlError,
} from '@pdata/thin';
import { value } from '../command-line/option-table.js';
import { anyText, u32, u64 } from '../command-line/value-types.js';
import { SUCCESS } from '../exit-codes.js';
import { foreignContent, looksLikeThinMetadata } from '../failure/foreign-content.js';
import { systemProblem } from '../failure/system-problem.js';
import { ToolError } from '../failure/tool-error.js';
import { drive } from '../io/drive.js';
import { isSameFile } from '../io/dump-output.js';
import { InterruptedError } from '../io/io.js';
import { fileContent, inputStats, startOf } from '../io/metadata-input.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';
import { given } from './given.js';

/** 40 960 bytes: what thin-provisioning-tools take for the least a pool can live in. */
const MIN_OUTPUT_BLOCKS = 10;

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
    const nrInputBytes = checkInput(input);
    checkOutput(output, input);
    const device = openOutput(output);
    try {
      // A block device tells its size only when it is open.
      if (device.nrBlocks < MIN_OUTPUT_BLOCKS) throw tooSmall(output, device.nrBlocks * BLOCK_SIZE);
      const nrDataBlocks = options['nr-data-blocks'];
      // Above 2^53 the library would be handed, and tell, a rounded number.
      if (nrDataBlocks !== undefined && nrDataBlocks > MAX_DATA_BLOCKS) {
        throw unwritten(
          `the number of data blocks is ${nrDataBlocks}, expected a whole number up to ${MAX_DATA_BLOCKS}`,
        );
      }
      const restorer = newRestorer(device, {
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
      throw explained(error, input, output);
    } finally {
      device.close();
    }
  },
);

function* restore(restorer: ThinRestorer, path: string): Generator<Progress, RestoreSummary> {
  for (const piece of fileContent(path)) yield restorer.push(piece);
  return restorer.end();
}

/** @returns its size in bytes */
function checkInput(path: string): number {
  const stats = inputStats(path);
  const start = startOf(path);
  if (start.length === 0) {
    throw new ToolError('ERR_NO_XML', `incomplete source metadata: '${path}' is empty`, {
      nextStep: 'make the XML with thin_dump; if it was made so, its dump failed',
    });
  }
  const what = looksLikeThinMetadata(start) ? 'the binary metadata of a thin pool' : foreignContent(start)?.what;
  if (what !== undefined) {
    const nextStep = 'thin_restore reads the XML that thin_dump prints: give that as --input';
    throw new ToolError('ERR_NO_XML', `'${path}' is not XML: it is ${what}`, { nextStep });
  }
  return stats.size;
}

function checkOutput(path: string, inputPath: string): void {
  const stats = outputStats(path);
  if (stats === undefined) {
    throw new ToolError('ERR_NO_OUTPUT', `Couldn't find output file '${path}'`, {
      nextStep: `thin_restore does not create it: make a file first (truncate -s 16M '${path}'); thin_metadata_size tells a size`,
    });
  }
  if (!stats.isFile() && !stats.isBlockDevice()) {
    throw new ToolError('ERR_OUTPUT_KIND', 'Invalid output file: Not a block device or regular file', {
      nextStep: 'give a metadata device, or a file',
    });
  }
  if (isSameFile(path, inputPath)) {
    throw new ToolError('ERR_OUTPUT_IS_INPUT', `'${path}' is both input and output`, {
      nextStep: 'give another output',
    });
  }
  if (stats.isFile() && stats.size < MIN_OUTPUT_BLOCKS * BLOCK_SIZE) throw tooSmall(path, stats.size);
}

function outputStats(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    const message = `cannot write '${path}': ${systemProblem(cause) ?? (cause as Error).message}`;
    throw new ToolError('ERR_OUTPUT', message, { nextStep: 'check the path' }, { cause });
  }
}

function openOutput(path: string): MetadataDevice & { close(): void } {
  try {
    return openFileMetadataDevice(path, { mode: 'write' });
  } catch (error) {
    const isBusy = error instanceof DeviceBusyError;
    if (!isBusy && !(error instanceof DeviceOpenError)) throw error;
    const nextStep = isBusy
      ? 'end what uses it (LVM: lvchange -an VG/POOL), or give another output'
      : 'check the path, and that you have the permission to write to it';
    throw new ToolError(error.code, error.message, { effect: 'nothing has been written', nextStep }, { cause: error });
  }
}

function tooSmall(path: string, nrBytes: number): ToolError {
  return new ToolError('ERR_OUTPUT_SIZE', 'Output file too small.', {
    effect: `'${path}' holds ${nrBytes} bytes; the least is ${MIN_OUTPUT_BLOCKS * BLOCK_SIZE}`,
    nextStep: 'give a larger one; thin_metadata_size tells a size',
  });
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

/** Errors that leave the target without metadata say so. */
function explained(error: unknown, input: string, output: string): unknown {
  const effect = `'${output}' holds no valid metadata now`;
  if (error instanceof InterruptedError) {
    const { code, exitCode } = error;
    return new ToolError(code, 'interrupted', { effect, nextStep: 'run it again' }, { cause: error, exitCode });
  }
  if (error instanceof ThinXmlError) {
    return new ToolError(
      error.code,
      `cannot restore '${input}': ${error.message}`,
      { effect, nextStep: 'make the XML again with thin_dump, or correct it there, and run thin_restore again' },
      { cause: error },
    );
  }
  return error;
}
