/** What a case of the suite for data devices is, and what it may know of the devices that it is tried on. */
import type { DataDevice } from '@pdata/device';

export interface DataDeviceConformanceOptions {
  /** A new device of at least 64 KiB, larger than 512 KiB where that is possible. What it contains does not matter. */
  readonly create: () => Promise<DataDevice>;
  /** The devices of `create` are read-only, and each holds exactly this: cases that write are left out. */
  readonly fixedContent?: Uint8Array;
  /** Default true. False when `discard` is known to do nothing. */
  readonly discardable?: boolean;
  /** A new device that is open for reading only, to see what it refuses. Not needed with `fixedContent`. */
  readonly createReadOnly?: () => Promise<DataDevice>;
  /** What a flushed and closed device of `create` left behind, opened again. Left out where nothing is left behind. */
  readonly reopen?: (closed: DataDevice) => Promise<DataDevice>;
  /** Random sequences of requests to try, each with a seed of its own. Default 20. */
  readonly nrRandomWorkloads?: number;
}

/** One case: give both to the test runner. */
export interface ConformanceCase {
  /** A sentence about devices. */
  readonly name: string;
  /** Throws a `ContractViolation`, or what the device threw, when the device does not keep the contract. */
  readonly run: () => Promise<void>;
}

/** A case before it has a device. */
export interface DeviceCase {
  readonly name: string;
  readonly on: (device: DataDevice, options: DataDeviceConformanceOptions) => Promise<void>;
  /** Which function of the options makes the device. Default `create`. */
  readonly with?: 'create' | 'createReadOnly';
}
