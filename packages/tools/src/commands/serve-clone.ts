/**
 * pdata serve clone: an image, from afar or near, over NBD, in use at once while it is copied to a destination.
 *
 * Standard output says where it listens, how things are, and when the copy is complete; standard error warns. With `--json`, standard
 * output has an object a line: the events `listening`, `warning`, `status`, `complete` and `end`.
 *
 * Not here: which files are made and used (serve-clone-devices.ts), what becomes of the requests (@pdata/clone).
 * Format: docs/format/clone.md, sections 7, 8 and 10.
 */
import type { CloneDevice } from '@pdata/clone';
import { ImageChangedError } from '@pdata/device/http';
import { flag, InvalidValue, type OptionTable, type ParseValue, value } from '../command-line/option-table.js';
import { anyText, u32 } from '../command-line/value-types.js';
import { PDATA_VERSION } from '../version.js';
import { defineCommand, jsonOption, quietOption } from './command.js';
import { humanSize } from './human-size.js';
import { addressOptions } from './serve-address.js';
import { DEFAULT_REGION_SIZE, type OpenClone, withClone } from './serve-clone-devices.js';
import { sourceKind } from './serve-clone-source.js';
import { OneExport } from './serve-one-export.js';
import { messageOf, runService, type Served, serveUntilStopped } from './serve-service.js';
import { onceAMinute, sparing, type Teller } from './serve-teller.js';

const regionSectors: ParseValue<number> = (text) => {
  const sectors = u32(text);
  if (sectors === 0) return 0;
  if (sectors < 8 || sectors > 2_097_152 || (sectors & (sectors - 1)) !== 0)
    throw new InvalidValue('a region has a power of two of sectors, from 8 (4 KiB) to 2097152 (1 GiB)');
  return sectors;
};

/** Regions of 64 KiB: copies of 1 MiB… */
const DEFAULT_BATCH_SIZE = 16;
/** …three of them on their way: one of the four threads is left to others. Two take 1.15 times as long in memory, four are no faster. */
const DEFAULT_THRESHOLD = 48;
/** …or eight, where most of the time is the way. */
const DEFAULT_THRESHOLD_FROM_AFAR = 128;

const options = {
  metadata: value(anyText, {
    placeholder: 'FILE',
    required: true,
    help: "The clone's metadata device, or an image of it; made when it is missing, formatted when it is blank.",
  }),
  source: value(anyText, {
    placeholder: 'FILE|URL',
    required: true,
    help: 'What is cloned: a file or block device, http://…, https://…, nbd://… or nbd+unix://…. Only read.',
  }),
  destination: value(anyText, {
    placeholder: 'FILE',
    required: true,
    help: 'Where the copy goes, as large as the source; made, sparse, when it and the metadata are missing.',
  }),
  'region-sectors': value(regionSectors, {
    placeholder: 'N',
    help: `Sectors in a region, when the clone is new [default: ${DEFAULT_REGION_SIZE}, also for 0].`,
  }),
  'no-hydration': flag({ help: 'Copy only what writes need, nothing in the background.' }),
  'no-discard-passdown': flag({ help: 'Discards mark regions as done with, but do not reach the destination.' }),
  'hydration-threshold': value(u32, {
    placeholder: 'N',
    help: `Regions that are copied at the same time in the background [default: ${DEFAULT_THRESHOLD}, of a URL ${DEFAULT_THRESHOLD_FROM_AFAR}].`,
  }),
  'hydration-batch-size': value(u32, {
    placeholder: 'N',
    help: `Adjacent regions that are copied as one [default: ${DEFAULT_BATCH_SIZE}].`,
  }),
  overwrite: flag({ help: 'Let a new clone use a destination that is not blank.' }),
  ...addressOptions,
  ...jsonOption,
  ...quietOption,
} as const satisfies OptionTable;

export const serveClone = defineCommand(
  {
    name: 'pdata serve clone',
    summary: 'Serve an image over NBD at once, while it is copied from where it is.',
    version: PDATA_VERSION,
    options,
    notes: `The only export, named clone (and the default one), holds what the source holds from the first moment on. What
is written goes to the destination, whose regions are copied first where they are written in part; the others are
copied in the background while no request is on its way. The metadata is the kernel's: a device-mapper clone
target can go on where this ended, and the other way round.

A new clone is made when the metadata is missing or blank (its first block all zeros). Then a missing destination
is made, and one that is there has to be blank, at its beginning and its end, or needs --overwrite. A clone that
exists is gone on with; its source has to be as large as it was, and to hold the same: nobody can check that across
restarts. While this runs, an image behind a URL is guarded by its ETag, or its Last-Modified and length.

When all is copied, the event complete is told once. From then on the source is not needed, not even to start
this again, and the destination alone is the image.

With --json, standard output has one object a line, each with its event: listening, warning, status, complete, end.

SIGUSR1 prints the status line of the clone. SIGINT or SIGTERM ends the service: clients may finish what they have
begun, everything is committed, the status line is printed. A second one ends it at once, as a loss of power
would: what clients had flushed is there.

Exit codes: 0 asked to end, and everything committed; 2 the command line cannot be understood, or does not say
who may come in; 64 anything else: files that cannot be used, an address in use, a commit that failed.

Examples:
  pdata serve clone --metadata m.img --source https://images.example/disk.img --destination disk.img --port 10809
  pdata serve clone --metadata m.img --source old.img --destination new.img --socket /tmp/clone.sock
  pdata serve clone --metadata /dev/vg/meta --source nbd://far.example/disk --destination /dev/vg/disk`,
  },
  (job) => {
    const given = job.options;
    const cloneOptions = {
      regionSize: given['region-sectors'] === 0 ? undefined : given['region-sectors'],
      overwrites: given.overwrite,
      noHydration: given['no-hydration'],
      noDiscardPassdown: given['no-discard-passdown'],
      hydrationThreshold:
        given['hydration-threshold'] ??
        (sourceKind(given.source) === 'file' ? DEFAULT_THRESHOLD : DEFAULT_THRESHOLD_FROM_AFAR),
      hydrationBatchSize: given['hydration-batch-size'] ?? DEFAULT_BATCH_SIZE,
    };
    return runService(job, { tool: 'pdata serve clone', subject: 'clone' }, (service) =>
      withClone(given, cloneOptions, async (open) => {
        warnAbout(open, service.teller, { wantsPassdown: !given['no-discard-passdown'] });
        await serveUntilStopped(new ServedClone(open, given, service.teller, service.io), service);
        const committed = open.clone.suspend();
        open.source?.giveUp(); // what is on its way from afar is copied the next time
        await committed;
        return open.clone.statusLine();
      }),
    );
  },
);

class ServedClone implements Served {
  readonly exports: OneExport;
  readonly toCheck = 'the metadata (clone_check), and the devices that it and the destination are on';
  readonly #clone: CloneDevice;
  readonly #isNew: boolean;
  readonly #destination: string;
  readonly #teller: Teller;
  readonly #tellError: (line: string) => void;
  readonly #tellHydrationError: (reason: string, line: string) => void;
  #hasToldListening = false;
  #hasToldComplete = false;

  constructor(
    { clone, isNew }: OpenClone,
    { source, destination }: { readonly source: string; readonly destination: string },
    teller: Teller,
    io: Parameters<typeof sparing>[0],
  ) {
    this.exports = new OneExport('clone', clone, `clone of ${source}`);
    this.#clone = clone;
    this.#isNew = isNew;
    this.#destination = destination;
    this.#teller = teller;
    this.#tellError = sparing(io, (line) => teller.warn(line));
    this.#tellHydrationError = onceAMinute(io, (line) => teller.warn(line));
  }

  statusLine(): string {
    return this.#clone.statusLine();
  }

  watch(): () => void {
    const forget = [
      this.#clone.on('mode', ({ to, reason }) =>
        this.#teller.warn(`the clone is in ${to.replaceAll('_', '-')} mode now: ${reason}`),
      ),
      this.#clone.on('error', ({ operation, error }) => {
        const failed = `${operation} failed: ${messageOf(error)}`;
        if (operation !== 'background hydration') return this.#tellError(failed);
        const root = rootOf(error);
        this.#tellHydrationError(messageOf(root), `${failed}; ${root instanceof ImageChangedError ? CHANGED : AGAIN}`);
      }),
      this.#clone.on('complete', () => this.#tellComplete()),
    ];
    return () => {
      for (const each of forget) each();
    };
  }

  listening(uri: (exportName?: string) => string): void {
    const { size } = this.#clone;
    const { regionSize, nrRegions, nrHydrated, isComplete } = this.#clone.status();
    const exports = [{ name: 'clone', size, uri: uri('clone') }];
    this.#teller.tell('listening', { uri: uri(), exports, isNew: this.#isNew, regionSize, nrRegions, nrHydrated }, [
      `${uri('clone')} has ${size} bytes (${humanSize(BigInt(size))}); ${nrHydrated} of ${nrRegions} regions of ${regionSize} sectors are there`,
      `listening on ${uri()}`,
    ]);
    this.#hasToldListening = true;
    if (isComplete) this.#tellComplete();
  }

  /** Once, whether it was complete from the beginning, or has been since; after it was told where it is. */
  #tellComplete(): void {
    if (this.#hasToldComplete || !this.#hasToldListening) return;
    this.#hasToldComplete = true;
    this.#teller.tell('complete', { destination: this.#destination }, [
      `complete: '${this.#destination}' holds everything, and the source is not needed any more`,
    ]);
  }
}

const AGAIN = 'what could not be copied is tried again every second';
const CHANGED =
  'do not start this clone again with the other image, it would mix the two: bring the first one back, or make a new clone of the other';

/** What was at the beginning of a failure. It names no regions, so that it is the same for all that fails for it. */
function rootOf(error: unknown): unknown {
  let root = error;
  while (root instanceof Error && root.cause instanceof Error && !(root instanceof ImageChangedError))
    root = root.cause;
  return root;
}

/** What the user may not expect. */
function warnAbout({ clone, source }: OpenClone, teller: Teller, { wantsPassdown }: { wantsPassdown: boolean }): void {
  for (const warning of source?.warnings ?? []) teller.warn(warning);
  if (wantsPassdown && !clone.status().discardPassdown)
    teller.warn('the destination knows no discards: what is discarded goes on taking space there');
}
