/** Our own commands, run in this process, with the results in the form of {@link runRealTool}'s. */
import { type Io, run } from '@pdata/tools';
import type { RunResult, ThinTool } from './real-tools.js';

export async function runOurTool(tool: ThinTool, args: readonly string[]): Promise<RunResult> {
  const out: Buffer[] = [];
  let stderr = '';
  const io: Io = {
    out: (data) => void out.push(Buffer.from(data as string)), // a copy: the caller may reuse its buffer
    err: (text) => {
      stderr += text;
    },
    errColumns: 0,
    signal: new AbortController().signal,
    catchInterrupts: () => {},
    breathe: () => new Promise((resolve) => setImmediate(resolve)),
    now: () => performance.now(),
    isDebugging: false,
  };
  const status = await run([tool, ...args], io);
  return { status, stdout: Buffer.concat(out).toString(), stderr };
}

/** What our thin_check complains of: undefined for an image it calls clean. */
export async function ourCheckComplaint(image: string, options: readonly string[] = []): Promise<string | undefined> {
  const { status, stdout, stderr } = await runOurTool('thin_check', [...options, image]);
  return status === 0 ? undefined : `our thin_check exits with ${status}\n${stdout}${stderr}`;
}
