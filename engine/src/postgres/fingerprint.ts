/**
 * Fingerprints: row count and content hash of every table, comparable between a server and a restored copy of it.
 * The hash is the sum of hashtextextended() over the text form of each row, so it does not depend on the order of rows.
 */
import type { Client } from 'pg';
import type { Progress } from '../base/progress.ts';

export interface TableFingerprint {
  readonly schema: string;
  readonly table: string;
  /** Decimal; null when it could not be read. */
  readonly rows: string | null;
  /** Decimal; null when it was not asked for or could not be read. */
  readonly hash: string | null;
  /** Why something is null. */
  readonly skipped?: string;
}

/** Everything that changes how a value is printed; the two sides must agree. */
const settings = `
  set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local timezone = 'UTC';
  set local extra_float_digits = 1; set local bytea_output = 'hex'; set local lc_monetary = 'C'; set local xmlbinary = 'base64';
  set local search_path = pg_catalog; set local row_security = off; set local statement_timeout = 0; set local lock_timeout = 0;
  set local idle_in_transaction_session_timeout = 0; set local jit = off`;

/** Permanent tables, partitions and materialized views. The content of the others is not in a backup, or is theirs. */
export const tableList = `
  select n.nspname as schema, c.relname as table, c.relkind = 'r' as plain,
    has_table_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage') as readable
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'm') and c.relpersistence = 'p' and (c.relkind = 'r' or c.relispopulated)
    and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname !~ '^pg_(temp|toast_temp)_'
  order by 1, 2`;

export interface FingerprintOptions {
  /** Hash the content, too; else rows are only counted. */
  readonly content: boolean;
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
}

/** Runs in the transaction that is open, or in one of its own. */
export async function fingerprintDatabase(client: Client, options: FingerprintOptions): Promise<TableFingerprint[]> {
  const own = (await client.query<{ own: boolean }>(`select now() = statement_timestamp() as own`)).rows[0]!.own;
  if (own) await client.query('begin isolation level repeatable read read only');
  try {
    await client.query(settings);
    const tables = (await client.query<{ schema: string; table: string; plain: boolean; readable: boolean }>(tableList)).rows;
    const result: TableFingerprint[] = [];
    for (const table of tables) {
      options.signal?.throwIfAborted();
      result.push(await fingerprintTable(client, table, options));
    }
    return result;
  } finally {
    if (own) await client.query('rollback').catch(() => undefined);
  }
}

async function fingerprintTable(
  client: Client,
  { schema, table, plain, readable }: { schema: string; table: string; plain: boolean; readable: boolean },
  { content }: FingerprintOptions,
): Promise<TableFingerprint> {
  const name = { schema, table };
  if (!readable) return { ...name, rows: null, hash: null, skipped: 'the role may not read it' };
  const hash = content ? `coalesce(sum(hashtextextended(t::text, 0)), 0)::text` : 'null::text';
  const from = `${plain ? 'only ' : ''}${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;
  await client.query('savepoint helvino');
  try {
    const { rows } = await client.query<{ rows: string; hash: string | null }>(`select count(*)::text as rows, ${hash} as hash from ${from} t`);
    await client.query('release savepoint helvino');
    return { ...name, rows: rows[0]!.rows, hash: rows[0]!.hash, ...(content ? {} : { skipped: 'only rows were counted' }) };
  } catch (thrown) {
    await client.query('rollback to savepoint helvino');
    return { ...name, rows: null, hash: null, skipped: (thrown as Error).message };
  }
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export interface ComparedTable {
  readonly schema: string;
  readonly table: string;
  /** `unproven`: one side could not be read. */
  readonly state: 'equal' | 'different' | 'unproven';
  readonly reason?: string;
  readonly rows: 'equal' | 'different' | 'unproven';
  readonly content: 'equal' | 'different' | 'unproven';
  readonly source?: TableFingerprint;
  readonly restored?: TableFingerprint;
}

/** Every table of either side, in order of name. */
export function compareFingerprints(source: readonly TableFingerprint[], restored: readonly TableFingerprint[]): ComparedTable[] {
  const key = (t: TableFingerprint) => JSON.stringify([t.schema, t.table]);
  const left = new Map(source.map((table) => [key(table), table]));
  const right = new Map(restored.map((table) => [key(table), table]));
  return [...new Set([...left.keys(), ...right.keys()])].sort().map((name) => compareTable(left.get(name), right.get(name)));
}

function compareTable(source: TableFingerprint | undefined, restored: TableFingerprint | undefined): ComparedTable {
  const { schema, table } = (source ?? restored)!;
  const base = { schema, table, source, restored };
  if (!source || !restored) {
    const reason = source ? 'it is missing in the restored server' : 'the source did not have it';
    return { ...base, state: 'different', rows: 'different', content: 'different', reason };
  }
  const rows = compareValue(source.rows, restored.rows);
  const content = compareValue(source.hash, restored.hash);
  const reason = source.skipped ?? restored.skipped;
  if (rows === 'different' || content === 'different') return { ...base, state: 'different', rows, content, reason };
  return { ...base, state: rows === 'unproven' ? 'unproven' : 'equal', rows, content, reason };
}

function compareValue(a: string | null, b: string | null): 'equal' | 'different' | 'unproven' {
  if (a === null || b === null) return 'unproven';
  return a === b ? 'equal' : 'different';
}
