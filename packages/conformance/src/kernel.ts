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
export async function runGuest(run: GuestRun): Promise<GuestFindings> {
  const [found] = await runGuests([run]);
  return found!;
}

/**
 * Runs guests one after the other in one machine, which boots once. Each finds its own disks as /dev/vda, /dev/vdb, …, and the
 * kernel's log empty. What they leave in the kernel (modules, and their parameters) stays for the next one.
 *
 * @returns what each found
 * @throws Error with the console when one of the scripts fails or the machine does not finish
 */
export async function runGuests(runs: readonly GuestRun[]): Promise<GuestFindings[]> {
  using scratch = openScratch();
  const script = scratch.path('guest.sh');
  const prelude = readFileSync(oracle('guests/prelude.sh'), 'utf8');
  writeFileSync(script, REAL_DISKS + runs.map((run, nr) => partOf(run, firstDiskOf(runs, nr), prelude)).join(''));
  const programs = [...new Set(runs.flatMap((run) => run.programs ?? []))].flatMap((program) => ['--with', program]);
  const disks = runs.flatMap((run) => run.disks);
  let nrBegun = 0;
  const { status, output } = await new Promise<{ status: number | null; output: string }>((resolve, reject) => {
    const child = spawn(oracle('kernel-vm'), [...programs, script, ...disks], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    if (runs.some(({ onFinding }) => onFinding !== undefined))
      createInterface({ input: child.stdout }).on('line', (line) => {
        const finding = FINDING.exec(line);
        if (line === NEXT_GUEST) nrBegun++;
        else if (finding !== null) runs[nrBegun - 1]?.onFinding?.(finding[1]!, finding[2]!);
      });
    child.on('error', reject).on('close', (status) => resolve({ status, output }));
  });
  const consoles = output.split(new RegExp(`^${NEXT_GUEST}$`, 'm')).slice(1);
  if (status !== 0 || consoles.length !== runs.length) {
    const names = runs.map(({ guest }) => guest).join(', ');
    throw new Error(`the guest ${names} ended with ${status}:\n${output}`);
  }
  return consoles.map(findingsOf);
}

const FINDING = /^= (\S+) ?(.*)$/;
/** Printed before each guest's first line. */
const NEXT_GUEST = '== guest';
const firstDiskOf = (runs: readonly GuestRun[], nr: number): number =>
  runs.slice(0, nr).reduce((sum, { disks }) => sum + disks.length, 0);
const letter = (nr: number): string => String.fromCharCode('a'.charCodeAt(0) + nr);

/** Defines `disk NR LETTER`: /dev/vdLETTER is the machine's disk NR from now on. */
const REAL_DISKS = `mkdir -p /run/disks
for disk in /sys/block/vd*; do tr : ' ' < "$disk/dev" > "/run/disks/\${disk##*/}"; done
disk() { rm -f "/dev/vd$2"; mknod "/dev/vd$2" b $(cat "/run/disks/vd$1"); }
`;

/** A guest as a part of the machine's script: in a shell of its own, which may exit. */
function partOf({ guest, disks, env = {} }: GuestRun, firstDisk: number, prelude: string): string {
  const set = Object.entries(env).map(([name, value]) => `${name}='${String(value).replaceAll("'", `'\\''`)}'\n`);
  const own = disks.map((_, nr) => `disk ${letter(firstDisk + nr)} ${letter(nr)}\n`);
  const before = `echo '${NEXT_GUEST}'\ndmesg -c > /dev/null\n${own.join('')}`;
  return `${before}(\n${[...set, prelude, readFileSync(oracle(`guests/${guest}.sh`), 'utf8')].join('')}\n) || exit $?\n`;
}

function findingsOf(console: string): GuestFindings {
  const found = Array.from(console.matchAll(new RegExp(FINDING, 'gm')), ([, key, value]) => ({
    key: key!,
    value: value!,
  }));
  const all = (key: string): string[] => found.filter((line) => line.key === key).map((line) => line.value);
  const sums = new Map(all('sum').map((line) => [Number(line.split(' ')[0]), line.split(' ')[1]!]));
  return { console, all, sums };
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
