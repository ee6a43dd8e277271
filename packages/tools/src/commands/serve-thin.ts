/**
 * pdata serve thin: the volumes of a pool in the kernel's format, over NBD, until it is asked to end.
 *
 * Standard output says where it listens, and how large each volume is served; standard error warns of what changes for those
 * who use it. With `--json`, standard output has an object a line: the events `listening`, `warning`, `status` and `end`.
 *
 * Not here: the protocol (@pdata/nbd), what becomes of the requests (@pdata/thin).
 * Format: docs/format/thin.md, sections 8 and 11; docs/format/nbd.md.
 */
import { SECTOR_SIZE } from '@pdata/device';
import type { ThinPool } from '@pdata/thin';
import { flag, type OptionTable, repeatable, value } from '../command-line/option-table.js';
import { anyText, oneOf } from '../command-line/value-types.js';
import { PDATA_VERSION } from '../version.js';
import { defineCommand, jsonOption, quietOption } from './command.js';
import { humanSize } from './human-size.js';
import { addressOptions } from './serve-address.js';
import { PoolExports } from './serve-exports.js';
import { type OpenPool, withPool } from './serve-pool.js';
import { messageOf, runService, type Served, serveUntilStopped } from './serve-service.js';
import { type ServedSize, servedSizes, sizeOfThin, volumeSize } from './serve-sizes.js';
import type { Teller } from './serve-teller.js';

const options = {
  metadata: value(anyText, {
    placeholder: 'FILE',
    required: true,
    help: "The pool's metadata device, or an image of it.",
  }),
  data: value(anyText, { placeholder: 'FILE', required: true, help: "The pool's data device, or an image of it." }),
  ...addressOptions,
  'read-only': flag({ help: 'Open both for reading, and write nothing at all.' }),
  size: repeatable(sizeOfThin, {
    placeholder: 'ID=SIZE',
    help: 'Serve volume ID with this size; once for each volume that is to have one.',
  }),
  'volume-size': value(volumeSize, {
    placeholder: 'SIZE',
    help: 'Serve the other volumes with this size [default: up to the end of what is mapped, in whole 4 MiB].',
  }),
  feature: repeatable(oneOf('skip_block_zeroing', 'ignore_discard', 'no_discard_passdown', 'error_if_no_space'), {
    placeholder: 'FEATURE',
    help: "A feature of the kernel's table line: skip_block_zeroing, ignore_discard, no_discard_passdown, error_if_no_space.",
  }),
  ...jsonOption,
  ...quietOption,
} as const satisfies OptionTable;

export const serveThin = defineCommand(
  {
    name: 'pdata serve thin',
    summary: 'Serve the volumes of a thin pool over NBD.',
    version: PDATA_VERSION,
    options,
    notes: `Each volume is an export, named by its thin id in decimal. For each other volume N of the pool it has the
metadata context qemu:dirty-bitmap:N: what has changed against N, so that a backup reads only that. The pool
works as in the kernel: blocks are provisioned and unshared by writes, given back by discards, committed by
flushes and every second.

Sizes: the metadata does not store how large a volume is (LVM does: lvs -o thin_id,lv_size). Unless told, a
volume is served up to the end of its highest mapped block, in whole extents of 4 MiB; what is not mapped
reads as zeros. SIZE is a number of bytes, or one with s (sectors), k, m, g, t (powers of 1024, also as
capitals): 512000s, 10G.

With --json, standard output has one object a line, each with its event: listening, warning, status, end.

A pool whose needs_check flag is set is served read-only. SIGUSR1 prints the status line of the pool. SIGINT
or SIGTERM ends the service: clients may finish what they have begun, everything is committed, the status line
is printed. A second one ends it at once, as a loss of power would: what clients had flushed is there.

Exit codes: 0 asked to end, and everything committed; 2 the command line cannot be understood, or does not say
who may come in; 64 anything else: files that cannot be used, an address in use, a last commit that failed.

Examples:
  pdata serve thin --metadata tmeta.img --data tdata.img --socket /tmp/pool.sock
  nbdcopy 'nbd+unix:///7?socket=/tmp/pool.sock' volume-7.img
  pdata serve thin --metadata /dev/vg/pool_tmeta --data /dev/vg/pool_tdata --read-only --size 7=10G`,
  },
  async (job) => {
    const given = job.options;
    const features = new Set(given.feature);
    const poolOptions = {
      readOnly: given['read-only'],
      skipBlockZeroing: features.has('skip_block_zeroing'),
      ignoreDiscard: features.has('ignore_discard'),
      noDiscardPassdown: features.has('no_discard_passdown'),
      errorIfNoSpace: features.has('error_if_no_space'),
    };
    return runService(job, { tool: 'pdata serve thin', subject: 'pool' }, (service) =>
      withPool({ metadata: given.metadata, data: given.data }, poolOptions, async (open) => {
        const { dataBlockSize, thins } = open.look;
        const sizes = servedSizes(thins, dataBlockSize * SECTOR_SIZE, {
          each: given.size,
          others: given['volume-size'],
        });
        warnAbout(open, sizes, service.teller, { wasAsked: given['read-only'] });
        await serveUntilStopped(new ServedPool(open, sizes, service.teller), service);
        if (!open.readOnly) await open.pool.commit();
        return open.pool.statusLine();
      }),
    );
  },
);

class ServedPool implements Served {
  readonly exports: PoolExports;
  readonly toCheck = 'the metadata (thin_check), and the devices that it and the data are on';
  readonly #pool: ThinPool;
  readonly #sizes: readonly ServedSize[];
  readonly #teller: Teller;

  constructor({ pool, readOnly }: OpenPool, sizes: readonly ServedSize[], teller: Teller) {
    this.exports = new PoolExports(pool, sizes, readOnly);
    this.#pool = pool;
    this.#sizes = sizes;
    this.#teller = teller;
  }

  statusLine(): string {
    return this.#pool.statusLine();
  }

  watch(): () => void {
    const teller = this.#teller;
    const forget = [
      this.#pool.on('mode', ({ to, reason }) =>
        teller.warn(`the pool is in ${to.replaceAll('_', '-')} mode now: ${reason}`),
      ),
      this.#pool.on('error', ({ operation, error }) => teller.warn(`${operation} failed: ${messageOf(error)}`)),
    ];
    return () => {
      for (const each of forget) each();
    };
  }

  listening(uri: (exportName?: string) => string): void {
    const exports = this.#sizes.map(({ thinId, size, isGiven, mappedBlocks }) => ({
      name: String(thinId),
      size,
      sizeIsGiven: isGiven,
      mappedBlocks,
      uri: uri(String(thinId)),
    }));
    this.#teller.tell('listening', { uri: uri(), exports }, [
      ...exports.map(
        ({ uri, size, sizeIsGiven }) =>
          `${uri} has ${size} bytes (${humanSize(BigInt(size))}${sizeIsGiven ? '' : ', as far as it is mapped'})`,
      ),
      ...(exports.length === 0 ? ['this pool has no volumes'] : []),
      `listening on ${uri()}`,
    ]);
  }

  /** What waits for space in the pool has no end of its own, and nothing else would keep the process from ending before it. */
  giveUp(): Promise<void> {
    return this.exports.giveUp();
  }
}

/** What the user may not expect. */
function warnAbout(
  { look, readOnly }: OpenPool,
  sizes: readonly ServedSize[],
  teller: Teller,
  { wasAsked }: { wasAsked: boolean },
): void {
  if (look.needsCheck) {
    teller.warn(
      wasAsked
        ? 'the metadata has to be checked (needs_check is set): what is served may be wrong'
        : 'the metadata has to be checked (needs_check is set): served read-only; to write again, run thin_check ' +
            '--clear-needs-check-flag on it',
    );
  }
  if (look.nrDataBlocksOfDevice > look.nrDataBlocks && !readOnly && look.nrDataBlocks > 0) {
    teller.warn(
      `the data device is larger than the pool: it is grown from ${look.nrDataBlocks} to ${look.nrDataBlocksOfDevice} blocks`,
    );
  }
  for (const { thinId, size, isCutOff } of sizes) {
    if (isCutOff) teller.warn(`volume ${thinId} has data behind the ${size} bytes that it is served with`);
  }
}
