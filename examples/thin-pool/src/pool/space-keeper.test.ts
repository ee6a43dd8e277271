/** Making room for metadata. */
import { ThinMetadata } from '@pdata/thin';
import { expect, it } from 'vitest';
import { MiB, testPools } from '../../test/pools.js';
import { openParts } from './pool-directory.js';

it('makes room for metadata when a pool is opened without any, as after its disk was full', async () => {
  await using pools = testPools();
  const first = await pools.make('pool', { size: 4 * MiB });
  const full = await pools.reopen(first);
  await full.close();
  const parts = await openParts(full.directory, 'write');
  const metadata = ThinMetadata.open(parts.metadata);
  const { nrMetadataBlocks } = metadata;
  // A commit gives some back: it is full when the first change after one is refused.
  for (let thinId = 0, isAfterCommit = false; ; thinId++) {
    try {
      metadata.createThin(thinId);
      isAfterCommit = false;
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_NO_SPACE' });
      if (isAfterCommit) break;
      metadata.commit();
      isAfterCommit = true;
      thinId--;
    }
  }
  metadata.commit();
  metadata.close();
  await parts.close();

  const host = await pools.reopen(full);
  for (let nr = 0; nr < 1000 && (await host.status()).mode !== 'write'; nr++)
    await new Promise((resolve) => setImmediate(resolve));
  const { mode, metadata: space } = await host.status();
  expect([mode, space.size]).toEqual(['write', 2 * nrMetadataBlocks * 4096]);
  await host.createVolume({ name: 'disk', size: MiB });
});
