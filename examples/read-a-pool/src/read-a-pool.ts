/**
 * Opens the metadata of a thin pool and tells its volumes, what they share, and the space left. Nothing is written.
 * `node dist/read-a-pool.js FILE`; FILE may be a block device, of a pool that is not active.
 */
import { pathToFileURL } from 'node:url';
import { openFileMetadataDevice } from '@pdata/device/node';
import { ThinMetadata } from '@pdata/thin';

export function* describePool(path: string): Generator<string> {
  const device = openFileMetadataDevice(path, { mode: 'read' });
  const pool = ThinMetadata.open(device);
  const mib = (blocks: number): string => `${((blocks * pool.dataBlockSize) / 2048).toFixed(1)} MiB`;
  const row = (...cells: unknown[]): string => cells.map((cell) => String(cell).padStart(12)).join('');

  yield row('volume', 'mapped', 'shared', 'its own');
  let nrMapped = 0;
  for (const { thinId, details } of pool.devices()) {
    let nrShared = 0;
    for (const { begin, end, dataBegin } of pool.mappedRanges(thinId)) {
      for (let block = dataBegin; block < dataBegin + (end - begin); block++) {
        if (pool.isDataBlockShared(block)) nrShared++;
      }
    }
    nrMapped += details.mappedBlocks;
    yield row(thinId, mib(details.mappedBlocks), mib(nrShared), mib(details.mappedBlocks - nrShared));
  }

  const { nrDataBlocks, nrFreeDataBlocks, nrMetadataBlocks, nrFreeMetadataBlocks } = pool;
  const nrUsed = nrDataBlocks - nrFreeDataBlocks;
  yield row('together', mib(nrMapped), '', `stored in ${mib(nrUsed)}: sharing saves ${mib(nrMapped - nrUsed)}`);
  yield `\n${mib(nrFreeDataBlocks)} of ${mib(nrDataBlocks)} are free, in data blocks of ${pool.dataBlockSize / 2} KiB;`;
  yield `the metadata takes ${nrMetadataBlocks - nrFreeMetadataBlocks} of its ${nrMetadataBlocks} blocks of 4 KiB.`;
  pool.close();
  device.close();
}

const [, program, path] = process.argv;
if (path !== undefined && import.meta.url === pathToFileURL(program as string).href) {
  for (const line of describePool(path)) console.log(line);
}
