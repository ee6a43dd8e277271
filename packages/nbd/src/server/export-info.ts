/**
 * What a client is told of an export before it uses it.
 * Format: docs/format/nbd.md, sections 1 (info types) and 3 (flags).
 */
import { TRANSMISSION_FLAG } from '../protocol/constants.js';
import { encodeInfo } from '../protocol/options.js';
import type { SharedExport } from './shared-exports.js';

/** Any byte range is served: what is not whole sectors is read, changed and written back. */
const MINIMUM_BLOCK_SIZE = 1;

/** The u16 of transmission flags; DF only for those that can be answered in chunks. */
export function transmissionFlags(
  { device }: SharedExport,
  { structured, extended, hasContexts }: { structured: boolean; extended: boolean; hasContexts: boolean },
): number {
  let flags =
    TRANSMISSION_FLAG.HAS_FLAGS |
    TRANSMISSION_FLAG.SEND_FLUSH |
    TRANSMISSION_FLAG.SEND_FUA |
    TRANSMISSION_FLAG.CAN_MULTI_CONN |
    TRANSMISSION_FLAG.SEND_CACHE;
  if (device.readOnly) flags |= TRANSMISSION_FLAG.READ_ONLY;
  else {
    flags |= TRANSMISSION_FLAG.SEND_WRITE_ZEROES | TRANSMISSION_FLAG.SEND_FAST_ZERO;
    if (device.hints.discardGranularity > 0) flags |= TRANSMISSION_FLAG.SEND_TRIM;
  }
  if (structured || extended) flags |= TRANSMISSION_FLAG.SEND_DF;
  if (extended && hasContexts) flags |= TRANSMISSION_FLAG.BLOCK_STATUS_PAYLOAD;
  return flags;
}

/** The INFO replies to INFO and GO, as data of each. Unasked ones do no harm, and every client wants these. */
export function exportInfos(shared: SharedExport, flags: number, maxPayload: number): Buffer[] {
  const { device, name, description } = shared;
  const infos = [
    encodeInfo({ type: 'export', size: device.size, flags }),
    encodeInfo({ type: 'name', text: name }),
    encodeInfo({
      type: 'blockSize',
      minimum: MINIMUM_BLOCK_SIZE,
      preferred: preferredSize(device.hints.preferredSize, maxPayload),
      maximum: maxPayload,
    }),
  ];
  if (description !== '') infos.push(encodeInfo({ type: 'description', text: description }));
  return infos;
}

/** A power of two ≥ 512 and at most the payload, whatever the device hints: clients refuse anything else. */
function preferredSize(hinted: number, maxPayload: number): number {
  const atMost = 2 ** Math.floor(Math.log2(maxPayload));
  const powerOfTwo = 2 ** Math.floor(Math.log2(Math.max(512, hinted)));
  return Math.min(Number.isFinite(powerOfTwo) ? powerOfTwo : 4096, atMost);
}
