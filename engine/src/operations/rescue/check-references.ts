/**
 * Foreign keys, checked by ourselves: with triggers off the server does not. Parents are locked as the server would lock them,
 * so what is found at the end is still so at the commit.
 */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { query } from '../../postgres/index.ts';
import { refers, refersToSome } from './reference-sql.ts';
import { column, from, sameValue } from './row-sql.ts';
import { type ReferenceModel, type SchemaModel, tableName } from './schema-model.ts';
import { joinStaged, type StagedTable } from './stage.ts';

interface Work {
  readonly staged: readonly StagedTable[];
  /** Those with rows that go, or that are reverted. */
  readonly disturbed: ReadonlySet<StagedTable>;
  readonly model: SchemaModel;
}

/** FOR KEY SHARE on every row that a staged row refers to. */
export async function lockParents(client: Client, work: Work): Promise<void> {
  for (const { reference, child, parent } of referencesOf(work)) {
    const values = valuesOf(reference, child);
    if (values === undefined) continue;
    const on = reference.parentColumns.map((name, index) =>
      refers(reference, index, column('p', name), values[index]!),
    );
    await query(
      client,
      `select count(*) from (select from ${from(parent, reference.parentFrom)} p where exists (
         select from pg_temp.hv_s_${child.number} s where s.op in ('i', 'u') and ${on.join(' and ')}) for key share of p) x`,
    );
  }
}

/** Throws PLAN_CHANGED when a row refers to one that is not there, among all that were or could be affected. */
export async function checkReferences(client: Client, work: Work): Promise<void> {
  for (const { reference, child, parent } of referencesOf(work)) {
    const values = valuesOf(reference, child);
    const own = reference.childColumns.map((name) => column('t', name));
    const used = values ?? own;
    const rows =
      values === undefined
        ? `pg_temp.hv_s_${child.number} s join ${from(child.table, reference.childFrom)} t on ${joinStaged(child)}`
        : `pg_temp.hv_s_${child.number} s`;
    if (values === undefined && child.table.key === undefined) continue;
    const [row] = await query<{ count: number }>(
      client,
      `select count(*)::float8 as count from ${rows} where s.op in ('i', 'u')
         and ${used.map((value) => `${value} is not null`).join(' and ')} and not ${refersToSome(reference, parent, used)}`,
    );
    if (row!.count > 0) throw dangling(row!.count, reference, tableName(child.table));
  }
  await checkChildren(client, work);
}

/** Rows that refer to what was removed, or to what a reverted row was called. */
async function checkChildren(client: Client, { disturbed, model }: Work): Promise<void> {
  for (const parent of disturbed) {
    for (const reference of model.references) {
      if (!reference.enforced || reference.parent !== parent.table.id) continue;
      const child = model.tables.get(reference.child)!;
      const parentTable = model.tables.get(reference.parent)!;
      const places = reference.parentColumns.map((name) => parent.own.indexOf(name));
      if (places.includes(-1)) continue;
      const gone = places.map((place, index) => `o.x${place} as g${index}`);
      const still = reference.parentColumns.map((name, index) =>
        sameValue(parentTable, name, column('p', name), `o.x${places[index]}`),
      );
      const own = reference.childColumns.map((name) => column('t', name));
      const on = own.map((name, index) => refers(reference, index, `g.g${index}`, name));
      // Of a period others may still cover it.
      const uncovered = reference.period ? `where not ${refersToSome(reference, parentTable, own)}` : '';
      // From the side of what is gone: the tables may be large.
      const [row] = await query<{ count: number }>(
        client,
        `with gone as materialized (select distinct ${gone.join(', ')} from pg_temp.hv_o_${parent.number} o
           where o.op in ('u', 'd') and not exists (
             select from ${from(parentTable, reference.parentFrom)} p where ${still.join(' and ')}))
         select count(*)::float8 as count from gone g
         join ${from(child, reference.childFrom)} t on ${on.join(' and ')} ${uncovered}`,
      );
      if (row!.count > 0) throw dangling(row!.count, reference, tableName(child));
    }
  }
}

function referencesOf({ staged, model }: Work) {
  return model.references.flatMap((reference) => {
    const child = staged.find(({ table }) => table.id === reference.child);
    const parent = model.tables.get(reference.parent);
    return reference.enforced && child && parent ? [{ reference, child, parent }] : [];
  });
}

/** As the file has them; undefined when it has not all, or when the constraint is that of a partition alone. */
function valuesOf(reference: ReferenceModel, { changes }: StagedTable): string[] | undefined {
  const places = reference.childColumns.map((name) => changes.columns.indexOf(name));
  if (places.includes(-1) || reference.childFrom !== reference.child) return undefined;
  return places.map((place) => `s.c${place}`);
}

function dangling(count: number, reference: ReferenceModel, child: string): HelvinoError {
  return new HelvinoError(
    'PLAN_CHANGED',
    `${count} rows of ${child} would refer, by ${reference.name}, to rows of ${reference.parent} that are not there`,
    {
      hint: 'nothing was changed: someone wrote rows that refer to what would go, or deleted what is referred to; make a new plan',
    },
  );
}
