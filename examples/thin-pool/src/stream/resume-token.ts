/**
 * What the receiver tells the sender, so that it goes on where a stream broke off: one word that can be copied.
 *
 *   IDENTITY:OFFSET:CHECKSUM:POSITION     32 hexadecimal digits, two decimal numbers around 8 hexadecimal digits
 */
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
  return {
    identity: match[1]!,
    offset: Number(match[2]),
    checksum: Number.parseInt(match[3]!, 16),
    position: Number(match[4]),
  };
}
