import { StoreError } from '@pdata/device';
import type { LogFinding } from './check-mirror-log.js';

/** A log that is to be dumped cannot be used; `finding` says what its check would. */
export class LogDamageError extends StoreError {
  override readonly name = 'LogDamageError';
  readonly code = 'ERR_LOG_DAMAGE';
  readonly finding: Omit<LogFinding, 'severity'>;
  /** What it means, and what to do: for whoever shows the error. */
  readonly effect: string;
  readonly nextStep: string;

  constructor(deviceName: string, finding: Omit<LogFinding, 'severity'>) {
    super(`${deviceName}: ${finding.structure}: ${finding.message}`);
    this.finding = finding;
    this.effect = finding.effect;
    this.nextStep = finding.nextStep;
  }
}
