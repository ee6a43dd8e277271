/** A service of one device: the default export, which has a name, too. */
import type { DataDevice } from '@pdata/device';
import type { ExportSource, NbdExport } from '@pdata/nbd';

export class OneExport implements ExportSource {
  readonly #name: string;
  readonly #export: NbdExport;

  /** The device stays the caller's. */
  constructor(name: string, device: DataDevice, description: string) {
    this.#name = name;
    this.#export = { device, description };
  }

  async list() {
    return [{ name: this.#name, description: this.#export.description ?? '' }];
  }

  async open(name: string) {
    return name === '' || name === this.#name ? this.#export : undefined;
  }
}
