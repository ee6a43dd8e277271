/**
 * What every `pdata serve …` does, whatever it serves: listens over NBD, tells where and how things are, and ends when the user
 * asks for it, with everything that clients had written made durable.
 */
import { resolve } from 'node:path';
import { ClosedError } from '@pdata/device';
import { type ExportSource, formatNbdUri, type NbdServer } from '@pdata/nbd';
import type { OptionTable, ParsedOptions } from '../command-line/option-table.js';
import { FAILURE, SUCCESS } from '../exit-codes.js';
import { failureReport } from '../failure/failure-report.js';
import { ToolError } from '../failure/tool-error.js';
import type { Io } from '../io/io.js';
import type { Job, jsonOption, quietOption } from './command.js';
import { type addressOptions, type ServeAddress, serveAddress } from './serve-address.js';
import { Front } from './serve-front.js';
import { sparing, Teller } from './serve-teller.js';

/** Milliseconds that clients have, at the end, for what they have begun. */
const GRACE_MS = 5000;

/** What every command that serves has among its options. */
export type ServiceOptions = typeof addressOptions & typeof jsonOption & typeof quietOption;

/** What a service is told from outside, and tells. */
export interface Service {
  readonly address: ServeAddress;
  /** Listens already; its clients wait for {@link serveUntilStopped}. */
  readonly front: Front;
  readonly io: Io;
  readonly teller: Teller;
  /** What has a status line, in one word: "pool". */
  readonly subject: string;
}

/** What is served. */
export interface Served {
  readonly exports: ExportSource;
  /** What it damages when not everything could be made durable, and so what to check. */
  readonly toCheck: string;
  statusLine(): string;
  /** Tells that it listens, and what can be had where. */
  listening(uri: (exportName?: string) => string): void;
  /** Listens to events, which may come before {@link listening} is told. Returns what ends that. */
  watch?(): () => void;
  /** Ends what clients wait for and has no end of its own; called when the clients' time is up. */
  giveUp?(): Promise<void>;
}

/**
 * A command that serves: `serve` opens what is to be served, has it served by {@link serveUntilStopped}, closes it, and returns
 * its last status line.
 */
export async function runService<Table extends OptionTable & ServiceOptions>(
  { options, io, print, streamsDocument }: Job<Table>,
  { tool, subject }: { readonly tool: string; readonly subject: string },
  serve: (service: Service) => Promise<string>,
): Promise<number> {
  const { json, quiet, ...given } = options as ParsedOptions<ServiceOptions>;
  const address = serveAddress(given);
  io.catchInterrupts();
  const teller = new Teller(io, { tool, json, quiet, print, streamsDocument });
  let front: Front | undefined;
  try {
    // Before anything is made for what is served: files would stay behind if it could not listen.
    front = await Front.listen(address);
    const statusLine = await serve({ address, front, io, teller, subject });
    tellStatus(teller, subject, statusLine);
    teller.end(SUCCESS, []);
    return SUCCESS;
  } catch (error) {
    await front?.abandon(error);
    teller.end(error instanceof ToolError ? error.exitCode : FAILURE, [failureReport(error, io.isDebugging)]);
    throw error;
  }
}

/** Serves until the user asks to stop, and ends when no client is left. Closing what was served is the caller's. */
export async function serveUntilStopped(served: Served, service: Service): Promise<void> {
  const { address, front, io, teller, subject } = service;
  const { server } = front;
  const stopped = new Promise<void>((resolve) => {
    if (io.signal.aborted) resolve();
    else io.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const end = new Ending(served);
  // Before it serves: what goes on in the background may fail meanwhile.
  const forget = [
    io.onStatusRequest(() => tellStatus(teller, subject, served.statusLine())),
    served.watch?.() ?? (() => {}),
  ];
  try {
    front.serve(
      served.exports,
      sparing(io, (line) => {
        if (!end.hasGivenUp) teller.warn(line);
      }),
    );
    if (address.warning !== undefined) teller.warn(address.warning);
    try {
      served.listening((exportName) => uriOf(server, address, exportName));
      await stopped;
    } finally {
      await end.of(server);
    }
  } finally {
    for (const each of forget) each();
  }
}

const tellStatus = (teller: Teller, subject: string, statusLine: string): void =>
  teller.tell('status', { statusLine }, [`${subject}: ${statusLine}`]);

/** The end of a service: clients may finish what they have begun, but not for ever. */
class Ending {
  readonly #served: Served;
  hasGivenUp = false;

  constructor(served: Served) {
    this.#served = served;
  }

  async of(server: NbdServer): Promise<void> {
    const { giveUp, toCheck } = this.#served;
    const impatient =
      giveUp === undefined
        ? undefined
        : setTimeout(() => {
            this.hasGivenUp = true;
            void giveUp.call(this.#served).catch(() => {});
          }, GRACE_MS);
    try {
      await server.close({ graceMs: GRACE_MS });
    } catch (cause) {
      const all: readonly unknown[] = cause instanceof AggregateError ? cause.errors : [cause];
      // What was given up is closed, and cannot be flushed as the server would: the last commit does it.
      const causes = this.hasGivenUp ? all.filter((error) => !(error instanceof ClosedError)) : all;
      if (causes.length === 0) return;
      throw new ToolError(
        'ERR_FLUSH',
        `what clients had written could not be made durable: ${causes.map(messageOf).join('; ')}`,
        {
          effect: 'what they had flushed before is there; what they wrote after that may be lost',
          nextStep: `check ${toCheck}`,
        },
        { cause },
      );
    } finally {
      clearTimeout(impatient);
    }
  }
}

function uriOf(server: NbdServer, { tls }: ServeAddress, exportName: string | undefined): string {
  const { address } = server;
  const target =
    'socketPath' in address ? { socketPath: resolve(address.socketPath) } : { host: address.host, port: address.port };
  return formatNbdUri({ target, tls: tls !== undefined, ...(exportName === undefined ? {} : { exportName }) });
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
