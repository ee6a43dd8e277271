/**
 * The contenders for block I/O over NBD: `pdata serve thin` on a pool with one volume, and `qemu-nbd` on a qcow2 image whose
 * clusters are as large as the pool's data blocks. Both copy on write after a snapshot, both let the system write back.
 *
 * Each is a process of its own, and is asked over a Unix socket.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openFileMetadataDevice } from '@pdata/device/node';
import { ThinMetadata } from '@pdata/thin';

export const CLUSTER_SIZE = 65536;
const START_DEADLINE = 20_000;

/** A contender's disk: made anew, served, stopped, snapshotted while it is not served. */
export interface DiskServer {
  readonly name: string;
  /** Why it cannot be measured. */
  readonly missing?: string;
  /** @param size of the disk, in bytes */
  create(size: number): void;
  snapshot(): void;
  start(): Promise<ServedDisk>;
}

export interface ServedDisk {
  readonly uri: string;
  /** The largest resident memory so far, in bytes; NaN where the system does not say (only Linux's /proc does). */
  peakMemory(): number;
  /** Seconds of processor time that it has used so far, in user and kernel mode; NaN where the system does not say. */
  processorTime(): number;
  stop(): Promise<void>;
}

/** A pool with the volume 0, of `size` bytes. */
export interface PoolFiles {
  readonly metadata: string;
  readonly data: string;
  readonly size: number;
  readonly socket: string;
}

export function pdataServer(directory: string): DiskServer {
  const [metadata, data, socket] = ['pool.meta', 'pool.data', 'pdata.sock'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  let size = 0;
  const change = (work: (pool: ThinMetadata) => void): void => {
    const device = openFileMetadataDevice(metadata, { mode: 'write' });
    const pool = ThinMetadata.open(device);
    work(pool);
    pool.commit();
    pool.close();
    device.close();
  };
  return {
    name: 'pdata',
    create(bytes) {
      size = bytes;
      for (const path of [metadata, data, socket]) rmSync(path, { force: true });
      const nrDataBlocks = (2 * size) / CLUSTER_SIZE; // the disk, and as much again for what a snapshot keeps
      const nrBlocks = Math.max(1024, Math.ceil(nrDataBlocks / 60)); // two bytes of a leaf for each, and room
      const device = openFileMetadataDevice(metadata, { mode: 'write', create: { nrBlocks } });
      ThinMetadata.format(device, { dataBlockSize: CLUSTER_SIZE / 512, nrDataBlocks }).close();
      device.close();
      change((pool) => pool.createThin(0));
      writeFileSync(data, '');
      truncateSync(data, nrDataBlocks * CLUSTER_SIZE);
    },
    snapshot: () => change((pool) => pool.createSnapshot(1, 0)),
    start: () => servePool({ metadata, data, size, socket }),
  };
}

/** `pdata serve thin`, with the metadata cache that it has unless told otherwise: 64 MiB. */
export function servePool({ metadata, data, size, socket }: PoolFiles): Promise<ServedDisk> {
  rmSync(socket, { force: true });
  const program = join(import.meta.dirname, '..', '..', '..', 'packages', 'tools', 'bin', 'pdata.js');
  const served = ['--metadata', metadata, '--data', data, '--size', `0=${size}`, '--socket', socket];
  return serve(process.execPath, [program, 'serve', 'thin', ...served], socket, `nbd+unix:///0?socket=${socket}`);
}

export function qemuServer(directory: string): DiskServer {
  const [image, socket] = [join(directory, 'disk.qcow2'), join(directory, 'qemu.sock')];
  const { status } = spawnSync('qemu-nbd', ['--version'], { stdio: 'ignore' });
  const missing = status === 0 ? {} : { missing: 'qemu-nbd is not here: the Debian package qemu-utils brings it' };
  return {
    name: 'qemu-nbd',
    ...missing,
    create(size) {
      rmSync(image, { force: true });
      must('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `cluster_size=${CLUSTER_SIZE}`, image, `${size}`);
    },
    snapshot: () => must('qemu-img', 'snapshot', '-c', 'before', image),
    start() {
      rmSync(socket, { force: true });
      const served = ['--cache=writeback', '--discard=unmap', '-f', 'qcow2', '-t', '-e', '8', '-k', socket, image];
      return serve('qemu-nbd', served, socket, `nbd+unix:///?socket=${socket}`);
    },
  };
}

async function serve(command: string, args: string[], socket: string, uri: string): Promise<ServedDisk> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  for (let waited = 0; !existsSync(socket); waited += 20) {
    if (child.exitCode !== null || waited > START_DEADLINE) {
      child.kill('SIGKILL');
      throw new Error(`${command} ${args.join(' ')} does not serve: ${said.trim()}`);
    }
    await sleep(20);
  }
  return {
    uri,
    peakMemory: () => highWaterMark(child),
    processorTime: () => processorTime(child),
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

function highWaterMark({ pid }: ChildProcess): number {
  if (process.platform !== 'linux') return Number.NaN;
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
  return Number(kib) * 1024;
}

/** Linux counts it in hundredths of a second for whoever asks: fields 14 and 15 of `stat`, behind a name that may hold blanks. */
function processorTime({ pid }: ChildProcess): number {
  if (process.platform !== 'linux') return Number.NaN;
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function must(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr.trim()}`);
}
