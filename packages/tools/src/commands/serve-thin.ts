/**
 * pdata serve thin: the volumes of a pool in the kernel's format, over NBD, until it is asked to end.
 *
 * Standard output says where it listens, and how large each volume is served; standard error warns of what changes for those
 * who use it. With `--json`, standard output has an object a line: the events `listening`, `warning`, `status` and `end`.
 *
 * Not here: the protocol (@pdata/nbd), what becomes of the requests (@pdata/thin).
 * Format: docs/format/thin.md, sections 8 and 11; docs/format/nbd.md.
 */
import { resolve } from 'node:path';
import { ClosedError, SECTOR_SIZE, StoreError } from '@pdata/device';
import { formatNbdUri, NbdServer } from '@pdata/nbd';
import { flag, type OptionTable, repeatable, value } from '../command-line/option-table.js';
import { anyText, oneOf } from '../command-line/value-types.js';
import { FAILURE, SUCCESS } from '../exit-codes.js';
import { failureReport } from '../failure/failure-report.js';
import { ToolError } from '../failure/tool-error.js';
import type { Io } from '../io/io.js';
import { PDATA_VERSION } from '../version.js';
import { defineCommand, jsonOption, quietOption } from './command.js';
import { humanSize } from './human-size.js';
import { addressOptions, type ServeAddress, serveAddress } from './serve-address.js';
import { PoolExports } from './serve-exports.js';
import { type OpenPool, withPool } from './serve-pool.js';
import { type ServedSize, servedSizes, sizeOfThin, volumeSize } from './serve-sizes.js';
import { sparing, Teller } from './serve-teller.js';

/** Milliseconds that clients have, at the end, for what they have begun. */
const GRACE_MS = 5000;

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
  async ({ options: given, io, print, streamsDocument }) => {
    const address = serveAddress(given);
    io.catchInterrupts();
    const teller = new Teller(io, {
      tool: 'pdata serve thin',
      json: given.json,
      quiet: given.quiet,
      print,
      streamsDocument,
    });
    const features = new Set(given.feature);
    const poolOptions = {
      readOnly: given['read-only'],
      skipBlockZeroing: features.has('skip_block_zeroing'),
      ignoreDiscard: features.has('ignore_discard'),
      noDiscardPassdown: features.has('no_discard_passdown'),
      errorIfNoSpace: features.has('error_if_no_space'),
    };
    try {
      const statusLine = await withPool({ metadata: given.metadata, data: given.data }, poolOptions, (open) => {
        const { dataBlockSize, thins } = open.look;
        const sizes = servedSizes(thins, dataBlockSize * SECTOR_SIZE, {
          each: given.size,
          others: given['volume-size'],
        });
        warnAbout(open, sizes, address, teller, { wasAsked: given['read-only'] });
        return serve(open, sizes, address, io, teller);
      });
      teller.tell('status', { statusLine }, [`pool: ${statusLine}`]);
      teller.end(SUCCESS, []);
      return SUCCESS;
    } catch (error) {
      teller.end(error instanceof ToolError ? error.exitCode : FAILURE, [failureReport(error, io.isDebugging)]);
      throw error;
    }
  },
);

/** Serves until the user asks to stop. @returns the pool's status line after the last commit */
async function serve(
  { pool, readOnly }: OpenPool,
  sizes: readonly ServedSize[],
  address: ServeAddress,
  io: Io,
  teller: Teller,
): Promise<string> {
  const stopped = new Promise<void>((resolve) => {
    if (io.signal.aborted) resolve();
    else io.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const exports = new PoolExports(pool, sizes, readOnly);
  const server = await listening(
    exports,
    address,
    sparing(io, (line) => {
      if (!exports.hasGivenUp) teller.warn(line);
    }),
  );
  const forget = [
    io.onStatusRequest(() => teller.tell('status', { statusLine: pool.statusLine() }, [`pool: ${pool.statusLine()}`])),
    pool.on('mode', ({ to, reason }) => teller.warn(`the pool is in ${to.replaceAll('_', '-')} mode now: ${reason}`)),
    pool.on('error', ({ operation, error }) => teller.warn(`${operation} failed: ${messageOf(error)}`)),
  ];
  try {
    tellListening(server, sizes, address, teller);
    await stopped;
  } finally {
    await ended(server, exports);
    for (const end of forget) end();
  }
  if (!readOnly) await pool.commit();
  return pool.statusLine();
}

/** Ends the service: clients may finish what they have begun, but not for ever. */
async function ended(server: NbdServer, exports: PoolExports): Promise<void> {
  // What waits for space in the pool has no end of its own, and nothing else would keep the process from ending before it.
  const impatient = setTimeout(() => void exports.giveUp().catch(() => {}), GRACE_MS);
  try {
    await server.close({ graceMs: GRACE_MS });
  } catch (cause) {
    const all: readonly unknown[] = cause instanceof AggregateError ? cause.errors : [cause];
    // A volume that was closed here cannot be flushed as the server would: the pool's last commit does it.
    const causes = exports.hasGivenUp ? all.filter((error) => !(error instanceof ClosedError)) : all;
    if (causes.length === 0) return;
    throw new ToolError(
      'ERR_FLUSH',
      `what clients had written could not be made durable: ${causes.map(messageOf).join('; ')}`,
      {
        effect: 'what they had flushed before is there; what they wrote after that may be lost',
        nextStep: 'check the metadata (thin_check), and the devices that it and the data are on',
      },
      { cause },
    );
  } finally {
    clearTimeout(impatient);
  }
}

function tellListening(server: NbdServer, sizes: readonly ServedSize[], { tls }: ServeAddress, teller: Teller): void {
  const { address } = server;
  const target =
    'socketPath' in address ? { socketPath: resolve(address.socketPath) } : { host: address.host, port: address.port };
  const uri = (exportName?: string): string =>
    formatNbdUri({ target, tls: tls !== undefined, ...(exportName === undefined ? {} : { exportName }) });
  const exports = sizes.map(({ thinId, size, isGiven, mappedBlocks }) => ({
    name: String(thinId),
    size,
    sizeIsGiven: isGiven,
    mappedBlocks,
    uri: uri(String(thinId)),
  }));
  teller.tell('listening', { uri: uri(), exports }, [
    ...exports.map(
      ({ uri, size, sizeIsGiven }) =>
        `${uri} has ${size} bytes (${humanSize(BigInt(size))}${sizeIsGiven ? '' : ', as far as it is mapped'})`,
    ),
    ...(exports.length === 0 ? ['this pool has no volumes'] : []),
    `listening on ${uri()}`,
  ]);
}

async function listening(
  exports: PoolExports,
  { listen, tls }: ServeAddress,
  log: (line: string) => void,
): Promise<NbdServer> {
  try {
    return await NbdServer.listen({
      exports,
      listen,
      log,
      ...(tls === undefined ? {} : { tls: { ...tls, mode: 'require' } }),
    });
  } catch (cause) {
    const isOfTls = tls !== undefined && !(cause instanceof StoreError) && cause instanceof Error;
    if (!isOfTls) throw cause;
    throw new ToolError(
      'ERR_OPTION',
      `the certificate or the key cannot be used: ${cause.message}`,
      { nextStep: 'give a certificate and the key that belongs to it, both as PEM, the key without a passphrase' },
      { cause },
    );
  }
}

/** What the user may not expect. */
function warnAbout(
  { look, readOnly }: OpenPool,
  sizes: readonly ServedSize[],
  { warning }: ServeAddress,
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
  if (warning !== undefined) teller.warn(warning);
}

const messageOf = (error: unknown): string =>
  error instanceof StoreError || error instanceof Error ? error.message : String(error);
