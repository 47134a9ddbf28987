/**
 * What a database consists of: every object with a hash of its definition, and the extensions. So that a restored database can
 * be compared with its source, object by object. Objects that an extension has made are the extension's.
 */
import type { Client } from 'pg';
import { connectSql } from './connect.ts';
import type { ConnectionParams } from './conninfo.ts';
import { query } from './sql.ts';

export interface SchemaFacts {
  /** What it is and its name (`table public.messages`), and the MD5 of its definition. In order of name. */
  readonly objects: readonly (readonly [name: string, hash: string])[];
  /** Name and version. */
  readonly extensions: readonly (readonly [name: string, version: string])[];
}

/** Definitions are printed by the server, with every name qualified. Own rights, owners and comments are left out. */
const objectQuery = `
  with ns as (
    select oid, nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
  ), own as (
    select classid, objid from pg_depend where deptype = 'e'
  ), found as (
    select 'schema' as kind, quote_ident(nspname) as name, '' as definition from ns
    where ('pg_namespace'::regclass, oid) not in (select classid, objid from own)
    union all
    select case c.relkind when 'r' then 'table' when 'p' then 'table' when 'v' then 'view' when 'm' then 'materialized view'
        when 'f' then 'foreign table' when 'c' then 'type' else 'sequence' end,
      format('%I.%I', ns.nspname, c.relname),
      concat_ws(e'\\n', c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.reloptions,
        pg_get_expr(c.relpartbound, c.oid), case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end,
        case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end,
        (select concat_ws(' ', format_type(seqtypid, null), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle)
          from pg_sequence where seqrelid = c.oid),
        (select string_agg(i.inhparent::regclass::text, ',' order by i.inhseqno) from pg_inherits i where i.inhrelid = c.oid),
        (select string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull,
              a.attidentity, a.attgenerated, a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid)),
            e'\\n' order by a.attnum)
          from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped))
    from pg_class c join ns on ns.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'c', 'S') and c.relpersistence <> 't'
      and ('pg_class'::regclass, c.oid) not in (select classid, objid from own)
    union all
    select 'index', format('%I.%I', ns.nspname, c.relname), pg_get_indexdef(c.oid)
    from pg_class c join ns on ns.oid = c.relnamespace join pg_index i on i.indexrelid = c.oid
    where c.relpersistence <> 't' and ('pg_class'::regclass, i.indrelid) not in (select classid, objid from own)
    union all
    select 'constraint', format('%I of %s', k.conname, coalesce(nullif(k.conrelid, 0)::regclass::text, k.contypid::regtype::text)),
      pg_get_constraintdef(k.oid)
    from pg_constraint k join ns on ns.oid = k.connamespace
    where k.contype <> 't' and ('pg_class'::regclass, k.conrelid) not in (select classid, objid from own)
      and ('pg_type'::regclass, k.contypid) not in (select classid, objid from own)
    union all
    select case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
      format('%I.%I(%s)', ns.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
      case when p.prokind = 'a' then pg_get_function_result(p.oid) else pg_get_functiondef(p.oid) end
    from pg_proc p join ns on ns.oid = p.pronamespace
    where ('pg_proc'::regclass, p.oid) not in (select classid, objid from own)
    union all
    select 'trigger', format('%I of %s', t.tgname, t.tgrelid::regclass), concat(pg_get_triggerdef(t.oid), t.tgenabled)
    from pg_trigger t join pg_class c on c.oid = t.tgrelid join ns on ns.oid = c.relnamespace
    where not t.tgisinternal and ('pg_class'::regclass, c.oid) not in (select classid, objid from own)
    union all
    select 'type', format('%I.%I', ns.nspname, t.typname),
      concat_ws(e'\\n', t.typtype, case when t.typbasetype <> 0 then format_type(t.typbasetype, t.typtypmod) end, t.typnotnull, t.typdefault,
        (select string_agg(e.enumlabel, e'\\n' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid),
        (select format_type(r.rngsubtype, null) from pg_range r where r.rngtypid = t.oid))
    from pg_type t join ns on ns.oid = t.typnamespace
    where t.typtype in ('e', 'd', 'r') and ('pg_type'::regclass, t.oid) not in (select classid, objid from own)
    union all
    select 'policy', format('%I of %s', p.polname, p.polrelid::regclass),
      concat_ws(e'\\n', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    from pg_policy p join pg_class c on c.oid = p.polrelid join ns on ns.oid = c.relnamespace
    union all
    select 'rule', format('%I of %s', r.rulename, r.ev_class::regclass), pg_get_ruledef(r.oid)
    from pg_rewrite r join pg_class c on c.oid = r.ev_class join ns on ns.oid = c.relnamespace
    where r.rulename <> '_RETURN'
    union all
    select 'statistics', format('%I.%I', ns.nspname, s.stxname), pg_get_statisticsobjdef(s.oid)
    from pg_statistic_ext s join ns on ns.oid = s.stxnamespace
    union all
    select 'event trigger', quote_ident(evtname), concat_ws(' ', evtevent, evtenabled, evttags, evtfoid::regprocedure)
    from pg_event_trigger where ('pg_event_trigger'::regclass, oid) not in (select classid, objid from own)
  )
  select kind || ' ' || name as name, md5(coalesce(definition, '')) as hash from found order by 1, 2`;

/** In the transaction that is open, as of its snapshot, or in one of its own. Throws SERVER_*. */
export async function readSchemaFacts(client: Client): Promise<SchemaFacts> {
  const [where] = await query<{ own: boolean }>(client, 'select now() = statement_timestamp() as own');
  await query(
    client,
    where!.own ? 'begin isolation level repeatable read read only' : 'savepoint helvino_schema',
  );
  try {
    await query(
      client,
      `select set_config('search_path', 'pg_catalog', true), set_config('quote_all_identifiers', 'off', true)`,
    );
    const objects = await query<{ name: string; hash: string }>(client, objectQuery);
    const extensions = await query<{ name: string; version: string }>(
      client,
      'select extname as name, extversion as version from pg_extension order by 1',
    );
    return {
      objects: objects.map(({ name, hash }) => [name, hash]),
      extensions: extensions.map(({ name, version }) => [name, version]),
    };
  } finally {
    // Fails only with the connection, which then is what the caller hears of.
    await client
      .query(where!.own ? 'rollback' : 'rollback to savepoint helvino_schema')
      .catch(() => undefined);
  }
}

/** Names of all databases of a server that can be connected to. */
export async function openDatabases(connection: ConnectionParams): Promise<string[]> {
  const client = await connectSql(connection);
  try {
    const rows = await query<{ datname: string }>(
      client,
      'select datname from pg_database where datallowconn and datconnlimit <> -2 order by datname',
    );
    return rows.map((row) => row.datname);
  } finally {
    await client.end();
  }
}

interface Differences {
  /** Not in the restored database. */
  readonly missing: readonly string[];
  /** Only there. */
  readonly added: readonly string[];
  readonly changed: readonly string[];
}

/** Pairs of name and content. A name that is there several times counts as one. Pure. */
export function comparePairs(
  source: readonly (readonly [string, string])[],
  restored: readonly (readonly [string, string])[],
): Differences {
  const left = new Map(source);
  const right = new Map(restored);
  return {
    missing: [...left.keys()].filter((name) => !right.has(name)),
    added: [...right.keys()].filter((name) => !left.has(name)),
    changed: [...left]
      .filter(([name, value]) => right.has(name) && right.get(name) !== value)
      .map(([name]) => name),
  };
}
