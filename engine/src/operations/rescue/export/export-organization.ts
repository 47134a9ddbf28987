/**
 * `helvino export`: the rows of one organization as files that a person can read and psql can load, encrypted if recipients are
 * given. Order: files, then the manifest, then the folder's name: a folder that has its name is whole and durable.
 */
import { createHash } from 'node:crypto';
import { mkdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Client } from 'pg';
import { HelvinoError, systemCode, targetCode } from '../../../base/errors.ts';
import { randomHex } from '../../../base/ids.ts';
import type { Progress } from '../../../base/progress.ts';
import { refuseExisting } from '../../../base/refuse-existing.ts';
import { syncPath } from '../../../base/sync-path.ts';
import { copyOut, query } from '../../../postgres/index.ts';
import { type Closure, closure } from '../closure.ts';
import { namedObjects } from '../large-objects.ts';
import { readSchema } from '../read-schema.ts';
import { column, from, joinIdentity } from '../row-sql.ts';
import {
  type ModelOptions,
  type RescueRoot,
  type SchemaModel,
  type TableModel,
  tableName,
} from '../schema-model.ts';
import { identify, pinSettings, rollback, type ServerIdentity } from '../session.ts';
import { inReferenceOrder } from '../table-order.ts';
import { sealedSuffix, type Write, writeExportFile } from './export-file.ts';
import { loadScript } from './load-script.ts';
import {
  type ExportedTable,
  type ExportManifest,
  manifestName,
  manifestText,
  type RowFile,
} from './manifest.ts';
import { howToOpen, readMe } from './read-me.ts';

export interface ExportOptions {
  /** Connected to the database; makes temporary tables there, and nothing else. */
  readonly source: Client;
  readonly model: ModelOptions;
  readonly root: RescueRoot;
  /** Must not exist. */
  readonly folder: string;
  /** Every file but what says how to open them is encrypted to these (age); undefined: all are in clear. */
  readonly recipients: readonly string[] | undefined;
  /** Of the rows, for people; undefined: now, by the server's clock. */
  readonly moment?: string | undefined;
  /** Name and version of the program. */
  readonly program: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface ExportResult {
  readonly folder: string;
  readonly manifest: ExportManifest;
  readonly bytes: number;
}

/** Throws USAGE for a root that is not there, KEY_WRONG for a recipient that is none, TARGET_NOT_EMPTY, TARGET_DENIED, TARGET_TOO_SMALL, TARGET_IO, and what the server answers. */
export async function exportOrganization(options: ExportOptions): Promise<ExportResult> {
  const { source, folder, progress, root, signal } = options;
  const part = join(dirname(folder), `.${basename(folder)}.${randomHex(4)}.part`);
  try {
    await refuseExisting(folder, 'folder with --out');
    await mkdir(join(part, 'data'), { recursive: true, mode: 0o700 });
    progress.phase('looking for the rows that belong');
    await begin(source);
    const model = await readSchema(source, options.model);
    const found = await closure(source, model, { root, signal });
    if (found.roots === 0) throw noRoot(root);
    const writing = { part, model, found, recipients: options.recipients, sums: new Map() };
    const tables = await writeTables(options, writing);
    const notes = await missing(options, writing);
    const manifest = { ...manifestOf(options, tables, await identify(source)), notes };
    await writeTexts(writing, manifest);
    await syncPath(join(part, 'data'));
    await syncPath(part);
    await rename(part, folder);
    await syncPath(dirname(folder));
    const files = tables.flatMap(({ own, shared }) => [own?.bytes ?? 0, shared?.bytes ?? 0]);
    return { folder, manifest, bytes: files.reduce((sum, bytes) => sum + bytes, 0) };
  } catch (thrown) {
    throw fileError(folder, thrown);
  } finally {
    await rollback(source);
    await rm(part, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** One moment for all tables; temporary tables can be made. */
async function begin(source: Client): Promise<void> {
  await query(source, 'begin isolation level repeatable read read write');
  await pinSettings(source, { statement_timeout: '0', lock_timeout: '0', work_mem: '64MB' });
}

function noRoot({ table, where }: RescueRoot): HelvinoError {
  const text = Object.entries(where).map(([name, value]) => `${name}=${value}`);
  return new HelvinoError('USAGE', `no row of ${table} has ${text.join(' and ')}`, {
    hint: 'check --root, --key and --org, and with --at the moment',
  });
}

interface Writing {
  readonly part: string;
  readonly model: SchemaModel;
  readonly found: Closure;
  readonly recipients: readonly string[] | undefined;
  /** SHA-256 of what is on the disk, by name. */
  readonly sums: Map<string, string>;
}

/** Durable when it resolves. */
async function writeFile<T>(
  { part, recipients, sums }: Writing,
  name: string,
  produce: (write: Write) => Promise<T>,
): Promise<T> {
  const stored = recipients === undefined ? name : name + sealedSuffix;
  const { value, sha256 } = await writeExportFile(join(part, stored), recipients, produce);
  sums.set(stored, sha256);
  return value;
}

/** What belongs to the rows and is left out, in words. */
async function missing(
  { source, moment, signal }: ExportOptions,
  { model, found }: Pick<Writing, 'model' | 'found'>,
): Promise<string[]> {
  const notes: string[] = [];
  for (const [id, number] of found.numbers) {
    signal.throwIfAborted();
    const table = model.tables.get(id)!;
    // Of a recovered server: it begins them empty.
    if (table.unlogged && moment !== undefined)
      notes.push(
        `${tableName(table)} is unlogged, so its rows are in no backup: they, and rows that belong only through them, are not exported`,
      );
    for (const [prefix, ids] of [
      ['c', found.down],
      ['p', found.all],
    ] as const)
      if (ids.includes(id))
        notes.push(...(await namedObjects(source, table, `pg_temp.hv_${prefix}_${number}`)));
  }
  return notes.sort();
}

async function writeTables(options: ExportOptions, writing: Writing): Promise<ExportedTable[]> {
  const { found, model } = writing;
  const ids = inReferenceOrder(model, [...found.numbers.keys()]);
  options.progress.phase('writing rows', ids.length, 'items');
  const tables: ExportedTable[] = [];
  for (const [index, id] of ids.entries()) {
    options.signal.throwIfAborted();
    const table = model.tables.get(id)!;
    const columns = table.columns.filter(({ generated }) => !generated);
    const number = found.numbers.get(id)!;
    // A name in clear would tell what the rows are of.
    const name = options.recipients === undefined ? `-${fileName(table)}` : '';
    const base = `data/${String(index + 1).padStart(3, '0')}${name}`;
    const write = (keys: string, file: string) =>
      columns.length === 0 ? null : writeRows(options.source, { ...writing, table, keys, file });
    const own = found.down.includes(id) ? await write(`pg_temp.hv_c_${number}`, `${base}.csv`) : null;
    const shared = found.all.includes(id)
      ? await write(`pg_temp.hv_p_${number}`, `${base}.shared.csv`)
      : null;
    tables.push({
      schema: table.schema,
      name: table.name,
      key: table.key ? [...table.key] : null,
      columns: columns.map(({ name, type, base: plain }) => ({ name, type, base: plain })),
      own,
      shared,
    });
    options.progress.advance(1);
  }
  return tables;
}

function fileName(table: TableModel): string {
  return tableName(table)
    .replace(/[^\w.-]/g, '_')
    .slice(0, 80);
}

/** Null, and no file, when there is no row. In the order of the key, so that two exports can be compared. */
async function writeRows(
  source: Client,
  writing: Writing & { readonly table: TableModel; readonly keys: string; readonly file: string },
): Promise<RowFile | null> {
  const { part, recipients, sums, table, keys, file } = writing;
  const names = table.columns.filter(({ generated }) => !generated).map(({ name }) => column('t', name));
  const order = table.key ? ` order by ${table.key.map((name) => column('t', name)).join(', ')}` : '';
  const hash = createHash('sha256');
  let bytes = 0;
  const rows = await writeFile(writing, file, (write) =>
    copyOut(
      source,
      `copy (select ${names.join(', ')} from ${keys} k join ${from(table)} t on ${joinIdentity(table, 'k')}${order})
       to stdout with (format csv, header)`,
      (lines) => {
        hash.update(lines);
        bytes += lines.length;
        return write(lines);
      },
    ),
  );
  if (rows > 0) return { file, rows, bytes, sha256: hash.digest('hex') };
  const stored = recipients === undefined ? file : file + sealedSuffix;
  sums.delete(stored);
  await rm(join(part, stored));
  return null;
}

function manifestOf(
  { root, moment, program }: ExportOptions,
  tables: readonly ExportedTable[],
  identity: ServerIdentity,
): Omit<ExportManifest, 'notes'> {
  return {
    format: 'helvino-organization',
    version: 1,
    id: randomHex(8),
    made: identity.time,
    moment: moment ?? identity.time,
    program,
    source: { database: identity.database, system: identity.system ?? null, server: identity.version },
    root: { table: root.table, where: { ...root.where } },
    tables: [...tables],
  };
}

async function writeTexts(writing: Writing, manifest: ExportManifest): Promise<void> {
  const { part, model, recipients, sums } = writing;
  const text = (content: string) => (write: Write) => write(Buffer.from(content));
  await writeFile(writing, 'README.txt', text(readMe(manifest, recipients !== undefined)));
  await writeFile(writing, 'load.sql', text(loadScript(manifest, model)));
  if (recipients !== undefined) {
    const clear = { ...writing, recipients: undefined };
    await writeFile(clear, 'HOW-TO-OPEN.txt', text(howToOpen(manifest)));
  }
  await writeFile(writing, manifestName, text(manifestText(manifest)));
  const lines = [...sums].map(([name, sha256]) => `${sha256}  ${name}\n`);
  await writeExportFile(join(part, 'SHA256SUMS'), undefined, text(lines.join('')));
}

function fileError(folder: string, thrown: unknown): unknown {
  if (thrown instanceof HelvinoError || systemCode(thrown) === undefined) return thrown;
  return new HelvinoError(targetCode(thrown), `${folder}: ${String(thrown)}`, { cause: thrown });
}
