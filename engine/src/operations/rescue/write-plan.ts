/** The rows of a plan: with their content as of before, or only named, if they are to go. */
import { copyOut, query } from '../../postgres/index.ts';
import type { ChangesetWriter } from './changeset-file.ts';
import type { TablePair } from './compare-schemas.ts';
import { outerNames, type PlanSpace, ship } from './plan-space.ts';
import { column, from, joinIdentity, sameIdentity } from './row-sql.ts';

export interface ActionCounts {
  readonly insert: number;
  readonly revert: number;
  readonly remove: number;
  readonly parents: number;
  readonly skipped: number;
}

export async function countActions(space: PlanSpace, pair: TablePair): Promise<ActionCounts> {
  const [row] = await query<ActionCounts>(
    space.clients.before,
    `select count(*) filter (where action = 'i')::float8 as insert, count(*) filter (where action = 'u')::float8 as revert,
       count(*) filter (where action = 'd')::float8 as remove, count(*) filter (where action = 'i' and parent)::float8 as parents,
       count(*) filter (where skip)::float8 as skipped
     from pg_temp.hv_d_${pair.number}`,
  );
  return row!;
}

/** A line: op, the hash that the row has now, ordinal (without a key), then the columns. */
export async function writeRows(
  space: PlanSpace,
  pair: TablePair,
  { writer, table }: { writer: ChangesetWriter; table: number },
): Promise<void> {
  const sink = (lines: Buffer) => writer.rows(table, lines);
  const copy = (client: typeof space.clients.now, select: string) =>
    copyOut(client, `copy (${select}) to stdout`, sink);
  const { before, now } = space.clients;
  const rows = `pg_temp.hv_d_${pair.number}`;
  const values = pair.columns.map((name) => column('t', name)).join(', ');
  if (pair.now.key !== undefined) {
    // What goes comes first: its values may be wanted by what comes.
    const named = pair.columns.map((name) => {
      const place = pair.now.key!.indexOf(name);
      return place < 0 ? 'null' : `d.k${place}`;
    });
    await copy(
      before,
      `select d.action, d.nh, null, ${named.join(', ')} from ${rows} d where d.action = 'd'`,
    );
    await copy(
      before,
      `select d.action, d.nh, null, ${values} from ${rows} d join ${from(pair.before)} t on ${joinIdentity(pair.before, 'd')}
       where d.action in ('i', 'u')`,
    );
    return;
  }
  const names = outerNames(pair);
  const gone = `pg_temp.hv_r_${pair.number}`;
  await ship(
    { client: before, select: `select ${names.join(', ')}, nh from ${rows} where action = 'd'` },
    { client: now, into: `${gone} (${names.join(', ')}, h)` },
  );
  const place = (alias: string) =>
    `join pg_temp.hv_m_${pair.number} m on ${sameIdentity(pair.now, 'm', alias)} join`;
  await copy(
    now,
    `select 'd', d.h, d.k1, ${values} from ${gone} d ${place('d')} ${from(pair.now)} t on t.tableoid = m.o and t.ctid = m.c`,
  );
  await copy(
    before,
    `select d.action, null, d.k1, ${values} from ${rows} d ${place('d')} ${from(pair.before)} t on t.tableoid = m.o and t.ctid = m.c
     where d.action = 'i'`,
  );
}
