/**
 * A metadata device whose asynchronous flush takes as long as it is told, so that whoever goes on meanwhile can be watched. All else
 * a metadata device does at once, by its contract. (A slow data device: the `delay` of `FaultyDataDevice`.)
 */
import type { MetadataDevice } from '@pdata/device';
import { PassingMetadataDevice } from './passing-devices.js';

export class SlowMetadataDevice extends PassingMetadataDevice {
  readonly #delay: () => Promise<void>;

  /** @param delay awaited before each asynchronous flush reaches `inner`; timers stay the test's business */
  constructor(inner: MetadataDevice, delay: () => Promise<void>) {
    super(inner);
    this.#delay = delay;
  }

  override async flushAsync(): Promise<void> {
    await this.#delay();
    await super.flushAsync();
  }
}
