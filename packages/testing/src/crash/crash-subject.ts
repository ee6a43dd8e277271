/**
 * What the crash explorer is pointed at: a program that changes devices, and somebody who can say what is found on them.
 *
 * The program (`run`) applies operations, one after the other, and tells two things as it goes: `begins`, the state that it is
 * about to make durable and that a crash may show from now on; and `promises`, that this state is durable and a crash must show
 * it, or one begun later. The judge (`recover`) opens the devices as after a crash, checks them, and returns the state.
 *
 *   begins(B)   write 5   write 6   flush   write 0   flush   promises(B)
 *   └─ allowed from here: A, B                                └─ allowed from here: B
 */
import type { DataDevice, MetadataDevice } from '@pdata/device';

/** A device in memory, zeros to begin with: of metadata, or of data. Each is held twice, so small ones are meant. */
export type CrashMedium = (
  | { readonly nrBlocks: number; readonly size?: never }
  | { readonly size: number; readonly nrBlocks?: never }
) & {
  /**
   * An asynchronous flush takes up to so many turns of the queue of promises, so that the program goes on meanwhile: what it writes then
   * is not covered. Default 0: it is done at once.
   */
  readonly flushTurns?: number;
};

export type CrashMedia = Readonly<Record<string, CrashMedium>>;

/** For each medium the device that it is. */
export type CrashDevices<Media extends CrashMedia> = {
  readonly [Name in keyof Media]: Media[Name] extends { readonly nrBlocks: number } ? MetadataDevice : DataDevice;
};

/** What the program under test is given. */
export interface CrashRun<Media extends CrashMedia, State> {
  readonly devices: CrashDevices<Media>;
  /** From here on a crash may show `state`. */
  begins(state: State): void;
  /** From here on a crash must show `state`, or one that began after it. Judging begins with the first promise. */
  promises(state: State): void;
}

/** What a crash may show. */
export interface CrashMoment<State> {
  /** The last state that was promised. */
  readonly promised: State;
  /** States that began after it, in order: commits that were in flight. */
  readonly begun: readonly State[];
}

export interface RecoverOptions {
  /** True now and then: the time to do what is dear besides, for example to go on working and check again. */
  readonly thorough: boolean;
}

/**
 * A program and its judge. Operations must be plain data, and `run` and `recover` must depend on nothing but their arguments: a
 * workload is run again and again to shrink a failure, and to replay it.
 */
export interface CrashSubject<Operation, Media extends CrashMedia = CrashMedia, State = string> {
  /** Names it in reports and replay tokens: letters, digits and hyphens. */
  readonly name: string;
  readonly media: Media;
  /** The operations of one workload. Any part of the list has to be a workload, too. */
  operations(random: () => number): readonly Operation[];
  /** Puts on the devices what is there before the workload, for example a formatted one. No crash happens here. */
  prepare?(devices: CrashDevices<Media>): void | Promise<void>;
  /** The workload; it is over when this returns, or resolves: what happens later is not recorded. What it throws is a violation. */
  run(operations: readonly Operation[], run: CrashRun<Media, State>): void | Promise<void>;
  /** Opens what a crash left, checks it, and returns its state. What it throws is a violation. It may write. */
  recover(devices: CrashDevices<Media>, options: RecoverOptions): State | Promise<State>;
  /** Whether `found` is right at that moment; what it returns otherwise is the problem. Default: it equals one of the states (`===`). */
  judge?(found: State, moment: CrashMoment<State>): string | undefined;
}
