/** The whole content of a database of a random schema, as text, and what of it belongs to one tenant: the slow, plain way. */
import pg from 'pg';
import {
  list,
  ownRowsOf,
  quote,
  type ReferenceSpec,
  rootKey,
  type SchemaSpec,
  type TableSpec,
} from './schema.ts';

export type Row = Readonly<Record<string, string | null>>;
export type State = ReadonlyMap<TableSpec, readonly Row[]>;

/** Values arrive as the server prints them. */
export async function connectRaw(url: string, database: string): Promise<pg.Client> {
  const types = { getTypeParser: () => (text: unknown) => text } as unknown as pg.CustomTypesConfig;
  const client = await connect(url, database, { types });
  await client.query(`set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set timezone = 'UTC'`);
  return client;
}

export async function connect(url: string, database: string, more: pg.ClientConfig = {}): Promise<pg.Client> {
  const place = new URL(url);
  place.pathname = `/${database}`;
  const client = new pg.Client({ connectionString: place.href, ...more });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

export async function readState(client: pg.Client, schema: SchemaSpec): Promise<State> {
  const state = new Map<TableSpec, Row[]>();
  for (const table of schema.tables) {
    const columns = list(table.columns.map(({ name }) => name));
    const { rows } = await client.query<Row>(`select ${columns} from ${ownRowsOf(table)}`);
    if (table.key.length === 0) number(rows);
    state.set(table, rows);
  }
  return state;
}

/** Sequence → the number that it gives next. */
export async function readSequences(client: pg.Client): Promise<ReadonlyMap<string, bigint>> {
  const { rows: names } = await client.query<{ name: string }>(
    `select format('%I.%I', schemaname, sequencename) as name from pg_sequences`,
  );
  const next = new Map<string, bigint>();
  for (const { name } of names) {
    const { rows } = await client.query<{ next: string }>(
      `select last_value + case when is_called then 1 else 0 end as next from ${name}`,
    );
    next.set(name, BigInt(rows[0]!.next));
  }
  return next;
}

/** Rows of tables without a key: by their content, and the how manieth of it each is. */
const ordinals = new WeakMap<Row, string>();

function number(rows: readonly Row[]): void {
  const seen = new Map<string, number>();
  for (const row of rows) {
    const content = JSON.stringify(row);
    const ordinal = (seen.get(content) ?? 0) + 1;
    seen.set(content, ordinal);
    ordinals.set(row, `${content} no. ${ordinal}`);
  }
}

/** `names`: columns that tell rows apart; none: the whole content does. */
export function keyOf(row: Row, names: readonly string[]): string {
  return names.length === 0 ? ordinals.get(row)! : JSON.stringify(names.map((name) => row[name]));
}

/** What the reference says the parent's columns are; undefined when the row refers to nothing. */
export function pointerOf(row: Row, { columns, when }: ReferenceSpec): string | undefined {
  if (when && row[when.column] !== when.value) return undefined;
  return columns.some((name) => row[name] === null) ? undefined : keyOf(row, columns);
}

/** Rows by the text of some columns. */
export function rowsBy(rows: readonly Row[], names: readonly string[]): Map<string, Row> {
  return new Map(rows.map((row) => [keyOf(row, names), row]));
}

/**
 * The root's row and whatever refers to it, directly or not. `earlier`: rows that belonged once; whatever has their keys
 * belongs, too, and what refers to their keys, though they may be gone. Without a key a row cannot be followed.
 */
export function tenantRows(
  schema: SchemaSpec,
  state: State,
  root: string,
  earlier: ReadonlyMap<TableSpec, readonly Row[]> = new Map(),
): ReadonlySet<Row> {
  const found = new Set<Row>(state.get(schema.root)!.filter((row) => row[rootKey] === root));
  const before = (table: TableSpec) => (table.key.length === 0 ? [] : (earlier.get(table) ?? []));
  for (const [table, rows] of state) {
    const keys = new Set(before(table).map((row) => keyOf(row, table.key)));
    for (const row of rows) if (keys.has(keyOf(row, table.key))) found.add(row);
  }
  for (let size = -1; size !== found.size; ) {
    size = found.size;
    for (const table of schema.tables) {
      for (const reference of table.references) {
        const byKey = reference.referenced.every((name) => reference.target.key.includes(name));
        const gone = byKey ? before(reference.target).map((row) => keyOf(row, reference.referenced)) : [];
        const present = state.get(reference.target)!.filter((row) => found.has(row));
        const parents = new Set([...gone, ...present.map((row) => keyOf(row, reference.referenced))]);
        for (const row of state.get(table)!) {
          const pointer = pointerOf(row, reference);
          if (pointer !== undefined && parents.has(pointer)) found.add(row);
        }
      }
    }
  }
  return found;
}

/** References that lead nowhere, for a look at a whole state. */
export function danglingReferences(schema: SchemaSpec, state: State): string[] {
  return schema.tables.flatMap((table) =>
    table.references
      .filter(({ enforced }) => enforced)
      .flatMap((reference) => {
        const parents = rowsBy(state.get(reference.target)!, reference.referenced);
        return state
          .get(table)!
          .map((row) => pointerOf(row, reference))
          .filter((pointer) => pointer !== undefined && !parents.has(pointer))
          .map((pointer) => `${quote(table.name)} (${list(reference.columns)}) → ${pointer}`);
      }),
  );
}
