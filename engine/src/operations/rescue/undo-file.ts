/** The file that undoes an apply: what came is to go, what was reverted or removed is to be as it was, byte by byte. */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { randomHex } from '../../base/ids.ts';
import { copyOut, query } from '../../postgres/index.ts';
import type { Changing } from './change-rows.ts';
import { ChangesetReader, ChangesetWriter } from './changeset-file.ts';
import type { ChangesetHeader } from './changeset-header.ts';
import { column, from, rowHash } from './row-sql.ts';
import type { ServerIdentity } from './session.ts';
import { joinStaged, type StagedTable, stagedHash } from './stage.ts';

/** In the transaction that has changed the rows. Durable when it resolves. */
export async function writeUndo(
  client: Client,
  { staged, pending }: Pick<Changing, 'staged' | 'pending'>,
  facts: {
    readonly file: string;
    readonly plan: ChangesetHeader;
    readonly identity: ServerIdentity;
    readonly program: string;
  },
): Promise<void> {
  const [row] = await query<{ xid: string }>(client, 'select pg_current_xact_id()::text as xid');
  const written = staged.filter((one) => {
    const { i, u, d } = pending.get(one)!;
    return i + u + d > 0;
  });
  const header: ChangesetHeader = {
    kind: 'undo',
    id: randomHex(8),
    made: facts.identity.time,
    program: facts.program,
    database: facts.identity.database,
    system: facts.identity.system ?? null,
    undoes: { id: facts.plan.id, xid: row!.xid },
    root: facts.plan.root,
    tables: written.map((one) => {
      const { i, u, d } = pending.get(one)!;
      const { schema, name } = one.table;
      const key = one.changes.key && [...one.changes.key];
      return { schema, name, key, columns: [...one.own], insert: d, revert: u, remove: i };
    }),
  };
  const writer = await ChangesetWriter.create(facts.file, header);
  try {
    for (const [index, one] of written.entries()) {
      for (const select of inverseRows(one))
        await copyOut(client, `copy (${select}) to stdout`, (lines) => writer.rows(index, lines));
    }
    await writer.close();
  } catch (thrown) {
    await writer.abandon();
    throw thrown;
  }
}

/** What the rows are now is what was staged, unless the table has columns besides. */
function inverseRows({ table, changes, own, number, ...rest }: StagedTable): string[] {
  const one: StagedTable = { table, changes, own, number, ...rest };
  const [s, o] = [`pg_temp.hv_s_${number} s`, `pg_temp.hv_o_${number} o`];
  const before = own.map((_, index) => `o.x${index}`).join(', ');
  if (table.key === undefined) return inverseOfEqual(one, before);
  const removed = `select 'i', null, o.n, ${before} from ${o} where o.op = 'd'`;
  const key = own.map((name) => (table.key!.includes(name) ? `s.c${changes.columns.indexOf(name)}` : 'null'));
  const same = own.length === changes.columns.length;
  const hash = same ? stagedHash(one) : rowHash(own.map((name) => column('t', name)));
  const join = same ? '' : `join ${from(table)} t on ${joinStaged(one)}`;
  return [
    `select 'd', ${hash}, null, ${key.join(', ')} from ${s} ${join} where s.op = 'i'`,
    `select 'u', ${hash}, null, ${before} from ${s} join ${o} on o.sid = s.ctid ${join} where s.op = 'u'`,
    removed,
  ];
}

/**
 * Without a key: of equal rows those are to go that are beyond what was there and stayed, and what went comes back beyond those. What the
 * file called their numbers need not be so any more, if others have removed or added an equal one since.
 */
function inverseOfEqual(one: StagedTable, before: string): string[] {
  const { number, changes } = one;
  const content = changes.columns.map((_, index) => `s.c${index}`).join(', ');
  const count = (name: string, rows: string) =>
    `left join (select h, count(*) as ${name} from (${rows}) x group by h) ${name} using (h)`;
  const came = `select ${stagedHash(one)} as h, s.* from pg_temp.hv_s_${number} s where s.op = 'i'`;
  const went = `select o.* from pg_temp.hv_o_${number} o where o.op = 'd'`;
  const counts = [count('there', `table pg_temp.hv_l_${number}`), count('gone', went), count('new', came)];
  const stayed = `coalesce(there.there, 0) - coalesce(gone.gone, 0)`;
  return [
    `select 'd', h, ${stayed} + row_number() over (partition by h), ${content} from (${came}) s ${counts.join(' ')}`,
    `select 'i', null, ${stayed} + coalesce(new.new, 0) + row_number() over (partition by h), ${before} from (${went}) o ${counts.join(' ')}`,
  ];
}

/** What an undo file that is already there means for an apply of the plan with this id. */
export type EarlierRun = 'none' | 'committed' | 'rolled back' | 'unknown';

/** Throws TARGET_NOT_EMPTY when the file is another's, REPOSITORY_BUSY when that run still goes on. */
export async function earlierRun(client: Client, file: string, plan: string): Promise<EarlierRun> {
  let header: ChangesetHeader;
  try {
    await using reader = await ChangesetReader.open(file);
    header = reader.header;
  } catch (thrown) {
    if (thrown instanceof HelvinoError && (thrown.cause as { code?: string } | undefined)?.code === 'ENOENT')
      return 'none';
    throw thrown;
  }
  if (header.kind !== 'undo' || header.undoes.id !== plan)
    throw new HelvinoError('TARGET_NOT_EMPTY', `${file} exists, and undoes something else`, {
      hint: 'nothing is overwritten: name another file with --undo',
    });
  const status = await statusOf(client, header.undoes.xid);
  if (status === 'in progress')
    throw new HelvinoError('REPOSITORY_BUSY', `the run that wrote ${file} has not ended yet`, {
      hint: 'wait for it, and run this again',
    });
  if (status === 'committed') return 'committed';
  return status === 'aborted' ? 'rolled back' : 'unknown';
}

/** Null when the server no longer knows it, or never did: another server, or one that was set back. */
export async function statusOf(client: Client, xid: string): Promise<string | null> {
  const [row] = await query<{ status: string | null }>(
    client,
    `select case when $1::xid8 < pg_snapshot_xmax(pg_current_snapshot()) then pg_xact_status($1::xid8) end as status`,
    [xid],
  );
  return row!.status;
}
