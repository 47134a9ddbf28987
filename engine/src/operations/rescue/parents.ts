/**
 * Rows that must be there for others to come back. What a row of the past refers to is there now, or comes back with it,
 * or, if others have deleted it since, is brought back for its sake alone.
 */
import { execute, query } from '../../postgres/index.ts';
import type { TablePair } from './compare-schemas.ts';
import { changedRows } from './conflicts.ts';
import { hashOf, outerNames, type PlanSpace, ship } from './plan-space.ts';
import { asParentValue, equalColumns, refers, sameParent, someParent } from './reference-sql.ts';
import { column, from, identityOf } from './row-sql.ts';
import type { ReferenceModel } from './schema-model.ts';

/** For the rows of this round. Adds parents with the next round; resolves to how many, and what is nowhere. */
export async function climb(
  space: PlanSpace,
  round: number,
): Promise<{ readonly added: number; readonly problems: readonly string[] }> {
  let added = 0;
  const problems: string[] = [];
  const byChild = Map.groupBy(space.enforced.entries(), ([, { child }]) => child);
  for (const [child, references] of byChild) {
    const pair = space.pairs.find(({ id }) => id === child)!;
    const names = references.flatMap(([, { childColumns }]) => childColumns);
    if ((await collectValues(space, pair, { names, round })) === 0) continue;
    for (const [index, reference] of references) {
      space.signal.throwIfAborted();
      const result = await climbReference(space, { index, reference, round });
      added += result.added;
      if (result.nowhere > 0)
        problems.push(
          `${result.nowhere} rows of ${reference.child} refer by ${reference.name} to rows of ${reference.parent} that are neither there now nor were there before`,
        );
    }
  }
  return { added, problems };
}

/** What the rows of this round refer by, in `hv_v`: the table itself is read once, however many references it has. */
async function collectValues(
  space: PlanSpace,
  pair: TablePair,
  { names, round }: { names: readonly string[]; round: number },
): Promise<number> {
  const { before } = space.clients;
  const values = [...new Set(names)].map((name) => column('t', name));
  await execute(before, 'drop table if exists pg_temp.hv_v');
  return execute(
    before,
    `create temporary table hv_v as select ${values.join(', ')} from ${changedRows(pair)}
     where d.action in ('i', 'u') and d.round = ${round}`,
  );
}

async function climbReference(
  space: PlanSpace,
  { index, reference, round }: { index: number; reference: ReferenceModel; round: number },
): Promise<{ added: number; nowhere: number }> {
  const { before, now } = space.clients;
  const pairs = new Map(space.pairs.map((pair) => [pair.id, pair]));
  const parent = pairs.get(reference.parent)!;
  const [wanted, missing] = [`pg_temp.hv_f_${index}`, `pg_temp.hv_g_${index}`];
  const values = reference.childColumns.map((name) => column('t', name));
  const places = reference.parentColumns.map((name) => parent.now.key?.indexOf(name) ?? -1);
  await execute(before, `delete from ${wanted}`);
  // Those that come back anyway need not be asked for.
  const coming =
    places.includes(-1) || reference.period
      ? `select from ${changedRows(parent, '2')} where d2.action in ('i', 'u')
         and ${equalColumns(space.before, reference, { child: 't', parent: 't2' }).join(' and ')}`
      : `select from pg_temp.hv_d_${parent.number} d2 where d2.action in ('i', 'u')
         and ${values.map((value, at) => refers(reference, at, `d2.k${places[at]}`, value)).join(' and ')}`;
  const asked = await execute(
    before,
    // Distinct as the parent tells them apart, which may be in more ways than the child does.
    `insert into ${wanted} select distinct ${values.map((_, at) => asParentValue(reference, parent.before, at)).join(', ')} from pg_temp.hv_v t
     where ${values.map((value) => `${value} is not null`).join(' and ')}
       and not exists (${coming})`,
  );
  if (asked === 0) return { added: 0, nowhere: 0 };
  await execute(now, `delete from ${wanted}`);
  await ship({ client: before, select: `select * from ${wanted}` }, { client: now, into: wanted });
  await query(now, `analyze ${wanted}`);
  await execute(before, `delete from ${missing}`);
  const same = reference.parentColumns
    .map((name, at) => sameParent(reference, parent.before, at, [column('t', name), `g.f${at}`]))
    .join(' and ');
  const wantedValues = reference.parentColumns.map((_, at) => `f.f${at}`);
  const lost = await ship(
    {
      client: now,
      select: `select * from ${wanted} f where not ${someParent(reference, parent.now, wantedValues)}`,
    },
    { client: before, into: missing },
  );
  if (lost === 0) return { added: 0, nowhere: 0 };
  return bringParents(space, { parent, missing, same, round: round + 1, lost });
}

interface Missing {
  readonly parent: TablePair;
  /** The table of the values that are missing. */
  readonly missing: string;
  /** That a row `t` has the values of a row `g`. */
  readonly same: string;
  readonly round: number;
  readonly lost: number;
}

async function bringParents(
  space: PlanSpace,
  { parent, missing, same, round, lost }: Missing,
): Promise<{ added: number; nowhere: number }> {
  const { before } = space.clients;
  const names = outerNames(parent);
  const keyless = parent.before.key === undefined;
  const source = `${missing} g join ${from(parent.before)} t on ${same}`;
  if (keyless)
    await execute(
      before,
      `insert into pg_temp.hv_m_${parent.number} (k0, k1, o, c)
       select ${hashOf(parent)}, 1, t.tableoid, t.ctid from ${source} on conflict do nothing`,
    );
  const own = keyless ? [hashOf(parent), '1'] : identityOf(parent.before).expressions;
  const added = await execute(
    before,
    `insert into pg_temp.hv_d_${parent.number} as d (${names.join(', ')}, class, action, parent, round)
     select distinct ${own.join(', ')}, 'm'::"char", 'i'::"char", true, ${round} from ${source}
     on conflict (${names.join(', ')}) do update set action = 'i', parent = true, round = ${round}
       where d.action is null and not d.skip and d.class in ('m', 'M')`,
  );
  const [found] = await query<{ count: number }>(before, `select count(*)::int as count from ${source}`);
  return { added, nowhere: Math.max(0, lost - found!.count) };
}
