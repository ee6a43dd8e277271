/** Numbers, sizes and times in the words of the page. Sizes are binary: 1 KiB is 1024 bytes. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
const plain = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const ago = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'long' });

/** Three digits that count: "1.25 GiB", "37.5 MiB", "512 B". @param {number} value */
export function bytes(value) {
  let shown = value;
  let unit = 0;
  while (shown >= 1023.5 && unit < UNITS.length - 1) {
    shown /= 1024;
    unit += 1;
  }
  return `${threeDigits(shown, unit === 0)}\u00a0${UNITS[unit]}`;
}

/** @param {number} value bytes a second */
export const byteRate = (value) => `${bytes(value)}/s`;

/** @param {number} value requests a second */
export const requestRate = (value) => `${value < 10 ? threeDigits(value, false, 1) : plain.format(value)}/s`;

/** @param {number} value */
export const count = (value) => plain.format(value);

/** Never "0 %" of something nor "100 %" of not quite all. @param {number} part @param {number} whole */
export function percent(part, whole) {
  if (whole <= 0 || part <= 0) return '0\u00a0%';
  const share = (100 * part) / whole;
  if (share < 0.1) return 'under 0.1\u00a0%';
  if (share > 99.9 && part < whole) return '99.9\u00a0%';
  return `${share < 10 || (share > 90 && share < 100) ? share.toFixed(1).replace(/\.0$/, '') : Math.round(share)}\u00a0%`;
}

/** @param {number} nr @param {string} one @param {string} [many] */
export const counted = (nr, one, many = `${one}s`) => `${count(nr)} ${nr === 1 ? one : many}`;

/** How many times `whole` fits into `part`: "1.5 times". @param {number} part @param {number} whole */
export const times = (part, whole) => `${threeDigits(part / whole, false)} times`;

/** "3 minutes ago". @param {number} then ms since 1970 @param {number} now */
export function since(then, now) {
  const seconds = Math.max(0, (now - then) / 1000);
  if (seconds < 45) return 'just now';
  if (seconds < 3600) return ago.format(-Math.max(1, Math.round(seconds / 60)), 'minute');
  if (seconds < 86_400) return ago.format(-Math.round(seconds / 3600), 'hour');
  return ago.format(-Math.round(seconds / 86_400), 'day');
}

/** "14:05:09" of the reader's day. @param {number} at ms since 1970 */
export const clock = (at) => new Date(at).toLocaleTimeString('en-GB');

/** @param {number} value @param {boolean} isWhole @param {number} [most] */
function threeDigits(value, isWhole, most = 2) {
  if (isWhole || value >= 99.95) return plain.format(value);
  return value.toFixed(Math.min(most, value >= 9.995 ? 1 : 2)).replace(/\.?0+$/, '');
}
