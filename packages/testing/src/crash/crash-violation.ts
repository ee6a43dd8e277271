/** A crash after which something is wrong, told so that it can be understood and had again. */
import { SECTOR_SIZE } from '@pdata/device';
import type { Change } from './crash-recording.js';
import type { WrongState } from './crash-walk.js';
import { writeReplayToken } from './replay-token.js';

interface ViolationDetail {
  readonly subject: string;
  readonly seed: number;
  /** Indices into the operations of the workload. */
  readonly operations: readonly number[];
  /** The operations themselves. */
  readonly shown: readonly unknown[];
  /** Of the devices. */
  readonly names: readonly string[];
  readonly wrong: WrongState;
  readonly command?: ((token: string) => string) | undefined;
}

export class CrashViolation extends Error {
  override readonly name = 'CrashViolation';
  /** For {@link replayCrash}. */
  readonly token: string;
  /** What is wrong, without where. */
  readonly problem: string;
  /** The operations of the smallest workload that shows it. */
  readonly operations: readonly unknown[];
  /** Changes in doubt at the crash, and how many of them landed, whole or torn. */
  readonly nrInDoubt: number;
  readonly nrLanded: number;

  /** @internal */
  constructor({ subject, seed, operations, shown, names, wrong, command }: ViolationDetail) {
    const { place, inDoubt, choice, problem, cause } = wrong;
    const token = writeReplayToken({ subject, seed, operations, place, choice });
    const landed = choice.map(({ index, landing }) => {
      const change = inDoubt[index] as Change;
      if (landing === 'whole') return `${changeInWords(change, names)}`;
      return `${changeInWords(change, names)}, torn: ${landing.slice(0, change.nrSectors).filter((lands) => lands !== 0).length} of ${change.nrSectors} sectors`;
    });
    const where =
      wrong.kind === 'program'
        ? `  in workload ${seed} of ${subject}, without a crash`
        : `  crash of ${subject}, workload ${seed}, before event ${place} of its recording\n` +
          `  of ${inDoubt.length} changes in doubt ${choice.length === 0 ? 'none landed' : `${choice.length} landed: ${landed.join('; ')}`}`;
    super(
      [
        problem,
        where,
        `  operations: ${shown.map((operation) => JSON.stringify(operation)).join(' ') || 'none'}`,
        `  replay: ${command?.(token) ?? token}`,
      ].join('\n'),
      cause === undefined ? undefined : { cause },
    );
    this.token = token;
    this.problem = problem;
    this.operations = shown;
    this.nrInDoubt = inDoubt.length;
    this.nrLanded = choice.length;
  }
}

function changeInWords({ device, firstSector, nrSectors }: Change, names: readonly string[]): string {
  return `${names[device]} ${firstSector * SECTOR_SIZE}..${(firstSector + nrSectors) * SECTOR_SIZE}`;
}
