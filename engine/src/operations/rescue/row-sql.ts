/**
 * The SQL that rows are told apart with. A table with a key has its key columns as row identity, within one server and
 * between servers. One without has its place (tableoid, ctid; they hold within a snapshot) within a server, and content hash
 * and ordinal between servers.
 */
import pg from 'pg';
import { quoteIdentifier } from '../../postgres/index.ts';
import type { ColumnModel, ComparisonModel, TableModel } from './schema-model.ts';

/** `k0, k1, …`: how identity columns are called in temporary tables. */
export interface Identity {
  /** `k0`, `k1` … */
  readonly names: readonly string[];
  /** The same as expressions over the table `t`. */
  readonly expressions: readonly string[];
}

export function column(alias: string, name: string): string {
  return `${alias}.${quoteIdentifier(name)}`;
}

/** Within one snapshot of one server. */
export function identityOf(table: TableModel, alias = 't'): Identity {
  const expressions =
    table.key === undefined
      ? [`${alias}.tableoid`, `${alias}.ctid`]
      : table.key.map((name) => `${column(alias, name)}::${columnOf(table, name).base}`);
  return { names: expressions.map((_, index) => `k${index}`), expressions };
}

/** That two values compare so: a condition. */
export function compare({ operator, left, right, collation }: ComparisonModel, a: string, b: string): string {
  const cast = (value: string, type: string | null) => (type === null ? value : `${value}::${type}`);
  return `${cast(a, left)} ${operator} ${cast(b, right)}${collation === null ? '' : ` collate ${collation}`}`;
}

/** That two values of the column are equal, by its type. */
export function sameValue(table: TableModel, name: string, a: string, b: string): string {
  return compare(columnOf(table, name).equality, a, b);
}

/** What a user wrote, as a value of the column's type. */
export function literalOf(table: TableModel, name: string, value: string): string {
  return `${pg.escapeLiteral(value)}::${columnOf(table, name).plain}`;
}

/** That the column of `t` has the value that a user wrote, whatever its spelling. */
export function columnIs(table: TableModel, name: string, value: string): string {
  return sameValue(table, name, column('t', name), literalOf(table, name, value));
}

/** That `a(0)` and `b(0)` are equal, and so on: values of the key's columns, or of two that are the server's own. */
function sameKey(table: TableModel, a: (index: number) => string, b: (index: number) => string): string {
  const equal =
    table.key?.map((name, index) => sameValue(table, name, a(index), b(index))) ??
    [0, 1].map((index) => `${a(index)} = ${b(index)}`);
  return equal.join(' and ');
}

/** `a.k0 = b.k0 and …`; `other`: how the columns of the second are called. */
export function sameIdentity(table: TableModel, left: string, right: string, other = 'k'): string {
  return sameKey(
    table,
    (index) => `${left}.k${index}`,
    (index) => `${right}.${other}${index}`,
  );
}

/** Joins a table's rows (`t`) with a temporary table's identity columns. Bare columns, so that indexes serve. */
export function joinIdentity(table: TableModel, temporary: string, alias = 't'): string {
  const columns = table.key?.map((name) => column(alias, name)) ?? [`${alias}.tableoid`, `${alias}.ctid`];
  return sameKey(
    table,
    (index) => columns[index]!,
    (index) => `${temporary}.k${index}`,
  );
}

/** ONLY for an ordinary table: its children by inheritance are tables of their own. */
export function from(table: TableModel, relation = table.id): string {
  if (table.rowsIn !== undefined) return table.rowsIn;
  return table.kind === 'table' ? `only ${relation}` : relation;
}

export function columnOf(table: TableModel, name: string): ColumnModel {
  return table.columns.find((one) => one.name === name)!;
}

/** Those that can be NULL for a while. */
export function emptiable(table: TableModel, names: readonly string[]): string[] {
  return names.filter((name) => {
    const { notNull, generated } = columnOf(table, name);
    return !notNull && !generated;
  });
}

/**
 * Half a SHA-256 of the row's text: the same on every server when the values are, byte by byte (given the settings of
 * session.ts), and nothing that someone could make a second row for.
 */
export function rowHash(expressions: readonly string[]): string {
  return `substr(sha256(convert_to(row(${expressions.join(', ')})::text, getdatabaseencoding())), 1, 16)`;
}
