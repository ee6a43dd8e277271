import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryDataDevice } from '@pdata/device';
import { expect, it } from 'vitest';
import { patternBytes, serve } from '../../test/served.js';
import { connectNbd } from '../client/connect.js';

/** Looks at what it is to write only when the socket has long received something else. */
class LateDevice extends MemoryDataDevice {
  override async write(offset: number, from: Uint8Array): Promise<void> {
    await sleep(2);
    await super.write(offset, from);
  }
}

it.each([
  { size: 512, nr: 2000 },
  { size: 4096, nr: 1000 },
  { size: 65_536, nr: 60 },
  { size: 200_192, nr: 20 },
])('keeps the payload of $nr WRITEs of $size bytes until the device has taken it', async ({ size, nr }) => {
  const device = new LateDevice({ size: size * nr });
  const { server } = await serve({ device });
  const client = await connectNbd(server.address as { socketPath: string }, { exportName: 'disk' });
  const content = patternBytes(size * nr, size);
  const order = Array.from({ length: nr }, (_, index) => (index * 7) % nr);
  await Promise.all(order.map((at) => client.write(at * size, content.subarray(at * size, (at + 1) * size))));
  const found = new Uint8Array(size * nr);
  await device.read(0, found);
  expect(Buffer.compare(found, content)).toBe(0);
  await client.close();
});
