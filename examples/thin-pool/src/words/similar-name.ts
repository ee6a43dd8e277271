/**
 * The known name that a mistyped one was most likely meant to be: one that begins with what was typed, otherwise the one that needs
 * the fewest letters inserted, dropped, replaced or exchanged with a neighbour, at most one in three.
 */
export function similarName(typed: string, known: readonly string[]): string | undefined {
  if (typed.length >= 2) {
    const longer = known.find((name) => name.startsWith(typed));
    if (longer !== undefined) return longer;
  }
  let best: string | undefined;
  let fewest = Math.floor(typed.length / 3) + 1;
  for (const name of known) {
    const edits = nrEdits(typed, name);
    if (edits < fewest) {
      best = name;
      fewest = edits;
    }
  }
  return best;
}

/** Optimal string alignment distance. Long words are not compared: nobody mistypes a page of text. */
function nrEdits(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return Number.POSITIVE_INFINITY;
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const [last, row] = [rows[i - 1]!, [i]];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let edits = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        edits = Math.min(edits, rows[i - 2]![j - 2]! + 1);
      }
      row.push(edits);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
