/** By which operators values are compared: those of the default operator class of a type, of an index, of a foreign key. */
import type { Client } from 'pg';
import { query } from '../../postgres/index.ts';
import type { ColumnModel, ComparisonModel } from './schema-model.ts';

/** For types that know no equality, as json, and for values of types that have nothing in common. */
export const asText: ComparisonModel = {
  operator: 'operator(pg_catalog.=)',
  left: 'text',
  right: 'text',
  collation: null,
};

/** The equality of a type; `argument`: the type that its operator takes, null of a polymorphic one. */
export interface TypeEquality {
  readonly operator: string;
  readonly argument: string | null;
  /** Of `argument`. */
  readonly oid: string;
  /** Its values can be hashed; false also where that depends on what they are made of. */
  readonly hashable: boolean;
}

/**
 * As the server looks for the operator class of DISTINCT, ORDER BY and indexes: that of the type, else of one that it is
 * binary coercible to, else a polymorphic one. https://www.postgresql.org/docs/current/xindex.html#XINDEX-OPCLASS-DEPENDENCIES
 */
const equalitiesQuery = `
  select t.oid::text as type, o.oprleft::text as oid, format('operator(%I.%s)', n.nspname, o.oprname) as operator,
    case when l.typtype <> 'p' then format_type(l.oid, -1) end as argument,
    o.oprcanhash and (l.typtype <> 'p' or t.typtype = 'e') as hashable
  from pg_type t
  cross join lateral (
    select c.opcfamily, c.opcintype, m.amname from pg_opclass c join pg_am m on m.oid = c.opcmethod and m.amname in ('btree', 'hash')
    join pg_type i on i.oid = c.opcintype
    where c.opcdefault and (c.opcintype = t.oid
      or exists (select from pg_cast k where k.castsource = t.oid and k.casttarget = c.opcintype and k.castmethod = 'b' and k.castcontext = 'i')
      or i.typname = case when t.typcategory = 'A' then 'anyarray' else (array['anyenum', 'anyrange', 'anymultirange', 'record'])[strpos('ermc', t.typtype::text)] end
        and i.typnamespace = 'pg_catalog'::regnamespace)
    order by m.amname, c.opcintype = t.oid desc, i.typtype = 'p', i.typispreferred desc limit 1) d
  join pg_amop a on a.amopfamily = d.opcfamily and a.amoplefttype = d.opcintype and a.amoprighttype = d.opcintype
    and a.amopstrategy = case d.amname when 'btree' then 3 else 1 end and a.amoppurpose = 's'
  join pg_operator o on o.oid = a.amopopr
  join pg_namespace n on n.oid = o.oprnamespace
  join pg_type l on l.oid = o.oprleft
  where t.oid = any($1::oid[])`;

/** Type → its equality, if it has one. */
export async function readEqualities(
  client: Client,
  types: Iterable<string>,
): Promise<ReadonlyMap<string, TypeEquality>> {
  const rows = await query<TypeEquality & { type: string }>(client, equalitiesQuery, [[...new Set(types)]]);
  return new Map(rows.map(({ type, ...equality }) => [type, equality]));
}

type TypeOf = Pick<ColumnModel, 'type' | 'base' | 'plain'>;

/** `oid`: of the column's type, which may be a domain. */
export function equalityOf(equality: TypeEquality | undefined, oid: string, column: TypeOf): ComparisonModel {
  if (equality === undefined) return asText;
  const cast = equality.oid === oid ? null : equality.argument;
  return withoutDomain({ operator: equality.operator, left: cast, right: cast, collation: null }, column);
}

/** An operator that takes any enum takes no domain over one: so it is cast to what it is a domain over. */
export function withoutDomain(comparison: ComparisonModel, column: TypeOf | undefined): ComparisonModel {
  const plain = column && column.type !== column.base ? column.plain : null;
  return { ...comparison, left: comparison.left ?? plain, right: comparison.right ?? plain };
}

/** Two polymorphic operators of the same name are the same one. */
export function isEqualityOf({ operator, left }: ComparisonModel, equality: TypeEquality): boolean {
  return operator === equality.operator && left === equality.argument;
}

/** An operator `o` of the schema `n`, as JSON of a ComparisonModel. `left`, `right`: OIDs of the types that need no cast. */
export function comparisonJson({
  left = '0',
  right = '0',
  collation,
}: {
  readonly left?: string;
  readonly right?: string;
  /** The OID of one, or null. */
  readonly collation: string;
}): string {
  const cast = (argument: string, own: string) =>
    `(select format_type(t.oid, -1) from pg_type t where t.oid = ${argument} and t.typtype <> 'p' and t.oid <> ${own})`;
  return `json_build_object('operator', coalesce(format('operator(%I.%s)', n.nspname, o.oprname), 'operator(pg_catalog.=)'),
    'left', ${cast('o.oprleft', left)}, 'right', ${cast('o.oprright', right)},
    'collation', (select format('%I.%I', cn.nspname, co.collname) from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace
      where co.oid = ${collation}))`;
}
