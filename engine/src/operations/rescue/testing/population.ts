/** Rows for a random schema: at the beginning, and later. */
import type pg from 'pg';
import type { Random } from './random.ts';
import {
  list,
  literal,
  nameOf,
  ownRowsOf,
  quote,
  type ReferenceSpec,
  rootKey,
  type SchemaSpec,
  type TableSpec,
} from './schema.ts';
import { type Row, readState, type State, tenantRows } from './state.ts';

export const tenants = ['demo', "o'ther", 'third'];

/** Numbers that no row of the table had yet. */
export class Counters {
  readonly #last = new Map<TableSpec, number>();

  next(table: TableSpec): number {
    const number = (this.#last.get(table) ?? 0) + 1;
    this.#last.set(table, number);
    return number;
  }
}

export interface Populating {
  readonly client: pg.Client;
  readonly schema: SchemaSpec;
  readonly random: Random;
  readonly counters: Counters;
}

/** Shared rows, then a few rows in each table for each tenant. */
export async function populate(where: Populating, most = 5): Promise<void> {
  const { client, schema, random } = where;
  await client.query(`set application.load = 'on'`);
  for (const table of schema.tables.filter(({ role }) => role === 'lookup')) {
    const state = await readState(client, schema);
    await insertRows(where, table, { count: random.int(1, 4), candidates: state });
  }
  for (const tenant of tenants) await populateTenant(where, tenant, most);
  await link(where);
  for (const table of schema.tables) await forwardSequences(client, table);
  await client.query('set application.load = off');
}

async function populateTenant(where: Populating, tenant: string, most: number): Promise<void> {
  const { client, schema, random } = where;
  await insertRows(where, schema.root, {
    count: 1,
    candidates: await readState(client, schema),
    fixed: { [rootKey]: tenant },
  });
  for (const table of schema.tables.filter(({ role }) => role === 'tenant')) {
    const state = await readState(client, schema);
    const candidates = random.chance(0.9) ? reachable(schema, state, tenant) : state;
    await insertRows(where, table, { count: random.int(0, most), candidates });
  }
}

/** The tenant's rows, and the shared ones. */
export function reachable(schema: SchemaSpec, state: State, tenant: string): State {
  const own = tenantRows(schema, state, tenant);
  return new Map(
    schema.tables.map((table) => [
      table,
      state.get(table)!.filter((row) => own.has(row) || table.role === 'lookup'),
    ]),
  );
}

interface Insertion {
  readonly count: number;
  /** Where parents come from. */
  readonly candidates: State;
  readonly fixed?: Row;
  /** Sequences give their own numbers, as in an application. */
  readonly bySequence?: boolean;
}

/** Answers how many went in: a row without a parent that it must have is left out, and so is one that is refused. */
export async function insertRows(where: Populating, table: TableSpec, insertion: Insertion): Promise<number> {
  const { client } = where;
  let done = 0;
  for (let count = insertion.count; count > 0; count--) {
    const row = makeRow(where, table, insertion);
    if (!row) continue;
    const names = Object.keys(row);
    const values = names.map((name) => literal(row[name]!)).join(', ');
    const statement = `insert into ${nameOf(table)} (${list(names)}) overriding system value values (${values})`;
    if (await attempt(client, statement)) done++;
  }
  return done;
}

/** True when the server took it. Other failures than those of constraints are this program's own. */
export async function attempt(client: pg.Client, statement: string): Promise<boolean> {
  try {
    await client.query(statement);
    return true;
  } catch (thrown) {
    const { code } = thrown as { code?: string };
    if (code?.startsWith('23')) return false;
    throw new Error(`${statement.slice(0, 2000)}: ${String(thrown)}`, { cause: thrown });
  }
}

function makeRow({ random, counters }: Populating, table: TableSpec, insertion: Insertion): Row | undefined {
  const row: Record<string, string | null> = {};
  const counter = counters.next(table);
  const referring = new Set(table.references.filter(({ when }) => !when).flatMap(({ columns }) => columns));
  const typed = new Set(
    table.references.flatMap(({ when, columns }) => (when ? [when.column, ...columns] : [])),
  );
  for (const column of table.columns) {
    if (column.generated || referring.has(column.name)) continue;
    if (column.sequence && insertion.bySequence) continue;
    if (typed.has(column.name)) row[column.name] = null;
    else row[column.name] = !column.notNull && random.chance(0.25) ? null : column.value(random, counter);
  }
  Object.assign(row, insertion.fixed);
  for (const reference of random.shuffled(table.references)) {
    if (reference.target === table) continue;
    if (!point(random, row, reference, insertion.candidates.get(reference.target)!)) return undefined;
  }
  // To itself, at first.
  for (const reference of table.references.filter(({ target }) => target === table)) {
    const own = reference.nullable ? [] : [row];
    if (!point(random, row, reference, own)) return undefined;
  }
  return row;
}

/** False when it must have a parent and there is none. */
function point(
  random: Random,
  row: Record<string, string | null>,
  reference: ReferenceSpec,
  parents: readonly Row[],
): boolean {
  const { columns, referenced, nullable, when } = reference;
  if (parents.length === 0 || (nullable && random.chance(0.2))) {
    if (!when) for (const name of columns) row[name] = null;
    return nullable;
  }
  const parent = random.pick(parents);
  for (const [index, name] of columns.entries()) row[name] = parent[referenced[index]!]!;
  if (when) row[when.column] = when.value;
  return true;
}

/** References to oneself and around cycles, once all rows are there. */
async function link({ client, schema, random }: Populating): Promise<void> {
  for (const tenant of tenants) {
    for (const table of schema.tables) {
      for (const reference of table.references.filter(isLate)) {
        const state = reachable(schema, await readState(client, schema), tenant);
        const parents = state.get(reference.target)!;
        if (parents.length === 0) continue;
        for (const row of random.some(state.get(table)!, 0.6))
          await setPointer(client, table, row, [reference, random.pick(parents)]);
      }
    }
  }
}

function isLate({ columns, enforced }: ReferenceSpec): boolean {
  return enforced && columns.every((name) => /^(self|cycle)_/.test(name));
}

async function setPointer(
  client: pg.Client,
  table: TableSpec,
  row: Row,
  [{ columns, referenced }, parent]: [ReferenceSpec, Row],
): Promise<void> {
  const sets = columns.map((name, index) => `${quote(name)} = ${literal(parent[referenced[index]!]!)}`);
  await attempt(client, `update ${ownRowsOf(table)} set ${sets.join(', ')} where ${isRow(table, row)}`);
}

/** A condition that only this row fulfils; without a key also its likes. */
export function isRow(table: TableSpec, row: Row): string {
  if (table.key.length > 0)
    return table.key.map((name) => `${quote(name)} = ${literal(row[name]!)}`).join(' and ');
  return table.columns
    .map(({ name }) => `${quote(name)}::text is not distinct from ${literal(row[name]!)}`)
    .join(' and ');
}

export async function forwardSequences(client: pg.Client, table: TableSpec): Promise<void> {
  for (const { name } of table.columns.filter(({ sequence }) => sequence)) {
    if (table.parent) continue;
    await client.query(
      `select setval(pg_get_serial_sequence(${literal(nameOf(table))}, ${literal(name)}), coalesce(max(${quote(name)}), 0) + 1, false) from ${nameOf(table)}`,
    );
  }
}
