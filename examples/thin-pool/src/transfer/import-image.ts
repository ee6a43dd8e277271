/**
 * A raw image into a new volume. What is zero takes no space. The volume is hidden until all of it is there; if that fails, nothing
 * is left of it.
 */
import { newIdentity } from '../pool/pool-directory.js';
import type { PoolHost, VolumeReport } from '../pool-host.js';
import { contentFrames } from '../stream/send.js';
import type { ImageSource } from './image-file.js';

const WRITES_IN_FLIGHT = 8;

export interface ImportOptions {
  readonly name: string;
  /** Bytes of the volume; the image's when left out. */
  readonly size?: number;
  readonly signal?: AbortSignal;
  /** Bytes of the image done so far. */
  readonly onProgress?: (done: number) => void;
}

export async function importImage(
  host: PoolHost,
  image: ImageSource,
  { name, size = image.size, signal, onProgress }: ImportOptions,
): Promise<VolumeReport> {
  const identity = newIdentity();
  // A write may wait for space; an interrupted import does not.
  const interrupted = new Promise<never>((_, reject) =>
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true }),
  );
  interrupted.catch(() => {});
  await host.receiving.begin({ name, identity, size, created: Date.now(), becomes: 'volume' });
  try {
    const volume = await host.receiving.open({ identity });
    try {
      const writes = new Set<Promise<void>>();
      let failure: { error: unknown } | undefined;
      const whole = [{ offset: 0, length: image.size }];
      for await (const frame of contentFrames(image, whole, { skipZeros: true })) {
        signal?.throwIfAborted();
        if (failure !== undefined) break;
        if (frame.kind !== 'data') continue;
        const writing = volume
          .write(frame.position, frame.bytes)
          .catch((error: unknown) => {
            failure ??= { error };
          })
          .finally(() => writes.delete(writing));
        writes.add(writing);
        if (writes.size >= WRITES_IN_FLIGHT) await Promise.race([...writes, interrupted]);
        onProgress?.(frame.position + frame.bytes.length);
      }
      await Promise.race([Promise.all(writes), interrupted]);
      if (failure !== undefined) throw failure.error;
      await volume.flush();
    } finally {
      await volume.close();
    }
    return await host.receiving.finish({ identity });
  } catch (error) {
    await host.receiving.abandon({ identity }).catch(() => undefined); // the first error says what went wrong
    throw error;
  }
}
