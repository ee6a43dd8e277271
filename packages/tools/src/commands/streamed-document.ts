/**
 * The document of `--json` around a dump while it is made: `{"tool", "dump": …, "ok", "exitCode", …, "errors"}`. A dump closes what it has
 * opened even when it fails, so the document is valid then too, and tells why.
 */
import { FAILURE, SUCCESS } from '../exit-codes.js';
import { failureReport } from '../failure/failure-report.js';
import { ToolError } from '../failure/tool-error.js';
import { drive } from '../io/drive.js';
import type { DumpOutput } from '../io/dump-output.js';
import { BrokenPipeError, type Io } from '../io/io.js';
import type { Facts } from './command.js';
import { jsonText } from './json-text.js';

/** @param factsOf the members besides `dump`; the summary is missing when the dump has failed */
export async function streamDocument<Summary>(
  tool: string,
  dump: Generator<Uint8Array, Summary> | AsyncGenerator<Uint8Array, Summary>,
  output: DumpOutput,
  { io, streamsDocument }: { readonly io: Io; streamsDocument(): void },
  factsOf: (summary: Summary | undefined) => Facts = () => ({}),
): Promise<Summary> {
  let isBegun = false;
  const finish = (summary: Summary | undefined, errors: readonly unknown[]): void => {
    const ok = errors.length === 0;
    const reports = errors.map((error) => failureReport(error, io.isDebugging));
    const ending = { ok, exitCode: ok ? SUCCESS : FAILURE, ...factsOf(summary), errors: reports };
    output.write(`,${jsonText(ending).slice(1)}`);
  };
  try {
    const summary = await drive(dump, io, (chunk) => {
      if (!isBegun) output.write(`{"tool": "${tool}",\n"dump": `);
      isBegun = true;
      streamsDocument();
      output.write(chunk);
    });
    finish(summary, []);
    return summary;
  } catch (error) {
    const cannotWrite = error instanceof BrokenPipeError || error instanceof ToolError;
    if (isBegun && !cannotWrite) finish(undefined, [error]);
    throw error;
  }
}
