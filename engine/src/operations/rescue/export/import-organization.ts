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
import { column, from, joinIdentity } from '../row-sql.ts';
import {
  type ColumnModel,
  type ModelOptions,
  type SchemaModel,
  type TableModel,
  tableName,
  textColumn,
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
  const past = pastOf(present, tables);
  await refuseForeign(options, { manifest, present, past });
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
    if (own && !own.generated) return { ...own, number: undefined, type, base: comparable(base, own) };
    dropped.add(name);
    return { ...textColumn(name, asText), type };
  });
  const keyed = today.key?.every((name) => columns.some((one) => one.name === name) && !dropped.has(name));
  return { exported, dropped, model: { ...today, key: keyed ? today.key : undefined, columns, rowsIn } };
}

/** What the folder has of the target's tables and references. */
function pastOf(present: SchemaModel, staged: readonly StagedTable[]): SchemaModel {
  const tables = new Map(staged.map(({ model }) => [model.id, model]));
  const columns = new Map(
    staged.map(({ model, dropped }) => [
      model.id,
      new Set(model.columns.map(({ name }) => name).filter((name) => !dropped.has(name))),
    ]),
  );
  const has = (id: string, names: readonly string[]) => names.every((name) => columns.get(id)?.has(name));
  const references = present.references.filter(
    ({ child, parent, childColumns, parentColumns, when }) =>
      has(child, [...childColumns, ...Object.keys(when)]) && has(parent, parentColumns),
  );
  return { tables, references };
}

/** The temporary table has the types of the target. That of the file is compared with it, and must be no SQL of someone's. */
function comparable(base: string, own: ColumnModel): string {
  const plain = /^[a-z][a-z0-9_ ]*(\(\d+(,-?\d+)?\))?[a-z0-9_ ]*(\[\])*$/.test(base);
  return plain || base === own.base ? base : 'unknown';
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
      const key = model.key?.map(quoteIdentifier).join(', ');
      if (key !== undefined) await query(staging, `create unique index on ${model.rowsIn} (${key})`);
      await query(staging, `analyze ${model.rowsIn}`);
    }
    await query(staging, 'commit');
  } catch (thrown) {
    await rollback(staging);
    throw notRows(thrown, loading.folder);
  }
}

/** What no export has in it: lines of other columns, bytes that are no text of the encoding, a key twice. */
function notRows(thrown: unknown, { folder }: ExportFolder): unknown {
  const state = thrown instanceof HelvinoError ? String(thrown.context.sqlstate) : '';
  if (!['22P04', '22021', '23505'].includes(state)) return thrown;
  return new HelvinoError(
    'EXPORT_INVALID',
    `${folder} holds something else than rows: ${String((thrown as Error).message)}`,
    {
      cause: thrown,
      hint: 'nothing was changed; export again',
    },
  );
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
  readonly past: SchemaModel;
}

/**
 * A row of the target with the key of one of ours, but other content and not of this organization, is someone else's. Which are ours
 * follows from what refers to what, not from the file that they came in.
 */
async function refuseForeign(
  { staging, signal }: ImportOptions,
  { manifest, present, past }: Target,
): Promise<void> {
  const { root } = manifest;
  const taken: string[] = [];
  await query(staging, 'begin isolation level repeatable read read write');
  try {
    await pinSettings(staging, { statement_timeout: '0' });
    const ours = await closure(staging, past, { root, signal });
    for (const number of ours.numbers.values()) {
      await query(staging, `alter table if exists pg_temp.hv_c_${number} rename to helvino_ours_${number}`);
      await query(staging, `drop table pg_temp.hv_p_${number}`);
    }
    const theirs = await closure(staging, present, { root, signal });
    for (const id of ours.down) {
      const [model, today] = [past.tables.get(id)!, present.tables.get(id)!];
      if (model.key === undefined || !theirs.down.includes(id)) continue;
      const compared = model.columns
        .map(({ name }) => name)
        .filter((name) => today.columns.some((one) => one.name === name && !one.generated));
      const row = (alias: string) => `row(${compared.map((name) => column(alias, name)).join(', ')})::text`;
      const [found] = await query<{ count: number }>(
        staging,
        `select count(*)::int as count from pg_temp.helvino_ours_${ours.numbers.get(id)} o
         join ${from(model)} s on ${joinIdentity(model, 'o', 's')} join ${from(today)} t on ${joinIdentity(today, 'o')}
         where ${row('s')} <> ${row('t')}
           and not exists (select from pg_temp.hv_c_${theirs.numbers.get(id)} k where ${joinIdentity(today, 'k')})`,
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
