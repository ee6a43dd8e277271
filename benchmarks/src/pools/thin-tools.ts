/**
 * The contenders for check, dump and restore: our programs as they are installed, and the real thin-provisioning-tools.
 *
 * The real ones are looked for where packages/conformance/oracle/install-tools puts them, and where PDATA_TPT_1X and
 * PDATA_TPT_09 point (each at a `pdata_tools` program); 0.9.0 also on the PATH. One that is missing is named in the table.
 */
import { spawnSync } from 'node:child_process';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Program, peakMemory, runTimed, type TimedRun } from '../child.js';

export type ThinTool = 'thin_check' | 'thin_dump' | 'thin_restore';

export interface Contender {
  /** Heading of its column. */
  readonly name: string;
  /** Why it cannot be measured. */
  readonly missing?: string;
  run(tool: ThinTool, args: readonly string[]): Promise<TimedRun>;
  /** Bytes; NaN where the system does not tell. */
  peakMemory(tool: ThinTool, args: readonly string[]): Promise<number>;
}

/** Where the project keeps what it fetched or made: PDATA_CACHE, else `pdata` in the user's cache directory. */
export function cacheDirectory(): string {
  const { PDATA_CACHE, XDG_CACHE_HOME } = process.env;
  return PDATA_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'pdata');
}

export function ourPrograms(): Contender {
  const bin = join(import.meta.dirname, '..', '..', '..', 'packages', 'tools', 'bin');
  return programs('pdata', (tool) => ({ command: process.execPath, args: [join(bin, `${tool}.js`)] }));
}

export function realPrograms(version: '1.1.0' | '0.9.0'): Contender {
  const { PDATA_TPT_1X, PDATA_TPT_09 } = process.env;
  const places: ((tool: ThinTool) => Program)[] = [
    version === '1.1.0' ? PDATA_TPT_1X : PDATA_TPT_09,
    join(cacheDirectory(), `tools-${version}`, 'pdata_tools'),
  ]
    .filter((path) => path !== undefined && path !== '')
    .map((path) => (tool) => ({ command: path as string, args: [tool] }));
  places.push((tool) => ({ command: tool, args: [] }));
  for (const place of places) {
    const { command, args } = place('thin_check');
    const { stdout } = spawnSync(command, [...args, '-V'], { encoding: 'utf8' });
    if (stdout?.trim() === version) return programs(version, place);
  }
  const missing = `thin-provisioning-tools ${version} is not here: packages/conformance/oracle/install-tools brings it`;
  const refuse = (): never => {
    throw new Error(missing);
  };
  return { name: version, missing, run: refuse, peakMemory: refuse };
}

function programs(name: string, program: (tool: ThinTool) => Program): Contender {
  return {
    name,
    run: async (tool, args) => runTimed(program(tool), args),
    peakMemory: (tool, args) => peakMemory(program(tool), args),
  };
}
