/** What a folder of one organization says of itself; docs/operations/export-one-organization.md describes it. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { HelvinoError, systemCode } from '../../../base/errors.ts';

export const manifestName = 'manifest.json';

const count = z.number().int().min(0);

/** Rows of one table, as CSV with a header. */
const rowFile = z.object({
  /** Below the folder; nothing that leads out of it. */
  file: z.string().regex(/^data\/[\w.-]+\.csv$/),
  rows: count,
  bytes: count,
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

const exportedTable = z.object({
  schema: z.string().min(1),
  name: z.string().min(1),
  /** What tells rows apart; null: nothing does. */
  key: z.array(z.string().min(1)).min(1).nullable(),
  /** In the order of the files. Computed columns are left out. `base` is the type below all domains. */
  columns: z.array(z.object({ name: z.string().min(1), type: z.string().min(1), base: z.string().min(1) })),
  /** Rows that belong to the organization. */
  own: rowFile.nullable(),
  /** Rows that belong to all, and are referred to. */
  shared: rowFile.nullable(),
});

const manifestSchema = z.object({
  format: z.literal('helvino-organization'),
  version: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{16}$/),
  /** ISO 8601. */
  made: z.string(),
  /** Of the rows, for people. */
  moment: z.string(),
  program: z.string(),
  source: z.object({ database: z.string(), system: z.string().nullable(), server: z.number().int() }),
  root: z.object({ table: z.string(), where: z.record(z.string(), z.string()) }),
  /** Those that are referred to first; also tables without a row. */
  tables: z.array(exportedTable),
  /** What is not in it, for people. */
  notes: z.array(z.string()).default([]),
});

export type ExportManifest = z.infer<typeof manifestSchema>;
export type ExportedTable = z.infer<typeof exportedTable>;
export type RowFile = z.infer<typeof rowFile>;

/** Throws EXPORT_INVALID, TARGET_IO. */
export async function readManifest(folder: string): Promise<ExportManifest> {
  let text: string;
  try {
    text = await readFile(join(folder, manifestName), 'utf8');
  } catch (thrown) {
    const code = systemCode(thrown);
    if (code === 'ENOENT' || code === 'ENOTDIR') throw invalid(folder, `there is no ${manifestName}`, thrown);
    throw new HelvinoError('TARGET_IO', `${folder}: ${String(thrown)}`, { cause: thrown });
  }
  try {
    return manifestSchema.parse(JSON.parse(text));
  } catch (thrown) {
    throw invalid(folder, `its ${manifestName} is none of this version`, thrown);
  }
}

/** Every file as long as the manifest says, and with that hash. Throws EXPORT_INVALID. */
export async function checkFiles(folder: string, { tables }: ExportManifest): Promise<void> {
  for (const file of tables.flatMap(({ own, shared }) => [own, shared])) {
    if (file === null) continue;
    const hash = createHash('sha256');
    let bytes = 0;
    try {
      for await (const chunk of createReadStream(join(folder, file.file))) {
        hash.update(chunk as Buffer);
        bytes += (chunk as Buffer).length;
      }
    } catch (thrown) {
      throw invalid(folder, `${file.file} cannot be read`, thrown);
    }
    if (bytes !== file.bytes) throw invalid(folder, `${file.file} has ${bytes} bytes, not ${file.bytes}`);
    if (hash.digest('hex') !== file.sha256) throw invalid(folder, `the SHA-256 of ${file.file} is wrong`);
  }
}

function invalid(folder: string, why: string, cause?: unknown): HelvinoError {
  return new HelvinoError('EXPORT_INVALID', `${folder} is no export of an organization, or damaged: ${why}`, {
    cause,
    hint: 'export again, or copy the folder again: `sha256sum -c SHA256SUMS` in it says which file is wrong',
  });
}
