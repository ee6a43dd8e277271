/**
 * How long it takes until an image is copied from one file to another: hydration of a clone that is in use meanwhile, beside
 * `qemu-img convert`, which only copies; and how long reads of 4 KiB take that somebody does at the same time.
 *
 * Each is a process of its own, and its start and end count. The image is noise: nothing in it can be left out. Neither
 * waits for a disk at its end (tmpfs), or only ours does, which flushes before it commits: then the figures are ours to explain.
 *
 * Non-goals: sparse images, sources from afar, writes meanwhile.
 */
import { spawnSync } from 'node:child_process';
import { createCipheriv, createHash } from 'node:crypto';
import { closeSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { limited, NO_VERDICT, table, within } from '../report.js';
import { duration, median } from '../statistics.js';
import type { ForegroundReads } from './hydrate.js';

const MIB = 2 ** 20;
/** Of what qemu-img takes. */
const TARGET = 1.4;
/** Milliseconds. */
const READ_TARGET = 10;
const READS_A_SECOND = 200;
/** As `pdata serve clone` has them for a file. */
const REGION_SECTORS = 128;
const THRESHOLD = 48;
const BATCH_SIZE = 16;

export interface CloneSuiteOptions {
  /** Bytes of the image. */
  readonly size: number;
  readonly runs: number;
  readonly seed: number;
  readonly directory: string;
  readonly progress: (text: string) => void;
  /** How our program is started; another way than by the file that the build made is for tests. */
  readonly program?: readonly string[];
}

export interface CloneFigures {
  readonly ours: number[];
  readonly theirs: number[];
  readonly reads: ForegroundReads[];
  /** The same of a clone that hydrates nothing: what of it is the machine's. */
  readonly atRest: ForegroundReads[];
  /** Of each copy that was made, and of the image. */
  readonly sums: ReadonlySet<string>;
  /** Why the peer was not measured. */
  readonly missing?: string;
}

export function measureClones(options: CloneSuiteOptions): CloneFigures {
  const { size, runs, seed, directory, progress } = options;
  const [image, copy, metadata] = ['source.img', 'copy.img', 'metadata.img'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  progress('making an image');
  makeNoise(image, size, seed);
  const sums = new Set([sumOf(image)]);
  const figures = {
    ours: [] as number[],
    theirs: [] as number[],
    reads: [] as ForegroundReads[],
    atRest: [] as ForegroundReads[],
    sums,
  };
  const hydrate = options.program ?? [process.execPath, join(import.meta.dirname, 'hydrate.js')];
  const missing =
    spawnSync('qemu-img', ['--version']).status === 0
      ? undefined
      : 'qemu-img is not here: the Debian package qemu-utils brings it';
  for (let run = 1; run <= runs; run++) {
    progress(`pdata hydrates, run ${run} of ${runs}`);
    const [command, ...first] = hydrate as [string, ...string[]];
    const ourRun = (threshold: number): { seconds: number; reads: ForegroundReads } => {
      const numbers = [REGION_SECTORS, threshold, BATCH_SIZE, seed, READS_A_SECOND].map(String);
      const { seconds, stdout } = timed(command, [...first, metadata, image, copy, ...numbers]);
      return { seconds, reads: JSON.parse(stdout) as ForegroundReads };
    };
    figures.atRest.push(ourRun(0).reads);
    for (const path of [copy, metadata]) rmSync(path);
    const { seconds, reads } = ourRun(THRESHOLD);
    figures.ours.push(seconds);
    figures.reads.push(reads);
    sums.add(sumOf(copy));
    for (const path of [copy, metadata]) rmSync(path);
    if (missing !== undefined) continue;
    progress(`qemu-img converts, run ${run} of ${runs}`);
    figures.theirs.push(timed('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', image, copy]).seconds);
    sums.add(sumOf(copy));
    rmSync(copy);
  }
  rmSync(image);
  return missing === undefined ? figures : { ...figures, missing };
}

export function cloneTable(
  { ours, theirs, reads, atRest, sums, missing }: CloneFigures,
  { size }: CloneSuiteOptions,
): string {
  const { ratio, target, met } = theirs.length === 0 ? NO_VERDICT : within(median(ours) / median(theirs), TARGET);
  const latency = limited(median(reads.map((read) => read.p99)), READ_TARGET, ' ms');
  return [
    table([
      [
        `hydration of ${size / MIB} MiB, file to file`,
        'pdata',
        'qemu-img convert',
        'pdata / qemu-img',
        'to reach',
        'reached',
      ],
      ['seconds', duration(ours), duration(theirs), ratio, target, met],
      [`4 KiB reads meanwhile, ${READS_A_SECOND} a second`, inWords(reads), '', '', latency.target, latency.met],
      ['the same while nothing is hydrated', inWords(atRest), '', '', '', ''],
    ]),
    `sha256 of the image and of every copy: ${[...sums].join(', ')}${sums.size === 1 ? '' : ' DIFFERENT'}`,
    `regions of ${REGION_SECTORS} sectors, hydration_threshold ${THRESHOLD}, hydration_batch_size ${BATCH_SIZE}`,
    ...(missing === undefined ? [] : [`n/a: ${missing}`]),
  ].join('\n');
}

function inWords(reads: readonly ForegroundReads[]): string {
  const of = (figure: 'p50' | 'p99' | 'longest'): string =>
    `${figure} ${median(reads.map((read) => read[figure])).toFixed(2)} ms`;
  return `${of('p50')}, ${of('p99')}, ${of('longest')}, of ${reads.reduce((sum, { nrReads }) => sum + nrReads, 0)}`;
}

function timed(command: string, args: readonly string[]): { seconds: number; stdout: string } {
  const begin = process.hrtime.bigint();
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${[command, ...args].join(' ')} ended with ${status}: ${stderr}`);
  return { seconds, stdout };
}

/** The key stream of a cipher. */
function makeNoise(path: string, size: number, seed: number): void {
  const key = createHash('sha256').update(String(seed)).digest().subarray(0, 16);
  const cipher = createCipheriv('aes-128-ctr', key, new Uint8Array(16));
  const zeros = new Uint8Array(MIB);
  const fd = openSync(path, 'w');
  for (let at = 0; at < size; at += MIB) writeSync(fd, cipher.update(zeros.subarray(0, Math.min(MIB, size - at))));
  closeSync(fd);
}

function sumOf(path: string): string {
  const hash = createHash('sha256');
  const buffer = new Uint8Array(4 * MIB);
  const fd = openSync(path, 'r');
  const { size } = statSync(path);
  for (let at = 0; at < size; at += buffer.length)
    hash.update(buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, at)));
  closeSync(fd);
  return hash.digest('hex').slice(0, 16);
}
