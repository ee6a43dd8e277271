/**
 * The exports in use, each opened once however many connections use it.
 *
 * That is what CAN_MULTI_CONN promises: all connections to a name share one device, so one cache and one flush. The last user
 * to leave has it flushed, if it wrote, and released; who comes meanwhile waits, and then opens it anew.
 */
import type { DataDevice } from '@pdata/device';
import type { ExportSource, MetaContext, NbdExport } from './export.js';
import { WriteOrder } from './write-order.js';

export class SharedExport {
  readonly device: DataDevice;
  readonly description: string;
  readonly contexts: readonly MetaContext[];
  readonly writeOrder = new WriteOrder();
  /** Something was written that no flush has covered since. */
  needsFlush = false;

  constructor(
    readonly name: string,
    readonly opened: NbdExport,
  ) {
    this.device = opened.device;
    this.description = opened.description ?? '';
    this.contexts = opened.contexts ?? [];
  }
}

interface Slot {
  nrUsers: number;
  readonly opening: Promise<SharedExport | undefined>;
  releasing: Promise<void> | undefined;
}

export class SharedExports {
  readonly #slots = new Map<string, Slot>();

  constructor(
    private readonly source: ExportSource,
    /** Told of an export that could not be flushed or released: nobody else is left to hear it. */
    private readonly releaseFailed: (name: string, error: unknown) => void,
  ) {}

  list(): ReturnType<ExportSource['list']> {
    return this.source.list();
  }

  /** The export `name`, to be given back with {@link release}; undefined when there is none. Rejects as the source does. */
  async acquire(name: string): Promise<SharedExport | undefined> {
    for (;;) {
      const slot = this.#slots.get(name);
      if (slot?.releasing === undefined) return this.#join(name, slot ?? this.#open(name));
      await slot.releasing;
    }
  }

  /** Gives one acquisition back. Resolves when the export was released, if this was the last; never rejects. */
  async release(shared: SharedExport): Promise<void> {
    const slot = this.#slots.get(shared.name);
    if (slot === undefined || --slot.nrUsers > 0) return;
    slot.releasing = this.#letGo(shared);
    await slot.releasing;
  }

  #open(name: string): Slot {
    const slot: Slot = {
      nrUsers: 0,
      opening: this.source.open(name).then((opened) => opened && new SharedExport(name, opened)),
      releasing: undefined,
    };
    this.#slots.set(name, slot);
    return slot;
  }

  async #join(name: string, slot: Slot): Promise<SharedExport | undefined> {
    slot.nrUsers++;
    try {
      const shared = await slot.opening;
      if (shared === undefined) this.#forget(name, slot);
      return shared;
    } catch (error) {
      this.#forget(name, slot);
      throw error;
    }
  }

  async #letGo(shared: SharedExport): Promise<void> {
    try {
      if (shared.needsFlush && !shared.device.readOnly) await shared.device.flush();
    } catch (error) {
      this.releaseFailed(shared.name, error);
    }
    try {
      await shared.opened.release?.();
    } catch (error) {
      this.releaseFailed(shared.name, error);
    }
    this.#slots.delete(shared.name);
  }

  #forget(name: string, slot: Slot): void {
    if (this.#slots.get(name) === slot) this.#slots.delete(name);
  }
}
