/** What `helvino rescue show --sql` prints: the statements of an apply, as far as the file alone tells. */
import { quoteIdentifier } from '../../postgres/index.ts';
import { insertStatement, removeStatement, revertStatement } from './change-rows.ts';
import type { TableChanges } from './changeset-header.ts';
import { type ColumnModel, type TableModel, textColumn } from './schema-model.ts';

/** Of the table with this number. How its values compare is known when it is applied. */
export function outlineOf(changes: TableChanges, number: number): string[] {
  const one = { number, changes, table: tableOf(changes), own: changes.columns };
  return [
    ...(changes.remove > 0 ? [removeStatement(one)] : []),
    ...(changes.insert > 0 ? [insertStatement(one)] : []),
    ...(changes.revert > 0 && changes.key !== null ? [revertStatement(one)] : []),
  ];
}

function tableOf({ schema, name, key, columns, fixed = [], partitioned }: TableChanges): TableModel {
  return {
    id: `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`,
    schema,
    name,
    oid: '0',
    kind: partitioned ? 'partitioned' : 'table',
    unlogged: false,
    columns: columns.map((column) => columnOf(column, fixed.includes(column))),
    key: key ?? undefined,
    uniques: [],
    triggers: [],
    rowSecurity: false,
    insertOnly: false,
    rows: 0,
  };
}

function columnOf(name: string, fixed: boolean): ColumnModel {
  const equality = { operator: '=', left: null, right: null, collation: null };
  return { ...textColumn(name, equality), identity: fixed ? 'always' : undefined };
}
