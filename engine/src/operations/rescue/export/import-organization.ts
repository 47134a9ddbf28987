/**
 * `helvino import`: an exported folder as the past of a rescue. The rows are loaded into temporary tables of a session on
 * the target, and planned from there: so what a rescue says of conflicts, shows, checks and undoes holds here, too.
 */
import { rm } from 'node:fs/promises';
import type { Client } from 'pg';
import { HelvinoError } from '../../../base/errors.ts';
import { plural } from '../../../base/format.ts';
import type { Progress } from '../../../base/progress.ts';
import { copyIn, query, quoteIdentifier } from '../../../postgres/index.ts';
import { closure } from '../closure.ts';
import { planRescue } from '../plan.ts';
import { asText } from '../read-comparisons.ts';
import { readSchema } from '../read-schema.ts';
import { column, from, joinIdentity, sameValue } from '../row-sql.ts';
import {
  type ColumnModel,
  type ModelOptions,
  type SchemaModel,
  type TableModel,
  tableName,
} from '../schema-model.ts';
import { pinSettings, rollback } from '../session.ts';
import type { PlanOptions, PlanSummary } from '../types.ts';
import { checkFiles, type ExportFolder } from './export-folder.ts';
import type { ExportedTable, ExportManifest, RowFile } from './manifest.ts';

export interface ImportOptions
  extends Pick<
    PlanOptions,
    'now' | 'model' | 'policies' | 'file' | 'program' | 'clock' | 'progress' | 'signal'
  > {
  readonly folder: ExportFolder;
  /** A second connection to the same database: the rows lie in its temporary tables. */
  readonly staging: Client;
}

export interface ImportPlan {
  readonly manifest: ExportManifest;
  readonly plan: PlanSummary;
}

/**
 * Checks the folder, loads it into temporary tables, and writes the plan, for applyRescue. Throws EXPORT_INVALID,
 * IMPORT_CONFLICT when keys of the organization are others' there, and what planRescue throws.
 */
export async function planImport(options: ImportOptions): Promise<ImportPlan> {
  const { folder, staging, progress, signal } = options;
  const { manifest } = folder;
  progress.phase('checking the files');
  await checkFiles(folder);
  const present = await readPinned(staging, options.model);
  const tables = manifest.tables.map((exported, index) =>
    stagedTable(present, exported, `pg_temp.helvino_import_${index}`),
  );
  await load(staging, tables, { folder, progress, signal });
  progress.phase('looking for keys that others have');
  await refuseForeign(options, { manifest, present, tables });
  const past: SchemaModel = {
    tables: new Map(tables.map(({ model }) => [model.id, model])),
    references: present.references,
  };
  const plan = await planRescue({
    ...options,
    before: staging,
    past,
    root: manifest.root,
    moments: { before: `export ${manifest.id} of ${manifest.moment}` },
  });
  const unreached = unreachedRows(manifest, plan);
  if (unreached) {
    await rm(plan.file);
    throw unreached;
  }
  return { manifest, plan };
}

/** Types are written with their schemas, as the export has them. */
async function readPinned(client: Client, options: ModelOptions): Promise<SchemaModel> {
  await query(client, 'begin read only');
  try {
    await pinSettings(client);
    return await readSchema(client, options);
  } finally {
    await rollback(client);
  }
}

interface StagedTable {
  readonly exported: ExportedTable;
  /** As the target has it, but for its rows, and with the columns of the export. */
  readonly model: TableModel;
  /** Columns of the export that the target has not. */
  readonly dropped: ReadonlySet<string>;
}

/** Throws IMPORT_CONFLICT when the target has no such table. */
function stagedTable(present: SchemaModel, exported: ExportedTable, rowsIn: string): StagedTable {
  const id = `${quoteIdentifier(exported.schema)}.${quoteIdentifier(exported.name)}`;
  const today = present.tables.get(id);
  if (!today)
    throw new HelvinoError('IMPORT_CONFLICT', `the database has no table ${tableName(exported)}`, {
      hint: 'bring its schema to where that of the export was: run the migrations of the application',
    });
  const dropped = new Set<string>();
  const columns = exported.columns.map(({ name, type, base }): ColumnModel => {
    const own = today.columns.find((one) => one.name === name);
    if (own && !own.generated) return { ...own, number: undefined, type, base };
    dropped.add(name);
    return {
      name,
      number: undefined,
      type,
      base,
      plain: base,
      equality: asText,
      hashable: false,
      collation: null,
      notNull: false,
      hasDefault: false,
      generated: false,
      identity: undefined,
      sequence: undefined,
    };
  });
  return { exported, dropped, model: { ...today, columns, rowsIn } };
}

interface Loading {
  readonly folder: ExportFolder;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Own and shared rows in one table: which is which follows from what refers to what. */
async function load(staging: Client, tables: readonly StagedTable[], loading: Loading): Promise<void> {
  const files = tables.flatMap(({ exported }) => [exported.own, exported.shared]);
  const bytes = files.reduce((sum, file) => sum + (file?.bytes ?? 0), 0);
  loading.progress.phase('loading the files', bytes, 'bytes');
  await query(staging, 'begin');
  try {
    await pinSettings(staging, { statement_timeout: '0' });
    for (const table of tables) {
      const { model, dropped, exported } = table;
      const columns = model.columns.map(({ name }) =>
        dropped.has(name) ? `null::text as ${quoteIdentifier(name)}` : column('t', name),
      );
      await query(staging, `drop table if exists ${model.rowsIn}`);
      await query(
        staging,
        `create temporary table ${model.rowsIn!.replace('pg_temp.', '')} as
         select ${columns.join(', ')} from ${from({ ...model, rowsIn: undefined })} t with no data`,
      );
      for (const file of [exported.own, exported.shared])
        if (file) await copyFile(staging, table, { ...loading, file });
      const key = model.key?.every((name) => !dropped.has(name))
        ? model.key.map(quoteIdentifier).join(', ')
        : undefined;
      if (key !== undefined) await query(staging, `create unique index on ${model.rowsIn} (${key})`);
      await query(staging, `analyze ${model.rowsIn}`);
    }
    await query(staging, 'commit');
  } catch (thrown) {
    await rollback(staging);
    throw thrown;
  }
}

async function copyFile(
  staging: Client,
  { model }: StagedTable,
  { folder, file, progress, signal }: Loading & { readonly file: RowFile },
): Promise<void> {
  const names = model.columns.map(({ name }) => quoteIdentifier(name)).join(', ');
  const writer = await copyIn(
    staging,
    `copy ${model.rowsIn} (${names}) from stdin with (format csv, header)`,
  );
  try {
    for await (const chunk of folder.read(file)) {
      signal.throwIfAborted();
      await writer.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
      progress.advance(chunk.length);
    }
  } catch (thrown) {
    await writer.fail();
    throw thrown;
  }
  const rows = await writer.end();
  if (rows !== file.rows)
    throw new HelvinoError('EXPORT_INVALID', `${file.file} has ${plural(rows, 'row')}, not ${file.rows}`);
}

interface Target {
  readonly manifest: ExportManifest;
  readonly present: SchemaModel;
  readonly tables: readonly StagedTable[];
}

/** A row of the target with the key of one of ours, but other content and not of this organization, is someone else's. */
async function refuseForeign(
  { staging, signal }: ImportOptions,
  { manifest, present, tables }: Target,
): Promise<void> {
  const taken: string[] = [];
  await query(staging, 'begin isolation level repeatable read read write');
  try {
    await pinSettings(staging, { statement_timeout: '0' });
    const { numbers, down } = await closure(staging, present, { root: manifest.root, signal });
    for (const { exported, model, dropped } of tables) {
      if (exported.own === null || !model.key || !down.includes(model.id)) continue;
      const same = model.key
        .map((name) => sameValue(model, name, column('s', name), column('t', name)))
        .join(' and ');
      const compared = model.columns.filter(({ name }) => !dropped.has(name)).map(({ name }) => name);
      const row = (alias: string) => `row(${compared.map((name) => column(alias, name)).join(', ')})::text`;
      const [found] = await query<{ count: number }>(
        staging,
        `select count(*)::int as count from ${model.rowsIn} s join ${from({ ...model, rowsIn: undefined })} t on ${same}
         where ${row('s')} <> ${row('t')}
           and not exists (select from pg_temp.hv_c_${numbers.get(model.id)} k where ${joinIdentity(model, 'k')})`,
      );
      if (found!.count > 0) taken.push(`${plural(found!.count, 'key')} of ${tableName(model)}`);
    }
  } finally {
    await rollback(staging);
  }
  if (taken.length === 0) return;
  throw new HelvinoError('IMPORT_CONFLICT', `rows that belong to others have ${taken.join(', ')}`, {
    hint: 'import into a database where these keys are free: keys are never renumbered',
  });
}

/** Rows that were reached by references that only the source knew of would be left out in silence. */
function unreachedRows(manifest: ExportManifest, { tables }: PlanSummary): HelvinoError | undefined {
  for (const exported of manifest.tables) {
    if (exported.own === null) continue;
    const rows = tables.find(({ table }) => table === tableName(exported))?.rows;
    const reached = rows ? rows.equal + rows.missing + rows.changed : 0;
    if (reached >= exported.own.rows) continue;
    return new HelvinoError(
      'IMPORT_CONFLICT',
      `of ${plural(exported.own.rows, 'row')} of ${tableName(exported)} ${reached} are reached from ${manifest.root.table} here`,
      { hint: 'declare the references of the source in this configuration, too' },
    );
  }
  return undefined;
}
