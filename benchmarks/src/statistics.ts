/** Medians and spreads of repeated measurements. */

/** The middle value: of an even number of values, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >>> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

/** `412 ms (405–430)`, or with seconds, as fits: the median and what it was taken from. */
export function duration(seconds: readonly number[]): string {
  if (seconds.length === 0) return 'n/a';
  const middle = median(seconds);
  const [scale, unit, digits] =
    middle >= 10 ? [1, 's', 1] : middle >= 1 ? [1, 's', 2] : middle >= 0.01 ? [1e3, 'ms', 0] : [1e6, 'µs', 0];
  const show = (value: number): string => (value * scale).toFixed(digits);
  return `${show(middle)} ${unit} (${show(Math.min(...seconds))}–${show(Math.max(...seconds))})`;
}
