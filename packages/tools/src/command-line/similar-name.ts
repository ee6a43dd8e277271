/**
 * The known name that a mistyped one was most likely meant to be.
 *
 * A name that begins with what was typed comes first (`--ignore`); otherwise the fewest letters inserted, dropped, replaced
 * or exchanged with a neighbour decide (Damerau–Levenshtein in its restricted form), at most one in three letters.
 */

export function similarName(typed: string, known: readonly string[]): string | undefined {
  if (typed.length >= 3) {
    const longer = known.find((name) => name.startsWith(typed));
    if (longer !== undefined) return longer;
  }
  let best: string | undefined;
  let bestDistance = Math.floor(typed.length / 3) + 1;
  for (const name of known) {
    const distance = nrEdits(typed, name);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

function nrEdits(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let edits = Math.min(last[j]! + 1, row[j - 1]! + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        edits = Math.min(edits, beforeLast[j - 2]! + 1);
      }
      row.push(edits);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
