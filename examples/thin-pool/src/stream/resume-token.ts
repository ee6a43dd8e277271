/**
 * What the receiver tells the sender, so that it goes on where a stream broke off: one word that can be copied.
 *
 *   IDENTITY:OFFSET:CHECKSUM:POSITION     32 hexadecimal digits, two decimal numbers around 8 hexadecimal digits
 */
import { SECTOR_SIZE } from '@pdata/device';
import type { StreamProgress } from '../pool-host.js';
import { PoolError, quoted } from '../words/pool-error.js';

export interface ResumeToken extends StreamProgress {
  /** Of the snapshot that was being sent. */
  readonly identity: string;
}

export const formatToken = ({ identity, offset, checksum, position }: ResumeToken): string =>
  `${identity}:${offset}:${checksum.toString(16).padStart(8, '0')}:${position}`;

export function parseToken(text: string): ResumeToken {
  const match = /^([0-9a-f]{32}):(\d{1,16}):([0-9a-f]{8}):(\d{1,16})$/.exec(text.trim());
  if (match === null) {
    throw new PoolError('ERR_TOKEN', `${quoted(text)} is no resume token: copy the one that receive printed`);
  }
  const [offset, position] = [Number(match[2]), Number(match[4])];
  // Frames end with a sector. Whether the rest of the numbers belong together, the receiver tells by its checksum.
  if (position % SECTOR_SIZE !== 0 || Math.max(offset, position) > Number.MAX_SAFE_INTEGER) {
    throw new PoolError(
      'ERR_TOKEN',
      `${quoted(text)} is no resume token (a digit is wrong): copy the one that receive printed`,
    );
  }
  return { identity: match[1]!, offset, checksum: Number.parseInt(match[3]!, 16), position };
}
