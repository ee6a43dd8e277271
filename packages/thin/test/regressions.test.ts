/**
 * Bugs that dm-thin had, by the commit that mended them: what others lost data to must not be found here. Each test fails
 * on the behaviour it is named for.
 */
import { CorruptBlockError, type MemoryMetadataDevice, type MetadataDevice } from '@pdata/device';
import { AbortRequiredError, NoSpaceError } from '@pdata/persistent-data';
import { FaultyMetadataDevice, RecordingMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import { CommitError, type ThinMetadata } from '../src/index.js';
import { DATA_BLOCK_SIZE, expectSound, newPool, shownBy, shownByImage, thrownBy, write, writeRange } from './pool.js';
import { readPoolImage } from './pool-image.js';

/** A pool of two volumes that share most of their blocks, committed. */
function sharedPool(nrMetadataBlocks = 512): { device: MemoryMetadataDevice; metadata: ThinMetadata } {
  const pool = newPool({ nrMetadataBlocks, nrDataBlocks: 4000 });
  const { metadata } = pool;
  metadata.createThin(0);
  writeRange(metadata, 0, 0, 600);
  metadata.createSnapshot(1, 0);
  writeRange(metadata, 1, 0, 600, 50);
  metadata.commit();
  return pool;
}

describe('3ab91828: running out of metadata space must not cost what was there', () => {
  it.each([12, 13, 16, 24, 34, 60, 100, 300])(
    'lets a pool of %d metadata blocks commit when it refuses to grow',
    (nrMetadataBlocks) => {
      const { device, metadata } = newPool({ nrMetadataBlocks, nrDataBlocks: nrMetadataBlocks < 20 ? 1000 : 40000 });
      const fill = (): void => {
        for (let thinId = 0; ; thinId++) {
          metadata.createThin(thinId);
          // Far apart, so that a leaf of mappings spans few: many blocks for few mappings.
          for (let i = 0; i < 300; i++) write(metadata, thinId, i * 1000);
          if (thinId > 0) metadata.createSnapshot(1000 + thinId, thinId - 1);
          if (thinId > 0) for (let i = 0; i < 300; i += 90) write(metadata, thinId - 1, i * 1000);
        }
      };
      let nrRefused = 0;
      // Again and again: the space that a commit gives back is used too.
      for (let round = 0; round < 6; round++) {
        const refusal = thrownBy(fill);
        if (refusal instanceof NoSpaceError) {
          nrRefused++;
          expect(refusal.of).toBe('metadata');
        } else {
          for (const { thinId } of [...metadata.devices()]) expect(thinId).toBeGreaterThanOrEqual(0);
        }
        try {
          metadata.commit();
        } catch (error) {
          if (!(error instanceof AbortRequiredError)) throw error;
          metadata.abort();
        }
        expectSound(device, `round ${round}`);
      }
      expect(nrRefused).toBeGreaterThan(0);
    },
  );
});
