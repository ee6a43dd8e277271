import {
  BLOCK_SIZE,
  ClosedError,
  CorruptBlockError,
  DeviceBusyError,
  MemoryMetadataDevice,
  ReadOnlyError,
} from '@pdata/device';
import { FaultyMetadataDevice } from '@pdata/testing';
import { describe, expect, it } from 'vitest';
import {
  DATA_BLOCK_SIZE,
  expectSameBytes,
  newPool,
  patchSuperblock,
  shownBy,
  thrownBy,
  write,
  writeRange,
} from '../../test/pool.js';
import { NotFormattedError, UnsupportedMetadataError } from './errors.js';
import { ThinMetadata } from './thin-metadata.js';

/** The medium of a small pool that nobody has open. */
function medium(): Uint8Array {
  const { device, metadata } = newPool({ nrMetadataBlocks: 64, nrDataBlocks: 100 });
  metadata.createThin(3);
  writeRange(metadata, 3, 0, 10);
  metadata.commit();
  metadata.close();
  return device.bytes;
}

function openPatched(
  patch: (view: DataView) => void,
  how: { readOnly?: boolean; dataBlockSize?: number } = {},
): ThinMetadata {
  const bytes = medium();
  patchSuperblock(bytes, patch);
  const { dataBlockSize, readOnly = false } = how;
  const device = new MemoryMetadataDevice({ bytes, readOnly, name: 'pool' });
  return ThinMetadata.open(device, dataBlockSize === undefined ? {} : { dataBlockSize });
}

describe('opening', () => {
  it('finds what was committed, and nothing else', () => {
    const { device, metadata } = newPool();
    metadata.createThin(3);
    write(metadata, 3, 7);
    metadata.commit();
    const shown = shownBy(metadata);
    metadata.createThin(4);
    metadata.close();
    expect(shownBy(ThinMetadata.open(device))).toEqual(shown);
  });

  it('says so when there is nothing, and what to do', () => {
    const refusal = thrownBy(() => ThinMetadata.open(new MemoryMetadataDevice({ nrBlocks: 64, name: 'pool' })));
    expect(refusal).toBeInstanceOf(NotFormattedError);
    expect(refusal.message).toBe(
      'pool holds no thin metadata: its first block is empty; if a pool was here, restore a dump into it, else format it',
    );
  });

  it('takes a superblock with a single byte set for damaged, not for unformatted', () => {
    const bytes = new Uint8Array(64 * BLOCK_SIZE);
    bytes[4095] = 1;
    expect(thrownBy(() => ThinMetadata.open(new MemoryMetadataDevice({ bytes })))).toBeInstanceOf(CorruptBlockError);
  });

  it('refuses features that nobody but a newer kernel knows', () => {
    const refusal = thrownBy(() => openPatched((view) => view.setUint32(360, 4, true)));
    expect(refusal).toBeInstanceOf(UnsupportedMetadataError);
    expect(refusal.message).toBe('pool uses features (0x4) that this version does not know: it cannot be opened');
    expect(thrownBy(() => openPatched((view) => view.setUint32(360, 4, true), { readOnly: true }))).toBeInstanceOf(
      UnsupportedMetadataError,
    );
  });

  it('opens for reading only when features say so', () => {
    const refusal = thrownBy(() => openPatched((view) => view.setUint32(356, 2, true)));
    expect(refusal).toBeInstanceOf(UnsupportedMetadataError);
    expect(refusal.message).toBe(
      'pool uses features (0x2) that this version does not know: it can only be opened for reading',
    );
    expect(openPatched((view) => view.setUint32(356, 2, true), { readOnly: true }).details(3)?.mappedBlocks).toBe(10);
  });

  it('does not mind compatible features, another version, or another metadata block size', () => {
    const metadata = openPatched((view) => {
      view.setUint32(352, 0xffff_ffff, true);
      view.setUint32(40, 9, true);
      view.setUint32(340, 16, true);
    });
    expect(metadata.details(3)?.mappedBlocks).toBe(10);
  });

  it('refuses another data block size than the one the pool was formatted with', () => {
    expect(openPatched(() => {}, { dataBlockSize: DATA_BLOCK_SIZE }).dataBlockSize).toBe(DATA_BLOCK_SIZE);
    const refusal = thrownBy(() => openPatched(() => {}, { dataBlockSize: 256 }));
    expect(refusal).toBeInstanceOf(UnsupportedMetadataError);
    expect(refusal.message).toBe(
      'pool has data blocks of 128 sectors, not 256: the size is fixed when a pool is formatted',
    );
  });

  it.each([
    { field: 'data block size', at: 336, value: 100 },
    { field: 'data blocks', at: 64 + 5, value: 2 },
  ])('refuses a superblock whose $field cannot be, checksum or not', ({ field, at, value }) => {
    const refusal = thrownBy(() => openPatched((view) => view.setUint8(at, value)));
    expect(refusal).toBeInstanceOf(CorruptBlockError);
    expect(refusal.message).toContain(`thin superblock in block 0: ${field} is`);
  });

  it('notices a device that was cut short', () => {
    const device = new MemoryMetadataDevice({ bytes: medium().subarray(0, 40 * BLOCK_SIZE) });
    const refusal = thrownBy(() => ThinMetadata.open(device));
    expect(refusal).toBeInstanceOf(CorruptBlockError);
    expect(refusal.message).toContain('nrBlocks is 64, expected at most 40, the size of the device (cut short?)');
  });

  it('gives the device back when it fails, so that it can be opened once it is mended', () => {
    const bytes = medium();
    const device = new MemoryMetadataDevice({ bytes });
    bytes[50] = (bytes[50] as number) ^ 1;
    expect(thrownBy(() => ThinMetadata.open(device))).toBeInstanceOf(CorruptBlockError);
    bytes[50] = (bytes[50] as number) ^ 1;
    expect(ThinMetadata.open(device).details(3)?.mappedBlocks).toBe(10);
  });

  it('reports a block that cannot be read, whichever it is, and gives the device back', () => {
    const inner = new MemoryMetadataDevice({ bytes: medium() });
    const device = new FaultyMetadataDevice(inner);
    for (let nth = 1; ; nth++) {
      device.heal();
      const before = device.nrDone('read');
      device.inject({ operation: 'read', nth: before + nth });
      let opened: ThinMetadata;
      try {
        opened = ThinMetadata.open(device);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_DEVICE' });
        continue;
      }
      expect(nth).toBeGreaterThan(2); // twice block 0, the metadata index
      opened.close();
      break;
    }
  });
});

describe('a second opener', () => {
  it('is refused while the first can write, and let in when that has closed (9b1cc9f2)', () => {
    const { device, metadata } = newPool();
    for (const open of [
      () => ThinMetadata.open(device),
      () => ThinMetadata.format(device, { dataBlockSize: DATA_BLOCK_SIZE }),
    ]) {
      const refusal = thrownBy(open);
      expect(refusal).toBeInstanceOf(DeviceBusyError);
      expect(refusal.message).toContain('open for writing already');
    }
    metadata.close();
    metadata.close(); // harmless
    const second = ThinMetadata.open(device);
    expect(thrownBy(() => ThinMetadata.open(device))).toBeInstanceOf(DeviceBusyError);
    second.close();
  });

  it('may read a medium that is open for reading', () => {
    const device = new MemoryMetadataDevice({ bytes: medium(), readOnly: true });
    const [first, second] = [ThinMetadata.open(device), ThinMetadata.open(device)];
    expect(shownBy(first)).toEqual(shownBy(second));
  });
});

/** Every operation that would change something. */
const changes: [string, (metadata: ThinMetadata) => unknown][] = [
  ['createThin', (metadata) => metadata.createThin(9)],
  ['createSnapshot', (metadata) => metadata.createSnapshot(9, 3)],
  ['deleteDevice', (metadata) => metadata.deleteDevice(3)],
  ['allocateDataBlock', (metadata) => metadata.allocateDataBlock()],
  ['insert', (metadata) => metadata.insert(3, 50, metadata.find(3, 0)?.dataBlock ?? -1)],
  ['remove', (metadata) => metadata.remove(3, 0)],
  ['removeRange', (metadata) => metadata.removeRange(3, 0, 5)],
  ['incDataBlocks', (metadata) => metadata.incDataBlocks(0, 1)],
  ['decDataBlocks', (metadata) => metadata.decDataBlocks(0, 1)],
  ['setTransactionId', (metadata) => metadata.setTransactionId(0n, 1n)],
  ['reserveMetadataSnapshot', (metadata) => metadata.reserveMetadataSnapshot()],
  ['resizeData', (metadata) => metadata.resizeData(200)],
  ['resizeMetadata', (metadata) => metadata.resizeMetadata(100)],
  ['setNeedsCheck', (metadata) => metadata.setNeedsCheck()],
];

describe('metadata that is open for reading', () => {
  it.each(changes)('refuses %s and writes nothing', (_name, change) => {
    const bytes = medium();
    const before = bytes.slice();
    const metadata = ThinMetadata.open(new MemoryMetadataDevice({ bytes, readOnly: true, name: 'pool' }));
    expect(metadata.readOnly).toBe(true);
    const shown = shownBy(metadata);
    const refusal = thrownBy(() => change(metadata));
    expect(refusal).toBeInstanceOf(ReadOnlyError);
    expect(refusal.message).toContain('read-only');
    expect(metadata.commit()).toBe(false);
    expect(shownBy(metadata)).toEqual(shown);
    expectSameBytes(bytes, before);
  });
});

describe('metadata that is closed', () => {
  it.each([
    ...changes,
    ['commit', (metadata) => metadata.commit()],
    ['abort', (metadata) => metadata.abort()],
  ] as typeof changes)('refuses %s', (_name, change) => {
    const metadata = ThinMetadata.open(new MemoryMetadataDevice({ bytes: medium(), name: 'pool' }));
    metadata.close();
    const refusal = thrownBy(() => change(metadata));
    expect(refusal).toBeInstanceOf(ClosedError);
    expect(refusal.message).toBe('the metadata on pool has been closed');
    expect(thrownBy(() => metadata.find(3, 0))).toBeInstanceOf(ClosedError);
    expect(thrownBy(() => [...metadata.devices()])).toBeInstanceOf(ClosedError);
  });
});
