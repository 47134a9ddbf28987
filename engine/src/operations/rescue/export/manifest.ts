/** What a folder of one organization says of itself; docs/operations/export-one-organization.md describes it. */
import * as z from 'zod';
import { parseOwnJson } from '../../../base/own-json.ts';

export const manifestName = 'manifest.json';

const count = z.number().int().min(0);
/** What goes into SQL, quoted: a NUL would end it. */
const word = z
  .string()
  .min(1)
  .refine((text) => !text.includes('\0'));
const allDiffer = (names: readonly string[]) => new Set(names).size === names.length;

/** Rows of one table, as CSV with a header. */
const rowFile = z.strictObject({
  /** Below the folder; nothing that leads out of it. */
  file: z.string().regex(/^data\/[\w.-]+\.csv$/),
  rows: count,
  bytes: count,
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

const exportedTable = z.strictObject({
  schema: word,
  name: word,
  /** What tells rows apart; null: nothing does. */
  key: z.array(word).min(1).nullable(),
  /** In the order of the files. Computed columns are left out. `base` is the type below all domains. */
  columns: z
    .array(z.strictObject({ name: word, type: word, base: word }))
    .refine((columns) => allDiffer(columns.map(({ name }) => name))),
  /** Rows that belong to the organization. */
  own: rowFile.nullable(),
  /** Rows that belong to all, and are referred to. */
  shared: rowFile.nullable(),
});

const manifestSchema = z.strictObject({
  format: z.literal('helvino-organization'),
  version: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{16}$/),
  /** ISO 8601. */
  made: z.string(),
  /** Of the rows, for people. */
  moment: z.string(),
  program: z.string(),
  source: z.strictObject({ database: z.string(), system: z.string().nullable(), server: z.number().int() }),
  root: z.strictObject({
    table: z.string(),
    where: z.record(word, word.or(z.literal(''))).refine((where) => Object.keys(where).length > 0),
  }),
  /** Those that are referred to first; also tables without a row. */
  tables: z
    .array(exportedTable)
    .refine((tables) => allDiffer(tables.map(({ schema, name }) => JSON.stringify([schema, name])))),
  /** What is not in it, for people. */
  notes: z.array(z.string()).default([]),
});

export type ExportManifest = z.infer<typeof manifestSchema>;
export type ExportedTable = z.infer<typeof exportedTable>;
export type RowFile = z.infer<typeof rowFile>;

/** Throws what is wrong with it. */
export function parseManifest(bytes: Uint8Array): ExportManifest {
  // It ends with a line break.
  if (bytes.at(-1) !== 10) throw new Error('it ends early');
  return manifestSchema.parse(parseOwnJson(bytes.subarray(0, -1), 2));
}

export function manifestText(manifest: ExportManifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}
