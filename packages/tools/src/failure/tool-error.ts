/**
 * A failure a command ends with, ready to be shown: what is wrong, what it means, what to do next.
 *
 * The first line is the one thin-provisioning-tools 1.1.0 prints, where it prints one, so that scripts which look for it
 * still find it; the explanation follows.
 */
import { StoreError } from '@pdata/device';
import { FAILURE } from '../exit-codes.js';

export interface Advice {
  /** What follows from it. A sentence without its full stop. */
  readonly effect?: string | undefined;
  /** What to do. A sentence without its full stop. */
  readonly nextStep?: string | undefined;
}

export class ToolError extends StoreError implements Advice {
  override readonly name = 'ToolError';
  readonly effect: string | undefined;
  readonly nextStep: string | undefined;
  readonly exitCode: number;
  constructor(
    readonly code: `ERR_${string}`,
    message: string,
    advice: Advice = {},
    { exitCode = FAILURE, ...options }: ErrorOptions & { readonly exitCode?: number } = {},
  ) {
    super(message, options);
    this.effect = advice.effect;
    this.nextStep = advice.nextStep;
    this.exitCode = exitCode;
  }
}
