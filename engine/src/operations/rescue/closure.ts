/**
 * Which rows belong to the root: set by set, in temporary tables on the server, so that nothing grows here. A row belongs
 * when it refers to one that belongs. Invariants: never down from a row that is only referred to; every step adds only rows
 * that are new, so cycles end.
 */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { execute, query, quoteIdentifier } from '../../postgres/index.ts';
import { findTable } from './read-schema.ts';
import { childRows } from './reference-inside.ts';
import { conditionsOf, equalColumns } from './reference-sql.ts';
import { columnIs, columnOf, from, identityOf, joinIdentity, sameIdentity } from './row-sql.ts';
import type { ReferenceModel, RescueRoot, SchemaModel, TableId, TableModel } from './schema-model.ts';
import { groupsInOrder } from './table-order.ts';

/** Numbers of tables, which name their temporary tables: the same on all servers. */
export type TableNumbers = ReadonlyMap<TableId, number>;

/** Everything that may belong to the root or be referred to from there, whatever the rows are; in a fixed order. */
export function reachableTables(model: SchemaModel, root: TableId): { down: TableId[]; all: TableId[] } {
  const reach = (start: Iterable<TableId>, next: (reference: ReferenceModel) => [TableId, TableId]) => {
    const found = new Set(start);
    for (const id of found)
      for (const reference of model.references) {
        const [at, to] = next(reference);
        if (at === id) found.add(to);
      }
    return found;
  };
  const down = reach([root], ({ parent, child }) => [parent, child]);
  const all = reach(down, ({ parent, child }) => [child, parent]);
  return { down: [...down].sort(), all: [...all].sort() };
}

export function numberTables(ids: readonly TableId[]): Map<TableId, number> {
  return new Map(ids.map((id, index) => [id, index]));
}

/** The temporary tables `hv_c_N` (rows that belong) or `hv_p_N` (rows that must exist): identity, step, and whether it was seeded. */
export async function createClosureTables(
  client: Client,
  model: SchemaModel,
  { numbers, prefix, tables }: { numbers: TableNumbers; prefix: 'c' | 'p'; tables: readonly TableId[] },
): Promise<void> {
  for (const id of tables) {
    const table = model.tables.get(id);
    if (!table) continue;
    const { names, expressions } = identityOf(table);
    const name = `hv_${prefix}_${numbers.get(id)}`;
    await query(
      client,
      `create temporary table ${name} as select ${expressions.map((one, i) => `${one} as ${names[i]}`).join(', ')}
         from ${from(table)} t with no data;
       alter table pg_temp.${name} add column step int default 0, add column seeded boolean default true;
       create unique index on pg_temp.${name} (${names.join(', ')})`,
    );
  }
}

/** The root's rows. Resolves to how many there are that were not seeded. */
export async function seedRoot(
  client: Client,
  model: SchemaModel,
  { numbers, root }: { numbers: TableNumbers; root: RescueRoot },
): Promise<number> {
  const table = findTable(model.tables, root.table);
  const { names, expressions } = identityOf(table);
  const conditions = Object.entries(root.where).map(([name, value]) => {
    if (!table.columns.some((one) => one.name === name))
      throw new HelvinoError('USAGE', `${root.table} has no column ${name}`);
    return columnIs(table, name, value);
  });
  if (conditions.length === 0)
    throw new HelvinoError('USAGE', `nothing says which rows of ${root.table} are meant`);
  return execute(
    client,
    `insert into pg_temp.hv_c_${numbers.get(table.id)} (${names.join(', ')}, step, seeded)
     select ${expressions.join(', ')}, 1, false from ${from(table)} t where ${conditions.join(' and ')}
     on conflict do nothing`,
  );
}

/**
 * Down from all rows that are in `hv_c_N` (seeded rows are step 0). Adds what refers to them, again and again, until nothing is new.
 */
export async function closeDown(
  client: Client,
  model: SchemaModel,
  { numbers, signal }: { numbers: TableNumbers; signal: AbortSignal },
): Promise<void> {
  const references = inOrder(model).filter(({ parent, child }) => numbers.has(parent) && numbers.has(child));
  /** Table → the last step that added rows. */
  const newest = new Map<TableId, number>();
  for (const id of numbers.keys()) {
    if (!model.tables.has(id)) continue;
    const [row] = await query<{ step: number | null }>(
      client,
      `select max(step) as step from pg_temp.hv_c_${numbers.get(id)}`,
    );
    if (row!.step !== null) newest.set(id, row!.step);
    await query(client, `analyze pg_temp.hv_c_${numbers.get(id)}`);
  }
  const followed = new Map<ReferenceModel, number>();
  for (let step = 2; ; step++) {
    signal.throwIfAborted();
    const next = references.find((one) => (newest.get(one.parent) ?? -1) > (followed.get(one) ?? -1));
    if (next === undefined) return;
    const after = followed.get(next) ?? -1;
    followed.set(next, newest.get(next.parent)!);
    const added = await execute(client, downStatement(model, { reference: next, numbers, after, step }));
    if (added === 0) continue;
    newest.set(next.child, step);
    if (added > 500) await query(client, `analyze pg_temp.hv_c_${numbers.get(next.child)}`);
  }
}

interface Step {
  readonly reference: ReferenceModel;
  readonly numbers: TableNumbers;
  /** Parents of later steps than this. */
  readonly after: number;
  readonly step: number;
}

function downStatement(model: SchemaModel, { reference, numbers, after, step }: Step): string {
  const child = model.tables.get(reference.child)!;
  const parent = model.tables.get(reference.parent)!;
  const { names, expressions } = identityOf(child);
  const into = `insert into pg_temp.hv_c_${numbers.get(child.id)} (${names.join(', ')}, step, seeded)`;
  const parents = `pg_temp.hv_c_${numbers.get(parent.id)}`;
  const where = ['true', ...conditionsOf(reference, 't')].join(' and ');
  const direct = directKeys(reference, parent);
  if (direct === undefined) {
    const on = equalColumns(model, reference, { child: 't', parent: 'p' });
    return `${into} select ${expressions.join(', ')}, ${step}, false from ${parents} k
      join ${from(parent, reference.parentFrom)} p on ${joinIdentity(parent, 'k', 'p')}
      join ${childRows(reference, child)} on ${on.join(' and ')}
      where k.step > ${after} and ${where} on conflict do nothing`;
  }
  const on = equalColumns(model, reference, { child: 't', parent: (index) => `k.k${direct[index]}` });
  const found = `select ${expressions.map((one, i) => `${one} as ${names[i]}`).join(', ')}
    from ${childRows(reference, child)} join`;
  // The server cannot recurse over values that it cannot hash: then a chain takes a step for each of its links.
  const hashable = parent.key?.every((name) => columnOf(parent, name).hashable);
  if (child.id !== parent.id || !hashable)
    return `${into} select ${names.join(', ')}, ${step}, false from (${found} ${parents} k
      on ${on.join(' and ')} where k.step > ${after} and ${where}) x on conflict do nothing`;
  // A chain of rows of one table in one statement, however long it is. It begins with rows that are new: mostly none is.
  const known = `not exists (select from ${parents} o where ${sameIdentity(child, 'o', 'x')})`;
  return `with recursive k as (select * from (${found} ${parents} k on ${on.join(' and ')} where k.step > ${after} and ${where}) x
        where ${known}
      union ${found} k on ${on.join(' and ')} where ${where})
    ${into} select ${names.join(', ')}, ${step}, false from k on conflict do nothing`;
}

/** Which of the parent's key columns each referenced column is; undefined when one is none, so that the parent must be read. */
function directKeys({ parentColumns, period }: ReferenceModel, parent: TableModel): number[] | undefined {
  if (period) return undefined;
  const places = parentColumns.map((name) => parent.key?.indexOf(name) ?? -1);
  return places.includes(-1) ? undefined : places;
}

/** References from tables that come first (as parents) to those that come last, so that few steps are needed. */
function inOrder(model: SchemaModel): ReferenceModel[] {
  const edges = Map.groupBy(model.references, ({ child }) => child);
  const groups = groupsInOrder(
    model.tables.keys(),
    new Map([...edges].map(([id, all]) => [id, all.map(({ parent }) => parent)])),
  );
  const rank = new Map(groups.flat().map((id, index) => [id, index]));
  return model.references.toSorted((a, b) => rank.get(a.parent)! - rank.get(b.parent)!);
}

/** Up from the rows in `hv_c_N`: rows that they refer to by foreign keys, and those refer to, into `hv_p_N`. */
async function closeUp(
  client: Client,
  model: SchemaModel,
  { numbers, down, signal }: { numbers: TableNumbers; down: ReadonlySet<TableId>; signal: AbortSignal },
): Promise<void> {
  const references = model.references.filter(({ enforced, child }) => enforced && numbers.has(child));
  for (let added = 1; added > 0; ) {
    added = 0;
    for (const reference of references) {
      signal.throwIfAborted();
      const child = model.tables.get(reference.child)!;
      const parent = model.tables.get(reference.parent)!;
      const { names, expressions } = identityOf(parent, 'p');
      const sources = [
        `select ${identityOf(child).names.join(', ')} from pg_temp.hv_p_${numbers.get(child.id)}`,
      ];
      if (down.has(child.id))
        sources.push(
          `select ${identityOf(child).names.join(', ')} from pg_temp.hv_c_${numbers.get(child.id)}`,
        );
      const known = down.has(parent.id)
        ? `where not exists (select from pg_temp.hv_c_${numbers.get(parent.id)} o where ${sameIdentity(parent, 'o', 'x')})`
        : '';
      added += await execute(
        client,
        `insert into pg_temp.hv_p_${numbers.get(parent.id)} (${names.join(', ')})
         select ${names.join(', ')} from (
           select distinct ${expressions.map((one, i) => `${one} as ${names[i]}`).join(', ')}
           from (${sources.join(' union all ')}) k join ${from(child, reference.childFrom)} t on ${joinIdentity(child, 'k')}
           join ${from(parent, reference.parentFrom)} p on ${equalColumns(model, reference, { child: 't', parent: 'p' }).join(' and ')}) x
         ${known} on conflict do nothing`,
      );
    }
  }
}

export interface Closure {
  /** Its rows' identities are in `pg_temp.hv_c_N` (they belong) and `pg_temp.hv_p_N` (they are referred to). */
  readonly numbers: TableNumbers;
  /** Tables with an `hv_c_N`. */
  readonly down: readonly TableId[];
  /** Tables with an `hv_p_N`. */
  readonly all: readonly TableId[];
  /** The root's rows. */
  readonly roots: number;
}

/**
 * All of it on one server, in the transaction that is open (repeatable read, not read only: it makes temporary tables).
 * Throws USAGE for a root that is no table or has no such column.
 */
export async function closure(
  client: Client,
  model: SchemaModel,
  { root, signal }: { root: RescueRoot; signal: AbortSignal },
): Promise<Closure> {
  const { down, all } = reachableTables(model, findTable(model.tables, root.table).id);
  const numbers = numberTables(all);
  await createClosureTables(client, model, { numbers, prefix: 'c', tables: down });
  await createClosureTables(client, model, { numbers, prefix: 'p', tables: all });
  const roots = await seedRoot(client, model, { numbers, root });
  const own = new Map(down.map((id) => [id, numbers.get(id)!]));
  await closeDown(client, model, { numbers: own, signal });
  await closeUp(client, model, { numbers, down: new Set(down), signal });
  return { numbers, down, all, roots };
}

/** `key=value` of a row, as SQL over its identity or key columns: for samples. */
export function sampleKey(table: TableModel, expressions: readonly string[]): string {
  if (table.key === undefined)
    return `'row ' || encode(${expressions[0]}, 'hex') || ' no. ' || ${expressions[1]}`;
  const parts = table.key.map(
    (name, index) =>
      `'${quoteIdentifier(name)
        .replaceAll("'", "''")
        .replace(/^"([a-z_][a-z0-9_]*)"$/, '$1')}=' || left(${expressions[index]}::text, 200)`,
  );
  return parts.join(` || ', ' || `);
}
