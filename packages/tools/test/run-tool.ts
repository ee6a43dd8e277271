/**
 * Runs a command in this process with streams that are kept, and makes the images it runs on. Files go to a directory of
 * the test file's own, removed afterwards.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { type Io, keptIo, run } from '@pdata/tools';
import { afterAll } from 'vitest';

export interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** @param commandLine words separated by spaces, or a list where a word has spaces or is empty */
export async function runTool(commandLine: string | readonly string[], changes: Partial<Io> = {}): Promise<Ran> {
  const kept = keptIo(changes);
  const argv = typeof commandLine === 'string' ? commandLine.split(' ') : commandLine;
  const exitCode = await run(argv, kept.io);
  return { exitCode, stdout: kept.stdout(), stderr: kept.stderr() };
}

/** A directory for this test file, removed when its tests are done. */
export function scratchDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'pdata-tools-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** The bytes of a kernel-made image: see data/README.md. */
export function kernelImage(name: 'thin-basic' | 'thin-metasnap' | 'clone-partial'): Buffer {
  return gunzipSync(readFileSync(fileURLToPath(new URL(`data/${name}.img.gz`, import.meta.url))));
}

export function writeImage(directory: string, name: string, bytes: Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, bytes);
  return path;
}
