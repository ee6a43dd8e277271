/**
 * A look at the whole of the metadata while the pool goes on.
 *
 * From LMDB a reader shows one commit for as long as it is open, so the look may take its time. A plain image has no such thing:
 * there the look goes through the pool's own device and has to be over before anything else happens, in one go. (What the device
 * holds at any moment is the last commit: blocks that it reaches are never overwritten.)
 */
import type { MetadataDevice } from '@pdata/device';
import type { PoolParts } from './pool-directory.js';

const SLICE_MS = 15;

/**
 * What is looked at is the last commit at the moment of the call.
 * @param look yields where it may be interrupted
 */
export async function lookAtCommitted<T>(
  parts: PoolParts,
  look: (device: MetadataDevice) => Generator<unknown, T>,
): Promise<T> {
  const reader = parts.openReader();
  if (reader === undefined) return inOneGo(look(readOnlyView(parts.metadata)));
  try {
    return await inSlices(look(reader));
  } finally {
    reader.close();
  }
}

function inOneGo<T>(steps: Generator<unknown, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

export async function inSlices<T>(steps: Generator<unknown, T>): Promise<T> {
  let until = performance.now() + SLICE_MS;
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
    if (performance.now() > until) {
      await new Promise((resolve) => setImmediate(resolve));
      until = performance.now() + SLICE_MS;
    }
  }
}

/** Its blocks, and nothing that would change or close it. */
export function readOnlyView(device: MetadataDevice): MetadataDevice {
  const refuse = () => {
    throw new TypeError('a view for reading');
  };
  return {
    name: device.name,
    nrBlocks: device.nrBlocks,
    readOnly: true,
    read: (firstBlockNr, into) => device.read(firstBlockNr, into),
    write: refuse,
    flush: refuse,
    flushAsync: refuse,
    grow: refuse,
    close: () => {},
  };
}
