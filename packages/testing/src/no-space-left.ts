import { DeviceError } from '@pdata/device';

/** What a device says whose file system is full, with the system's error as its cause. */
export function noSpaceLeft(attempted: string): DeviceError {
  const cause = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', errno: -28 });
  return new DeviceError(`cannot ${attempted}: ${cause.message}`, { cause });
}
