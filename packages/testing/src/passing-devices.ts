/** Devices that pass everything on: the base of those that do one thing differently. */
import type {
  AllocationExtent,
  DataDevice,
  DataDeviceHints,
  MetadataDevice,
  WriteOptions,
  WriteZeroesOptions,
} from '@pdata/device';

export class PassingMetadataDevice implements MetadataDevice {
  protected readonly inner: MetadataDevice;

  constructor(inner: MetadataDevice) {
    this.inner = inner;
  }

  get name(): string {
    return this.inner.name;
  }

  get nrBlocks(): number {
    return this.inner.nrBlocks;
  }

  get readOnly(): boolean {
    return this.inner.readOnly;
  }

  read(firstBlockNr: number, into: Uint8Array): void {
    this.inner.read(firstBlockNr, into);
  }

  write(firstBlockNr: number, from: Uint8Array): void {
    this.inner.write(firstBlockNr, from);
  }

  flush(): void {
    this.inner.flush();
  }

  flushAsync(): Promise<void> {
    return this.inner.flushAsync();
  }

  grow(nrBlocks: number): void {
    this.inner.grow(nrBlocks);
  }

  close(): void {
    this.inner.close();
  }
}

export class PassingDataDevice implements DataDevice {
  protected readonly inner: DataDevice;

  constructor(inner: DataDevice) {
    this.inner = inner;
  }

  get name(): string {
    return this.inner.name;
  }

  get size(): number {
    return this.inner.size;
  }

  get readOnly(): boolean {
    return this.inner.readOnly;
  }

  get hints(): DataDeviceHints {
    return this.inner.hints;
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.inner.read(offset, into);
  }

  write(offset: number, from: Uint8Array, options?: WriteOptions): Promise<void> {
    return this.inner.write(offset, from, options);
  }

  writeZeroes(offset: number, length: number, options?: WriteZeroesOptions): Promise<void> {
    return this.inner.writeZeroes(offset, length, options);
  }

  discard(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.inner.discard(offset, length, options);
  }

  flush(): Promise<void> {
    return this.inner.flush();
  }

  allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    return this.inner.allocation(offset, length);
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}
