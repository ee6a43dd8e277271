/**
 * What every `DataDevice` must do, whatever it stands on: the contract of @pdata/device's data-device.ts as cases that any
 * test runner can run. Nothing but the interface is used, and nothing but JavaScript, so they run in browsers too.
 *
 * Each case gets a device of its own and uses its first 512 KiB and its last sectors. A case throws when the contract is
 * broken. What the contract leaves open is left open: whether a discard gives anything back, in which order requests in
 * flight are done, how much an answer of `allocation` covers.
 *
 * What it cannot show, because it does not pull plugs: that a flush makes anything durable. With `reopen` it shows at
 * least that what was flushed is there when the device is opened again.
 */
import type { DataDevice } from '@pdata/device';
import { demand } from './demand.js';
import { lifetimeCases } from './lifetime-cases.js';
import { randomWorkloadCases } from './random-workload.js';
import { fixedContentCases, transferCases } from './transfer-cases.js';
import { zeroingCases } from './zeroing-cases.js';

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

/**
 * The cases for one implementation:
 *
 * ```ts no-run
 * for (const { name, run } of dataDeviceConformance({ create })) it(name, run);
 * ```
 */
export function dataDeviceConformance(options: DataDeviceConformanceOptions): ConformanceCase[] {
  const cases = [...fixedContentCases(options), ...lifetimeCases(options)];
  if (options.fixedContent === undefined) {
    cases.push(...transferCases(), ...zeroingCases(options), ...randomWorkloadCases(options.nrRandomWorkloads ?? 20));
  }
  return cases.map((deviceCase) => ({ name: deviceCase.name, run: () => runOn(deviceCase, options) }));
}

async function runOn(deviceCase: DeviceCase, options: DataDeviceConformanceOptions): Promise<void> {
  const create = options[deviceCase.with ?? 'create'];
  demand(create !== undefined, `the suite needs a function ${deviceCase.with}`);
  const device = await create();
  try {
    demand(device.size >= 65536, `the suite needs a device of at least 64 KiB, not of ${device.size} bytes`);
    await deviceCase.on(device, options);
  } finally {
    await device.close(); // harmless when the case has closed it
  }
}
