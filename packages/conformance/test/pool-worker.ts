/**
 * Works on a pool with our metadata operations as the kernel's thin target would, and writes the data blocks itself: a small
 * engine that the kernel tests judge. A write to a shared block goes to a copy, as docs/format/thin.md, section 9 has it.
 */
import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { openFileMetadataDevice } from '@pdata/device/node';
import { ThinMetadata } from '@pdata/thin';

export interface PoolWorker extends Disposable {
  readonly metadata: ThinMetadata;
  /** Writes whole data blocks full of words that tell device, block and `round`. */
  write(thinId: number, begin: number, end: number, round: number): void;
  /** Writes 4 KiB into a block, which keeps the rest of what it held. */
  patch(thinId: number, virtualBlock: number, round: number): void;
  commit(): void;
}

export function openPoolWorker(
  metadataPath: string,
  dataPath: string,
  format?: { readonly dataBlockSize: number; readonly nrDataBlocks: number },
): PoolWorker {
  const device = openFileMetadataDevice(metadataPath, { mode: 'write' });
  const file = openSync(dataPath, 'r+');
  const options = { preCommit: () => fsyncSync(file) };
  const metadata =
    format === undefined ? ThinMetadata.open(device, options) : ThinMetadata.format(device, { ...format, ...options });
  const blockBytes = metadata.dataBlockSize * 512;
  const content = new Uint32Array(blockBytes / 4);

  /** The data block that a write to `virtualBlock` may change; what it held is in `content` afterwards. */
  const writable = (thinId: number, virtualBlock: number): number => {
    const old = metadata.find(thinId, virtualBlock);
    content.fill(0);
    if (old !== undefined) readSync(file, content, 0, blockBytes, old.dataBlock * blockBytes);
    if (old !== undefined && !old.shared) return old.dataBlock;
    const dataBlock = metadata.allocateDataBlock();
    metadata.insert(thinId, virtualBlock, dataBlock);
    return dataBlock;
  };
  return {
    metadata,
    write(thinId, begin, end, round) {
      for (let virtualBlock = begin; virtualBlock < end; virtualBlock++) {
        const dataBlock = writable(thinId, virtualBlock);
        content.fill(0);
        for (let index = 0; index < content.length; index += 16) {
          content[index] = (thinId << 24) ^ (virtualBlock << 8) ^ round ^ index;
        }
        writeSync(file, content, 0, blockBytes, dataBlock * blockBytes);
      }
    },
    patch(thinId, virtualBlock, round) {
      const dataBlock = writable(thinId, virtualBlock);
      content.fill(0x70617463 ^ round, 1024, 2048);
      writeSync(file, content, 0, blockBytes, dataBlock * blockBytes);
    },
    commit: () => void metadata.commit(),
    [Symbol.dispose]() {
      metadata.close();
      device.close();
      closeSync(file);
    },
  };
}
