/** What goes wrong for one tenant, and what everyone does afterwards. */
import type pg from 'pg';
import { attempt, insertRows, isRow, type Populating, reachable, tenants } from './population.ts';
import { literal, nameOf, ownRowsOf, quote, rootKey, type SchemaSpec, type TableSpec } from './schema.ts';
import { type Row, readState, type State, tenantRows } from './state.ts';

/** Of the first tenant. */
export const victim = tenants[0]!;

export async function accident(where: Populating): Promise<void> {
  const { client, random } = where;
  const transactions = random.chance(0.6) ? 1 : random.int(2, 3);
  for (let count = transactions; count > 0; count--) {
    await client.query('begin');
    await mishap(where);
    await finish(client);
  }
}

/** Deferred constraints may refuse all of it at the end: then nothing happened. */
async function finish(client: pg.Client): Promise<void> {
  await attempt(client, 'commit');
}

async function mishap(where: Populating): Promise<void> {
  const { schema, random } = where;
  const kinds = [
    deleteSome,
    deleteSome,
    deleteTable,
    deleteTable,
    deleteTree,
    deleteEverything,
    deleteRoot,
    change,
    change,
    swap,
    unlink,
    truncate,
  ];
  await random.pick(kinds)(where);
  if (random.chance(0.2)) await deleteLookups(where, schema);
}

async function ownRows(
  { client, schema }: Populating,
  tenant = victim,
): Promise<{ table: TableSpec; row: Row }[]> {
  const state = await readState(client, schema);
  return listed(schema, state, tenantRows(schema, state, tenant));
}

function listed(schema: SchemaSpec, state: State, rows: ReadonlySet<Row>): { table: TableSpec; row: Row }[] {
  return schema.tables.flatMap((table) =>
    state
      .get(table)!
      .filter((row) => rows.has(row))
      .map((row) => ({ table, row })),
  );
}

/** As often as something gives way: children first, in effect. */
async function deleteRows(client: pg.Client, rows: readonly { table: TableSpec; row: Row }[]): Promise<void> {
  let left = rows;
  for (let before = -1; before !== left.length; ) {
    before = left.length;
    const refused: { table: TableSpec; row: Row }[] = [];
    for (const one of left) {
      const statement = `delete from ${ownRowsOf(one.table)} where ${isRow(one.table, one.row)}`;
      if (!(await inside(client, statement))) refused.push(one);
    }
    left = refused;
  }
}

async function inside(client: pg.Client, statement: string): Promise<boolean> {
  await client.query('savepoint one');
  if (await attempt(client, statement)) return true;
  await client.query('rollback to savepoint one');
  return false;
}

async function deleteSome(where: Populating): Promise<void> {
  await deleteRows(where.client, where.random.some(await ownRows(where), 0.4));
}

/** All conversations of one organization. */
async function deleteTable(where: Populating): Promise<void> {
  const table = where.random.pick(where.schema.tables.filter(({ role }) => role === 'tenant'));
  await deleteRows(
    where.client,
    (await ownRows(where)).filter((one) => one.table === table),
  );
}

async function deleteTree(where: Populating): Promise<void> {
  const table = where.random.pick(where.schema.tables);
  const from = where.schema.tables.indexOf(table);
  const rows = (await ownRows(where)).filter((one) => where.schema.tables.indexOf(one.table) >= from);
  await deleteRows(where.client, rows.reverse());
}

async function deleteEverything(where: Populating): Promise<void> {
  await where.client.query('set constraints all deferred');
  await deleteRows(where.client, (await ownRows(where)).reverse());
}

async function deleteRoot({ client, schema }: Populating): Promise<void> {
  await inside(client, `delete from ${nameOf(schema.root)} where ${quote(rootKey)} = ${literal(victim)}`);
}

/** Shared rows that nobody needs any more. */
async function deleteLookups({ client, random }: Populating, schema: SchemaSpec): Promise<void> {
  for (const table of schema.tables.filter(({ role }) => role === 'lookup'))
    for (const row of random.some((await readState(client, schema)).get(table)!, 0.5))
      await inside(client, `delete from ${ownRowsOf(table)} where ${isRow(table, row)}`);
}

async function change(where: Populating): Promise<void> {
  await changeRows(where, where.random.some(await ownRows(where), 0.3));
}

async function changeRows(
  { client, random }: Populating,
  rows: readonly { table: TableSpec; row: Row }[],
): Promise<void> {
  for (const { table, row } of rows) {
    const free = table.columns.filter((column) => isValue(table, column.name) && !column.generated);
    const changed = random.some(free, 0.5);
    if (changed.length === 0) continue;
    const sets = changed.map((column) => {
      const value = !column.notNull && random.chance(0.3) ? null : column.value(random, 0);
      return `${quote(column.name)} = ${literal(value)}`;
    });
    await inside(client, `update ${ownRowsOf(table)} set ${sets.join(', ')} where ${isRow(table, row)}`);
  }
}

/** Neither key nor reference. */
function isValue(table: TableSpec, name: string): boolean {
  const refers = table.references.some(
    ({ columns, when }) => columns.includes(name) || when?.column === name,
  );
  return !refers && !table.key.includes(name) && name !== rootKey;
}

/** Two rows change places in a unique column: no order of single updates leads back. */
async function swap(where: Populating): Promise<void> {
  const rows = await ownRows(where);
  for (const table of where.schema.tables) {
    const code = table.unique.find((names) => names.length === 1 && isValue(table, names[0]!))?.[0];
    const [one, other] = rows.filter((row) => row.table === table).map(({ row }) => row);
    if (code === undefined || !one || !other) continue;
    const set = (row: Row, value: string | null) =>
      inside(
        where.client,
        `update ${ownRowsOf(table)} set ${quote(code)} = ${literal(value)} where ${isRow(table, row)}`,
      );
    if (!(await set(one, 'on the way'))) continue;
    await set(other, one[code]!);
    await set(one, other[code]!);
  }
}

async function unlink(where: Populating): Promise<void> {
  for (const { table, row } of where.random.some(await ownRows(where), 0.5)) {
    for (const { columns } of where.random.some(
      table.references.filter(({ nullable }) => nullable),
      0.6,
    )) {
      const sets = columns.map((name) => `${quote(name)} = null`).join(', ');
      await inside(where.client, `update ${ownRowsOf(table)} set ${sets} where ${isRow(table, row)}`);
    }
  }
}

/** Takes the rows of the others, too: those stay lost. */
async function truncate({ client, schema, random }: Populating): Promise<void> {
  const leaves = schema.tables.filter(
    (table) =>
      table.role === 'tenant' &&
      !schema.tables.some(({ references }) =>
        references.some(({ target, enforced }) => enforced && target === table),
      ),
  );
  if (leaves.length === 0) return;
  const table = random.pick(leaves);
  await client.query(`truncate ${ownRowsOf(table)} ${random.pick(['', 'restart identity'])}`);
}

/** Others go on, and the victim does, too. Keys come from the sequences, where there are some. */
export async function laterWork(where: Populating): Promise<void> {
  const { client, schema, random } = where;
  await client.query(`set application.load = 'on'`);
  for (const tenant of tenants) {
    await client.query('begin');
    const rows = await ownRows(where, tenant);
    await changeRows(where, random.some(rows, tenant === victim ? 0.08 : 0.3));
    if (tenant !== victim) await deleteRows(client, random.some(rows, 0.1));
    await finish(client);
    for (const table of schema.tables) {
      if (table.role !== 'tenant' || random.chance(0.5)) continue;
      const candidates = reachable(schema, await readState(client, schema), tenant);
      await insertRows(where, table, { count: random.int(1, 2), candidates, bySequence: true });
    }
  }
  await client.query('set application.load = off');
}

/** Someone takes unique values that lost rows had: they cannot come back as they were. */
export async function reuseValues({ client, schema, random }: Populating, before: State): Promise<void> {
  const own = tenantRows(schema, before, victim);
  const now = await readState(client, schema);
  for (const table of schema.tables) {
    const code = table.unique.find((names) => names.length === 1 && isValue(table, names[0]!))?.[0];
    if (code === undefined) continue;
    const used = new Set(now.get(table)!.map((row) => row[code]));
    const free = before
      .get(table)!
      .filter((row) => own.has(row) && row[code] !== null && !used.has(row[code]!));
    const [taker] = random.shuffled(now.get(table)!);
    if (free.length === 0 || !taker) continue;
    const set = `${quote(code)} = ${literal(random.pick(free)[code]!)}`;
    await attempt(client, `update ${ownRowsOf(table)} set ${set} where ${isRow(table, taker)}`);
  }
}
