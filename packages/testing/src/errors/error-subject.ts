/**
 * What the error explorer is pointed at: an object over devices, its operations, and somebody who can say what state it is in.
 *
 * Each operation begins on the same devices, is made to fail at its first device request, its second, … until it passes, and
 * has to leave everything as it was before or as it is after: on the devices, and as the object shows it, unless that is
 * clearly dead.
 */
import type { CrashDevices, CrashMedia } from '../crash/crash-subject.js';

/** Something besides devices that can fail: an allocation of blocks, for example. */
export interface FaultSource {
  /** Begins to count, from 0. */
  watch(): void;
  /** Attempts since `watch`, failed ones included. */
  readonly nrDone: number;
  /** The `nth` attempt from now on (counted from 1) fails; with `andLater` all that follow, too. */
  arm(nth: number, andLater: boolean): void;
  /** Nothing fails, nothing is counted. */
  disarm(): void;
}

export interface ErrorSubject<Session, Media extends CrashMedia = CrashMedia> {
  readonly name: string;
  readonly media: Media;
  /** Puts on the devices what each operation begins with. */
  prepare(devices: CrashDevices<Media>): void | Promise<void>;
  open(devices: CrashDevices<Media>): Session | Promise<Session>;
  /** Each makes durable what it does, and does something. */
  readonly operations: Readonly<Record<string, (session: Session) => unknown>>;
  /** What the object shows. When it is dead it throws an expected error. */
  inspect(session: Session): string | Promise<string>;
  /** Gives the object up; the devices stay open. What it throws has to be expected, too. */
  close(session: Session): void | Promise<void>;
  /** Opens the devices anew, audits them (leaks!), and returns their state. What it throws is a violation. It must not write. */
  recover(devices: CrashDevices<Media>): string | Promise<string>;
  readonly sources?: Readonly<Record<string, FaultSource>>;
  /** Whether an operation may fail with this. Default: it is a `StoreError`. */
  isExpected?(error: unknown): boolean;
  /** Kinds of requests that an operation may survive: it succeeds although one of them failed (a hint, for example). Default: none. */
  readonly mayFail?: readonly string[];
  /**
   * Kinds of requests whose failure may leave an operation done but not durable: it throws, the object shows the new state, the devices
   * hold the old one, and closing makes it durable (a commit that found no room, for example). Default: none.
   */
  readonly mayKeep?: readonly string[];
}
