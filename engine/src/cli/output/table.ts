/** Text tables without borders, and lists of facts. */

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

/** One line a row; the last column is not padded. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const widths = columns.map(({ title }, i) =>
    Math.max(title.length, ...rows.map((row) => (row[i] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) =>
        columns[i]?.align === 'right'
          ? cell.padStart(widths[i]!)
          : i === columns.length - 1
            ? cell
            : cell.padEnd(widths[i]!),
      )
      .join('  ')
      .trimEnd();
  return [line(columns.map(({ title }) => title)), ...rows.map(line)];
}

/** `name   value` lines, values aligned; undefined values are left out. */
export function facts(pairs: readonly (readonly [string, string | undefined])[]): string[] {
  const shown = pairs.filter(([, value]) => value !== undefined);
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}
