/**
 * Which file belongs to which table, in one database. Paths are those of the data directory.
 * https://www.postgresql.org/docs/current/storage-file-layout.html
 */
import type { Client } from 'pg';

export interface RelationFile {
  /** Of the main fork's first segment: `base/5/16384`. */
  readonly path: string;
  readonly schema: string;
  /** The relation, or for an index or TOAST table the table that it serves. */
  readonly table: string;
  /** `table`, `index`, `toast`, `materialized view`, `sequence`. */
  readonly kind: string;
}

export async function relationsByFile(client: Client): Promise<RelationFile[]> {
  const { rows } = await client.query<{ path: string; schema: string; table: string; kind: string }>(`
    with owner as (
      select c.oid, coalesce(i.indrelid, c.oid) as first_owner, c.relkind
      from pg_class c left join pg_index i on i.indexrelid = c.oid
      where c.relkind in ('r', 'i', 't', 'm', 'S'))
    select pg_relation_filepath(o.oid) as path, n.nspname as schema, t.relname as table,
      case o.relkind when 'r' then 'table' when 'i' then 'index' when 't' then 'toast' when 'm' then 'materialized view'
        else 'sequence' end as kind
    from owner o
    join pg_class f on f.oid = o.first_owner
    left join pg_class toasted on f.relkind = 't' and toasted.reltoastrelid = f.oid
    join pg_class t on t.oid = coalesce(toasted.oid, f.oid)
    join pg_namespace n on n.oid = t.relnamespace
    where pg_relation_filepath(o.oid) is not null`);
  return rows;
}
