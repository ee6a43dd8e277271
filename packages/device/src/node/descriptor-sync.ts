/**
 * `fdatasync` on one descriptor, honest about failure, and no more often than needed.
 *
 * After a failed sync no later one succeeds. Linux reports a failed write-back once and then calls the lost pages clean, so
 * the next `fdatasync` would promise what never reached the disk.
 *
 * Who asks while a sync is running must not share it, since it may have begun before the writes that the asker wants
 * durable. But all who ask during one sync share the next: a hundred clients that flush at once cost two. So there is never
 * more than one at a time; a second beside it could succeed because the first was told of the failure.
 */
import { fdatasync, fdatasyncSync } from 'node:fs';
import { DeviceError } from '../errors.js';
import { reasonOf } from './system-problem.js';

export class DescriptorSync {
  readonly #fd: number;
  readonly #name: string;
  #failure: DeviceError | undefined;
  #isRunning = false;
  /** The sync that begins when the running one ends, for all who asked meanwhile. */
  #next: Waiters | undefined;

  /** @param name of the device, for messages */
  constructor(fd: number, name: string) {
    this.#fd = fd;
    this.#name = name;
  }

  /** Returns when every write that returned before the call is durable. @throws {@link DeviceError} */
  now(): void {
    this.#requireNoFailure();
    try {
      fdatasyncSync(this.#fd);
    } catch (cause) {
      throw this.#failed(cause);
    }
  }

  /** Resolves when every write that returned before the call is durable. The descriptor must stay open until then. */
  async soon(): Promise<void> {
    this.#requireNoFailure();
    if (this.#isRunning) {
      this.#next ??= new Waiters();
      return this.#next.promise;
    }
    const waiters = new Waiters();
    this.#run(waiters);
    return waiters.promise;
  }

  #run(waiters: Waiters): void {
    this.#isRunning = true;
    fdatasync(this.#fd, (cause) => {
      this.#isRunning = false;
      if (cause !== null) waiters.reject(this.#failed(cause));
      else if (this.#failure !== undefined)
        waiters.reject(this.#failure); // told to a `now()` in between, and only to it
      else waiters.resolve();
      const next = this.#next;
      this.#next = undefined;
      if (next === undefined) return;
      if (this.#failure === undefined) this.#run(next);
      else next.reject(this.#afterFailure());
    });
  }

  #requireNoFailure(): void {
    if (this.#failure !== undefined) throw this.#afterFailure();
  }

  #afterFailure(): DeviceError {
    return new DeviceError(
      `cannot flush ${this.#name}: an earlier flush failed, and what it covered may be lost; close it and open it again`,
      { cause: this.#failure },
    );
  }

  #failed(cause: unknown): DeviceError {
    const failure = new DeviceError(`cannot flush ${this.#name}: ${reasonOf(cause)}`, { cause });
    this.#failure ??= failure;
    return failure;
  }
}

/** A promise and its two ends; Node 20 has no `Promise.withResolvers`. */
class Waiters {
  resolve!: () => void;
  reject!: (error: DeviceError) => void;
  readonly promise = new Promise<void>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });
}
