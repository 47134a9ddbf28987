/**
 * Recovered further than its backup, a database may lack tables that the backup had. Whether they were dropped, and by whom,
 * is in the WAL in between: what no transaction has dropped or renamed is lost.
 */
import { formatTime, plural } from '../../base/format.ts';
import { type ConnectionParams, connectSql, openDatabases, parseLsn } from '../../postgres/index.ts';
import { type FoundTransaction, findTransactions } from '../find/find.ts';
import type { ResolvedTarget } from '../restore/resolve-target.ts';
import type { DrillOptions } from './drill.ts';
import { type Check, findings } from './report.ts';

export interface LostTablesInput {
  readonly options: DrillOptions;
  readonly connection: ConnectionParams;
  readonly target: ResolvedTarget;
  /** The end of the backup. */
  readonly from: string;
}

interface Table {
  readonly database: string;
  readonly schema: string;
  readonly table: string;
  /** Of its main fork: `base/5/16384`; where the backup says it. */
  readonly path: string | undefined;
}

export async function checkLostTables(input: LostTablesInput): Promise<Omit<Check, 'name' | 'seconds'>> {
  const tables = await recordedTables(input.options);
  if (tables.length === 0)
    return { state: 'unproven', detail: 'the backup does not say which tables its source had' };
  const there = await tablesThere(input.connection);
  const missing = tables.filter((one) => !there.names.has(nameOf(one)));
  if (missing.length === 0)
    return { state: 'passed', detail: `${plural(tables.length, 'table')} of the backup are all there` };
  const found = await dropsBetween(input, missing);
  const lost: string[] = [];
  const gone: string[] = [];
  for (const table of missing) {
    const name = `${table.database}: ${table.schema}.${table.table}`;
    const renamed = table.path === undefined ? undefined : there.byPath.get(table.path);
    const drop = found.transactions.find((transaction) => touches(transaction, table));
    if (renamed !== undefined) gone.push(`${name} is now called ${renamed}`);
    else if (drop)
      gone.push(
        `${name} was dropped or rewritten by transaction ${drop.xid} at ${formatTime(new Date(drop.time / 1000))}: before:xid:${drop.xid} has it`,
      );
    else if (found.whole) lost.push(`${name} is missing, and no transaction in the WAL has dropped it`);
    else gone.push(`${name} is missing; not all WAL could be searched for who dropped it`);
  }
  if (lost.length > 0)
    return {
      state: 'failed',
      detail: `${plural(lost.length, 'table')} of ${tables.length} lost`,
      findings: findings([...lost, ...gone]),
    };
  return {
    state: 'unproven',
    detail: `${gone.length} of ${plural(tables.length, 'table')} of the backup are gone: whether that was meant, you must say`,
    findings: findings(gone),
  };
}

function nameOf({ database, schema, table }: Omit<Table, 'path'>): string {
  return JSON.stringify([database, schema, table]);
}

async function recordedTables({ repository, manifest }: DrillOptions): Promise<Table[]> {
  const paths = new Map<string, string>();
  for await (const value of repository.section(manifest, 'relations')) {
    const file = value as Omit<Table, 'path'> & { path: string; kind: string };
    if (file.kind === 'table' || file.kind === 'materialized view') paths.set(nameOf(file), file.path);
  }
  const tables: Table[] = [];
  for await (const value of repository.section(manifest, 'tables')) {
    const table = value as Omit<Table, 'path'>;
    tables.push({ ...table, path: paths.get(nameOf(table)) });
  }
  return tables;
}

async function tablesThere(
  connection: ConnectionParams,
): Promise<{ names: Set<string>; byPath: Map<string, string> }> {
  const names = new Set<string>();
  const byPath = new Map<string, string>();
  for (const database of await openDatabases(connection)) {
    const client = await connectSql(connection, { database });
    try {
      const { rows } = await client.query<{ schema: string; table: string; path: string | null }>(
        `select n.nspname as schema, c.relname as table, pg_relation_filepath(c.oid) as path
         from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'm')`,
      );
      for (const { schema, table, path } of rows) {
        names.add(nameOf({ database, schema, table }));
        if (path !== null) byPath.set(path, `${schema}.${table}`);
      }
    } finally {
      await client.end();
    }
  }
  return { names, byPath };
}

/** More than anyone does to a few tables between two backups. */
const most = 10_000;

/** `whole`: all WAL in between was searched, and no transaction in it is known in part only. */
async function dropsBetween(
  { options, target, from }: LostTablesInput,
  missing: readonly Table[],
): Promise<{ transactions: readonly FoundTransaction[]; whole: boolean }> {
  const { repository, identities, manifest, progress, signal } = options;
  const result = await findTransactions({
    repository,
    identities,
    database: manifest.database,
    filter: {
      tables: missing.map(({ schema, table }) => `${schema}.${table}`),
      drops: false,
      truncates: false,
      all: false,
    },
    limit: most,
    progress,
    signal,
  });
  const inside = ({ lsn }: { lsn: bigint }) => lsn >= parseLsn(from) && lsn < target.end;
  const transactions = result.transactions.filter(inside);
  const skipped = result.notSearched.some(
    ({ from: begin, to }) => parseLsn(begin) < target.end && parseLsn(to) > parseLsn(from),
  );
  return { transactions, whole: !result.more && !skipped && !transactions.some(({ partial }) => partial) };
}

function touches({ changes, droppedDatabases }: FoundTransaction, table: Table): boolean {
  if (droppedDatabases.includes(table.database)) return true;
  return changes.some(
    ({ database, schema, name, dropped, rewritten }) =>
      (dropped || rewritten) &&
      database === table.database &&
      name === table.table &&
      (schema === undefined || schema === table.schema),
  );
}
