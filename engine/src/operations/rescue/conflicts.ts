/** Unique values that rows out of the past have, and other rows have now; or what an exclusion constraint keeps apart. */
import { execute, query } from '../../postgres/index.ts';
import type { UniqueConflict } from './changeset-header.ts';
import { sampleKey } from './closure.ts';
import type { TablePair } from './compare-schemas.ts';
import { hashOf, outerColumns, outerNames, type PlanSpace, ship } from './plan-space.ts';
import { equalColumns } from './reference-sql.ts';
import { compare, from, identityOf, joinIdentity, sameIdentity } from './row-sql.ts';
import type { UniqueModel } from './schema-model.ts';
import type { RescuePolicies } from './types.ts';

/** The rows of `hv_d_N` (`d`) with their content as of before (`t`); with a suffix to the aliases. */
export function changedRows(pair: TablePair, suffix = ''): string {
  const [d, t, m] = ['d', 't', 'm'].map((alias) => `${alias}${suffix}`) as [string, string, string];
  const table = from(pair.before);
  if (pair.before.key !== undefined)
    return `pg_temp.hv_d_${pair.number} ${d} join ${table} ${t} on ${joinIdentity(pair.before, d, t)}`;
  return `pg_temp.hv_d_${pair.number} ${d} join pg_temp.hv_m_${pair.number} ${m} on ${sameIdentity(pair.before, m, d)}
    join ${table} ${t} on ${t}.tableoid = ${m}.o and ${t}.ctid = ${m}.c`;
}

/**
 * Of the rows that came in this round. Resolves to the conflicts that are left to be shown; what `onConflict` says is done
 * with them in `hv_d_N`.
 */
export async function findConflicts(
  space: PlanSpace,
  pair: TablePair,
  { round, onConflict }: { round: number; onConflict: RescuePolicies['onConflict'] },
): Promise<UniqueConflict[]> {
  const found: UniqueConflict[] = [];
  for (const [index, unique] of pair.now.uniques.entries()) {
    if (!comparable(pair, unique)) continue;
    const conflict = await conflictsOf(space, pair, { index, unique, round });
    if (conflict === undefined) continue;
    found.push(conflict);
    await decide(space, pair, { index, onConflict });
  }
  return found;
}

/** An index over a column that was not there before cannot be asked for. */
function comparable(pair: TablePair, { expressions, predicate }: UniqueModel): boolean {
  const text = [...expressions, predicate ?? ''].join(' ');
  return pair.now.columns
    .filter(({ name }) => text.includes(name))
    .every(({ name }) => pair.before.columns.some((one) => one.name === name));
}

async function conflictsOf(
  space: PlanSpace,
  pair: TablePair,
  { index, unique, round }: { index: number; unique: UniqueModel; round: number },
): Promise<UniqueConflict | undefined> {
  const { before, now } = space.clients;
  const names = outerNames(pair);
  const values = unique.expressions.map((one, at) => `(${one}) as e${at}`).join(', ');
  const where = unique.predicate === undefined ? 'true' : `(${unique.predicate})`;
  const asked = `pg_temp.hv_q_${pair.number}_${index}`;
  await execute(now, `delete from ${asked}`);
  // The innermost names are the table's, whatever its columns are called.
  const sent = await ship(
    {
      client: before,
      select: `select ${names.map((name) => `d.${name}`).join(', ')}, v.* from ${changedRows(pair)}
        cross join lateral (select ${values} from (select t.*) y where ${where}) v where d.action in ('i', 'u') and d.round = ${round}`,
    },
    { client: now, into: asked },
  );
  if (sent === 0) return undefined;
  await query(now, `analyze ${asked}`);
  const found = `pg_temp.hv_x_${pair.number}_${index}`;
  await query(
    before,
    `drop table if exists ${found};
     create temporary table ${found} as select k.*, ${names.map((name) => `o.${name} as o${name}`).join(', ')}, null::bytea as h
       from (${outerColumns(pair, 'before')}) k cross join (${outerColumns(pair, 'before')}) o`,
  );
  const { expressions } = identityOf(pair.now);
  const own = pair.now.key === undefined ? [hashOf(pair), '1'] : expressions;
  const same = unique.comparisons.map((comparison, at) => {
    const equal = compare(comparison, `t.he${at}`, `q.e${at}`);
    return unique.nullsEqual ? `(${equal} or (t.he${at} is null and q.e${at} is null))` : equal;
  });
  const inner = `select ${own.map((one, at) => `${one} as o${names[at]}`).join(', ')}, ${hashOf(pair)} as h,
    ${unique.expressions.map((_, at) => `v.e${at} as he${at}`).join(', ')}
    from ${from(pair.now)} t cross join lateral (select ${values} from (select t.*) y where ${where}) v`;
  await ship(
    {
      client: now,
      select: `select ${names.map((name) => `q.${name}`).join(', ')}, ${names.map((name) => `t.o${name}`).join(', ')}, t.h
        from ${asked} q join (${inner}) t on ${same.join(' and ')}`,
    },
    { client: before, into: found },
  );
  // Not with itself, and not with a row that goes or becomes another.
  await execute(
    before,
    `delete from ${found} x where (${sameIdentity(pair.before, 'x', 'x', 'ok')})
       or exists (select from pg_temp.hv_d_${pair.number} d where ${sameIdentity(pair.before, 'd', 'x', 'ok')} and d.action in ('u', 'd'))`,
  );
  return summarized(space, pair, { found, name: unique.name });
}

async function summarized(
  space: PlanSpace,
  pair: TablePair,
  { found, name }: { found: string; name: string },
): Promise<UniqueConflict | undefined> {
  const { before } = space.clients;
  const [count] = await query<{ rows: string }>(before, `select count(*)::text as rows from ${found}`);
  if (count!.rows === '0') return undefined;
  const names = outerNames(pair);
  const samples = await query<{ before: string; now: string }>(
    before,
    `select ${sampleKey(pair.now, names)} as before, ${sampleKey(
      pair.now,
      names.map((one) => `o${one}`),
    )} as now from ${found} limit 3`,
  );
  return { table: `${pair.now.schema}.${pair.now.name}`, index: name, rows: Number(count!.rows), samples };
}

async function decide(
  space: PlanSpace,
  pair: TablePair,
  { index, onConflict }: { index: number; onConflict: RescuePolicies['onConflict'] },
): Promise<void> {
  const { before } = space.clients;
  const found = `pg_temp.hv_x_${pair.number}_${index}`;
  const rows = `pg_temp.hv_d_${pair.number}`;
  const names = outerNames(pair);
  if (onConflict === 'skip') {
    await execute(
      before,
      `update ${rows} d set action = null, skip = true from ${found} x where ${sameIdentity(pair.before, 'x', 'd')}`,
    );
  } else if (onConflict === 'replace' && pair.now.key !== undefined) {
    await execute(
      before,
      `insert into ${rows} as d (${names.join(', ')}, nh, class, action, round)
       select distinct on (${names.map((name) => `o${name}`).join(', ')}) ${names.map((name) => `o${name}`).join(', ')}, h, 'A', 'd', 0
       from ${found} on conflict (${names.join(', ')}) do update set action = 'd'`,
    );
  }
}

/** Rows that refer to a row that stays away stay away, too, and what refers to those. */
export async function cascadeSkips(space: PlanSpace): Promise<void> {
  const pairs = new Map(space.pairs.map((pair) => [pair.id, pair]));
  for (let more = true; more; ) {
    more = false;
    for (const reference of space.enforced) {
      const child = pairs.get(reference.child)!;
      const parent = pairs.get(reference.parent)!;
      const names = outerNames(child);
      const on = equalColumns(space.before, reference, { child: 't', parent: 't2' });
      const skipped = await execute(
        space.clients.before,
        `update pg_temp.hv_d_${child.number} c set action = null, skip = true from (
           select ${names.map((name) => `d.${name}`).join(', ')} from ${changedRows(child)}
           where d.action in ('i', 'u')
             and exists (select from ${changedRows(parent, '2')} where d2.skip and d2.action is null and ${on.join(' and ')})) x
         where ${sameIdentity(child.before, 'x', 'c')}`,
      );
      if (skipped > 0) more = true;
    }
  }
}
