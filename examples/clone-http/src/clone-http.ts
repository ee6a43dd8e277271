/**
 * A remote image as a local disk: cloned from a URL, served over NBD from the first second on, and detached from its source when
 * all of it has arrived. This is the part to copy from.
 *
 * In the directory there are two files: `disk.img`, which is the image in the end, and `disk.meta`, which remembers what of it has
 * arrived; in the kernel's format, so that `dmsetup` can go on where this ended.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CloneDevice } from '@pdata/clone';
import { openHttpDataDevice } from '@pdata/device/http';
import { openFileDataDevice, openFileMetadataDevice } from '@pdata/device/node';
import { NbdServer } from '@pdata/nbd';

export interface RemoteDisk {
  /** Where a client finds it: `nbdcopy`, `qemu`, `nbdinfo`, the kernel's nbd-client. */
  readonly uri: string;
  readonly clone: CloneDevice;
  /** Resolves when everything has arrived, and is durable: the URL is not needed any more. */
  readonly complete: Promise<void>;
  /** Lets clients finish, commits, and closes the files. Opened again, it goes on where it ended. */
  close(): Promise<void>;
}

/** @param socketPath a Unix socket */
export async function openRemoteDisk(url: string, directory: string, socketPath: string): Promise<RemoteDisk> {
  const [image, map] = [join(directory, 'disk.img'), join(directory, 'disk.meta')];
  const source = await openHttpDataDevice(url);
  const destination = await openFileDataDevice(image, {
    mode: 'write',
    ...(existsSync(image) ? {} : { create: { size: source.size } }), // sparse
  });
  const metadata = openFileMetadataDevice(map, {
    mode: 'write',
    ...(existsSync(map) ? {} : { create: { nrBlocks: 1024 } }), // 4 MiB, enough for an image of some 100 GiB
  });
  // Regions of 64 KiB; copies of 1 MiB, eight on their way. While somebody reads or writes, no other begins.
  const clone = await CloneDevice.openOrFormat(
    metadata,
    { source, destination },
    { regionSize: 128, hydrationThreshold: 128, hydrationBatchSize: 16 },
  );
  const complete = clone.isComplete
    ? Promise.resolve()
    : new Promise<void>((resolve) => clone.on('complete', () => resolve()));
  const server = await NbdServer.listen({
    listen: { socketPath },
    exports: { list: async () => [{ name: 'disk' }], open: async () => ({ device: clone }) },
  });
  return {
    uri: `nbd+unix:///disk?socket=${socketPath}`,
    clone,
    complete,
    async close() {
      await server.close();
      await clone.close();
      metadata.close();
      await destination.close();
      await source.close();
    },
  };
}
