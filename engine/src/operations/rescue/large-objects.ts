/**
 * Large objects that rows out of the past name by their OID. Deleting a row leaves its large object; a trigger (lo_manage) or
 * vacuumlo takes it away. Then it is in the backup alone: the row comes back without it, which is said with a number.
 * https://www.postgresql.org/docs/current/lo.html
 */
import type { Client } from 'pg';
import { copyOut, query } from '../../postgres/index.ts';
import type { TablePair } from './compare-schemas.ts';
import { changedRows } from './conflicts.ts';
import type { PlanSpace } from './plan-space.ts';
import { column, from, joinIdentity } from './row-sql.ts';
import { type TableModel, tableName } from './schema-model.ts';

/** Columns whose values may be OIDs of large objects: also those of the extension `lo`. */
function objectColumns(table: TableModel): string[] {
  return table.columns.filter(({ base, generated }) => base === 'oid' && !generated).map(({ name }) => name);
}

/** In words, for each column of a table that is written. */
export async function missingObjects(space: PlanSpace, pair: TablePair): Promise<string[]> {
  const told: string[] = [];
  for (const name of objectColumns(pair.before).filter((one) => pair.columns.includes(one))) {
    const missing = await countMissing(space, pair, name);
    if (missing > 0)
      told.push(
        `${tableName(pair.now)}.${name}: ${missing} large objects that its rows name are not there any more, and do not come back with them; take them out of a server of that moment (helvino open, lo_export)`,
      );
  }
  return told;
}

async function countMissing(space: PlanSpace, pair: TablePair, name: string): Promise<number> {
  const { before, now } = space.clients;
  const value = column('t', name);
  // Rows out of files: what was a large object there cannot be known.
  const was =
    pair.before.rowsIn === undefined
      ? `and exists (select from pg_catalog.pg_largeobject_metadata o where o.oid = ${value})`
      : '';
  let missing = 0;
  const ask = async (oids: readonly string[]) => {
    const [row] = await query<{ count: number }>(
      now,
      `select count(*)::int as count from unnest($1::oid[]) o (id)
       where not exists (select from pg_catalog.pg_largeobject_metadata m where m.oid = o.id)`,
      [oids],
    );
    missing += row!.count;
  };
  await copyOut(
    before,
    `copy (select distinct ${value} from ${changedRows(pair)} where d.action in ('i', 'u') and ${value} <> 0 ${was}) to stdout`,
    (rows) => ask(rows.toString('latin1').trimEnd().split('\n')),
  );
  return missing;
}

/** For an export, in words, for each column: `keys` is the table of the rows that are in it. */
export async function namedObjects(client: Client, table: TableModel, keys: string): Promise<string[]> {
  const told: string[] = [];
  for (const name of objectColumns(table)) {
    const [row] = await query<{ count: number }>(
      client,
      `select count(distinct o.oid)::float8 as count from ${keys} k join ${from(table)} t on ${joinIdentity(table, 'k')}
       join pg_catalog.pg_largeobject_metadata o on o.oid = ${column('t', name)}`,
    );
    if (row!.count > 0)
      told.push(
        `${tableName(table)}.${name}: ${row!.count} large objects that its rows name are not exported`,
      );
  }
  return told;
}
