/**
 * The kernel and pdata are given the same operations; what they leave must be the same: every node of the mapping and the
 * details trees entry for entry (so also every decision to split, to share and to merge), every count, every figure.
 *
 * Only block numbers differ, because the kernel also commits by a timer. And the nodes of the reference-count tree, whose
 * order of insertions depends on how much I/O is in flight: there the entries are compared.
 */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { MemoryMetadataDevice } from '@pdata/device';
import { ThinMetadata } from '@pdata/thin';
import { describe, expect, it } from 'vitest';
import { randomSlots } from '../src/iogen.js';
import { requireKernel, runGuest } from '../src/kernel.js';
import { openScratch } from '../src/scratch.js';
import { shapeOf } from '../src/tree-shape.js';

const NR_BLOCKS = 2048;
const DATA_BLOCK = 65536;
const RANGE = 40_000 * DATA_BLOCK;

/** What guests/twin.sh does, on our own metadata; each message and each run of I/O is committed. */
function twin(): { metadata: ThinMetadata; device: MemoryMetadataDevice } {
  const device = new MemoryMetadataDevice({ nrBlocks: NR_BLOCKS });
  const metadata = ThinMetadata.format(device, { dataBlockSize: 128, nrDataBlocks: 134217728 / 128 });
  const write = (thinId: number, virtualBlock: number) => {
    const mapping = metadata.find(thinId, virtualBlock);
    if (mapping === undefined || mapping.shared) metadata.insert(thinId, virtualBlock, metadata.allocateDataBlock());
  };
  const random = (thinId: number, seed: number, count: number) => {
    for (const slot of randomSlots(seed, count, DATA_BLOCK, RANGE)) write(thinId, slot);
    metadata.commit();
  };
  const discard = (thinId: number, seed: number, count: number, nrBlocks: number) => {
    for (const slot of randomSlots(seed, count, DATA_BLOCK * nrBlocks, RANGE)) {
      metadata.removeRange(thinId, slot * nrBlocks, (slot + 1) * nrBlocks);
    }
    metadata.commit();
  };
  const message = (change: () => void) => {
    change();
    metadata.commit();
  };

  message(() => metadata.createThin(0));
  for (let block = 0; block < 40_000; block++) write(0, block);
  metadata.commit();
  discard(0, 2, 36, 1024);
  for (const i of [1, 2, 3, 4, 5]) {
    message(() => metadata.createSnapshot(i, 0));
    random(0, 10 + i, 300);
  }
  random(3, 3, 800);
  message(() => metadata.reserveMetadataSnapshot());
  random(3, 4, 400);
  message(() => metadata.deleteDevice(2));
  message(() => metadata.deleteDevice(4));
  message(() => metadata.releaseMetadataSnapshot());
  discard(0, 5, 400, 16);
  message(() => metadata.setTransactionId(0n, 9n));
  for (let i = 100; i <= 260; i++) message(() => metadata.createThin(i));
  for (let i = 100; i <= 250; i += 3) message(() => metadata.deleteDevice(i));
  return { metadata, device };
}

describe.runIf(requireKernel())('beside the kernel', () => {
  it('leaves the same trees, node for node, and the same counts', { timeout: 900_000 }, async () => {
    using scratch = openScratch();
    const disk = scratch.path('metadata.img');
    writeFileSync(disk, '');
    truncateSync(disk, NR_BLOCKS * 4096);
    const { all } = await runGuest({ guest: 'twin', disks: [disk] });
    const { metadata, device } = twin();

    expect(all('refused')).toEqual([]);
    const kernel = shapeOf(new Uint8Array(readFileSync(disk)));
    const ours = shapeOf(device.bytes);
    expect(ours.mappings.length).toBeGreaterThan(100);
    expect(ours.details).toEqual(kernel.details);
    expect(JSON.stringify(ours.mappings) === JSON.stringify(kernel.mappings), 'the mapping trees are the same').toBe(
      true,
    );
    expect(ours.manyReferences).toEqual(kernel.manyReferences);

    const figures = ({ superblock }: typeof ours) => ({
      time: superblock.time,
      transactionId: superblock.transactionId,
      heldRoot: superblock.heldRoot,
      data: [superblock.dataSpaceMap.nrBlocks, superblock.dataSpaceMap.nrAllocated],
      metadata: [superblock.metadataSpaceMap.nrBlocks, superblock.metadataSpaceMap.nrAllocated],
    });
    expect(figures(ours)).toEqual(figures(kernel));

    // What the kernel's own status line said: the reserve counts as used there.
    const usedMetadata = metadata.nrMetadataBlocks - metadata.nrFreeMetadataBlocks + metadata.metadataReserve;
    const usedData = metadata.nrDataBlocks - metadata.nrFreeDataBlocks;
    expect(all('status').find((line) => line.startsWith('pool:'))).toContain(
      `thin-pool 9 ${usedMetadata}/${NR_BLOCKS} ${usedData}/${metadata.nrDataBlocks} - rw`,
    );
  });
});
