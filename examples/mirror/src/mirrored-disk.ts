/** A disk that is mirrored on files, and served over NBD. Made when they are missing. */
import { existsSync } from 'node:fs';
import { type DataDevice, SECTOR_SIZE } from '@pdata/device';
import { openFileDataDevice } from '@pdata/device/node';
import { DiskLog, MirrorDevice, mirrorLogSize } from '@pdata/mirror';
import { NbdServer } from '@pdata/nbd';

/** Sectors: 1 MiB. */
export const REGION_SIZE = 2048;

export interface MirroredDisk {
  readonly mirror: MirrorDevice;
  readonly legs: readonly DataDevice[];
  /** Ends the service; the log calls clean what is. */
  close(): Promise<void>;
}

/** @param size bytes, whole sectors */
export async function serveMirroredDisk(
  paths: { readonly legs: readonly string[]; readonly log: string; readonly socket: string },
  size: number,
): Promise<MirroredDisk> {
  const length = size / SECTOR_SIZE;
  const legs = await Promise.all(paths.legs.map((path) => openOrMake(path, size)));
  const logDevice = await openOrMake(paths.log, mirrorLogSize(Math.ceil(length / REGION_SIZE), 4096));
  const log = new DiskLog(logDevice, { length, regionSize: REGION_SIZE });
  // Writes go on with the legs that are good. Which one is right after a failure, `status().defaultLeg` tells.
  const options = { goodLeg: 0, handleErrors: true, keepLog: true };
  const mirror = await MirrorDevice.open({ log, legs: legs.map((device) => ({ device })), ...options });
  const server = await NbdServer.listen({
    listen: { socketPath: paths.socket },
    exports: { list: async () => [{ name: 'disk' }], open: async () => ({ device: mirror }) },
  });
  const close = async (): Promise<void> => {
    await server.close();
    await mirror.close();
    for (const device of [...legs, logDevice]) await device.close();
  };
  return { mirror, legs, close };
}

const openOrMake = (path: string, size: number): Promise<DataDevice> =>
  openFileDataDevice(path, existsSync(path) ? { mode: 'write' } : { mode: 'write', create: { size } });
