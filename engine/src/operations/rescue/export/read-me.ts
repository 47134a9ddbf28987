/** The text that lies beside the rows, for whoever opens the folder without Helvino. */
import type { ExportManifest, RowFile } from './manifest.ts';

/** `sealed`: the folder was encrypted, and this is what came out of it. */
export function readMe(
  { root, moment, made, source, program, tables, notes }: ExportManifest,
  sealed: boolean,
): string {
  const where = Object.entries(root.where).map(([name, value]) => `${name} = ${value}`);
  const files = tables.flatMap((table) => {
    const line = (file: RowFile | null, what: string) =>
      file === null ? [] : [`  ${file.file}: ${file.rows} rows of ${table.schema}.${table.name}, ${what}`];
    return [...line(table.own, 'its own'), ...line(table.shared, 'which others share')];
  });
  return `One organization
================
Root:     ${root.table} where ${where.join(' and ')}
Moment:   ${moment}
Database: ${source.database}
Exported: ${made}, by ${program}

These files hold personal data: keep them as you keep the database, and remove them when they are no longer needed.

Files, in the order in which they can be loaded
${files.join('\n')}
  manifest.json: tables, columns and types, counts and SHA-256 of each file
  load.sql: loads all of it with psql, in one transaction
${sealed ? '' : '  SHA256SUMS: check with  sha256sum -c SHA256SUMS\n'}${notes.length === 0 ? '' : `\nNot in it\n${notes.map((note) => `  ${note}\n`).join('')}`}
The rows are CSV as PostgreSQL writes it: UTF-8, a header line, fields in double quotes where needed (a quote is doubled; a
field may have line breaks). A field of nothing is NULL; "" is an empty text. Times are ISO 8601 in UTC; bytea is \\x and
hexadecimal digits; arrays and composite values are in PostgreSQL's own notation.

With Helvino:     helvino import FOLDER --dry-run     then without --dry-run; helvino rescue undo takes it back
Without Helvino:  psql -X -v ON_ERROR_STOP=1 -f load.sql postgresql://role@host/database     from within this folder
`;
}

/** What lies beside the files of a folder that is encrypted: nothing of what is in them. */
export function howToOpen({ program }: Pick<ExportManifest, 'program'>): string {
  return `One organization, encrypted
===========================
Every file whose name ends in .age is encrypted with age (https://age-encryption.org). IDENTITY.txt below is the file with the
AGE-SECRET-KEY-1… of one of the recipients that it was exported to. Exported by Helvino ${program}.

With Helvino:     helvino import FOLDER --identity IDENTITY.txt --dry-run
Without Helvino:  what comes out is personal data in clear, so choose where it goes; from within this folder
  mkdir -m 700 -p OPENED OPENED/data
  for file in *.age data/*.age; do age -d -i IDENTITY.txt -o "OPENED/\${file%.age}" "$file"; done
Then read OPENED/README.txt. Whether this copy is whole:  sha256sum -c SHA256SUMS
`;
}
