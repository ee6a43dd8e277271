/**
 * pdata serve mirror: two to nine files or devices that hold the same, as one export over NBD, until it is asked to end.
 *
 * Standard output says where it listens, how things are, and when all legs are equal; standard error warns of legs that fail, and says
 * which leg is right then. With `--json`, standard output has an object a line: the events `listening`, `warning`, `in-sync`, `status` and `end`.
 *
 * Not here: which files can be used (serve-mirror-devices.ts), what becomes of the requests (@pdata/mirror).
 * Format: docs/format/mirror-log.md, sections 9 and 10.
 */
import { MIN_LEGS, type MirrorDevice } from '@pdata/mirror';
import {
  flag,
  InvalidValue,
  type OptionTable,
  type ParseValue,
  repeatable,
  value,
} from '../command-line/option-table.js';
import { anyText, u32 } from '../command-line/value-types.js';
import { USAGE } from '../exit-codes.js';
import { ToolError } from '../failure/tool-error.js';
import { PDATA_VERSION } from '../version.js';
import { defineCommand, jsonOption, quietOption } from './command.js';
import { given as givenOption } from './given.js';
import { humanSize } from './human-size.js';
import { addressOptions } from './serve-address.js';
import { type OpenMirror, withMirror } from './serve-mirror-devices.js';
import { OneExport } from './serve-one-export.js';
import { messageOf, runService, type Served, serveUntilStopped } from './serve-service.js';
import { numberOfBytes, volumeSize } from './serve-sizes.js';
import { sparing, type Teller } from './serve-teller.js';

export const regionSectors: ParseValue<number> = (text) => {
  const sectors = u32(text);
  if (sectors >= 2 && sectors <= 2 ** 31 && Number.isInteger(Math.log2(sectors))) return sectors;
  throw new InvalidValue('a region has a power of two of sectors, from 2 (1 KiB) to 2147483648 (1 TiB)');
};

const rate: ParseValue<number> = (text) => {
  const bytes = numberOfBytes(text);
  if (bytes === 0) throw new InvalidValue('nothing would ever be copied');
  return bytes;
};

const options = {
  leg: repeatable(anyText, {
    placeholder: 'FILE',
    least: MIN_LEGS,
    help: 'A leg: a file or a block device; twice to nine times.',
  }),
  log: value(anyText, {
    placeholder: 'FILE',
    help: "The log's device, or a file; made when it is missing. Says which regions a restart has to copy.",
  }),
  'core-log': flag({
    conflictsWith: ['log', 'new-log', 'resized'],
    help: 'Keep the log in memory: a restart copies everything.',
  }),
  'region-sectors': value(regionSectors, {
    placeholder: 'N',
    required: true,
    help: 'Sectors in a region, a power of two; the same as long as the log is used.',
  }),
  size: value(volumeSize, {
    placeholder: 'SIZE',
    help: 'Size of the mirror, when the legs have more [default: that of the smallest leg].',
  }),
  'good-leg': value(u32, {
    placeholder: 'NR',
    help: 'The leg, from 0, that is right where they may differ: it is copied over the others [default: 0, as in the kernel].',
  }),
  sync: flag({ conflictsWith: ['nosync'], help: 'Copy everything, whatever the log says.' }),
  nosync: flag({ help: 'Take the legs for equal, whatever the log says.' }),
  'handle-errors': flag({
    help: "The kernel's handle_errors: hold back writes that a leg did not take, until the service ends.",
  }),
  'keep-log': flag({
    help: "The kernel's keep_log, with --handle-errors: go on with the legs that are good.",
  }),
  'balance-reads': flag({ help: 'Spread reads over all legs that are good.' }),
  'resync-rate': value(rate, {
    placeholder: 'SIZE',
    help: 'Bytes a second that are copied at most [default: as fast as it can].',
  }),
  'new-log': flag({ help: 'Begin a new log on a device that holds something else.' }),
  resized: flag({ help: 'The mirror has been resized: take over what the log says of the regions that there are.' }),
  ...addressOptions,
  ...jsonOption,
  ...quietOption,
} as const satisfies OptionTable;

export const serveMirror = defineCommand(
  {
    name: 'pdata serve mirror',
    summary: 'Serve a mirror of two to nine files or devices over NBD.',
    version: PDATA_VERSION,
    options,
    notes: `The only export, named mirror (and the default one), is written to all legs and read from one. The log is the
kernel's: a device-mapper mirror can go on where this ended, and the other way round. Regions that it does not
call equal are copied in the background, from the good leg to the others.

The log does not say which leg is the good one: as in the kernel, it is the first, unless --good-leg names
another. When the good leg fails while all are equal, another takes its place; a warning tells which. Begin with
that one the next time: whatever the other has missed would be copied over it otherwise.

Without --handle-errors, writes go on without a leg that fails; flushes fail until it is left out. With
--handle-errors and --keep-log both go on. With --handle-errors alone, nothing that a leg has missed is
acknowledged.

SIZE is a number of bytes, or one with s (sectors), k, m, g, t (powers of 1024, also as capitals): 10G.

With --json, standard output has one object a line, each with its event: listening, warning, in-sync, status, end.

SIGUSR1 prints the kernel's status line. SIGINT or SIGTERM ends the service: clients may finish what they have
begun, the log calls clean what is, the status line is printed. A second one ends it at once, as a loss of
power would: the next start copies what was being written to.

Exit codes: 0 asked to end, and the log is complete; 2 the command line cannot be understood, or does not say
who may come in; 64 anything else: files that cannot be used, an address in use, a log that failed.

Examples:
  pdata serve mirror --log log.img --region-sectors 1024 --leg a.img --leg b.img --socket /tmp/mirror.sock
  pdata serve mirror --log log.img --region-sectors 1024 --leg a.img --leg b.img --good-leg 1 --resync-rate 50M`,
  },
  (job) => {
    const { options: given } = job;
    return runService(job, { tool: 'pdata serve mirror', subject: 'mirror' }, async (service) => {
      refuseSenseless(given);
      const layout = {
        regionSize: given['region-sectors'],
        size: given.size,
        sync: given.sync ? ('sync' as const) : given.nosync ? ('nosync' as const) : undefined,
        newLog: given['new-log'],
        isResized: given.resized,
      };
      const mirrorOptions = {
        goodLeg: given['good-leg'] ?? 0,
        handleErrors: given['handle-errors'],
        keepLog: given['keep-log'],
        balanceReads: given['balance-reads'],
        ...givenOption('resyncRate', given['resync-rate']),
      };
      return withMirror({ legs: given.leg, log: given.log }, layout, mirrorOptions, async (open) => {
        warnAbout(open, service.teller);
        await serveUntilStopped(new ServedMirror(open.mirror, service.teller, service.io), service);
        // Closed here: what its log and its legs are in the end is to be told.
        await open.mirror.close();
        tellWhatIsLeft(open.mirror, service.teller);
        return open.mirror.statusLine();
      });
    });
  },
);

function refuseSenseless(given: {
  readonly log: string | undefined;
  readonly 'core-log': boolean;
  readonly 'keep-log': boolean;
  readonly 'handle-errors': boolean;
}): void {
  const refuse = (message: string, nextStep: string): never => {
    throw new ToolError('ERR_USAGE', message, { nextStep }, { exitCode: USAGE });
  };
  if (given.log === undefined && !given['core-log'])
    refuse('there is no --log', 'give --log FILE; or --core-log, if every restart may copy everything');
  if (given['keep-log'] && !given['handle-errors'])
    refuse('there is a --keep-log without --handle-errors', 'give both, or neither');
}

class ServedMirror implements Served {
  readonly exports: OneExport;
  readonly toCheck = 'the legs (mirror_verify), and the devices that they and the log are on';
  readonly #mirror: MirrorDevice;
  readonly #teller: Teller;
  readonly #clock: Parameters<typeof sparing>[0];
  #hasToldListening = false;

  constructor(mirror: MirrorDevice, teller: Teller, clock: Parameters<typeof sparing>[0]) {
    this.exports = new OneExport('mirror', mirror, `a mirror of ${mirror.status().legs.length} legs`);
    this.#mirror = mirror;
    this.#teller = teller;
    this.#clock = clock;
  }

  statusLine(): string {
    return this.#mirror.statusLine();
  }

  watch(): () => void {
    const [mirror, teller] = [this.#mirror, this.#teller];
    const log = sparing(this.#clock, (line) => teller.warn(line));
    const forget = [
      mirror.on('legFailure', ({ legNr, kind, error }) =>
        teller.warn(`${legText(mirror, legNr)} has failed, in a ${IN_WORDS[kind]}: ${messageOf(error)}`),
      ),
      mirror.on('defaultLeg', ({ to }) =>
        teller.warn(
          `${legText(mirror, to)} is the good one now: the next time, give --good-leg ${to}, or leave out the one that failed`,
        ),
      ),
      mirror.on('logFailure', ({ error }) => log(`the log has failed: ${messageOf(error)}`)),
      mirror.on('writesHeld', ({ reason }) => teller.warn(`writes are held back until the service ends: ${reason}`)),
      mirror.on('inSync', () => this.#tellInSync()),
    ];
    return () => {
      for (const each of forget) each();
    };
  }

  listening(uri: (exportName?: string) => string): void {
    const { size } = this.#mirror;
    const exports = [{ name: 'mirror', size, uri: uri('mirror') }];
    this.#teller.tell('listening', { uri: uri(), exports }, [
      `${uri('mirror')} has ${size} bytes (${humanSize(BigInt(size))})`,
      `listening on ${uri()}`,
    ]);
    this.#hasToldListening = true;
    if (this.#mirror.status().isInSync) this.#tellInSync();
  }

  #tellInSync(): void {
    if (!this.#hasToldListening) return; // which tells it
    const { nrRegions } = this.#mirror.status();
    this.#teller.tell('in-sync', { nrRegions }, [`all ${nrRegions} regions are in sync`]);
  }

  /** Writes that are held back have no end of their own. */
  giveUp(): Promise<void> {
    return this.#mirror.close();
  }
}

const IN_WORDS = { flush: 'flush', write: 'write', sync: 'copy', read: 'read' } as const;

const legText = (mirror: MirrorDevice, legNr: number): string => `leg ${legNr} (${mirror.status().legs[legNr]?.name})`;

/** What the user may not expect. */
function warnAbout({ mirror, larger }: OpenMirror, teller: Teller): void {
  for (const name of larger) teller.warn(`'${name}' is larger than the mirror: its end is not used`);
  const { nrRegions, syncCount, defaultLeg, log } = mirror.status();
  if (log.health !== 'A') teller.warn('the log cannot be used: nothing is recorded, and everything is copied');
  if (syncCount < nrRegions) {
    teller.warn(
      `${nrRegions - syncCount} of ${nrRegions} regions may differ: they are copied from ${legText(mirror, defaultLeg)} to the others`,
    );
  }
}

function tellWhatIsLeft(mirror: MirrorDevice, teller: Teller): void {
  const { nrRegions, syncCount, defaultLeg } = mirror.status();
  if (syncCount === nrRegions) return;
  teller.warn(
    `${nrRegions - syncCount} of ${nrRegions} regions are not in sync: ${legText(mirror, defaultLeg)} is right there, and the next start copies them`,
  );
}
