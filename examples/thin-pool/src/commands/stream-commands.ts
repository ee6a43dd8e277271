/** send and receive: snapshots from pool to pool. */

import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { type Command, type Io, UsageError } from '../command-line/command.js';
import { progressLine } from '../command-line/progress.js';
import { table } from '../command-line/table.js';
import { receiveStream } from '../stream/receive.js';
import { formatToken, parseToken } from '../stream/resume-token.js';
import { sendStream } from '../stream/send.js';
import { fileError, PoolError, quoted } from '../words/pool-error.js';
import { formatSize } from '../words/sizes.js';
import { asJson, DIR, JSON_FLAG, operand } from './operands.js';
import { withPool } from './with-pool.js';

export const sendCommand: Command = {
  name: 'send',
  summary: 'Write a snapshot as a stream: all of it, or what changed since another one.',
  operands: [DIR, { name: 'SNAPSHOT', help: 'The snapshot that is sent.' }],
  options: {
    base: {
      kind: 'value',
      short: 'b',
      placeholder: 'SNAPSHOT',
      help: 'Send only what changed since this one, which the receiver has.',
    },
    output: { kind: 'value', short: 'o', placeholder: 'FILE', help: 'Write to FILE, instead of the standard output.' },
    resume: {
      kind: 'value',
      placeholder: 'TOKEN',
      help: 'Go on where a receiver broke off: the token that receive printed.',
    },
  },
  notes: `Examples:
  thin-pool send here monday | ssh backup thin-pool receive there
  thin-pool send here tuesday --base monday | ssh backup thin-pool receive there`,
  async run(args, io) {
    const snapshot = operand(args, 'SNAPSHOT');
    const { base, output, resume } = args.values;
    if (output === undefined && io.outIsTerminal) {
      throw new UsageError('a stream does not belong on a terminal: send it into a pipe, or name a file with --output');
    }
    const request = {
      snapshot,
      ...(base === undefined ? {} : { base }),
      ...(resume === undefined ? {} : { resume: parseToken(resume) }),
    };
    await withPool(operand(args, 'DIR'), async (host) => {
      const target = output === undefined ? toStdout(io) : await toFile(output);
      const progress = progressLine(io, `Sending ${quoted(snapshot)}`);
      let total = 0;
      try {
        const stream = sendStream(host, request);
        for (let step = await stream.next(); ; step = await stream.next()) {
          io.signal.throwIfAborted();
          if (step.done === true) {
            await target.end();
            io.err(
              `Sent ${quoted(snapshot)}: ${formatSize(step.value.total)}, ${formatSize(step.value.data)} of it data.\n`,
            );
            return;
          }
          await target.write(step.value);
          total += step.value.length;
          progress.show(total);
        }
      } catch (error) {
        await target.destroy();
        throw error;
      } finally {
        progress.end();
      }
    });
    return 0;
  },
};

interface Target {
  write(bytes: Uint8Array): Promise<void>;
  end(): Promise<void>;
  destroy(): Promise<void>;
}

const toStdout = (io: Io): Target => ({
  write: (bytes) => io.outBytes(bytes),
  end: async () => {},
  destroy: async () => {},
});

async function toFile(path: string): Promise<Target> {
  const file = createWriteStream(path, { flags: 'wx', mode: 0o600, flush: true });
  let failure: unknown;
  file.on('error', (error: NodeJS.ErrnoException) => {
    failure =
      error.code === 'EEXIST'
        ? new PoolError('ERR_FILE', `${quoted(path)} is there already, and is left as it is: name another file`)
        : fileError('write', path, error);
  });
  await once(file, 'open').catch(() => Promise.reject(failure));
  return {
    async write(bytes) {
      if (failure !== undefined) throw failure;
      if (!file.write(bytes)) await once(file, 'drain').catch(() => Promise.reject(failure));
    },
    async end() {
      file.end();
      await finished(file).catch(() => Promise.reject(failure));
    },
    async destroy() {
      file.destroy();
    },
  };
}

export const receiveCommand: Command = {
  name: 'receive',
  summary: 'Take in a stream of send: its snapshot appears when all of it is there.',
  operands: [
    DIR,
    { name: 'NAME', help: 'Name of the snapshot here; default: as where it comes from.', optional: true },
  ],
  options: {
    input: { kind: 'value', short: 'i', placeholder: 'FILE', help: 'Read FILE, instead of the standard input.' },
    resume: { kind: 'flag', help: 'Go on with a stream that broke off.' },
    list: {
      kind: 'flag',
      help: 'Show what has been received in part, and the tokens for send --resume. Receives nothing.',
    },
    abandon: {
      kind: 'value',
      placeholder: 'NAME',
      help: 'Remove what has been received of NAME in part. Receives nothing.',
    },
    json: JSON_FLAG,
  },
  notes: `A stream that is damaged, cut short, or made against a snapshot that is not here is refused; nothing of it becomes visible. What is
good of it is kept, so that it can be resumed:
  thin-pool receive there --list
  thin-pool send here monday --resume TOKEN | thin-pool receive there --resume`,
  async run(args, io) {
    const directory = operand(args, 'DIR');
    if (args.flags.has('list')) return await listPending(directory, args.flags.has('json'), io);
    if (args.values.abandon !== undefined) return await abandon(directory, args.values.abandon, io);
    const { input } = args.values;
    const name = args.operands.NAME;
    if (input === undefined && (io.stdin as { isTTY?: boolean }).isTTY === true) {
      throw new UsageError('the stream is read from the standard input: send it there, or name a file with --input');
    }
    const source = input === undefined ? io.stdin : await fromFile(input);
    const stop = () => source.destroy(new PoolError('ERR_STREAM_TRUNCATED', 'interrupted'));
    io.signal.addEventListener('abort', stop, { once: true });
    const progress = progressLine(io, 'Receiving');
    try {
      const made = await withPool(directory, (host) =>
        receiveStream(host, inWords(source, input), {
          ...(name === undefined ? {} : { name }),
          resume: args.flags.has('resume'),
          onProgress: ({ position }, { size }) => progress.show(position, size),
        }),
      );
      progress.end();
      await io.out(
        args.flags.has('json')
          ? asJson(made)
          : `Received the snapshot ${quoted(made.name)}: ${formatSize(made.size)}, ${formatSize(made.mapped)} in the pool.\n`,
      );
      return 0;
    } finally {
      progress.end();
      io.signal.removeEventListener('abort', stop);
      source.destroy();
    }
  },
};

async function fromFile(path: string) {
  const file = createReadStream(path, { highWaterMark: 1024 * 1024 });
  await once(file, 'open').catch((error: unknown) => Promise.reject(fileError('read', path, error)));
  return file;
}

/** What the system says while a stream is read, in a sentence. */
async function* inWords(source: AsyncIterable<Uint8Array>, path: string | undefined): AsyncGenerator<Uint8Array> {
  try {
    yield* source;
  } catch (error) {
    throw error instanceof PoolError ? error : fileError('read', path ?? 'the standard input', error);
  }
}

async function listPending(directory: string, json: boolean, io: Io): Promise<number> {
  const pending = await withPool(directory, (host) => host.receiving.list());
  const withTokens = pending.map((report) => ({ ...report, token: formatToken(report) }));
  if (json) await io.out(asJson(withTokens));
  else if (pending.length === 0) await io.out('Nothing has been received in part.\n');
  else {
    await io.out(
      table(
        [{ title: 'NAME' }, { title: 'RECEIVED', align: 'right' }, { title: 'BASE' }, { title: 'TOKEN' }],
        withTokens.map(({ name, offset, base, token }) => [name, formatSize(offset), base?.name ?? '', token]),
      ),
    );
  }
  return 0;
}

async function abandon(directory: string, name: string, io: Io): Promise<number> {
  await withPool(directory, async (host) => {
    const found = (await host.receiving.list()).find((report) => report.name === name);
    if (found === undefined) {
      throw new PoolError(
        'ERR_NO_SUCH_VOLUME',
        `nothing of ${quoted(name)} has been received in part; see receive --list`,
      );
    }
    await host.receiving.abandon({ identity: found.identity });
  });
  await io.out(`Removed what had been received of ${quoted(name)}.\n`);
  return 0;
}
