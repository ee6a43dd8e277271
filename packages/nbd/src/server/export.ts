/**
 * What a server serves: the interfaces its owner implements.
 *
 * An {@link ExportSource} knows names; it opens one only when a client needs it, and the server shares what it got between all
 * connections that use the name, flushes it after the last of them left, and then gives it back.
 */
import type { DataDevice } from '@pdata/device';

export interface NbdExport {
  readonly device: DataDevice;
  /** One line for people, shown by `nbdinfo --list`. */
  readonly description?: string;
  /** Metadata contexts beside `base:allocation`, which every export has. */
  readonly contexts?: readonly MetaContext[];
  /** Called once, after the last client left and nothing is in flight: close here what `open` opened. */
  release?(): Promise<void>;
}

/** A map of the export in the terms of one question, such as "which parts changed since Monday?". */
export interface MetaContext {
  /** `namespace:leaf`, e.g. `qemu:dirty-bitmap:since-monday`; at most 4096 bytes of UTF-8. */
  readonly name: string;
  /**
   * The extents from byte `offset` on, in order and without gaps. They may end before `offset + length`, but there is at least one.
   * `offset` and `length` are whole sectors; what reaches beyond the range is cut off.
   */
  extents(offset: number, length: number): Promise<readonly MetaExtent[]>;
}

export interface MetaExtent {
  /** Bytes, a multiple of 512, above 0. */
  readonly length: number;
  /** What the context says about them, an unsigned number of 32 bits. */
  readonly flags: number;
}

export interface ExportSource {
  /** What a client may be told of, in the order to show it. */
  list(): Promise<readonly { readonly name: string; readonly description?: string }[]>;
  /** Opens an export, or says `undefined` for a name it does not know. The empty name asks for the default export. */
  open(name: string): Promise<NbdExport | undefined>;
}
