/**
 * A device with bad places, read for a repair: what the disk does not give back reads as zeroes, which no structure takes for
 * its own, and is remembered, so that the damage can be called by its name.
 */
import { BLOCK_SIZE, CorruptBlockError, DeviceError, type MetadataDevice } from '@pdata/device';

/** What a dump asks of a device. */
export type BlockSource = Pick<MetadataDevice, 'name' | 'nrBlocks' | 'read'>;

export class ForgivingSource implements BlockSource {
  readonly #device: BlockSource;
  readonly #unreadable = new Map<number, DeviceError>();

  constructor(device: BlockSource) {
    this.#device = device;
  }

  get name(): string {
    return this.#device.name;
  }

  get nrBlocks(): number {
    return this.#device.nrBlocks;
  }

  read(firstBlockNr: number, into: Uint8Array): void {
    try {
      this.#device.read(firstBlockNr, into);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      this.#readOneByOne(firstBlockNr, into);
    }
  }

  /** Damage as what it is, where the disk is the reason. */
  explain(error: CorruptBlockError): CorruptBlockError {
    const cause = this.#unreadable.get(error.detail.blockNr);
    if (cause === undefined) return error;
    const { structure, blockNr } = error.detail;
    const explained = new CorruptBlockError({
      structure,
      blockNr,
      field: 'block',
      found: 'unreadable',
      expected: 'a block',
    });
    explained.cause = cause;
    return explained;
  }

  #readOneByOne(firstBlockNr: number, into: Uint8Array): void {
    for (let at = 0; at < into.length; at += BLOCK_SIZE) {
      const block = into.subarray(at, at + BLOCK_SIZE);
      const blockNr = firstBlockNr + at / BLOCK_SIZE;
      try {
        this.#device.read(blockNr, block);
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        block.fill(0);
        this.#unreadable.set(blockNr, error);
      }
    }
  }
}
