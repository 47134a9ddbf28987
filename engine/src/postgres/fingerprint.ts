/**
 * Fingerprints: row count and content hash of every table, comparable between a server and a restored copy of it.
 * The hash is the sum of hashtextextended() over the text form of each row, so it does not depend on the order of rows.
 */
import type { Client } from 'pg';
import { asHelvinoError } from '../base/errors.ts';
import type { Progress } from '../base/progress.ts';
import { printSettings } from './print-settings.ts';
import { query, showsDamage } from './sql.ts';

export interface TableFingerprint {
  readonly schema: string;
  readonly table: string;
  /** Decimal; null when it could not be read. */
  readonly rows: string | null;
  /** Decimal; null when it was not asked for or could not be read. */
  readonly hash: string | null;
  /** Why something is null. */
  readonly skipped?: string;
  /** True when reading failed in a way that shows that the table is damaged. */
  readonly damaged?: boolean;
}

/** All values printed alike, no rows left out, and no time limits. */
const settings: Readonly<Record<string, string>> = {
  ...printSettings,
  quote_all_identifiers: 'off',
  row_security: 'off',
  jit: 'off',
  // The source has other work to do.
  max_parallel_workers_per_gather: '0',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  transaction_timeout: '0',
};

interface ListedTable {
  readonly oid: string;
  readonly schema: string;
  readonly table: string;
  /** Has children by inheritance, perhaps; a materialized view has none. */
  readonly plain: boolean;
  /** Null when it was dropped after the snapshot. */
  readonly readable: boolean | null;
  /** The file as of the snapshot. */
  readonly filenode: string;
}

/**
 * Permanent tables, partitions, materialized views, and large objects if there are any. The content of the others is not
 * in a backup, or is theirs.
 */
export const tableList = `
  select c.oid::text as oid, n.nspname as schema, c.relname as table, c.relkind = 'r' as plain,
    has_table_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage') as readable,
    c.relfilenode::text as filenode
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'm') and c.relpersistence = 'p' and (c.relkind = 'r' or c.relispopulated)
    and (n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
      or c.oid = 'pg_catalog.pg_largeobject'::regclass and exists (select from pg_catalog.pg_largeobject_metadata))
  order by 2, 3`;

interface FingerprintOptions {
  /** Hash the content, too; else rows are only counted. */
  readonly content: boolean;
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
}

/** Runs in the transaction that is open, or in one of its own. Throws SERVER_GONE and the like, not for a single table. */
export async function fingerprintDatabase(
  client: Client,
  options: FingerprintOptions,
): Promise<TableFingerprint[]> {
  const { signal, progress } = options;
  // Outside a transaction each statement is one of its own.
  const [where] = await query<{ own: boolean; database: string }>(
    client,
    'select now() = statement_timestamp() as own, current_database() as database',
  );
  if (where!.own) await query(client, 'begin isolation level repeatable read read only');
  try {
    await query(
      client,
      `select set_config(name, value, true) from pg_catalog.pg_settings
       join json_each_text($1) on lower(name) = key`,
      [JSON.stringify(settings)],
    );
    const tables = await query<ListedTable>(client, tableList);
    progress?.phase(`row counts and content of ${where!.database}`, tables.length, 'items');
    const result: TableFingerprint[] = [];
    for (const table of tables) {
      signal?.throwIfAborted();
      result.push(await fingerprintTable(client, table, options));
      progress?.advance(1);
    }
    return result;
  } finally {
    if (where!.own) await client.query('rollback').catch(() => undefined);
  }
}

/** In a subtransaction that is always rolled back: so no lock is kept, however many tables there are. */
async function fingerprintTable(
  client: Client,
  table: ListedTable,
  { content }: FingerprintOptions,
): Promise<TableFingerprint> {
  const name = { schema: table.schema, table: table.table };
  const nothing = { ...name, rows: null, hash: null };
  if (table.readable === null) return { ...nothing, skipped: 'it was dropped meanwhile' };
  if (!table.readable) return { ...nothing, skipped: 'the role may not read it' };
  await query(client, 'savepoint helvino');
  try {
    const [found] = await query<{ rows: string; hash: string | null; filenode: string }>(
      client,
      tableQuery(table, content),
    );
    if (found!.filenode !== table.filenode)
      return { ...nothing, skipped: 'it was truncated or rewritten meanwhile' };
    return {
      ...name,
      rows: found!.rows,
      hash: found!.hash,
      ...(content ? {} : { skipped: 'only rows were counted' }),
    };
  } catch (thrown) {
    const error = asHelvinoError(thrown);
    if (error.code === 'SERVER_GONE') throw error;
    return { ...nothing, skipped: error.message, ...(showsDamage(error) ? { damaged: true } : {}) };
  } finally {
    // Fails only with the connection, which then is what the caller hears of.
    await client.query('rollback to savepoint helvino').catch(() => undefined);
  }
}

/**
 * `(t.*)` is the whole row even where a column is called t. The file is looked up while the lock is held: TRUNCATE and
 * rewriting are not MVCC-safe, the snapshot would see an empty table.
 * https://www.postgresql.org/docs/current/mvcc-caveats.html
 */
function tableQuery({ oid, schema, table, plain }: ListedTable, content: boolean): string {
  const hash = content ? 'coalesce(sum(hashtextextended((t.*)::text, 0)), 0)::text' : 'null::text';
  const from = `${plain ? 'only ' : ''}${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;
  return `select count(*)::text as rows, ${hash} as hash, pg_relation_filenode(${oid})::text as filenode from ${from} t`;
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
