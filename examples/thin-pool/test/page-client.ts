/** For tests of the page: starts it on a fake pool, and asks it as a browser would, or as somebody else might. */
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { startWebPage, type WebPage, type WebPageOptions } from '../src/web/web-page.js';
import { FakePoolHost } from './fake-pool-host.js';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface Request {
  readonly method?: string;
  readonly path?: string;
  /** Over those of {@link TestPage.headers}; `undefined` leaves one out. */
  readonly headers?: Readonly<Record<string, string | string[] | undefined>>;
  readonly body?: string | Uint8Array;
}

export interface Frame {
  readonly kind: string;
  // biome-ignore lint/suspicious/noExplicitAny: what arrives is what the test is about
  readonly data: any;
}

export class TestPage {
  readonly port: number;
  readonly token: string;
  readonly origin: string;

  constructor(
    readonly page: WebPage,
    readonly host: FakePoolHost,
    readonly logged: readonly string[],
  ) {
    const { port, hash, origin } = new URL(page.url);
    this.port = Number(port);
    this.token = hash.slice(1);
    this.origin = origin;
  }

  /** What our own page sends along. */
  get headers(): Readonly<Record<string, string>> {
    return {
      Host: `127.0.0.1:${this.port}`,
      Origin: this.origin,
      'Sec-Fetch-Site': 'same-origin',
      'Sec-Fetch-Mode': 'cors',
      'Sec-Fetch-Dest': 'empty',
      Authorization: `Bearer ${this.token}`,
    };
  }

  /** Opens a request; resolves with the beginning of its answer. */
  open({ method = 'GET', path = '/', headers = {}, body }: Request): Promise<IncomingMessage> {
    const all = Object.entries({ ...this.headers, ...headers }).filter(([, value]) => value !== undefined);
    return new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port: this.port, method, path, setHost: false, agent: false } as const;
      const sent = httpRequest({ ...options, headers: Object.fromEntries(all) as Record<string, string> }, resolve);
      sent.on('error', reject);
      sent.end(body);
    });
  }

  async ask(request: Request): Promise<Answer> {
    const response = await this.open(request);
    const parts: Buffer[] = [];
    for await (const part of response as AsyncIterable<Buffer>) parts.push(part);
    return { status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(parts).toString() };
  }

  /** As a button does it. */
  act(name: string, body: unknown, headers: Request['headers'] = {}): Promise<Answer> {
    return this.ask({
      method: 'POST',
      path: `/api/do/${name}`,
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
  }

  /** Frames as they come. Ends when the server ends them, or when the caller stops. */
  async *frames(): AsyncGenerator<Frame> {
    const response = await this.open({ path: '/api/live' });
    if (response.statusCode !== 200) throw new Error(`/api/live answers ${response.statusCode}`);
    try {
      let text = '';
      for await (const part of response as AsyncIterable<Buffer>) {
        const frames = (text + part.toString()).split('\n\n');
        text = frames.pop() ?? '';
        for (const frame of frames) {
          const [, kind = '', data = ''] = /^event: (\w+)\ndata: (.*)$/.exec(frame) ?? [];
          yield { kind, data: JSON.parse(data) };
        }
      }
    } finally {
      response.destroy();
    }
  }

  /** The first frame from now on that `is` takes. */
  async frame(is: (frame: Frame) => boolean): Promise<Frame> {
    for await (const frame of this.frames()) if (is(frame)) return frame;
    throw new Error('the connection ended before such a frame came');
  }

  /** Bytes as they are, for what no HTTP client would send; what comes back, until the server hangs up. */
  async raw(text: string): Promise<string> {
    const socket = this.socket();
    socket.write(text);
    let answer = '';
    for await (const part of socket as AsyncIterable<Buffer>) answer += part.toString('latin1');
    return answer;
  }

  socket(): Socket {
    const socket = connect(this.port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    return socket;
  }
}

/** A page on a fake pool that ends with the test. */
export async function startTestPage(
  options: Partial<WebPageOptions> & { readonly fake?: FakePoolHost } = {},
): Promise<TestPage> {
  const { fake = new FakePoolHost(), ...others } = options;
  const logged: string[] = [];
  const page = await startWebPage({ host: fake, log: (message) => logged.push(message), ...others });
  onTestFinished(() => page.close());
  return new TestPage(page, fake, logged);
}
