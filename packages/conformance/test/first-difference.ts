/** A diff of megabytes tells nothing; the first line that differs does. @returns undefined for equal texts */
export function firstDifference(
  ours: string | readonly string[],
  theirs: string | readonly string[],
): string | undefined {
  const our = typeof ours === 'string' ? ours.split('\n') : ours;
  const their = typeof theirs === 'string' ? theirs.split('\n') : theirs;
  for (let line = 0; line < Math.max(our.length, their.length); line++) {
    if (our[line] !== their[line]) {
      return `line ${line + 1}: ours '${our[line] ?? '(end)'}', theirs '${their[line] ?? '(end)'}'`;
    }
  }
  return undefined;
}
