/** Columns for people: as wide as they need to be, numbers to the right. */
export interface Column {
  readonly title: string;
  readonly align?: 'right';
}

/** One line per row, under a line of titles; no blanks at the ends of lines. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ title }, index) =>
    Math.max(width(title), ...rows.map((row) => width(row[index] ?? ''))),
  );
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ align }, index) => {
        const cell = cells[index] ?? '';
        const blanks = ' '.repeat(widths[index]! - width(cell));
        return align === 'right' ? blanks + cell : cell + blanks;
      })
      .join('  ')
      .trimEnd();
  return `${[columns.map(({ title }) => title), ...rows].map(line).join('\n')}\n`;
}

/** Characters, not code units; wide ones count as one, which is wrong by a little and right for names. */
const width = (text: string): number => [...text].length;
