/** What is in a file of changes, for people. */
import { HelvinoError } from '../../base/errors.ts';
import { ChangesetReader } from './changeset-file.ts';
import type { ChangesetHeader } from './changeset-header.ts';
import { outlineOf } from './outline.ts';

export interface ShownRow {
  readonly table: string;
  readonly change: 'insert' | 'revert' | 'remove';
  /** Null: NULL, or not known (of a row that is to go only its key is). */
  readonly values: Readonly<Record<string, string | null>>;
}

export type ShownFile = ChangesetHeader & {
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly rows: readonly ShownRow[];
  /** What apply runs, made from what it is made from then: rows are in temporary tables. */
  readonly statements: readonly string[];
};

/** With `rows` of each table, at most. Throws PLAN_INVALID, and what opening a file throws. */
export async function showChanges(file: string, rows: number): Promise<ShownFile> {
  await using reader = await ChangesetReader.open(file);
  const { header, bytes, sha256 } = reader;
  const shown = new Map<number, ShownRow[]>();
  if (rows > 0) {
    for await (const { table, lines, part } of reader.rows()) {
      // Of a row that is very large the beginning is enough.
      if (part === 'more') continue;
      const own = shown.get(table) ?? [];
      shown.set(table, own);
      const { schema, name, columns } = header.tables[table]!;
      for (let at = 0; at < lines.length && own.length < rows; ) {
        const end = lines.indexOf(10, at);
        const line = lines.toString('utf8', at, end < 0 ? lines.length : end);
        own.push({ table: `${schema}.${name}`, ...decodeLine(line, { columns, file }) });
        at = end < 0 ? lines.length : end + 1;
      }
    }
  }
  const statements = header.tables.flatMap(outlineOf);
  return { ...header, file, bytes, sha256, statements, rows: [...shown.values()].flat() };
}

const changes = new Map<string, ShownRow['change']>([
  ['i', 'insert'],
  ['u', 'revert'],
  ['d', 'remove'],
]);

/** https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2 */
function decodeLine(
  line: string,
  { columns, file }: { readonly columns: readonly string[]; readonly file: string },
): Pick<ShownRow, 'change' | 'values'> {
  const [op = '', , , ...fields] = line.split('\t');
  const change = changes.get(op);
  if (change === undefined)
    throw new HelvinoError('PLAN_INVALID', `${file} has a row that neither comes, changes nor goes`, {
      hint: 'make the plan again; of an undo, look for another copy',
    });
  const values = columns.map((name, index): [string, string | null] => {
    const field = fields[index];
    return [name, field === undefined || field === '\\N' ? null : decodeField(field)];
  });
  return { change, values: Object.fromEntries(values) };
}

const escapes: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

function decodeField(field: string): string {
  return field.replace(/\\(.)/gs, (_, char: string) => escapes[char] ?? char);
}
