/** Is every sequence ahead of the column that it numbers? One that is behind makes the next insert fail. */
import type { Client } from 'pg';
import { asHelvinoError } from '../base/errors.ts';
import { query, showsDamage } from './sql.ts';

export interface SequenceResult {
  readonly looked: number;
  readonly behind: readonly string[];
  readonly unproven: readonly string[];
  readonly queries: readonly { readonly sql: string; readonly result: string }[];
}

interface NumberedColumn {
  readonly sequence: string;
  readonly table: string;
  readonly column: string;
  /** Negative where it counts down. */
  readonly step: string;
}

/**
 * Owned by a column (serial, identity), or in its default; where two equal numbers would be refused. A unique index is that of
 * one table: children have their own, and some are on another server.
 * https://www.postgresql.org/docs/current/catalog-pg-depend.html
 */
const columnQuery = `
  with used as (
    select d.objid as sequence, d.refobjid as relation, d.refobjsubid::int2 as number from pg_depend d
    where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') and d.refobjsubid > 0
    union
    select d.refobjid, a.adrelid, a.adnum from pg_depend d join pg_attrdef a on a.oid = d.objid
    where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype = 'n'
  )
  select format('%I.%I', sn.nspname, s.relname) as sequence, 
    concat(case when t.relkind = 'r' then 'only ' end, format('%I.%I', tn.nspname, t.relname)) as table,
    quote_ident(a.attname) as column, q.seqincrement::text as step
  from used u join pg_class s on s.oid = u.sequence and s.relkind = 'S' and s.relpersistence = 'p'
    join pg_namespace sn on sn.oid = s.relnamespace join pg_sequence q on q.seqrelid = s.oid
    join pg_class t on t.oid = u.relation and t.relkind in ('r', 'p') and t.relpersistence = 'p' join pg_namespace tn on tn.oid = t.relnamespace
    join pg_attribute a on a.attrelid = t.oid and a.attnum = u.number and not a.attisdropped
  where not q.seqcycle and a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
    and exists (select from pg_index i where i.indrelid = t.oid and i.indisunique and i.indnkeyatts = 1 and i.indkey[0] = u.number)
  order by 1, 2, 3`;

/** Of a database. Throws SERVER_GONE and the like, not for a single sequence. */
export async function checkSequences(client: Client, signal: AbortSignal): Promise<SequenceResult> {
  await query(
    client,
    `select set_config('search_path', 'pg_catalog', false), set_config('row_security', 'off', false)`,
  );
  const behind: string[] = [];
  const unproven: string[] = [];
  const queries: { sql: string; result: string }[] = [];
  const columns = await query<NumberedColumn>(client, columnQuery);
  for (const numbered of columns) {
    signal.throwIfAborted();
    const { sequence } = numbered;
    try {
      const found = await look(client, numbered);
      queries.push(...found.queries);
      if (found.behind !== undefined) behind.push(found.behind);
    } catch (thrown) {
      const error = asHelvinoError(thrown);
      if (error.code === 'SERVER_GONE') throw error;
      (showsDamage(error) ? behind : unproven).push(`${sequence}: ${error.message}`);
    }
  }
  return { looked: columns.length, behind, unproven, queries };
}

/** `behind`: undefined where the numbers to come are free. */
async function look(
  client: Client,
  { sequence, table, column, step }: NumberedColumn,
): Promise<{ queries: SequenceResult['queries']; behind: string | undefined }> {
  const down = step.startsWith('-');
  const sql = `select s.last_value, s.is_called, (select ${down ? 'min' : 'max'}(${column}) from ${table}) as used from ${sequence} s`;
  const [row] = await query<{ last_value: string; is_called: boolean; used: string | number | null }>(
    client,
    sql,
  );
  const { last_value: last, is_called: called, used } = row!;
  const queries = [{ sql, result: `${last}, ${called}, ${used ?? 'null'}` }];
  const ahead = used === null ? -1n : (BigInt(used) - BigInt(last)) * (down ? -1n : 1n);
  if (ahead < 0n || (ahead === 0n && called)) return { queries, behind: undefined };
  const behind = `${sequence} is at ${last}, ${table.replace(/^only /, '')}.${column} at ${used}`;
  if (['1', '-1'].includes(step)) return { queries, behind };
  // Servers that write to each other's tables share numbers out: those in between are not ours.
  const reach = `${down ? '<' : '>'}${called ? '' : '='}`;
  const taken = `select exists (select from ${table} where ${column} ${reach} ${last} and mod(${column}::numeric - (${last}), ${step}) = 0) as taken`;
  const [found] = await query<{ taken: boolean }>(client, taken);
  queries.push({ sql: taken, result: String(found!.taken) });
  return { queries, behind: found!.taken ? behind : undefined };
}
