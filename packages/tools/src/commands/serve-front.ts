/**
 * A server that listens before there is anything to serve, once and for all: whoever waits for its socket finds one that stays. Clients
 * that come early wait.
 */
import { type ExportSource, NbdCertificateError, NbdServer } from '@pdata/nbd';
import { ToolError } from '../failure/tool-error.js';
import type { ServeAddress } from './serve-address.js';

export class Front {
  readonly server: NbdServer;
  readonly #gate: ExportGate;

  private constructor(server: NbdServer, gate: ExportGate) {
    this.server = server;
    this.#gate = gate;
  }

  static async listen({ listen, tls }: ServeAddress): Promise<Front> {
    const gate = new ExportGate();
    try {
      const server = await NbdServer.listen({
        exports: gate,
        listen,
        log: (line) => gate.log(line),
        ...(tls === undefined ? {} : { tls: { ...tls, mode: 'require' } }),
      });
      return new Front(server, gate);
    } catch (cause) {
      if (!(cause instanceof NbdCertificateError)) throw cause;
      throw new ToolError(
        cause.code,
        cause.message,
        { nextStep: 'give a certificate and the key that belongs to it, both as PEM, the key without a passphrase' },
        { cause },
      );
    }
  }

  /** Lets clients in. */
  serve(exports: ExportSource, log: (line: string) => void): void {
    this.#gate.log = log;
    this.#gate.letIn(exports);
  }

  /** There is nothing to serve, or not any more. Harmless when it has ended. */
  async abandon(why: unknown): Promise<void> {
    this.#gate.refuse(why);
    await this.server.close({ graceMs: 0 }).catch(() => {}); // what ended it is told
  }
}

/** Exports that are there later. */
class ExportGate implements ExportSource {
  readonly #source: Promise<ExportSource>;
  letIn: (source: ExportSource) => void = () => {};
  refuse: (why: unknown) => void = () => {};
  log: (line: string) => void = () => {};

  constructor() {
    this.#source = new Promise((resolve, reject) => {
      this.letIn = resolve;
      this.refuse = reject;
    });
    this.#source.catch(() => {}); // perhaps nobody has come
  }

  async open(name: string): ReturnType<ExportSource['open']> {
    return (await this.#source).open(name);
  }

  async list(): ReturnType<ExportSource['list']> {
    return (await this.#source).list();
  }
}
