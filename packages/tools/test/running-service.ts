/** A `pdata serve …` that runs in this process until a test asks it to end. */
import { InterruptedError } from '../src/io/io.js';
import { type Ran, runTool } from './run-tool.js';

export interface RunningService {
  readonly uri: string;
  /** What was printed so far. */
  stdout(): string;
  askForStatus(): void;
  /** Asks it to end; what it came to. */
  end(): Promise<Ran>;
}

/** Runs the command until it listens. Fails when it ends before. */
export function startService(words: readonly string[]): Promise<RunningService> {
  const interruption = new AbortController();
  let stdout = '';
  let askForStatus = (): void => {};
  return new Promise((resolve, reject) => {
    const ran = runTool(words, {
      signal: interruption.signal,
      onStatusRequest: (listener) => {
        askForStatus = listener;
        return () => {};
      },
      out: (text) => {
        stdout += text;
        const uri = /listening on (\S+)/.exec(stdout)?.[1] ?? /"listening","uri":"([^"]+)"/.exec(stdout)?.[1];
        if (uri === undefined) return;
        const end = async (): Promise<Ran> => {
          interruption.abort(new InterruptedError(15));
          return { ...(await ran), stdout };
        };
        resolve({ uri, stdout: () => stdout, askForStatus: () => askForStatus(), end });
      },
    });
    ran.then((result) => reject(new Error(`it ended: ${JSON.stringify({ ...result, stdout })}`)), reject);
  });
}
