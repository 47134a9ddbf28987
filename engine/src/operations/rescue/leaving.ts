/** Rows that stay and refer to rows that the plan removes: better said now than at apply, which would refuse. */
import { execute, query } from '../../postgres/index.ts';
import type { TablePair } from './compare-schemas.ts';
import { hashOf, outerColumns, outerNames, type PlanSpace, ship } from './plan-space.ts';
import { equalColumns } from './reference-sql.ts';
import { from, identityOf, joinIdentity, sameIdentity } from './row-sql.ts';
import { type ReferenceModel, tableName } from './schema-model.ts';

/** In words, for each foreign key that would be broken. */
export async function refersToLeaving(space: PlanSpace): Promise<string[]> {
  const { before, now } = space.clients;
  const problems: string[] = [];
  const pairs = new Map(space.pairs.map((pair) => [pair.id, pair]));
  for (const parent of space.pairs) {
    const references = space.enforced.filter(({ parent: to, period }) => to === parent.id && !period);
    // Without a key, or of a period, which others may cover: what apply finds must do.
    if (parent.now.key === undefined || references.length === 0) continue;
    const sent = await ship(
      {
        client: before,
        select: `select ${outerNames(parent).join(', ')} from pg_temp.hv_d_${parent.number} where action = 'd'`,
      },
      { client: now, into: `pg_temp.hv_e_${parent.number}` },
    );
    if (sent === 0) continue;
    await query(now, `analyze pg_temp.hv_e_${parent.number}`);
    for (const reference of references) {
      space.signal.throwIfAborted();
      const child = pairs.get(reference.child)!;
      const count = await staying(space, { parent, child, reference });
      if (count > 0)
        problems.push(
          `${count} rows of ${tableName(child.now)} refer by ${reference.name} to rows of ${tableName(parent.now)} that would go`,
        );
    }
  }
  return problems;
}

async function staying(
  space: PlanSpace,
  {
    parent,
    child,
    reference,
  }: { readonly parent: TablePair; readonly child: TablePair; readonly reference: ReferenceModel },
): Promise<number> {
  const { before, now } = space.clients;
  const own = child.now.key === undefined ? [hashOf(child), '1'] : identityOf(child.now).expressions;
  await execute(before, 'drop table if exists pg_temp.hv_w');
  await execute(before, `create temporary table hv_w as ${outerColumns(child, 'before')}`);
  await ship(
    {
      client: now,
      select: `select distinct ${own.join(', ')} from pg_temp.hv_e_${parent.number} k
        join ${from(parent.now)} p on ${joinIdentity(parent.now, 'k', 'p')}
        join ${from(child.now, reference.childFrom)} t on ${equalColumns(space.now, reference, { child: 't', parent: 'p' }).join(' and ')}`,
    },
    { client: before, into: 'pg_temp.hv_w' },
  );
  const [row] = await query<{ count: number }>(
    before,
    `select count(*)::float8 as count from pg_temp.hv_w w where not exists (
       select from pg_temp.hv_d_${child.number} d where d.action in ('u', 'd')
         and ${child.now.key === undefined ? 'd.k0 = w.k0' : sameIdentity(child.before, 'd', 'w')})`,
  );
  return row!.count;
}
