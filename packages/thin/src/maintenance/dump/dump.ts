/**
 * thin_dump: a pool's metadata as text, byte for byte as thin-provisioning-tools 1.1.0 writes it.
 *
 * The superblock, the details tree and the upper mapping tree are read first (they are small). Then the devices' leaves are
 * walked once without reading them, to find the parts that several devices share (shared-leaves.ts); with a single device
 * that is left out. Then every leaf is read once and printed: first the shared parts, then the devices, which refer to them.
 *
 * Memory is flat: one buffer of text, one of leaves, a few nodes, and where devices share, 25 bytes for each metadata block.
 *
 * Damage ends a plain dump by a `ThinDamageError`, after what came before it was yielded in part; with `repair` the undamaged
 * parts are printed and the summary lists what is lost (salvage.ts).
 *
 * Format: docs/format/tools.md, sections 2, 5 and 6.
 */
import { CorruptBlockError, type MetadataDevice } from '@pdata/device';
import { type DumpOptions, type DumpSummary, refuseOptions } from './dump-options.js';
import { type DumpWriter, HumanReadableWriter, XmlWriter } from './dump-writer.js';
import { ForgivingSource } from './forgiving-source.js';
import { JsonWriter } from './json-writer.js';
import { type LeafBatch, LeafWalk } from './leaf-walk.js';
import { MAX_CHILDREN, NodeReader } from './node-reader.js';
import { readOutline } from './outline.js';
import { dropOutside } from './outside-mappings.js';
import type { PoolDevice, PoolOutline } from './pool-roots.js';
import { SharedLeaves } from './shared-leaves.js';
import { ThinDamageError, virtualBlocksInWords } from './thin-damage.js';

/**
 * Dumps the metadata on `device`, which is only read.
 *
 * @returns chunks of about 256 KiB; each is valid until the next step, then its memory is used again
 * @throws {@link ThinDamageError} when a block that is needed contradicts the format: the text so far is incomplete
 * @throws {@link CorruptBlockError} when that block is the superblock
 * @throws {@link NoMetadataSnapshotError} when `metadataSnapshot` is asked for and the pool holds none
 * @throws {@link DeviceError} when the device cannot be read; with `repair`, what cannot be read is damage
 * @throws {RangeError} at once, when an option is out of its range or options contradict one another
 */
export function dumpThin(device: MetadataDevice, options: DumpOptions = {}): Generator<Uint8Array, DumpSummary> {
  refuseOptions(options);
  return dump(device, options);
}

function* dump(device: MetadataDevice, options: DumpOptions): Generator<Uint8Array, DumpSummary> {
  const source = options.repair ? new ForgivingSource(device) : device;
  const reader = new NodeReader(source);
  const outline = readOutline(source, reader, options);
  return yield* new Dump(reader, outline, options).run();
}

class Dump {
  readonly #reader: NodeReader;
  readonly #outline: PoolOutline;
  readonly #options: DumpOptions;
  readonly #writer: DumpWriter;
  readonly #walk: LeafWalk;
  /** The device being walked, for the message should it turn out damaged. */
  #walked: PoolDevice | undefined;

  #nrMappings = 0;
  #nrSharedParts = 0;
  readonly #nrToPrint: number;
  #nextReport = 0;

  constructor(reader: NodeReader, outline: PoolOutline, options: DumpOptions) {
    this.#reader = reader;
    this.#outline = outline;
    this.#options = options;
    this.#writer = newWriter(options.format);
    this.#walk = new LeafWalk(reader, (error, blockNr, low, high) =>
      this.#damaged(error, blockNr, this.#walked, low, high),
    );
    this.#nrToPrint = outline.devices.reduce((sum, { printed }) => sum + Number(printed.mappedBlocks), 0);
  }

  *run(): Generator<Uint8Array, DumpSummary> {
    try {
      return yield* this.#print();
    } catch (error) {
      if (this.#writer.abandon()) yield this.#writer.buffer.take();
      throw error;
    }
  }

  *#print(): Generator<Uint8Array, DumpSummary> {
    const { buffer } = this.#writer;
    const { devices } = this.#outline;
    const shared = devices.length > 1 && !this.#options.skipMappings ? this.#findShared() : undefined;
    this.#writer.beginSuperblock(this.#outline.superblock);
    if (shared) yield* this.#sharedParts(shared);
    for (const device of devices) {
      this.#writer.beginDevice(device.printed);
      if (!this.#options.skipMappings) yield* this.#mappings(device, shared);
      this.#writer.endDevice();
      if (buffer.isFull) yield this.#take();
    }
    this.#writer.endSuperblock();
    yield this.#take();
    return {
      nrDevices: devices.length,
      nrMappings: this.#nrMappings,
      nrSharedParts: this.#nrSharedParts,
      lost: this.#outline.lost,
    };
  }

  #findShared(): SharedLeaves {
    const shared = new SharedLeaves(this.#reader.nrBlocks);
    const { bad } = this.#outline;
    for (const device of this.#outline.devices) {
      this.#walked = device;
      for (const batch of this.#walk.batches(device.rootNr)) {
        for (let i = 0; i < batch.nr; i++) {
          const leaf = batch.blockNrs[i] as number;
          if (!bad.has(leaf)) shared.add(leaf, batch.lows[i] as number, batch.highs[i] as number);
        }
        this.#report('shared parts', 0);
      }
      shared.endDevice();
    }
    return shared;
  }

  *#sharedParts(shared: SharedLeaves): Generator<Uint8Array, void> {
    const leaves = new Float64Array(MAX_CHILDREN);
    for (const head of shared.sharedHeads()) {
      this.#nrSharedParts++;
      this.#writer.beginShared(head);
      for (let leaf = head; leaf >= 0; ) {
        let nr = 0;
        for (; leaf >= 0 && nr < leaves.length; leaf = shared.nextInRun(leaf)) leaves[nr++] = leaf;
        this.#reader.readLeaves(leaves, nr);
        for (let i = 0; i < nr; i++) {
          const leafNr = leaves[i] as number;
          this.#leaf(i, undefined, shared.lowOf(leafNr), shared.highOf(leafNr));
          if (this.#writer.buffer.isFull) yield this.#take();
        }
      }
      this.#writer.endRun();
      this.#writer.endShared();
      if (this.#writer.buffer.isFull) yield this.#take();
    }
  }

  /** What lies between a device's tags: its own mappings, and references to what it shares. */
  *#mappings(device: PoolDevice, shared: SharedLeaves | undefined): Generator<Uint8Array, void> {
    this.#walked = device;
    const own = new Float64Array(MAX_CHILDREN);
    for (const batch of this.#walk.batches(device.rootNr)) {
      const nrOwn = this.#ownLeaves(batch, shared, own);
      if (nrOwn > 0) this.#reader.readLeaves(own, nrOwn);
      let nextOwn = 0;
      for (let i = 0; i < batch.nr; i++) {
        const leafNr = batch.blockNrs[i] as number;
        if (nextOwn < nrOwn && own[nextOwn] === leafNr) {
          if (shared?.isHead(leafNr)) this.#writer.endRun();
          this.#leaf(nextOwn, device, batch.lows[i] as number, batch.highs[i] as number);
          nextOwn++;
        } else if (!this.#outline.bad.has(leafNr) && shared?.isHead(leafNr)) {
          this.#writer.endRun();
          this.#writer.ref(leafNr);
        }
        if (this.#writer.buffer.isFull) yield this.#take();
      }
    }
    this.#writer.endRun();
  }

  /** The leaves of a batch that are printed in their device, because nobody shares them. */
  #ownLeaves(batch: LeafBatch, shared: SharedLeaves | undefined, into: Float64Array): number {
    let nr = 0;
    for (let i = 0; i < batch.nr; i++) {
      const leafNr = batch.blockNrs[i] as number;
      if (!shared?.isShared(leafNr) && !this.#outline.bad.has(leafNr)) into[nr++] = leafNr;
    }
    return nr;
  }

  /** Prints leaf `i` of those read last. */
  #leaf(i: number, device: PoolDevice | undefined, low: number, high: number): void {
    try {
      const leaf = this.#reader.leaf(i, low, high);
      if (this.#outline.endOfData < Number.POSITIVE_INFINITY) dropOutside(leaf, this.#outline.endOfData);
      this.#writer.leaf(leaf);
      this.#nrMappings += leaf.view.getUint32(16, true);
    } catch (error) {
      if (!(error instanceof CorruptBlockError)) throw error;
      this.#damaged(error, error.detail.blockNr, device, low, high);
    }
  }

  #damaged(error: CorruptBlockError, blockNr: number, device: PoolDevice | undefined, low: number, high: number): void {
    if (this.#options.repair && this.#outline.bad.has(blockNr)) return; // known, and in the summary
    const whose = device ? `thin device ${device.printed.thinId}` : 'several thin devices that share them';
    throw new ThinDamageError(error.detail, {
      thinId: device?.printed.thinId,
      effect: `${virtualBlocksInWords(low, high)} of ${whose} cannot be read, and the dump is incomplete`,
      nextStep: 'run thin_check to see the whole damage, or dump with --repair to save the rest',
    });
  }

  #take(): Uint8Array {
    this.#report('mappings', this.#nrMappings);
    return this.#writer.buffer.take();
  }

  #report(stage: string, done: number): void {
    this.#options.signal?.throwIfAborted();
    if (done < this.#nextReport) return;
    this.#nextReport = done + Math.max(1, this.#nrToPrint / 200);
    this.#options.onProgress?.({ stage, done, total: this.#nrToPrint });
  }
}

function newWriter(format: DumpOptions['format'] = 'xml'): DumpWriter {
  return format === 'json' ? new JsonWriter() : format === 'xml' ? new XmlWriter() : new HumanReadableWriter();
}
