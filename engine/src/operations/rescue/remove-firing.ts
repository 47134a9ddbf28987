/**
 * Removing rows while foreign keys act. What ON DELETE would do to rows that nobody named stops the whole before it is done; what it
 * does to rows that are to go anyway is what was wanted.
 */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { execute, query, quoteIdentifier } from '../../postgres/index.ts';
import { refers } from './reference-sql.ts';
import { column, emptiable, from, sameValue } from './row-sql.ts';
import { type ReferenceModel, type SchemaModel, tableName } from './schema-model.ts';
import type { StagedTable } from './stage.ts';

/** `leaving`: tables with rows that are to go; `staged`: all of the file. Throws PLAN_CHANGED. */
export async function removeFiring(
  client: Client,
  work: {
    readonly staged: readonly StagedTable[];
    readonly leaving: readonly StagedTable[];
    readonly model: SchemaModel;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { leaving, model, signal, staged } = work;
  // Nobody can begin to refer to them from here on.
  for (const { table, number } of leaving)
    await query(
      client,
      `select count(*) from (select from ${from(table)} t where exists (select from pg_temp.hv_o_${number} o
         where o.op = 'd' and t.tableoid = o.po and t.ctid = o.pc) for update of t) x`,
    );
  for (const parent of leaving)
    for (const reference of model.references)
      if (reference.enforced && reference.parent === parent.table.id && /[cnd]/.test(reference.onDelete))
        await refuseOthers(client, { staged, parent, reference, model });
  await loosen(client, work);
  await loosenReverted(client, work);
  for (const one of leaving.toReversed()) {
    signal.throwIfAborted();
    const removed = await execute(
      client,
      `delete from ${from(one.table)} t using pg_temp.hv_o_${one.number} o where ${isLeaving(one)}`,
    );
    await assertGone(client, one, removed);
  }
}

/** In a cycle of tables, or of rows of one: what would keep the referred row from going is emptied first. */
async function loosen(
  client: Client,
  { leaving, model }: { readonly leaving: readonly StagedTable[]; readonly model: SchemaModel },
): Promise<void> {
  for (const child of leaving) {
    for (const { enforced, deferrable, onDelete, ...reference } of model.references) {
      const parent = leaving.find(({ table }) => table.id === reference.parent);
      // RESTRICT does not wait, whatever else may.
      const waits = (deferrable && onDelete !== 'r') || /[cnd]/.test(onDelete);
      if (!enforced || waits || reference.child !== child.table.id) continue;
      // Of the same table all go in one statement, and only RESTRICT asks before its end.
      const early = parent && (parent === child ? onDelete === 'r' : parent.number > child.number);
      const free = emptiable(child.table, reference.childColumns);
      if (!early || child.table.key === undefined || free.length === 0) continue;
      await execute(
        client,
        `update ${from(child.table)} t set ${free.map((name) => `${quoteIdentifier(name)} = null`).join(', ')}
         from pg_temp.hv_o_${child.number} o where ${isLeaving(child)}`,
      );
    }
  }
}

/** Rows to be reverted that refer to rows that go: without this the action would keep those, or take these with them. */
async function loosenReverted(
  client: Client,
  {
    staged,
    leaving,
    model,
  }: {
    readonly staged: readonly StagedTable[];
    readonly leaving: readonly StagedTable[];
    readonly model: SchemaModel;
  },
): Promise<void> {
  for (const child of staged) {
    for (const reference of model.references) {
      const parent = leaving.find(({ table }) => table.id === reference.parent);
      if (!parent || !reference.enforced || reference.child !== child.table.id || !child.table.key) continue;
      const free = emptiable(child.table, reference.childColumns);
      const places = reference.parentColumns.map((name) => parent.own.indexOf(name));
      if (free.length === 0 || places.includes(-1)) continue;
      const on = reference.childColumns.map((name, index) =>
        refers(reference, index, `p.x${places[index]}`, column('t', name)),
      );
      const same = child.table.key.map((name) =>
        sameValue(child.table, name, column('t', name), `o.x${child.own.indexOf(name)}`),
      );
      await execute(
        client,
        `update ${from(child.table)} t set ${free.map((name) => `${quoteIdentifier(name)} = null`).join(', ')}
         from pg_temp.hv_o_${child.number} o where o.op = 'u' and ${same.join(' and ')}
           and exists (select from pg_temp.hv_o_${parent.number} p where p.op = 'd' and ${on.join(' and ')})`,
      );
    }
  }
}

/** By key: an action may have made another version of the row. */
function isLeaving({ table, own }: StagedTable): string {
  const same = table.key?.map((name) => sameValue(table, name, column('t', name), `o.x${own.indexOf(name)}`));
  return ["o.op = 'd'", ...(same ?? ['t.tableoid = o.po', 't.ctid = o.pc'])].join(' and ');
}

interface Action {
  readonly staged: readonly StagedTable[];
  readonly parent: StagedTable;
  readonly reference: ReferenceModel;
  readonly model: SchemaModel;
}

async function refuseOthers(client: Client, { staged, parent, reference, model }: Action): Promise<void> {
  const child = model.tables.get(reference.child)!;
  const known = staged.find(({ table }) => table.id === child.id);
  const places = reference.parentColumns.map((name) => parent.own.indexOf(name));
  if (places.includes(-1)) return;
  const on = reference.childColumns.map((name, index) =>
    refers(reference, index, `o.x${places[index]}`, column('t', name)),
  );
  const named = known
    ? `and not exists (select from pg_temp.hv_o_${known.number} c where c.op in ('u', 'd') and t.tableoid = c.po and t.ctid = c.pc)`
    : '';
  const [row] = await query<{ count: number }>(
    client,
    `select count(*)::float8 as count from pg_temp.hv_o_${parent.number} o
     join ${from(child, reference.childFrom)} t on ${on.join(' and ')} where o.op = 'd' ${named}`,
  );
  if (row!.count > 0)
    throw new HelvinoError(
      'PLAN_CHANGED',
      `${row!.count} rows of ${tableName(child)} refer, by ${reference.name}, to rows of ${tableName(parent.table)} that would go, and would be changed with them`,
      { hint: 'nothing was changed: someone wrote them since; make a new plan' },
    );
}

/** Others may have gone before, with a row that they referred to. */
async function assertGone(client: Client, one: StagedTable, removed: number): Promise<void> {
  const { table, number } = one;
  const text =
    table.key === undefined
      ? `select count(*)::float8 - ${removed} as count from pg_temp.hv_o_${number} where op = 'd'`
      : `select count(*)::float8 as count from ${from(table)} t join pg_temp.hv_o_${number} o on ${isLeaving(one)}`;
  const [row] = await query<{ count: number }>(client, text);
  if (row!.count === 0) return;
  throw new HelvinoError(
    'PLAN_CHANGED',
    `${row!.count} rows of ${tableName(table)} that were to go are still there: a trigger or rule interferes`,
    { hint: 'nothing was changed; see --triggers' },
  );
}
