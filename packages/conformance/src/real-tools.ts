/**
 * The real thin-provisioning-tools, run as programs: 0.9.0 (C++) and 1.1.0 (Rust), the versions whose behaviour
 * docs/format/tools.md describes. Where they disagree, 1.1.0 is right.
 *
 * They come from `oracle/install-tools` and are found in the cache directory, or where PDATA_TPT_09 and PDATA_TPT_1X point
 * (each at a `pdata_tools` program). Without them tests are skipped with a printed reason, unless PDATA_REQUIRE_TOOLS=1.
 */
import { spawn, spawnSync } from 'node:child_process';
import { constants, homedir } from 'node:os';
import { join } from 'node:path';

export const REAL_VERSIONS = ['0.9.0', '1.1.0'] as const;
export type RealVersion = (typeof REAL_VERSIONS)[number];
export type ThinTool = 'thin_check' | 'thin_dump' | 'thin_restore' | 'thin_ls' | 'thin_metadata_size' | 'thin_repair';

export interface RunResult {
  /** The exit code; 128 + the signal's number when one ended it, as a shell has it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where this project keeps what it fetched: PDATA_CACHE, else `pdata` in the user's cache directory. */
export function cacheDirectory(): string {
  const { PDATA_CACHE, XDG_CACHE_HOME } = process.env;
  return PDATA_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'pdata');
}

export function realToolPath(version: RealVersion): string {
  const named = version === '0.9.0' ? process.env.PDATA_TPT_09 : process.env.PDATA_TPT_1X;
  return named ?? join(cacheDirectory(), `tools-${version}`, 'pdata_tools');
}

/** Runs a program to its end; its output is text of at most 1 GiB. @throws Error when it cannot be started */
export function runProgram(path: string, args: readonly string[]): RunResult {
  const { status, signal, stdout, stderr, error } = spawnSync(path, args, { encoding: 'utf8', maxBuffer: 2 ** 30 });
  if (error !== undefined && status === null) throw new Error(`cannot run ${path}: ${error.message}`, { cause: error });
  return { status: exitStatus(status, signal), stdout, stderr };
}

export function exitStatus(status: number | null, signal: NodeJS.Signals | null): number {
  return status ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

export function runRealTool(version: RealVersion, tool: ThinTool, args: readonly string[]): RunResult {
  return runProgram(realToolPath(version), [tool, ...args]);
}

/**
 * As {@link runRealTool}, while other work goes on: 1.1.0 sleeps for most of the half second that it takes, so that many
 * small images are judged sooner side by side.
 */
export function runRealToolAside(version: RealVersion, tool: ThinTool, args: readonly string[]): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(realToolPath(version), [tool, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ status: exitStatus(status, signal), stdout, stderr }));
  });
}

/** What thin_check of `version` complains of: undefined for an image it calls clean. */
export async function realCheckComplaint(version: RealVersion, image: string): Promise<string | undefined> {
  const { status, stdout, stderr } = await runRealToolAside(version, 'thin_check', [image]);
  return status === 0 ? undefined : `thin_check ${version} exits with ${status}\n${stdout}${stderr}`;
}

/** thin_dump 1.1.0's XML. @throws Error when it refuses the image */
export async function realDump(image: string, options: readonly string[] = []): Promise<string> {
  const { status, stdout, stderr } = await runRealToolAside('1.1.0', 'thin_dump', [...options, image]);
  if (status !== 0) throw new Error(`thin_dump 1.1.0 exits with ${status}: ${stderr}`);
  return stdout;
}

/** Why the real tools cannot judge here; undefined when they can. */
function toolsMissing(): string | undefined {
  for (const version of REAL_VERSIONS) {
    const path = realToolPath(version);
    try {
      const found = runProgram(path, ['thin_check', '-V']).stdout.trim();
      if (found !== version) return `${path} is version ${found || 'unknown'}, not ${version}`;
    } catch {
      return `thin-provisioning-tools ${version} is not at ${path}`;
    }
  }
  return undefined;
}

/** True when PDATA_REQUIRE_TOOLS says that a missing judge is an error. */
export const judgesAreRequired = (): boolean => process.env.PDATA_REQUIRE_TOOLS === '1';

/**
 * Whether the real tools are here. Their absence is printed once, or is an error where judges are required.
 * @example describe.runIf(requireTools())('…', …)
 */
export function requireTools(): boolean {
  areHere ??= lookForTools();
  return areHere;
}

let areHere: boolean | undefined;

function lookForTools(): boolean {
  const missing = toolsMissing();
  if (missing === undefined) return true;
  const advice = 'packages/conformance/oracle/install-tools brings them';
  if (judgesAreRequired()) throw new Error(`${missing}; ${advice}`);
  console.warn(`Skipped: tests judged by the real thin tools. ${missing}; ${advice}.`);
  return false;
}
