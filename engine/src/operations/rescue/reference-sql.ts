/** The SQL that says which row of a child refers to which row of a parent. */
import { childValue } from './reference-inside.ts';
import { column, columnOf, compare, from, sameValue } from './row-sql.ts';
import type { ReferenceModel, SchemaModel, TableModel } from './schema-model.ts';

/** What a polymorphic reference holds for. */
export function conditionsOf(reference: ReferenceModel, alias: string): string[] {
  return Object.entries(reference.when).map(
    ([name, value]) => `${column(alias, name)}::text = '${value.replaceAll("'", "''")}'`,
  );
}

/** That the nth column of a parent is what the child refers by. */
export function refers(reference: ReferenceModel, index: number, parent: string, child: string): string {
  if (isPeriod(reference, index)) return `${parent} operator(pg_catalog.&&) ${child}`;
  return compare(reference.comparisons[index]!, parent, child);
}

/** … that it is the same as another parent's, or overlaps it. */
export function sameParent(
  reference: ReferenceModel,
  table: TableModel,
  index: number,
  values: readonly [string, string],
): string {
  if (isPeriod(reference, index)) return values.join(' operator(pg_catalog.&&) ');
  return sameValue(table, reference.parentColumns[index]!, ...values);
}

function isPeriod({ period, childColumns }: ReferenceModel, index: number): boolean {
  return period && index === childColumns.length - 1;
}

/** That what the child refers by is there, in one row of the parent or, of a period, in several. `on`: for each column. */
function some(
  reference: ReferenceModel,
  parent: TableModel,
  { on, covered }: { readonly on: (index: number, column: string) => string; readonly covered: string },
): string {
  const names = reference.parentColumns.map((name) => column('p', name));
  const equal = names.map((name, index) => on(index, name)).join(' and ');
  const rows = `from ${from(parent, reference.parentFrom)} p where ${equal}`;
  return reference.period
    ? `coalesce((select pg_catalog.range_agg(${names.at(-1)}) operator(pg_catalog.@>) ${covered} ${rows}), false)`
    : `exists (select ${rows})`;
}

/** `values`: the child's. */
export function refersToSome(
  reference: ReferenceModel,
  parent: TableModel,
  values: readonly string[],
): string {
  const on = (index: number, name: string) => refers(reference, index, name, values[index]!);
  return some(reference, parent, { on, covered: values.at(-1)! });
}

/** `values`: the child's, in the types of the parent's columns. */
export function someParent(reference: ReferenceModel, parent: TableModel, values: readonly string[]): string {
  const on = (index: number, name: string) => sameParent(reference, parent, index, [name, values[index]!]);
  return some(reference, parent, { on, covered: values.at(-1)! });
}

/** What the nth column of a child (`t`) refers by, as the parent's column has it: its type and collation, but no modifiers. */
export function asParentValue(reference: ReferenceModel, parent: TableModel, index: number): string {
  const { plain } = columnOf(parent, reference.parentColumns[index]!);
  const { collation } = reference.comparisons[index]!;
  const value = `${column('t', reference.childColumns[index]!)}::${plain}`;
  return collation === null ? value : `${value} collate ${collation}`;
}

/** `parent` and `child`: an alias, or the expression for the nth column. Declared references may join unlike types, as text. */
export function equalColumns(
  model: SchemaModel,
  reference: ReferenceModel,
  sides: Readonly<Record<'child' | 'parent', string | ((index: number) => string)>>,
): string[] {
  const child = model.tables.get(reference.child)!;
  const side = (which: 'child' | 'parent', index: number) => {
    const given = sides[which];
    return typeof given === 'string' ? column(given, reference[`${which}Columns`][index]!) : given(index);
  };
  return reference.childColumns.map((_, index) =>
    refers(
      reference,
      index,
      side('parent', index),
      reference.inside?.[index] ? childValue(reference, child, index).sql : side('child', index),
    ),
  );
}
