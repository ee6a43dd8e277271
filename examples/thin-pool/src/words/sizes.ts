/**
 * Sizes as people write them (`10G`, `64K`, `1.5T`, `4096`, `8s`), and as they read them (`1.5 GiB`).
 *
 * K, M, G, T, P are powers of 1024, with or without `iB`; `s` is a sector of 512 bytes. `KB`, `MB`… are refused: they mean 1000 to
 * some and 1024 to others.
 */
import { SECTOR_SIZE } from '@pdata/device';
import { PoolError, quoted } from './pool-error.js';

/** Bytes of the largest volume: 2^53 - 512, what a number holds exactly; NBD has no more than 2^63. */
export const MAX_SIZE = Number.MAX_SAFE_INTEGER - 511;

const UNITS: Record<string, number> = {
  '': 1,
  b: 1,
  s: SECTOR_SIZE,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  t: 1024 ** 4,
  p: 1024 ** 5,
};

/** @param what for the message: "the size" */
export function parseSize(text: string, what = 'the size'): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]?)(ib|b)?$/i.exec(text.trim());
  const unit = UNITS[match?.[2]?.toLowerCase() ?? ''];
  if (match === null || unit === undefined || (match[3] !== undefined && !/^[kmgtp]$/i.test(match[2] ?? ''))) {
    throw new PoolError(
      'ERR_SIZE',
      `${what} ${quoted(text)} is no size: write bytes, or a number with K, M, G or T, like 10G`,
    );
  }
  if (/^b$/i.test(match[3] ?? '')) {
    const letter = (match[2] ?? '').toUpperCase();
    throw new PoolError(
      'ERR_SIZE',
      `${what} ${quoted(text)} is ambiguous: ${letter}B means 1000 to some and 1024 to others; write ${match[1]}${letter} for 1024`,
    );
  }
  const bytes = Number(match[1]) * unit;
  if (bytes > MAX_SIZE) throw new PoolError('ERR_SIZE', `${what} ${text} is too large: at most 8 PiB (2^53 bytes)`);
  if (!Number.isInteger(bytes)) throw new PoolError('ERR_SIZE', `${what} ${text} is not a whole number of bytes`);
  return bytes;
}

/** A volume's size: whole sectors, not 0. Returns it. */
export function checkVolumeSize(size: number): number {
  if (!Number.isSafeInteger(size) || size < 0) throw new PoolError('ERR_SIZE', `${size} is no size in bytes`);
  if (size === 0) throw new PoolError('ERR_SIZE', 'the size is 0: at least one sector of 512 bytes is needed');
  if (size % SECTOR_SIZE !== 0) {
    const up = Math.ceil(size / SECTOR_SIZE) * SECTOR_SIZE;
    throw new PoolError('ERR_SIZE', `the size ${size} is not whole sectors of 512 bytes; the next that is: ${up}`);
  }
  if (size > MAX_SIZE) throw new PoolError('ERR_SIZE', `the size ${size} is too large: at most ${MAX_SIZE} bytes`);
  return size;
}

const NAMES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** At most three digits and a unit: `1.5 GiB`, `640 KiB`, `0 B`. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < NAMES.length - 1) {
    value /= 1024;
    unit++;
  }
  // 1023.6 KiB must not become "1024 KiB".
  if (Math.round(value) >= 1024 && unit < NAMES.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = Number.isInteger(value) || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value
    .toFixed(digits)
    .replace(/(\.\d*?)0+$/, '$1')
    .replace(/\.$/, '')} ${NAMES[unit]}`;
}

/** `37 %`, `0 %`, `< 1 %`; never 100 % for less than all. */
export function formatShare(part: number, whole: number): string {
  if (whole === 0 || part === 0) return '0 %';
  const share = (part / whole) * 100;
  if (share < 1) return '< 1 %';
  return `${share >= 100 ? Math.round(share) : Math.min(99, Math.round(share))} %`;
}

export const plural = (nr: number, one: string, many = `${one}s`): string =>
  `${nr.toLocaleString('en-US')} ${nr === 1 ? one : many}`;
