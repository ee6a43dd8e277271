/**
 * `npm start`: the app on a fresh pool, step by step, each told in plain words with its figures.
 *
 *   node dist/demo.js [--keep DIR]     without --keep everything is made in a temporary directory and removed at the end
 *
 * The pool is filled from one that a kernel made (fixtures/), and everything the kernel said about it is verified. On a terminal it
 * is served until Ctrl-C; otherwise the demo ends by itself. Exit code 0 when all was as it should be, 1 when not, 2 when the command
 * line makes no sense.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { createGunzip } from 'node:zlib';
import { type DataDevice, StoreError } from '@pdata/device';
import { connectNbd } from '@pdata/nbd';
import { processIo } from './command-line/process-io.js';
import { EXIT } from './command-line/run.js';
import { allRanges, volumeTable } from './commands/volume-commands.js';
import { LocalPoolHost } from './pool/local-host.js';
import { checkPoolDirectory } from './pool/pool-check.js';
import type { CheckReport, PoolHost } from './pool-host.js';
import { NBD_SOCKET, type ServedPool, servePool } from './serve/serve-pool.js';
import { receiveStream } from './stream/receive.js';
import { sendStream } from './stream/send.js';
import { importPool } from './transfer/kernel-pool.js';
import { fileError, quoted } from './words/pool-error.js';
import { formatSize, plural } from './words/sizes.js';

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));
const PROGRAM = fileURLToPath(new URL('../bin/thin-pool.js', import.meta.url));
const MiB = 1024 * 1024;
const io = processIo();
const style = (code: string) => (text: string) => (io.colors ? `\x1b[${code}m${text}\x1b[0m` : text);
const [bold, green] = [style('1'), style('32')];

/** What the kernel's volumes were called and how large they were. */
const KERNEL_VOLUMES = [
  { thinId: 0, name: 'v0', size: 32 * MiB },
  { thinId: 1, name: 'v1', size: 32 * MiB },
  { thinId: 2, name: 'v2', size: 32 * MiB },
  { thinId: 4, name: 'v4', size: 32 * MiB },
  { thinId: 7, name: 'v7', size: 1024 * MiB },
];

class DemoFailure extends StoreError {
  readonly code = 'ERR_DEMO';
}

const USAGE = `usage: npm start [-- --keep DIR]

  --keep DIR   leave the two pools in DIR; otherwise they are made in a temporary directory, and removed at the end
`;

/** @returns the exit code */
async function main(argv: readonly string[]): Promise<number> {
  if (argv.length === 1 && ['--help', '-h'].includes(argv[0]!)) {
    await io.out(USAGE);
    return EXIT.done;
  }
  const kept = argv[0] === '--keep' && argv.length === 2 ? argv[1] : undefined;
  if (argv.length > 0 && (kept === undefined || kept === '')) {
    io.err(USAGE);
    return EXIT.usage;
  }
  try {
    await inFolder(kept);
    return EXIT.done;
  } catch (error) {
    io.err(`The demo failed: ${error instanceof StoreError ? error.message : (error as Error).stack}\n`);
    return EXIT.failed;
  }
}

async function inFolder(kept: string | undefined): Promise<void> {
  const folder = kept === undefined ? temporaryFolder() : keptFolder(resolve(kept));
  try {
    await demo(folder, kept !== undefined);
  } finally {
    if (kept === undefined) rmSync(folder, { recursive: true, force: true });
    // The last word, because after it the terminal may be gone.
    if (io.outIsTerminal && io.signal.aborted) await io.out('\n   Ended: everything is committed.\n');
  }
}

function temporaryFolder(): string {
  try {
    return mkdtempSync(join(tmpdir(), 'thin-pool-demo-'));
  } catch (error) {
    throw new DemoFailure(
      `${fileError('make a directory in', tmpdir(), error).message}; name another place: npm start -- --keep DIR`,
      { cause: error },
    );
  }
}

function keptFolder(folder: string): string {
  if (['pool', 'copy'].some((name) => existsSync(join(folder, name))))
    throw new DemoFailure(`${quoted(folder)} has a pool of an earlier demo: name another directory`);
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw fileError('make the directory', folder, error);
  }
  return folder;
}

async function demo(folder: string, isKept: boolean): Promise<void> {
  const [pool, copy] = [join(folder, 'pool'), join(folder, 'copy')];
  await title('1  A pool that the Linux kernel made');
  await fillFromKernel(folder, pool);
  const served = await servePool(pool, { page: io.outIsTerminal ? 0 : false, log: (line) => io.err(`${line}\n`) });
  try {
    await verifyKernelSums(served);
    await title('2  Snapshots');
    await snapshotsAndWrites(served);
    await title('3  A second pool that follows the first');
    await sendToCopy(served.host, copy);
    await title('4  Checks');
    await say(`pool  ${verdict(await served.host.check())}`);
    await say(`copy  ${verdict(await checkPoolDirectory(copy))}`);
    await title('Now');
    await io.out(
      volumeTable(await served.host.volumes())
        .replace(/^/gm, '   ')
        .trimEnd()
        .concat('\n'),
    );
    if (io.outIsTerminal && !io.signal.aborted) await keepServing(served, pool);
    else if (isKept) await io.out(`\n${nextSteps(pool, { isServed: false })}`);
  } finally {
    await served.close();
  }
  if (!io.outIsTerminal)
    await say(`\nEverything was as it should be.${isKept ? '' : ' The pools are gone again; --keep DIR keeps them.'}`);
}

async function fillFromKernel(folder: string, pool: string): Promise<void> {
  const images = { metadata: join(folder, 'kernel-metadata.img'), data: join(folder, 'kernel-data.img') };
  await unpack('meta.img.gz', images.metadata);
  await unpack('data.img.gz', images.data);
  await importPool(pool, images, 'lmdb');
  for (const image of Object.values(images)) rmSync(image);
  const host = await LocalPoolHost.open(pool);
  for (const { thinId, name, size } of KERNEL_VOLUMES) {
    await host.renameVolume({ name: `thin-${thinId}`, to: name });
    await host.resizeVolume({ name, size });
  }
  const { data, mapped } = await host.status();
  await host.close();
  await say(
    `Its metadata and data are a pool directory now: ${plural(KERNEL_VOLUMES.length, 'volume')}, ${formatSize(mapped)} mapped,`,
  );
  await say(`${formatSize(data.used)} used, because volumes share blocks.`);
}

async function unpack(name: string, to: string): Promise<void> {
  await pipeline(createReadStream(join(FIXTURES, name)), createGunzip(), createWriteStream(to)).catch(
    (error: unknown) => Promise.reject(fileError('write', to, error)),
  );
}

/** Reads every volume as a client would, over NBD, and compares with what the kernel read. */
async function verifyKernelSums(served: ServedPool): Promise<void> {
  const sums = readFileSync(join(FIXTURES, 'sums'), 'utf8').trim().split('\n');
  let bytes = 0;
  const began = performance.now();
  for (const line of sums) {
    const [what = '', expected] = line.split(' ');
    const [name = '', part] = what.split(':');
    const found = await withExport(served, name, async (device) => {
      const length = part === undefined ? device.size : MiB;
      bytes += length;
      return await sha256(device, length);
    });
    if (found !== expected) throw new DemoFailure(`${what} has the sum ${found}, and the kernel said ${expected}`);
  }
  const seconds = (performance.now() - began) / 1000;
  await say(
    `${green('ok')} Each volume, read over NBD, has the sha256 that the kernel recorded (${formatSize(bytes)} in ${seconds.toFixed(1)} s).`,
  );
}

async function snapshotsAndWrites(served: ServedPool): Promise<void> {
  const { host } = served;
  const began = performance.now();
  await host.snapshot({ origin: 'v0', name: 'monday' });
  await say(`Snapshot "monday" of v0 taken in ${(performance.now() - began).toFixed(1)} ms, while v0 is served.`);
  const before = await host.status();
  await withExport(served, 'v0', async (device) => {
    for (let nr = 0; nr < 24; nr++) await device.write(nr * MiB + 16_384, new Uint8Array(4096).fill(nr + 1));
    await device.discard(30 * MiB, MiB);
    await device.flush();
  });
  await host.snapshot({ origin: 'v0', name: 'tuesday' });
  const after = await host.status();
  const ranges = await allRanges(host, 'tuesday', 'monday');
  const changed = ranges.reduce((sum, { length }) => sum + length, 0);
  await say(
    `Then a client wrote to v0 and discarded a part of it. "tuesday" differs from "monday" in ${formatSize(changed)}`,
  );
  await say(
    `(${plural(ranges.length, 'range')}), and that is all it costs: ${formatSize(after.data.used - before.data.used)} more.`,
  );
}

async function sendToCopy(host: PoolHost, directory: string): Promise<void> {
  await LocalPoolHost.create(directory, { size: 64 * MiB, blockSize: 64 * 1024, format: 'raw' });
  const copy = await LocalPoolHost.open(directory);
  try {
    const full = await transfer(host, copy, { snapshot: 'monday' });
    await say(`"monday" sent whole: ${formatSize(full)}.`);
    const incremental = await transfer(host, copy, { snapshot: 'tuesday', base: 'monday' });
    await say(`"tuesday" sent as what changed since: ${formatSize(incremental)}.`);
    const sums = await Promise.all([host, copy].map((from) => sumOf(from, 'tuesday')));
    if (sums[0] !== sums[1]) throw new DemoFailure(`"tuesday" differs: ${sums.join(' and ')}`);
    await say(
      `${green('ok')} "tuesday" has the same sha256 in both pools. (The copy keeps its metadata in the kernel's format.)`,
    );
  } finally {
    await copy.close();
  }
}

async function transfer(from: PoolHost, to: PoolHost, request: { snapshot: string; base?: string }): Promise<number> {
  let bytes = 0;
  const counted = async function* () {
    for await (const piece of sendStream(from, request)) {
      bytes += piece.length;
      yield piece;
    }
  };
  await receiveStream(to, counted());
  return bytes;
}

async function sumOf(host: PoolHost, name: string): Promise<string> {
  const device = await host.openVolume({ name, mode: 'read' });
  try {
    return await sha256(device, device.size);
  } finally {
    await device.close();
  }
}

async function sha256(device: Pick<DataDevice, 'read'>, length: number): Promise<string> {
  const hash = createHash('sha256');
  const piece = new Uint8Array(MiB);
  for (let at = 0; at < length; at += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, length - at));
    await device.read(at, part);
    hash.update(part);
  }
  return hash.digest('hex');
}

async function withExport<T>(
  { host }: ServedPool,
  exportName: string,
  use: (device: DataDevice) => Promise<T>,
): Promise<T> {
  const device = await connectNbd({ socketPath: join(host.directory, NBD_SOCKET) }, { exportName });
  try {
    return await use(device);
  } finally {
    await device.close();
  }
}

function verdict({ clean, nrVolumes, nrMappings, findings }: CheckReport): string {
  if (!clean) throw new DemoFailure(`the check found: ${findings.map(({ message }) => message).join(' ')}`);
  return `${green('ok')} metadata, catalogue and data fit together: ${nrVolumes} volumes and snapshots, ${nrMappings} mappings, nothing leaked.`;
}

async function keepServing(served: ServedPool, pool: string): Promise<void> {
  await io.out(`\n${nextSteps(pool, { isServed: true })}`);
  if (served.pageUrl !== undefined) await io.out(`\n   The live page: ${bold(served.pageUrl)}\n`);
  await io.out('\n   Serving until Ctrl-C.\n');
  if (!io.signal.aborted) await once(io.signal, 'abort');
}

function nextSteps(pool: string, { isServed }: { readonly isServed: boolean }): string {
  const program = `node ${relative(process.env.INIT_CWD ?? process.cwd(), PROGRAM)}`;
  const uri = (name: string) => `"nbd+unix:///${name}?socket=${join(pool, NBD_SOCKET)}"`;
  const lines = [
    ...(isServed ? [] : [`${program} serve ${pool}`]),
    `${program} status ${pool}`,
    `${program} volume create ${pool} mydisk 1G`,
    `${program} snapshot ${pool} v1 v1-today`,
    `nbdcopy ${uri('v0')} v0.img`,
    `qemu-img map -f raw ${uri('tuesday')}`,
    `nbdinfo --map=qemu:dirty-bitmap:monday ${uri('tuesday')}`,
  ];
  return `   Try ${isServed ? 'in another terminal' : 'next'}:\n${lines.map((line) => `     ${line}\n`).join('')}`;
}

const title = (text: string) => io.out(`\n${bold(text)}\n`);
const say = (text: string) => io.out(`   ${text}\n`);

process.exitCode = await main(process.argv.slice(2));
