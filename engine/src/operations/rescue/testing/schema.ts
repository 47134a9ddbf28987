/**
 * What a random schema is: an application with organizations, and whatever PostgreSQL allows below them. The oracle reads
 * this description, never the catalog, so that it cannot repeat a mistake of the engine.
 */
import type { Random } from './random.ts';

export interface ColumnSpec {
  readonly name: string;
  readonly type: string;
  notNull: boolean;
  /** What follows the type, as `generated always as identity`. */
  readonly suffix: string;
  /** Computed by the server: never written. */
  readonly generated: boolean;
  /** Filled from a sequence that belongs to it. */
  readonly sequence: boolean;
  /** Of its own; `counter` is another one for each row of the table. */
  value(random: Random, counter: number): string;
}

export interface ReferenceSpec {
  readonly columns: readonly string[];
  readonly target: TableSpec;
  readonly referenced: readonly string[];
  /** False: no constraint; the configuration declares it. */
  readonly enforced: boolean;
  /** Only rows with this value refer. */
  readonly when?: { readonly column: string; readonly value: string };
  readonly nullable: boolean;
  /** `on delete cascade deferrable` and the like. */
  readonly clauses: string;
}

export interface TableSpec {
  readonly schema: string;
  readonly name: string;
  /** `lookup`: rows that all tenants share. */
  readonly role: 'root' | 'lookup' | 'tenant';
  readonly columns: ColumnSpec[];
  /** Empty: nothing tells rows apart. */
  readonly key: readonly string[];
  readonly keyClause: 'primary key' | 'unique';
  readonly references: ReferenceSpec[];
  /** `partition by …`, and the statements that make the partitions. */
  partitions?: { readonly clause: string; readonly statements: readonly string[] };
  readonly parent?: TableSpec;
  /** Columns of uniqueness beside the key. */
  readonly unique: string[][];
  /** Statements after all tables are there. */
  readonly after: string[];
}

export interface SchemaSpec {
  /** Parents before children, but for cycles. */
  readonly tables: readonly TableSpec[];
  readonly root: TableSpec;
  readonly prelude: string;
}

export const rootKey = 'key';

export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function literal(text: string | null): string {
  return text === null ? 'null' : `'${text.replaceAll("'", "''")}'`;
}

export function nameOf(table: TableSpec): string {
  return `${quote(table.schema)}.${quote(table.name)}`;
}

/** Only the table's own rows, not those of its children by inheritance. */
export function ownRowsOf(table: TableSpec): string {
  return table.partitions ? nameOf(table) : `only ${nameOf(table)}`;
}

/** Everything, in the order that works. */
export function ddl(schema: SchemaSpec): string {
  const statements = [schema.prelude];
  for (const table of schema.tables) {
    statements.push(createTable(table));
    statements.push(...(table.partitions?.statements ?? []));
  }
  for (const table of schema.tables) {
    statements.push(
      ...table.unique.map((names) => `alter table ${nameOf(table)} add unique (${list(names)})`),
    );
  }
  for (const table of schema.tables) {
    for (const reference of table.references.filter(({ enforced }) => enforced)) {
      const to = `${nameOf(reference.target)} (${list(reference.referenced)})`;
      statements.push(
        `alter table ${nameOf(table)} add foreign key (${list(reference.columns)}) references ${to} ${reference.clauses}`,
      );
    }
    statements.push(...table.after);
  }
  return statements.join(';\n');
}

export function list(names: readonly string[]): string {
  return names.map(quote).join(', ');
}

function createTable(table: TableSpec): string {
  const own = table.parent
    ? table.columns.filter(({ name }) => !table.parent!.columns.some((column) => column.name === name))
    : table.columns;
  // A column that is gone leaves a hole in the numbers of the columns.
  const columns = own.map(
    ({ name, type, notNull, suffix }) => `${quote(name)} ${type}${notNull ? ' not null' : ''} ${suffix}`,
  );
  const parts = [...(table.parent ? [] : ['"gone" integer']), ...columns];
  const key = table.key.length === 0 ? [] : [`${table.keyClause} (${list(table.key)})`];
  const inherits = table.parent ? ` inherits (${nameOf(table.parent)})` : '';
  const create = `create table ${nameOf(table)} (${[...parts, ...key].join(', ')})${inherits} ${table.partitions?.clause ?? ''}`;
  return table.parent ? create : `${create};\nalter table ${nameOf(table)} drop column "gone"`;
}
