/**
 * Do the rows keep what the constraints promise? A restored page that is older than its neighbours can be a good page with a
 * good checksum, and still leave a child without its parent. Indexes are not used where that can be helped: they may be what is
 * wrong.
 */
import type { Client } from 'pg';
import { asHelvinoError } from '../base/errors.ts';
import { quoteIdentifier } from './fingerprint.ts';
import { query, showsDamage } from './sql.ts';

export interface ConstraintResult {
  readonly foreignKeys: number;
  readonly checks: number;
  readonly notNulls: number;
  /** One line each: what is broken. */
  readonly broken: readonly string[];
  /** What could not be looked at, or was never promised (NOT VALID). */
  readonly unproven: readonly string[];
  readonly queries: readonly { readonly sql: string; readonly result: string }[];
}

interface ForeignKey {
  readonly name: string;
  readonly valid: boolean;
  readonly full: boolean;
  readonly temporal: boolean;
  readonly child: string;
  readonly parent: string;
  readonly columns: readonly string[];
  readonly parentColumns: readonly string[];
  readonly operators: readonly string[];
  /** Of the parent's columns where the child's have others, as `collate x`; else empty. */
  readonly collations: readonly string[];
  /** Can be joined without looking up each row on its own. */
  readonly joinable: boolean;
}

/**
 * Those of partitions belong to the one of their table. `conpfeqop` holds the operators that the constraint itself uses.
 * https://www.postgresql.org/docs/current/catalog-pg-constraint.html
 */
const foreignKeyQuery = `
  select k.conname as name, k.convalidated as valid, k.confmatchtype = 'f' as full,
    coalesce(to_jsonb(k)->>'conperiod', 'false')::boolean as temporal,
    case when r.relkind = 'r' then 'only ' else '' end || format('%I.%I', rn.nspname, r.relname) as child,
    case when f.relkind = 'r' then 'only ' else '' end || format('%I.%I', fn.nspname, f.relname) as parent,
    (select array_agg(quote_ident(attname) order by ord) from unnest(k.conkey) with ordinality x(num, ord)
      join pg_attribute on attrelid = k.conrelid and attnum = num) as columns,
    (select array_agg(quote_ident(attname) order by ord) from unnest(k.confkey) with ordinality x(num, ord)
      join pg_attribute on attrelid = k.confrelid and attnum = num) as "parentColumns",
    (select array_agg(format('operator(%I.%s)', n.nspname, o.oprname) order by ord)
      from unnest(k.conpfeqop) with ordinality x(op, ord) join pg_operator o on o.oid = op join pg_namespace n on n.oid = o.oprnamespace) as operators,
    (select array_agg(case when p.attcollation <> c.attcollation then coalesce(format(' collate %I.%I', n.nspname, l.collname), '') else '' end order by ord)
      from unnest(k.conkey, k.confkey) with ordinality x(own, other, ord)
      join pg_attribute c on c.attrelid = k.conrelid and c.attnum = own join pg_attribute p on p.attrelid = k.confrelid and p.attnum = other
      left join pg_collation l on l.oid = p.attcollation left join pg_namespace n on n.oid = l.collnamespace) as collations,
    (select bool_and(o.oprcanhash or o.oprcanmerge) from unnest(k.conpfeqop) op join pg_operator o on o.oid = op) as joinable
  from pg_constraint k join pg_class r on r.oid = k.conrelid join pg_namespace rn on rn.oid = r.relnamespace
    join pg_class f on f.oid = k.confrelid join pg_namespace fn on fn.oid = f.relnamespace
  where k.contype = 'f' and k.conparentid = 0 and r.relkind in ('r', 'p') and r.relpersistence = 'p' and f.relpersistence = 'p'
    and coalesce(to_jsonb(k)->>'conenforced', 'true')::boolean
  order by rn.nspname, r.relname, k.conname`;

/** What each row of a table must be: checks, and columns that are not null. */
const rowRuleQuery = `
  select format('%I.%I', n.nspname, c.relname) as table, k.conname as name, 'check' as kind,
    format('not (%s)', pg_get_expr(k.conbin, k.conrelid)) as broken, k.convalidated as valid
  from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
  where k.contype = 'c' and c.relkind = 'r' and c.relpersistence = 'p' and n.nspname not in ('pg_catalog', 'information_schema')
    and coalesce(to_jsonb(k)->>'conenforced', 'true')::boolean
  union all
  select format('%I.%I', n.nspname, c.relname), a.attname, 'not null', format('%I is null', a.attname), true
  from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
  where a.attnotnull and a.attnum > 0 and not a.attisdropped and c.relkind = 'r' and c.relpersistence = 'p'
    and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
  order by 1, 3, 2`;

interface RowRule {
  readonly table: string;
  readonly name: string;
  readonly kind: 'check' | 'not null';
  readonly broken: string;
  readonly valid: boolean;
}

/** Of a database. Throws SERVER_GONE and the like, not for a single constraint. */
export async function checkConstraints(client: Client, signal: AbortSignal): Promise<ConstraintResult> {
  await query(
    client,
    `select set_config('search_path', 'pg_catalog', false), set_config('row_security', 'off', false), set_config('jit', 'off', false)`,
  );
  const found = new Findings(client, signal);
  const keys = await query<ForeignKey>(client, foreignKeyQuery);
  for (const key of keys) await found.foreignKey(key);
  const rules = await query<RowRule>(client, rowRuleQuery);
  for (const table of new Set(rules.map((rule) => rule.table)))
    await found.rows(
      table,
      rules.filter((rule) => rule.table === table),
    );
  const checks = rules.filter((rule) => rule.kind === 'check').length;
  return { ...found, foreignKeys: keys.length, checks, notNulls: rules.length - checks };
}

/** PostgreSQL allows 1664 columns in an answer. */
const atOnce = 500;

class Findings {
  readonly broken: string[] = [];
  readonly unproven: string[] = [];
  readonly queries: { sql: string; result: string }[] = [];
  readonly #client: Client;
  readonly #signal: AbortSignal;

  constructor(client: Client, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
  }

  async foreignKey(key: ForeignKey): Promise<void> {
    const what = `${key.child.replace(/^only /, '')}: foreign key ${key.name}`;
    if (key.temporal) {
      this.unproven.push(`${what}: it is one over periods, which is not looked at`);
      return;
    }
    const switched = key.joinable ? 'off' : 'on';
    await query(
      this.#client,
      ['enable_indexscan', 'enable_indexonlyscan', 'enable_bitmapscan']
        .map((name) => `set ${name} = ${switched}`)
        .join('; '),
    );
    const columns = key.columns.map((column) => `c.${column}`);
    const same = key.parentColumns.map(
      (column, i) => `p.${column} ${key.operators[i]} ${columns[i]}${key.collations[i]}`,
    );
    const given = columns.map((column) => `${column} is not null`).join(' and ');
    const part = columns.map((column) => `${column} is not null`).join(' or ');
    const orphan = `${given} and not exists (select from ${key.parent} p where ${same.join(' and ')})`;
    const wrong = key.full && columns.length > 1 ? `(${orphan}) or ((${part}) and not (${given}))` : orphan;
    const rows = await this.#ask<{ count: string }>(
      what,
      `select count(*)::text as count from ${key.child} c where ${wrong}`,
    );
    const count = rows?.[0]?.count ?? '0';
    if (!key.valid) this.unproven.push(`${what} is NOT VALID in the source: ${count} rows without a parent`);
    else if (count !== '0')
      this.broken.push(`${what}: ${count} rows without a parent in ${key.parent.replace(/^only /, '')}`);
  }

  async rows(table: string, rules: readonly RowRule[]): Promise<void> {
    await query(
      this.#client,
      'set enable_indexscan = off; set enable_indexonlyscan = off; set enable_bitmapscan = off',
    );
    for (let from = 0; from < rules.length; from += atOnce) {
      const some = rules.slice(from, from + atOnce);
      const counts = some.map(({ broken }, i) => `count(*) filter (where ${broken})::text as "${i}"`);
      const rows = await this.#ask<Record<string, string>>(
        `${table}: checks and not null`,
        `select ${counts.join(', ')} from only ${table}`,
      );
      for (const [i, { kind, name, valid }] of some.entries()) {
        const count = rows?.[0]?.[i] ?? '0';
        const what =
          kind === 'check' ? `${table}: check ${name}` : `${table}: not null of ${quoteIdentifier(name)}`;
        if (!valid) this.unproven.push(`${what} is NOT VALID in the source: ${count} rows break it`);
        else if (count !== '0') this.broken.push(`${what}: ${count} rows break it`);
      }
    }
  }

  async #ask<Row extends object>(what: string, sql: string): Promise<Row[] | undefined> {
    this.#signal.throwIfAborted();
    try {
      const rows = await query<Row>(this.#client, sql);
      const values = Object.values(rows[0] ?? {});
      const result = values.every((value) => value === '0') ? '0' : values.join(', ');
      this.queries.push({ sql, result });
      return rows;
    } catch (thrown) {
      const error = asHelvinoError(thrown);
      if (error.code === 'SERVER_GONE') throw error;
      (showsDamage(error) ? this.broken : this.unproven).push(`${what}: ${error.message}`);
      return undefined;
    }
  }
}
