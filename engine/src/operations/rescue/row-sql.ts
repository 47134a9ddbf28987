/**
 * The SQL that rows are told apart with. A table with a key has its key columns as row identity, within one server and
 * between servers. One without has its place (tableoid, ctid; they hold within a snapshot) within a server, and content hash
 * and ordinal between servers.
 */
import { quoteIdentifier } from '../../postgres/index.ts';
import type { ColumnModel, TableModel } from './schema-model.ts';

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

/** `a.k0 = b.k0 and …` */
export function sameIdentity(names: readonly string[], left: string, right: string): string {
  return names.map((name) => `${left}.${name} = ${right}.${name}`).join(' and ');
}

/** Joins a table's rows (`t`) with a temporary table's identity columns. Bare columns, so that indexes serve. */
export function joinIdentity(table: TableModel, temporary: string, alias = 't'): string {
  const columns =
    table.key === undefined
      ? [`${alias}.tableoid`, `${alias}.ctid`]
      : table.key.map((name) => column(alias, name));
  return columns.map((one, index) => `${one} = ${temporary}.k${index}`).join(' and ');
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
