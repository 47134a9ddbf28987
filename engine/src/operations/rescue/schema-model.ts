/** What a database looks like to a rescue: tables, what identifies their rows, and what refers to what. */
import type { Inside } from './reference-inside.ts';

/** `"public"."messages"`: quoted, so it can stand in SQL as it is. */
export type TableId = string;

/**
 * How two values compare: by the operator of their type, an index or a constraint. With its schema, as the search path leads to
 * pg_catalog alone: `=` would find another operator there for a type that an extension made, or none.
 */
export interface ComparisonModel {
  /** `operator(public.=)` */
  readonly operator: string;
  /** What the left and the right value are cast to, where the operator takes another type. */
  readonly left: string | null;
  readonly right: string | null;
  /** Quoted; where the two sides have none in common. */
  readonly collation: string | null;
}

export interface ColumnModel {
  readonly name: string;
  /** pg_attribute.attnum: stays when the column is renamed. Undefined of rows that came from files. */
  readonly number: number | undefined;
  /** As declared, with domain and modifiers, e.g. `public.email` or `numeric(10,2)`. */
  readonly type: string;
  /** The type under all domains, with modifiers: what temporary tables use, so that NULLs fit in. */
  readonly base: string;
  /** … without modifiers, e.g. `numeric`. */
  readonly plain: string;
  /** Two of its values, by its type; types that know no equality compare as text. */
  readonly equality: ComparisonModel;
  /** False also where nobody can tell. */
  readonly hashable: boolean;
  /** Quoted; null of a type that has none. */
  readonly collation: string | null;
  /** False when the collation takes different texts for equal, e.g. ignores case. */
  readonly exact: boolean;
  readonly notNull: boolean;
  readonly hasDefault: boolean;
  /** Computed by the server from others: never written, never compared. */
  readonly generated: boolean;
  readonly identity: 'always' | 'by default' | undefined;
  /** The sequence that it takes its values from, quoted; owned, of an identity, or named in the default. */
  readonly sequence: string | undefined;
}

/** A column of which nothing is known but its name: its values are texts. */
export function textColumn(name: string, equality: ComparisonModel): ColumnModel {
  return {
    name,
    number: undefined,
    type: 'text',
    base: 'text',
    plain: 'text',
    equality,
    hashable: false,
    collation: null,
    exact: true,
    notNull: false,
    hasDefault: false,
    generated: false,
    identity: undefined,
    sequence: undefined,
  };
}

/** What no two rows may share, beside the key: by its expressions, as SQL over the table's columns. */
export interface UniqueModel {
  readonly name: string;
  readonly expressions: readonly string[];
  /** What must not hold for all expressions of two rows: equality, but for exclusion constraints. */
  readonly comparisons: readonly ComparisonModel[];
  /** Of a partial index. */
  readonly predicate: string | undefined;
  readonly nullsEqual: boolean;
  /** Its columns, when no two rows may have equal ones by their types' own equality. */
  readonly columns: readonly string[] | undefined;
}

/** A trigger, or a rule that rewrites INSERT, UPDATE or DELETE. */
export interface TriggerModel {
  readonly name: string;
  /** `rule` of a rule. */
  readonly function: string;
  /** Fires even with `session_replication_role = replica`. */
  readonly always: boolean;
}

export interface TableModel {
  readonly id: TableId;
  readonly schema: string;
  readonly name: string;
  /** pg_class.oid: stays when the table is renamed or moved. */
  readonly oid: string;
  /** A partitioned table stands for all its partitions; a child by inheritance is a table of its own. */
  readonly kind: 'table' | 'partitioned';
  /** Its rows are in no physical backup. */
  readonly unlogged: boolean;
  readonly columns: readonly ColumnModel[];
  /**
   * Columns that identify a row: the primary key, else a unique index over NOT NULL columns. Undefined: none; then a row is
   * its whole content, and equal rows are counted.
   */
  readonly key: readonly string[] | undefined;
  readonly uniques: readonly UniqueModel[];
  readonly triggers: readonly TriggerModel[];
  readonly rowSecurity: boolean;
  /** It is published, and nothing identifies its rows to subscribers: the server refuses UPDATE and DELETE. */
  readonly insertOnly: boolean;
  /** The server's estimate. */
  readonly rows: number;
  /** Where its rows are read instead: a temporary table with the same columns, for rows that came from files. */
  readonly rowsIn?: string | undefined;
}

/** Rows of `child` refer to rows of `parent`: a foreign key, or one that the configuration declares. */
export interface ReferenceModel {
  readonly name: string;
  readonly child: TableId;
  readonly childColumns: readonly string[];
  /** For each of the columns: where in its value, when it is not the whole; undefined when all are. Only of declared ones. */
  readonly inside?: readonly (Inside | undefined)[] | undefined;
  /** Where the child's rows are read: a partition, when the constraint is that of a partition alone; else `child`. */
  readonly childFrom: TableId;
  readonly parent: TableId;
  readonly parentColumns: readonly string[];
  readonly parentFrom: TableId;
  /** The parent's columns with what the child refers by. */
  readonly comparisons: readonly ComparisonModel[];
  /**
   * PERIOD (PostgreSQL 18): the last column is a range, which those of the parents must cover together.
   * https://www.postgresql.org/docs/18/sql-createtable.html#SQL-CREATETABLE-PARMS-REFERENCES
   */
  readonly period: boolean;
  /** The server checks it. */
  readonly enforced: boolean;
  readonly deferrable: boolean;
  /** pg_constraint.confdeltype: a no action, r restrict, c cascade, n set null, d set default. */
  readonly onDelete: string;
  /** Polymorphic: it holds only where these columns of the child have these values (as text). */
  readonly when: Readonly<Record<string, string>>;
}

export interface SchemaModel {
  readonly tables: ReadonlyMap<TableId, TableModel>;
  readonly references: readonly ReferenceModel[];
}

/** From the configuration: what no constraint says. Names as `schema.table`, or `table` where that is not ambiguous. */
export interface DeclaredReference {
  readonly from: string;
  readonly columns: readonly string[];
  readonly to: string;
  readonly toColumns: readonly string[];
  readonly when?: Readonly<Record<string, string>> | undefined;
}

export interface ModelOptions {
  readonly references?: readonly DeclaredReference[];
  /** Tables that belong to nobody: no row of them is a tenant's because it refers to one. */
  readonly shared?: readonly string[];
}

/** The rows where the search begins: a table, by name, and what its columns must equal, as text. */
export interface RescueRoot {
  readonly table: string;
  readonly where: Readonly<Record<string, string>>;
}

/** `public.messages`, for people. */
export function tableName({ schema, name }: Pick<TableModel, 'schema' | 'name'>): string {
  return `${schema}.${name}`;
}
