/**
 * The three-way difference. The server of the past does the comparing: the live one is only asked for keys and hashes of the
 * rows that belong, or whose keys belonged.
 */
import type { Client } from 'pg';
import { query } from '../../postgres/index.ts';
import type { RowCounts } from './changeset-header.ts';
import { closeDown, sampleKey, seedRoot } from './closure.ts';
import type { TablePair } from './compare-schemas.ts';
import { hashOf, outerNames, type PlanSpace, ship } from './plan-space.ts';
import { from, identityOf, joinIdentity, sameIdentity } from './row-sql.ts';
import type { RescueRoot, SchemaModel, TableModel } from './schema-model.ts';
import type { TablePolicy } from './types.ts';

const classes: Readonly<Record<string, keyof RowCounts>> = {
  e: 'equal',
  m: 'missing',
  M: 'missingSince',
  c: 'changed',
  C: 'changedSince',
  B: 'changedBoth',
  a: 'added',
  A: 'addedSince',
};

export const noRows: RowCounts = {
  equal: 0,
  missing: 0,
  missingSince: 0,
  changed: 0,
  changedSince: 0,
  changedBoth: 0,
  added: 0,
  addedSince: 0,
};

/**
 * What belongs to the root, on each server. Keys that belonged before are looked for in the later states, too: their rows may
 * have been given to another root, and rows without a foreign key may still refer to what is gone.
 */
export async function closeAll(
  space: PlanSpace,
  { root, accidentModel }: { root: RescueRoot; accidentModel: SchemaModel | undefined },
): Promise<{ roots: number }> {
  const { before, now, accident } = space.clients;
  const numbers = new Map(space.pairs.filter(({ down }) => down).map(({ id, number }) => [id, number]));
  const work = { numbers, signal: space.signal };
  const roots = await seedRoot(before, space.before, { numbers, root });
  await closeDown(before, space.before, work);
  let newest: Client = before;
  if (accident && accidentModel) {
    await seed(space, before, accident);
    await seedRoot(accident, accidentModel, { numbers, root });
    await closeDown(accident, accidentModel, work);
    newest = accident;
  }
  await seed(space, newest, now);
  await seedRoot(now, space.now, { numbers, root });
  await closeDown(now, space.now, work);
  return { roots };
}

async function seed(space: PlanSpace, source: Client, target: Client): Promise<void> {
  for (const pair of space.pairs) {
    if (!pair.down || pair.now.key === undefined) continue;
    const names = outerNames(pair).join(', ');
    const table = `pg_temp.hv_c_${pair.number}`;
    if (!(await exists(source, table)) || !(await exists(target, table))) continue;
    await ship(
      { client: source, select: `select ${names} from ${table}` },
      { client: target, into: `${table} (${names})` },
    );
  }
}

/** A table may be missing at the accident. */
async function exists(client: Client, table: string): Promise<boolean> {
  const [row] = await query<{ there: boolean }>(client, 'select to_regclass($1) is not null as there', [
    table,
  ]);
  return row!.there;
}

/** Keys and hashes of one later state, to the server of the past. */
export async function gatherHashes(
  space: PlanSpace,
  pair: TablePair,
  side: 'now' | 'accident',
): Promise<void> {
  const client = space.clients[side]!;
  const kept = `pg_temp.hv_c_${pair.number}`;
  if (!(await exists(client, kept))) return;
  const into = `pg_temp.hv_${side === 'now' ? 'n' : 'a'}_${pair.number}`;
  const names = outerNames(pair).join(', ');
  if (pair.now.key === undefined) await fillContent(client, pair, pair.now);
  const { names: inner, expressions } = identityOf(pair.now);
  const select =
    pair.now.key === undefined
      ? `select k0, k1, k0 from pg_temp.hv_m_${pair.number}`
      : `select ${expressions.map((one, i) => `${one} as ${inner[i]}`).join(', ')}, ${hashOf(pair)}
         from ${kept} k join ${from(pair.now)} t on ${joinIdentity(pair.now, 'k')}`;
  await ship({ client, select }, { client: space.clients.before, into: `${into} (${names}, h)` });
  await query(space.clients.before, `analyze ${into}`);
}

/** Equal rows of a table without a key get ordinals. */
async function fillContent(client: Client, pair: TablePair, table: TableModel): Promise<void> {
  await query(
    client,
    `insert into pg_temp.hv_m_${pair.number} (k0, k1, o, c)
     select h, row_number() over (partition by h order by tableoid, ctid), tableoid, ctid
     from (select ${hashOf(pair)} as h, t.tableoid, t.ctid
       from pg_temp.hv_c_${pair.number} k join ${from(table)} t on ${joinIdentity(table, 'k')}) x`,
  );
  await query(client, `analyze pg_temp.hv_m_${pair.number}`);
}

/** Fills `hv_d_N` with all rows that are not equal, and what the policy has done with them; counts all. */
export async function classify(
  space: PlanSpace,
  pair: TablePair,
  { policy, undoSince }: { policy: TablePolicy; undoSince: boolean },
): Promise<RowCounts> {
  const { before, accident } = space.clients;
  const names = outerNames(pair);
  const on = (other: string) => sameIdentity(pair.before, 'u', other);
  const keyless = pair.before.key === undefined;
  if (keyless) await fillContent(before, pair, pair.before);
  const own = keyless ? `pg_temp.hv_m_${pair.number}` : `pg_temp.hv_c_${pair.number}`;
  const list = names.join(', ');
  const there = keyless
    ? `left join ${own} t on ${on('t')}`
    : `left join ${from(pair.before)} t on ${joinIdentity(pair.before, 'u')}`;
  const present = keyless ? 't.k0' : identityOf(pair.before).expressions[0];
  const hash = keyless ? 't.k0' : hashOf(pair);
  const rows = await query<{ class: string; count: string }>(
    before,
    `with states as materialized (
       select ${names.map((name) => `u.${name}`).join(', ')}, n.h as nh, ${accident ? 'a.h' : 'null::bytea'} as ah,
         case when ${present} is null then null when n.h is null then '\\x00'::bytea else ${hash} end as bh
       from (select ${list} from ${own} union select ${list} from pg_temp.hv_n_${pair.number}) u
       ${there} left join pg_temp.hv_n_${pair.number} n on ${on('n')}
       ${accident ? `left join pg_temp.hv_a_${pair.number} a on ${on('a')}` : ''}),
     classes as materialized (select ${list}, nh, (${classExpression(accident !== undefined)})::"char" as class from states),
     kept as (insert into pg_temp.hv_d_${pair.number} (${list}, nh, class, action)
       select ${list}, nh, class, ${actionExpression(policy, undoSince)} from classes where class <> 'e')
     select class::text as class, count(*)::text as count from classes group by class`,
  );
  await query(
    before,
    `create unique index on pg_temp.hv_d_${pair.number} (${list}); analyze pg_temp.hv_d_${pair.number}`,
  );
  const counts: Record<keyof RowCounts, number> = { ...noRows };
  for (const row of rows) counts[classes[row.class]!] = Number(row.count);
  return counts;
}

/** bh, ah, nh: the hash before, at the accident, now; null where there is no row. */
function classExpression(accident: boolean): string {
  if (!accident)
    return `case when bh is null then 'a' when nh is null then 'm' when bh = nh then 'e' else 'c' end`;
  return `case
    when bh is null then case when ah is null then 'A' else 'a' end
    when nh is null then case when ah is null then 'm' else 'M' end
    when bh = nh then 'e' when ah is null then 'B' when ah = nh then 'c' when ah = bh then 'C' else 'B' end`;
}

/** i insert, u revert, d remove. */
function actionExpression({ insert, revert, remove }: TablePolicy, undoSince: boolean): string {
  const when = (wanted: boolean, own: string, since: string, action: string) =>
    wanted ? `when class in (${undoSince ? `${own}, ${since}` : own}) then '${action}'` : '';
  const cases = [
    when(insert, `'m'`, `'M'`, 'i'),
    when(revert, `'c'`, `'C', 'B'`, 'u'),
    when(remove, `'a'`, `'A'`, 'd'),
  ].join(' ');
  return cases.trim() === '' ? 'null::"char"' : `(case ${cases} end)::"char"`;
}

export async function samples(
  space: PlanSpace,
  pair: TablePair,
  counts: RowCounts,
): Promise<{ kind: keyof RowCounts; key: string }[]> {
  const found: { kind: keyof RowCounts; key: string }[] = [];
  for (const [letter, kind] of Object.entries(classes)) {
    if (letter === 'e' || counts[kind] === 0) continue;
    const rows = await query<{ key: string }>(
      space.clients.before,
      `select ${sampleKey(pair.now, outerNames(pair))} as key from pg_temp.hv_d_${pair.number} where class = '${letter}' limit 3`,
    );
    found.push(...rows.map(({ key }) => ({ kind, key })));
  }
  return found;
}
