/** Reads the catalogs of one database into a SchemaModel. https://www.postgresql.org/docs/current/catalogs.html */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { query, quoteIdentifier } from '../../postgres/index.ts';
import {
  asText,
  comparisonJson,
  equalityOf,
  isEqualityOf,
  readEqualities,
  type TypeEquality,
  withoutDomain,
} from './read-comparisons.ts';
import { childValue, parseInside } from './reference-inside.ts';
import { columnOf } from './row-sql.ts';
import {
  type ColumnModel,
  type ComparisonModel,
  type DeclaredReference,
  type ModelOptions,
  type ReferenceModel,
  type SchemaModel,
  type TableModel,
  type TriggerModel,
  tableName,
  type UniqueModel,
} from './schema-model.ts';

/** In the transaction that is open, if one is. Throws what the server answers; USAGE for a declared reference that fits nothing. */
export async function readSchema(client: Client, options: ModelOptions = {}): Promise<SchemaModel> {
  const tables = await readTables(client);
  const byOid = new Map(tables.map((table) => [table.oid, table]));
  const map = new Map(tables.map((table) => [table.id, table]));
  const references = await readReferences(client, byOid);
  const declared = (options.references ?? []).map((one) => declaredReference(map, one));
  const shared = new Set((options.shared ?? []).map((name) => findTable(map, name).id));
  return {
    tables: map,
    references: [...references, ...declared].filter((reference) => !shared.has(reference.child)),
  };
}

/** `table`, `schema.table`, or quoted. Throws USAGE. */
export function findTable(tables: SchemaModel['tables'], name: string): TableModel {
  const all = [...tables.values()];
  const found = all.filter((table) => table.id === name || tableName(table) === name);
  const named = found.length > 0 ? found : all.filter((table) => table.name === name);
  if (named.length === 1) return named[0]!;
  const what = named.length === 0 ? 'there is no table' : `${named.length} tables are called`;
  throw new HelvinoError('USAGE', `${what} ${name}`, {
    hint: named.length === 0 ? 'write schema.table' : named.map(tableName).join(' or '),
  });
}

/** Partitions are left out: their root stands for them. Foreign and temporary tables hold no rows of this database. */
const tablesQuery = `
  select c.oid::text as oid, n.nspname as schema, c.relname as name, c.relkind as kind,
    c.relpersistence = 'u' as unlogged, c.relrowsecurity as "rowSecurity",
    (c.relreplident = 'n' or c.relreplident = 'd' and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary))
      and (n.nspname, c.relname) in (select t.schemaname, t.tablename from pg_publication_tables t
        join pg_publication p using (pubname) where p.pubupdate or p.pubdelete) as "insertOnly",
    greatest(case when c.relkind = 'p' then (select coalesce(sum(greatest(l.reltuples, 0)), 0) from pg_partition_tree(c.oid) p
      join pg_class l on l.oid = p.relid where p.isleaf) else c.reltuples end, 0)::float8 as rows
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence in ('p', 'u')
    and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
      and d.deptype = 'e')
  order by n.nspname, c.relname`;

const columnsQuery = `
  with recursive base(oid, mod, root) as (
    select oid, -1, oid from pg_type where typtype = 'd'
    union all
    select t.typbasetype, t.typtypmod, b.root from base b join pg_type t on t.oid = b.oid where t.typtype = 'd')
  select a.attrelid::text as oid, a.attname as name, a.attnum::int as number, format_type(a.atttypid, a.atttypmod) as type, a.atttypid::text as "typeOid",
    format_type(coalesce(b.oid, a.atttypid), coalesce(b.mod, a.atttypmod)) as base, coalesce(b.oid, a.atttypid)::text as "baseOid",
    format_type(coalesce(b.oid, a.atttypid), -1) as plain,
    (select format('%I.%I', cn.nspname, co.collname) from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace
      where co.oid = a.attcollation) as collation,
    not exists (select from pg_collation co where co.oid = a.attcollation and not co.collisdeterministic) as exact,
    a.attnotnull as "notNull", a.atthasdef and a.attgenerated = '' as "hasDefault", a.attgenerated <> '' as generated,
    a.attidentity as identity,
    coalesce(
      (select format('%I.%I', sn.nspname, s.relname) from pg_depend d join pg_class s on s.oid = d.objid
        join pg_namespace sn on sn.oid = s.relnamespace
        where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid
          and d.refobjsubid = a.attnum and d.deptype in ('a', 'i') and s.relkind = 'S' limit 1),
      (select format('%I.%I', sn.nspname, s.relname) from pg_attrdef ad
        join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = ad.oid and d.refclassid = 'pg_class'::regclass
        join pg_class s on s.oid = d.refobjid and s.relkind = 'S' join pg_namespace sn on sn.oid = s.relnamespace
        where ad.adrelid = a.attrelid and ad.adnum = a.attnum limit 1)) as sequence
  from pg_attribute a
  left join lateral (select b.oid, b.mod from base b join pg_type t on t.oid = b.oid
    where b.root = a.atttypid and t.typtype <> 'd' limit 1) b on true
  where a.attrelid = any($1::oid[]) and a.attnum > 0 and not a.attisdropped
  order by a.attrelid, a.attnum`;

/** The primary key comes first, then those with the fewest columns. https://www.postgresql.org/docs/current/xindex.html has the numbers of operators. */
const indexesQuery = `
  select i.indrelid::text as oid, c.relname as name, i.indisunique as unique, x.conexclop is not null as exclusion, i.indnullsnotdistinct_ as "nullsEqual",
    pg_get_expr(i.indpred, i.indrelid) as predicate,
    array(select pg_get_indexdef(i.indexrelid, k, false) from generate_series(1, i.indnkeyatts) k order by k) as expressions,
    k.columns, k.comparisons, k."ownCollations"
  from (select *, coalesce((to_jsonb(x) ->> 'indnullsnotdistinct')::boolean, false) as indnullsnotdistinct_ from pg_index x) i
  join pg_class c on c.oid = i.indexrelid
  left join lateral (select conexclop from pg_constraint x
    where x.conindid = i.indexrelid and x.conrelid = i.indrelid and x.conexclop is not null limit 1) x on true
  cross join lateral (
    select array_agg(a.attname::text order by k) as columns, json_agg(${comparisonJson({ collation: 'i.indcollation[k]' })} order by k) as comparisons,
      bool_and(a.attcollation = i.indcollation[k] or not exists (select from pg_collation co
        where co.oid in (a.attcollation, i.indcollation[k]) and not co.collisdeterministic)) as "ownCollations"
    from generate_series(0, i.indnkeyatts - 1) k
    left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[k] and a.attnum <> 0
    join pg_opclass p on p.oid = i.indclass[k]
    left join pg_amop m on m.amopfamily = p.opcfamily and m.amoplefttype = p.opcintype and m.amoprighttype = p.opcintype
      and m.amopstrategy = 3 and m.amoppurpose = 's'
    left join pg_operator o on o.oid = coalesce(x.conexclop[k + 1], m.amopopr)
    left join pg_namespace n on n.oid = o.oprnamespace) k
  where i.indrelid = any($1::oid[]) and (i.indisunique or i.indisexclusion) and i.indisvalid
  order by i.indrelid, i.indisprimary desc, i.indnkeyatts, c.relname`;

const triggersQuery = `
  select t.tgrelid::text as oid, t.tgname as name, t.tgfoid::regprocedure::text as function, t.tgenabled in ('A', 'R') as always
  from pg_trigger t where t.tgrelid = any($1::oid[]) and not t.tgisinternal and t.tgenabled <> 'D'
  union all
  select r.ev_class::text, r.rulename, 'rule', r.ev_enabled in ('A', 'R')
  from pg_rewrite r where r.ev_class = any($1::oid[]) and r.ev_enabled <> 'D'
  order by 1, 2`;

/** Constraints that partitions have from their root (conparentid) are the root's. */
const referencesQuery = `
  select c.conname as name, c.conrelid::text as child, c.confrelid::text as parent, c.condeferrable as deferrable, c.confdeltype as "onDelete",
    coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true) as enforced, coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false) as period,
    format('%I.%I', cn.nspname, cc.relname) as "childFrom", format('%I.%I', pn.nspname, pc.relname) as "parentFrom",
    coalesce((select relid from pg_partition_ancestors(c.conrelid) with ordinality a(relid, n) order by n desc limit 1), c.conrelid)::oid::text as "childRoot",
    coalesce((select relid from pg_partition_ancestors(c.confrelid) with ordinality a(relid, n) order by n desc limit 1), c.confrelid)::oid::text as "parentRoot",
    array(select a.attname::text from unnest(c.conkey) with ordinality k(num, n) join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.num order by n) as "childColumns",
    array(select a.attname::text from unnest(c.confkey) with ordinality k(num, n) join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.num order by n) as "parentColumns",
    (select json_agg(${comparisonJson({ left: 'p.atttypid', right: 'a.atttypid', collation: 'nullif(p.attcollation, a.attcollation)' })} order by k)
      from unnest(c.conkey, c.confkey, c.conpfeqop) with ordinality u(own, other, op, k)
      join pg_attribute a on a.attrelid = c.conrelid and a.attnum = u.own join pg_attribute p on p.attrelid = c.confrelid and p.attnum = u.other
      join pg_operator o on o.oid = u.op join pg_namespace n on n.oid = o.oprnamespace) as comparisons
  from pg_constraint c
  join pg_class cc on cc.oid = c.conrelid join pg_namespace cn on cn.oid = cc.relnamespace
  join pg_class pc on pc.oid = c.confrelid join pg_namespace pn on pn.oid = pc.relnamespace
  where c.contype = 'f' and c.conparentid = 0
  order by cn.nspname, cc.relname, c.conname`;

interface TableRow {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly unlogged: boolean;
  readonly rowSecurity: boolean;
  readonly insertOnly: boolean;
  readonly rows: number;
}

interface IndexRow {
  readonly oid: string;
  readonly name: string;
  readonly unique: boolean;
  readonly exclusion: boolean;
  readonly nullsEqual: boolean;
  readonly predicate: string | null;
  readonly expressions: readonly string[];
  /** Null of an expression. */
  readonly columns: readonly (string | null)[];
  readonly comparisons: readonly ComparisonModel[];
  /** Those of the columns, or others that tell the same values apart. */
  readonly ownCollations: boolean;
}

type ColumnRow = Omit<ColumnModel, 'identity' | 'sequence' | 'equality' | 'hashable'> &
  Record<'oid' | 'typeOid' | 'baseOid' | 'identity', string> & { readonly sequence: string | null };

async function readTables(client: Client): Promise<TableModel[]> {
  const rows = await query<TableRow>(client, tablesQuery);
  const oids = [rows.map((row) => row.oid)];
  const columnRows = await query<ColumnRow>(client, columnsQuery, oids);
  const columns = grouped(columnRows);
  const equalities = await readEqualities(
    client,
    columnRows.map(({ baseOid }) => baseOid),
  );
  const indexes = grouped(await query<IndexRow>(client, indexesQuery, oids));
  const triggers = grouped(await query<{ oid: string } & TriggerModel>(client, triggersQuery, oids));
  return rows.map((row) => ({
    id: quoted(row.schema, row.name),
    oid: row.oid,
    schema: row.schema,
    name: row.name,
    kind: row.kind === 'p' ? 'partitioned' : 'table',
    unlogged: row.unlogged,
    columns: (columns.get(row.oid) ?? []).map(({ oid: _, typeOid, baseOid, ...column }) => ({
      ...column,
      equality: equalityOf(equalities.get(baseOid), typeOid, column),
      hashable: equalities.get(baseOid)?.hashable ?? false,
      identity: ({ a: 'always', d: 'by default' } as const)[column.identity],
      sequence: column.sequence ?? undefined,
    })),
    ...keyAndUniques(indexes.get(row.oid) ?? [], columns.get(row.oid) ?? [], equalities),
    triggers: (triggers.get(row.oid) ?? []).map(({ oid: _, ...trigger }) => trigger),
    rowSecurity: row.rowSecurity,
    insertOnly: row.insertOnly,
    rows: row.rows,
  }));
}

/** A key may be any unique index over plain NOT NULL columns that compares them as their types do. */
function keyAndUniques(
  indexes: readonly IndexRow[],
  columns: readonly ColumnRow[],
  equalities: ReadonlyMap<string, TypeEquality>,
): Pick<TableModel, 'key' | 'uniques'> {
  const byName = new Map(columns.map((column) => [column.name, column]));
  const plain = (index: IndexRow): string[] | undefined => {
    if (!index.unique || index.predicate !== null || !index.ownCollations) return undefined;
    const names = index.columns.filter((name, at) => {
      const equality = name !== null && equalities.get(byName.get(name)!.baseOid);
      return equality && (index.exclusion || isEqualityOf(index.comparisons[at]!, equality));
    });
    return names.length === index.columns.length ? (names as string[]) : undefined;
  };
  const uniques = indexes.map((index) => {
    const { name, expressions, comparisons, predicate, nullsEqual } = index;
    const typed = comparisons.map((one, at) => {
      const column = byName.get(index.columns[at] ?? '');
      return withoutDomain(one, column);
    });
    const model = { name, expressions, predicate: predicate ?? undefined, nullsEqual };
    return { index, model: { ...model, comparisons: typed, columns: plain(index) } satisfies UniqueModel };
  });
  const key = uniques.find(({ model }) =>
    model.columns?.every((name) => byName.get(name)!.notNull && !byName.get(name)!.generated),
  );
  return {
    key: key?.model.columns,
    uniques: uniques.filter((one) => one !== key || one.index.exclusion).map(({ model }) => model),
  };
}

type ReferenceRow = Pick<
  ReferenceModel,
  | 'name'
  | 'deferrable'
  | 'onDelete'
  | 'enforced'
  | 'period'
  | 'childColumns'
  | 'parentColumns'
  | 'comparisons'
> &
  Record<'child' | 'parent' | 'childRoot' | 'parentRoot' | 'childFrom' | 'parentFrom', string>;

async function readReferences(
  client: Client,
  tables: ReadonlyMap<string, TableModel>,
): Promise<ReferenceModel[]> {
  const rows = await query<ReferenceRow>(client, referencesQuery);
  return rows.flatMap((row) => {
    const child = tables.get(row.childRoot);
    const parent = tables.get(row.parentRoot);
    if (!child || !parent) return [];
    const { name, deferrable, onDelete, enforced, period, childColumns, parentColumns, comparisons } = row;
    return {
      name,
      child: child.id,
      childColumns,
      childFrom: row.child === row.childRoot ? child.id : row.childFrom,
      parent: parent.id,
      parentColumns,
      parentFrom: row.parent === row.parentRoot ? parent.id : row.parentFrom,
      comparisons,
      enforced,
      period,
      deferrable,
      onDelete,
      when: {},
    };
  });
}

function declaredReference(tables: SchemaModel['tables'], declared: DeclaredReference): ReferenceModel {
  const child = findTable(tables, declared.from);
  const parent = findTable(tables, declared.to);
  const { toColumns, when = {} } = declared;
  const places = declared.columns.map((one) => parseInside(child, one));
  const columns = places.map((one) => one.name);
  const name = `${tableName(child)} (${declared.columns.join(', ')}) → ${tableName(parent)}`;
  if (columns.length !== toColumns.length || columns.length === 0)
    throw new HelvinoError(
      'CONFIG_INVALID',
      `the reference ${name} names ${columns.length} columns for ${toColumns.length}`,
    );
  for (const [table, names] of [
    [child, [...columns, ...Object.keys(when)]],
    [parent, toColumns],
  ] as const) {
    const missing = names.find((column) => !table.columns.some((one) => one.name === column));
    if (missing !== undefined)
      throw new HelvinoError(
        'CONFIG_INVALID',
        `the reference ${name}: ${tableName(table)} has no column ${missing}`,
        {
          hint: 'correct `rescue.references` in helvino.yaml',
        },
      );
  }
  const inside = places.some((one) => one.inside) ? places.map((one) => one.inside) : undefined;
  return {
    name,
    child: child.id,
    childColumns: columns,
    inside,
    childFrom: child.id,
    parent: parent.id,
    parentColumns: toColumns,
    parentFrom: parent.id,
    comparisons: columns.map((_, index) =>
      declaredComparison(
        columnOf(parent, toColumns[index]!),
        childValue({ childColumns: columns, inside }, child, index),
      ),
    ),
    enforced: false,
    period: false,
    deferrable: false,
    onDelete: 'a',
    when,
  };
}

const numbers = /^(smallint|integer|bigint|numeric)$/;

/** Of unlike types, as text. */
function declaredComparison(
  parent: ColumnModel,
  child: { readonly type: string; readonly collation: string | null },
): ComparisonModel {
  const collation = parent.collation === child.collation ? null : parent.collation;
  if (numbers.test(parent.plain) && numbers.test(child.type)) return { ...asText, left: null, right: null };
  if (parent.plain !== child.type) return { ...asText, collation: parent.collation ?? 'pg_catalog."C"' };
  return { ...parent.equality, right: parent.equality.left ?? parent.plain, collation };
}

function quoted(schema: string, name: string): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

function grouped<Row extends { readonly oid: string }>(rows: readonly Row[]): Map<string, Row[]> {
  return Map.groupBy(rows, (row) => row.oid);
}
