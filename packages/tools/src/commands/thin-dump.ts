/**
 * thin_dump: the metadata of a pool as XML, as text for people, or as JSON.
 *
 * The output is written as it is made, so its first line is there at once: LVM reads that line and closes the pipe, which
 * ends the dump without a word. An output file is opened only when the input has proved readable, and never over the input.
 *
 * Format: docs/format/tools.md, sections 2, 5 and 6; the JSON form, @pdata/thin's maintenance/dump/json-writer.ts.
 */
import { BLOCK_SIZE, CorruptBlockError, DeviceError, type MetadataDevice } from '@pdata/device';
import { Block } from '@pdata/persistent-data';
import { type DumpOptions, type DumpSummary, dumpThin, thinSuperblockValidator } from '@pdata/thin';
import { flag, optionalValue, repeatable, value } from '../command-line/option-table.js';
import { anyText, oneOf, u32, u64 } from '../command-line/value-types.js';
import { SUCCESS } from '../exit-codes.js';
import { failureReport, failureText } from '../failure/failure-report.js';
import { ToolError } from '../failure/tool-error.js';
import { drive } from '../io/drive.js';
import { fileOutput, standardOutput } from '../io/dump-output.js';
import { withThinInput } from '../io/thin-input.js';
import { defineCommand, hiddenOptions, jsonOption, quietOption } from './command.js';
import { given } from './given.js';
import { streamJson } from './stream-json.js';

export const thinDump = defineCommand(
  {
    name: 'thin_dump',
    summary: 'Print the metadata of a thin pool.',
    positional: { name: 'INPUT', help: "The pool's metadata device, or an image of it. It is only read." },
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
      'dev-id': repeatable(u64, {
        placeholder: 'THIN_ID',
        help: 'Dump this thin device only; may be given more than once. Not heeded with --skip-mappings.',
      }),
      'skip-mappings': flag({ help: 'Dump the devices without their mappings.' }),
      'metadata-snap': optionalValue(u64, {
        short: 'm',
        placeholder: 'BLOCKNR',
        help: 'Dump the metadata snapshot: the only way while the pool is in use. The superblock knows its block.',
      }),
      repair: flag({
        short: 'r',
        conflictsWith: ['metadata-snap'],
        help: 'Dump what can be read when something cannot, and say what is lost.',
      }),
      'transaction-id': value(u64, {
        placeholder: 'NUM',
        help: "Transaction id to write, if it is larger than the superblock's.",
      }),
      'data-block-size': value(u32, {
        placeholder: 'SECTORS',
        help: "Data block size to write, instead of the superblock's.",
      }),
      'nr-data-blocks': value(u64, {
        placeholder: 'NUM',
        help: "Number of data blocks to write, if it is larger than the superblock's.",
      }),
      ...quietOption,
      ...jsonOption,
      ...hiddenOptions,
    },
    notes: `Parts that several devices share are written once, as <def>, and referred to by <ref>.
JSON: {"tool", "dump": {"superblock", "defs", "devices"}, "ok", "exitCode", "lost", "errors"}; a mapping is
[first virtual block, first data block, length, time], {"ref": NAME} stands for the mappings of a def.

Exit codes: 0 done, also by --repair with losses; 2 the command line cannot be understood; 64 anything else:
no metadata, damaged metadata (the output is then incomplete), a reader that closed the pipe.

Examples:
  thin_dump /dev/mapper/vg-pool_tmeta > pool.xml
  thin_dump --skip-mappings -f human_readable meta.img
  thin_dump --dev-id 1 --dev-id 7 -o two.xml meta.img
  thin_dump --repair damaged.img -o saved.xml && thin_restore -i saved.xml -o new.img`,
  },
  (job) => {
    const { options, positional, io, progress } = job;
    const ofMetadataSnapshot = options['metadata-snap'] !== undefined;
    return withThinInput(positional, { mode: 'read', ofMetadataSnapshot }, async (device) => {
      const toFile = options.output !== undefined;
      const output = toFile ? fileOutput(options.output, positional) : standardOutput(io);
      if (options.repair && options['data-block-size'] !== undefined && isSuperblockLost(device)) {
        progress.title(`the superblock is lost: searching ${device.nrBlocks} blocks for the pool's trees`);
      }
      const devices = options['dev-id'].map(Number); // ids end at 2^24: what rounding changes names none
      const dump = newDump(device, {
        format: options.json ? 'json' : (options.format ?? 'xml'),
        skipMappings: options['skip-mappings'],
        metadataSnapshot: ofMetadataSnapshot,
        repair: options.repair,
        ...(devices.length > 0 ? { devices } : {}),
        ...given('transactionId', options['transaction-id']),
        ...given('dataBlockSize', options['data-block-size']),
        ...given('nrDataBlocks', options['nr-data-blocks']),
        // Text that goes to a terminal and a bar on the same one would mix.
        ...(toFile ? { onProgress: progress.show } : {}),
      });
      try {
        const { lost } = options.json
          ? await streamJson('thin_dump', dump, output, job)
          : await drive(dump, io, (chunk) => output.write(chunk));
        output.close();
        for (const loss of lost) progress.line(`lost: ${failureText(failureReport(loss, io.isDebugging)).trimEnd()}`);
        return SUCCESS;
      } finally {
        output.close();
      }
    });
  },
);

function newDump(device: MetadataDevice, options: DumpOptions): Generator<Uint8Array, DumpSummary> {
  try {
    return dumpThin(device, options);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ToolError('ERR_OPTION', error.message, { effect: 'nothing has been dumped' }, { cause: error });
  }
}

/** Then the repair reads the whole device before it writes anything, which can take minutes. */
function isSuperblockLost(device: MetadataDevice): boolean {
  const block = new Block(new Uint8Array(BLOCK_SIZE), 0);
  try {
    device.read(0, block.bytes);
    thinSuperblockValidator.check(block);
    return false;
  } catch (error) {
    if (error instanceof CorruptBlockError || error instanceof DeviceError) return true;
    throw error;
  }
}
