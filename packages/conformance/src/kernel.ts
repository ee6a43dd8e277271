/**
 * The real kernel as a judge: a guest script (oracle/guests/) run by `oracle/kernel-vm` with image files as its disks.
 * The script's lines `= KEY VALUE …` are its findings. A run takes about six seconds, most of it booting.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { judgesAreRequired } from './real-tools.js';
import { openScratch } from './scratch.js';

export interface GuestRun {
  /** A file of oracle/guests, without `.sh`. */
  readonly guest: string;
  /** Image files, or NBD URIs: /dev/vda, /dev/vdb, … The guest writes to them. */
  readonly disks: readonly string[];
  /** Programs of this machine that the guest needs besides those it has. */
  readonly programs?: readonly string[];
  /** Told of each line `= KEY VALUE …` as soon as the guest has printed it. */
  readonly onFinding?: (key: string, value: string) => void;
  /** Becomes the script's environment. */
  readonly env?: Readonly<Record<string, string | number>>;
}

export interface GuestFindings {
  /** Everything the guest printed. */
  readonly console: string;
  /** Values of the lines `= KEY VALUE …`, in order. */
  all(key: string): string[];
  /** sha256 of volumes, by thin id; the later of two counts. */
  readonly sums: ReadonlyMap<number, string>;
}

const oracle = (name: string): string => fileURLToPath(new URL(`../oracle/${name}`, import.meta.url));

/** Runs a guest to its end. @throws Error with the console when the script fails or the guest does not finish */
export async function runGuest({ guest, disks, env = {}, programs = [], onFinding }: GuestRun): Promise<GuestFindings> {
  using scratch = openScratch();
  const script = scratch.path('guest.sh');
  const set = Object.entries(env).map(([name, value]) => `${name}='${String(value).replaceAll("'", `'\\''`)}'\n`);
  writeFileSync(
    script,
    [...set, ...['prelude', guest].map((name) => readFileSync(oracle(`guests/${name}.sh`), 'utf8'))].join(''),
  );
  const { status, output } = await new Promise<{ status: number | null; output: string }>((resolve, reject) => {
    const withPrograms = programs.flatMap((program) => ['--with', program]);
    const child = spawn(oracle('kernel-vm'), [...withPrograms, script, ...disks], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    if (onFinding !== undefined)
      createInterface({ input: child.stdout }).on('line', (line) => {
        const finding = /^= (\S+) ?(.*)$/.exec(line);
        if (finding !== null) onFinding(finding[1]!, finding[2]!);
      });
    child.on('error', reject).on('close', (status) => resolve({ status, output }));
  });
  if (status !== 0) throw new Error(`the guest ${guest} ended with ${status}:\n${output}`);
  const found = Array.from(output.matchAll(/^= (\S+) ?(.*)$/gm), ([, key, value]) => ({ key: key!, value: value! }));
  const all = (key: string): string[] => found.filter((line) => line.key === key).map((line) => line.value);
  const sums = new Map(all('sum').map((line) => [Number(line.split(' ')[0]), line.split(' ')[1]!]));
  return { console: output, all, sums };
}

/**
 * Whether the kernel can judge here. Its absence is printed once; where judges are required it is prepared now.
 * @example describe.runIf(requireKernel())('…', …)
 */
export function requireKernel(): boolean {
  if (spawnSync(oracle('kernel-vm'), ['--ready']).status === 0) return true;
  if (judgesAreRequired()) {
    const { status, stderr } = spawnSync(oracle('kernel-vm'), ['--build'], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`oracle/kernel-vm cannot be prepared: ${stderr}`);
    return true;
  }
  console.warn('Skipped: tests judged by the real kernel. packages/conformance/oracle/kernel-vm --build prepares it.');
  return false;
}
