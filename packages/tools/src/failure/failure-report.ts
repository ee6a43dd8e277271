/**
 * Any error as a report: for people (lines of text) and for programs (the `error` member of a `--json` document).
 *
 *   StoreError         thrown on purpose somewhere in pdata: its message, and its advice where it carries any
 *   system error       the operating system refused something nobody foresaw: one sentence with the call and its path
 *   anything else      a bug of ours: said so, with a request to report it; the stack only with PDATA_DEBUG=1
 */
import { CorruptBlockError, StoreError } from '@pdata/device';
import { systemProblem } from '@pdata/device/node';
import { systemAdvice } from './system-advice.js';

export interface FailureReport {
  readonly code: string;
  readonly message: string;
  readonly effect?: string;
  readonly nextStep?: string;
  /** For a {@link CorruptBlockError}: what was looked at, and where. */
  readonly structure?: string;
  readonly blockNr?: number;
  readonly thinId?: number;
  /** Where to look in pdata's source; only with PDATA_DEBUG=1. */
  readonly stack?: string;
}

export function failureReport(error: unknown, isDebugging: boolean): FailureReport {
  const stack = isDebugging && error instanceof Error && error.stack !== undefined ? { stack: error.stack } : {};
  if (error instanceof StoreError) {
    const own = error as StoreError & {
      readonly effect?: string;
      readonly nextStep?: string;
      readonly thinId?: number;
    };
    const { effect, thinId, nextStep = systemAdvice(error) } = own;
    // Messages of the library may end with their advice; it is shown once, on lines of its own.
    let { message } = error;
    for (const advice of [nextStep, effect]) {
      if (advice === undefined) continue;
      for (const separator of ['; ', ': ']) {
        if (message.endsWith(separator + advice)) message = message.slice(0, -(separator + advice).length);
      }
    }
    return {
      code: error.code,
      message,
      ...(effect === undefined ? {} : { effect }),
      ...(nextStep === undefined ? {} : { nextStep }),
      ...(error instanceof CorruptBlockError
        ? { structure: error.detail.structure, blockNr: error.detail.blockNr }
        : {}),
      ...(thinId === undefined ? {} : { thinId }),
      ...stack,
    };
  }
  if (error instanceof Error && 'syscall' in error) {
    const { code, syscall, path, message } = error as NodeJS.ErrnoException;
    const nextStep = systemAdvice(error);
    return {
      code: `ERR_SYSTEM_${code}`,
      message: `cannot ${syscall}${path === undefined ? '' : ` '${path}'`}: ${systemProblem(error) ?? message}`,
      ...(nextStep === undefined ? {} : { nextStep }),
      ...stack,
    };
  }
  const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return {
    code: 'ERR_BUG',
    message: `this is a bug in pdata (${what}); please report it with the command line and, if you can, the metadata`,
    ...(isDebugging ? {} : { nextStep: 'run again with PDATA_DEBUG=1 in the environment to see where it happened' }),
    ...stack,
  };
}

/** The lines for standard error, each ending in a newline. */
export function failureText({ message, effect, nextStep, stack }: FailureReport): string {
  const lines = [message];
  if (effect !== undefined) lines.push(`  effect: ${effect}`);
  if (nextStep !== undefined) lines.push(`  next step: ${nextStep}`);
  if (stack !== undefined) lines.push(stack);
  return `${lines.join('\n')}\n`;
}
