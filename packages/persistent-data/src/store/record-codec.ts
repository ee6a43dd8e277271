/**
 * Records: values of any length, in msgpack. Plain maps, which any msgpack library reads: msgpackr's own record extension
 * would need its structures beside them.
 */
import { packedRecord } from '@pdata/device/engine';
import { Packr } from 'msgpackr';

const packr = new Packr({ useRecords: false });

/** @throws TypeError for what would not come back as it is */
export const packRecord = (value: unknown): Uint8Array => packedRecord(value, (known) => packr.pack(known));
export const unpackRecord = (bytes: Uint8Array): unknown => packr.unpack(bytes);

/** How a page tree's values are read and written. */
export interface PageValueCodec<V> {
  decode(view: DataView, at: number, length: number): V;
  encode(value: V): Uint8Array;
}

export const recordCodec = <V>(): PageValueCodec<V> => ({
  decode: (view, at, length) => unpackRecord(new Uint8Array(view.buffer, view.byteOffset + at, length)) as V,
  encode: packRecord,
});
