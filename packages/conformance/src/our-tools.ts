/** Our own commands, run in this process, with the results in the form of {@link runRealTool}'s. */
import { keptIo, run } from '@pdata/tools';
import type { RunResult, ThinTool } from './real-tools.js';

export type OurTool = ThinTool | 'mirror_check' | 'mirror_dump';

export async function runOurTool(tool: OurTool, args: readonly string[]): Promise<RunResult> {
  const kept = keptIo();
  const status = await run([tool, ...args], kept.io);
  return { status, stdout: kept.stdout(), stderr: kept.stderr() };
}

/** What our thin_check complains of: undefined for an image it calls clean. */
export async function ourCheckComplaint(image: string, options: readonly string[] = []): Promise<string | undefined> {
  const { status, stdout, stderr } = await runOurTool('thin_check', [...options, image]);
  return status === 0 ? undefined : `our thin_check exits with ${status}\n${stdout}${stderr}`;
}
