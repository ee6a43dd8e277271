/**
 * thin_ls: the thin devices of a pool as a table.
 *
 * Differs from 1.1.0 in one word: TiB is written so, where the real tool writes Tib.
 *
 * Format: docs/format/tools.md, sections 2 and 6.
 */
import { type ListedThin, listThin } from '@pdata/thin';
import { flag, value } from '../command-line/option-table.js';
import { SUCCESS } from '../exit-codes.js';
import { drive } from '../io/drive.js';
import { withThinInput } from '../io/thin-input.js';
import { defineCommand, hiddenOptions, jsonOption } from './command.js';
import { DEFAULT_FIELDS, field, fieldNames, jsonDevice } from './thin-ls-fields.js';

const TITLE = 'Scanning data mappings';

export const thinLs = defineCommand(
  {
    name: 'thin_ls',
    summary: 'List the thin devices of a pool.',
    positional: { name: 'INPUT', help: "The pool's metadata device, or an image of it. It is only read." },
    options: {
      format: value(fieldNames, {
        short: 'o',
        placeholder: 'FIELDS',
        help: `Columns to print, separated by commas [default: ${DEFAULT_FIELDS.join(',')}].`,
      }),
      'no-headers': flag({ help: 'Leave the line of headers out.' }),
      'metadata-snap': flag({
        short: 'm',
        help: 'List the metadata snapshot instead: the only way while the pool is in use.',
      }),
      ...jsonOption,
      ...hiddenOptions,
    },
    notes: `Fields:
  DEV                                   number of the thin device
  TRANSACTION, CREATE_TIME, SNAP_TIME   the pool's transaction id and time at its creation, time of its snapshot
  MAPPED, EXCLUSIVE, SHARED             what it maps; the part that no other device maps; the rest
  MAPPED_BLOCKS, _SECTORS, _BYTES       the same as plain numbers; also EXCLUSIVE_… and SHARED_…
  HIGHEST_MAPPED                        how far its highest mapped block reaches
  HIGHEST_BLOCK, _SECTOR, _BYTE         that block; the last sector and the last byte of it
With --json, --format only decides whether mappings are read: if no field needs them, only details are listed.

Exit codes: 0 done; 2 the command line cannot be understood; 64 anything else: no metadata, damaged metadata.

Examples:
  thin_ls /dev/mapper/vg-pool_tmeta
  thin_ls -o DEV,MAPPED,EXCLUSIVE,SHARED meta.img
  thin_ls --no-headers -o DEV meta.img          the numbers alone, quickly: mappings are not read`,
  },
  ({ options, positional, io, progress, print, facts }) => {
    const fields = options.format ?? DEFAULT_FIELDS;
    const needsMappings = fields.some((name) => field(name).needsMappings);
    const ofMetadataSnapshot = options['metadata-snap'];
    return withThinInput(positional, { mode: 'read', ofMetadataSnapshot }, async (device) => {
      const list = listThin(device, {
        metadataSnapshot: ofMetadataSnapshot,
        mappings: needsMappings,
        onProgress: (state) => {
          progress.title(TITLE);
          progress.show(state);
        },
      });
      const thins: ListedThin[] = [];
      const { dataBlockSize } = await drive(list, io, (thin) => thins.push(thin));
      // Without mappings there is no progress to report; the real tool shows the title all the same.
      if (needsMappings) progress.title(TITLE);
      progress.clear();
      for (const line of tableLines(thins, fields, BigInt(dataBlockSize), !options['no-headers'])) print(line);
      Object.assign(facts, { dataBlockSize, devices: thins.map(jsonDevice) });
      return SUCCESS;
    });
  },
);

/** Columns as wide as their widest cell, aligned to the right, a space after each, the last included. */
function tableLines(
  thins: readonly ListedThin[],
  fields: readonly string[],
  blockSize: bigint,
  withHeaders: boolean,
): string[] {
  const rows = thins.map((thin) => fields.map((name) => field(name).cell(thin, blockSize)));
  if (withHeaders) rows.unshift([...fields]);
  const widths = fields.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) => row.map((cell, column) => `${cell.padStart(widths[column]!)} `).join(''));
}
