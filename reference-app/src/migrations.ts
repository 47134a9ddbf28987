/**
 * The migrations in prisma/migrations, and what of them a database has. As Prisma keeps them: one row of `_prisma_migrations`
 * for each, with the SHA-256 of its file, so that `prisma migrate deploy` and `npm run migrate` may take turns.
 * https://www.prisma.io/docs/orm/prisma-migrate/understanding-prisma-migrate/migration-histories
 */
import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Client, Pool } from 'pg';

export const migrationsFolder = fileURLToPath(new URL('../prisma/migrations/', import.meta.url));

export interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/** Names of migrations. The schema is current when only `applied` has any. */
export interface SchemaState {
  readonly current: boolean;
  readonly applied: readonly string[];
  readonly pending: readonly string[];
  /** Begun, but neither finished nor rolled back. */
  readonly failed: readonly string[];
  /** Applied with another text than that of the file. */
  readonly modified: readonly string[];
  /** Applied, but not in the folder: the database is newer than this application. */
  readonly unknown: readonly string[];
}

export async function readMigrations(folder = migrationsFolder): Promise<Migration[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return Promise.all(
    names.sort().map(async (name) => {
      const sql = await readFile(join(folder, name, 'migration.sql'), 'utf8');
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

export async function schemaState(
  client: Client | Pool,
  migrations: readonly Migration[],
): Promise<SchemaState> {
  const rows = new Map((await readHistory(client)).map((row) => [row.name, row]));
  const names = (wanted: (migration: Migration) => boolean) =>
    migrations.filter(wanted).map((migration) => migration.name);
  const state = {
    applied: names(
      ({ name, checksum }) => rows.get(name)?.finished === true && rows.get(name)?.checksum === checksum,
    ),
    pending: names(({ name }) => !rows.has(name)),
    failed: [...rows.values()].filter((row) => !row.finished).map((row) => row.name),
    modified: names(
      ({ name, checksum }) => rows.get(name)?.finished === true && rows.get(name)?.checksum !== checksum,
    ),
    unknown: [...rows.keys()].filter((name) => !migrations.some((migration) => migration.name === name)),
  };
  return { current: state.applied.length === migrations.length && rows.size === migrations.length, ...state };
}

/** Why the schema is not current; nothing when it is. */
export function whyNotCurrent({ pending, failed, modified, unknown }: SchemaState): string[] {
  const reasons = {
    'not applied': pending,
    failed,
    'applied with another text': modified,
    'not known here': unknown,
  };
  return Object.entries(reasons)
    .filter(([, names]) => names.length > 0)
    .map(([reason, names]) => `migrations ${reason}: ${names.join(', ')}`);
}

interface HistoryRow {
  readonly name: string;
  readonly checksum: string;
  readonly finished: boolean;
}

async function readHistory(client: Client | Pool): Promise<HistoryRow[]> {
  const { rows } = await client.query<{ there: boolean }>(
    `select to_regclass('_prisma_migrations') is not null as there`,
  );
  if (!rows[0]?.there) return [];
  const history = await client.query<HistoryRow>(
    `select migration_name as name, checksum, finished_at is not null as finished
     from _prisma_migrations where rolled_back_at is null order by started_at`,
  );
  return history.rows;
}

/** The number under which Prisma locks a database while it migrates. */
const lockNumber = 72_707_369;

/**
 * Applies what is pending, each in a transaction of its own with its row: a migration that fails leaves nothing behind.
 * Refuses a history that is not this folder's.
 */
export async function applyMigrations(client: Client, migrations: readonly Migration[]): Promise<string[]> {
  await client.query(`set lock_timeout = '60s'`);
  await client.query('select pg_advisory_lock($1)', [lockNumber]);
  await client.query('reset lock_timeout');
  const state = await schemaState(client, migrations);
  const reasons = whyNotCurrent({ ...state, pending: [] });
  if (reasons.length > 0) throw new Error(reasons.join('; '));
  if (state.current) return [];
  await client.query(
    `create table if not exists _prisma_migrations (
       id varchar(36) primary key not null, checksum varchar(64) not null, finished_at timestamptz,
       migration_name varchar(255) not null, logs text, rolled_back_at timestamptz,
       started_at timestamptz not null default now(), applied_steps_count integer not null default 0)`,
  );
  for (const migration of migrations.filter(({ name }) => state.pending.includes(name)))
    await applyMigration(client, migration);
  return [...state.pending];
}

async function applyMigration(client: Client, { name, sql, checksum }: Migration): Promise<void> {
  await client.query('begin');
  try {
    await client.query(sql);
    await client.query(
      `insert into _prisma_migrations (id, checksum, migration_name, started_at, finished_at, applied_steps_count)
       values ($1, $2, $3, now(), clock_timestamp(), 1)`,
      [randomUUID(), checksum, name],
    );
    await client.query('commit');
  } catch (thrown) {
    await client.query('rollback').catch(() => undefined);
    throw new Error(`migration ${name} failed, nothing of it was kept: ${(thrown as Error).message}`);
  }
}
