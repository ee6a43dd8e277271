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

import { demand } from './demand.js';
import type { ConformanceCase, DataDeviceConformanceOptions, DeviceCase } from './device-case.js';
import { lifetimeCases } from './lifetime-cases.js';
import { randomWorkloadCases } from './random-workload.js';
import { fixedContentCases, transferCases } from './transfer-cases.js';
import { zeroingCases } from './zeroing-cases.js';

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
