/** The document of `--json` of a dump: written as the dump proceeds, around what it yields. */
import { FAILURE, SUCCESS } from '../exit-codes.js';
import { failureReport } from '../failure/failure-report.js';
import { ToolError } from '../failure/tool-error.js';
import { drive } from '../io/drive.js';
import type { DumpOutput } from '../io/dump-output.js';
import { BrokenPipeError, type Io } from '../io/io.js';
import { jsonText } from './json-text.js';

/** The document of `--json`, around the dump while it is made. A failure on the way is told in it, and thrown. */
export async function streamJson<Summary extends { readonly lost: readonly unknown[] }>(
  tool: string,
  dump: Generator<Uint8Array, Summary>,
  output: DumpOutput,
  { io, streamsDocument }: { readonly io: Io; streamsDocument(): void },
): Promise<Summary> {
  let isBegun = false;
  const reports = (errors: readonly unknown[]) => errors.map((error) => failureReport(error, io.isDebugging));
  const finish = (ok: boolean, lost: readonly unknown[], errors: readonly unknown[]): void => {
    const exitCode = ok ? SUCCESS : FAILURE;
    output.write(`,${jsonText({ ok, exitCode, lost: reports(lost), errors: reports(errors) }).slice(1)}`);
  };
  try {
    const summary = await drive(dump, io, (chunk) => {
      if (!isBegun) output.write(`{"tool": "${tool}",\n"dump": `);
      isBegun = true;
      streamsDocument();
      output.write(chunk);
    });
    finish(true, summary.lost, []);
    return summary;
  } catch (error) {
    const cannotWrite = error instanceof BrokenPipeError || error instanceof ToolError;
    if (isBegun && !cannotWrite) finish(false, [], [error]);
    throw error;
  }
}
