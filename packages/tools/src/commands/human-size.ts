/**
 * Sizes as thin_ls prints them: the first unit that keeps the number at 8192 or below, rounded to the nearest whole below
 * 1024 and down from there on. So 8064KiB, 9MiB (8.56 MiB), 1145MiB (1145.9 MiB).
 */

const UNITS = ['b', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
const LARGEST_NUMBER = 8192n;
const ROUNDED_BELOW = 1024n;

export function humanSize(bytes: bigint): string {
  let unitNr = 0;
  let unit = 1n;
  while (unitNr < UNITS.length - 1 && bytes / unit > LARGEST_NUMBER) {
    unitNr++;
    unit *= 1024n;
  }
  const whole = bytes / unit;
  const number = whole < ROUNDED_BELOW ? (bytes + unit / 2n) / unit : whole;
  return `${number}${UNITS[unitNr]}`;
}
