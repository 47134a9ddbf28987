/**
 * The rows of a file of changes in temporary tables of the server that they are for: `hv_s_N` what is wanted (op, expected hash,
 * ordinal, columns c0 …), `hv_o_N` what is there now of it (all columns x0 …, hash, place), locked. Both hold in the end
 * exactly what is still to be done.
 */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { type CopyWriter, copyIn, execute, query } from '../../postgres/index.ts';
import type { ChangesetReader } from './changeset-file.ts';
import type { TableChanges } from './changeset-header.ts';
import { sampleKey } from './closure.ts';
import { identifies } from './compare-schemas.ts';
import { column, columnOf, from, rowHash, sameValue } from './row-sql.ts';
import { type SchemaModel, type TableModel, tableName } from './schema-model.ts';

export interface StagedTable {
  readonly number: number;
  readonly changes: TableChanges;
  /** As it is now, with the key that the file names. */
  readonly table: TableModel;
  /** Every column that is written when a row is: those of the file first. */
  readonly own: readonly string[];
}

/** What is to be done, is done already, is not as expected. */
export interface States {
  readonly pending: { readonly i: number; readonly u: number; readonly d: number };
  readonly done: number;
  readonly moved: number;
  readonly movedSamples: readonly string[];
}

/** Throws PLAN_CHANGED when a table, column or key of the file is not there. */
export function matchTables(changes: readonly TableChanges[], model: SchemaModel): StagedTable[] {
  return changes.map((one, number) => {
    const table = [...model.tables.values()].find((t) => t.schema === one.schema && t.name === one.name);
    if (!table) throw changed(`the table ${tableName(one)} is not there any more`);
    for (const name of new Set([...one.columns, ...(one.key ?? [])])) {
      const found = table.columns.find((each) => each.name === name);
      if (!found || found.generated || !one.columns.includes(name))
        throw changed(`${tableName(one)} has no column ${name} that can be written`);
    }
    // By columns that do not, one row of the file could take many of the table with it.
    if (one.key !== null && !identifies(table, one.key))
      throw changed(
        `no two rows of ${tableName(one)} should have the same ${one.key.join(', ')}, and they may`,
      );
    const others = table.columns.filter(({ name, generated }) => !generated && !one.columns.includes(name));
    const own = [...one.columns, ...others.map(({ name }) => name)];
    if (one.key === null && others.length > 0)
      throw changed(
        `${tableName(one)} has no key, and a column that the file does not know: ${others[0]!.name}`,
      );
    return { number, changes: one, table: { ...table, key: one.key ?? undefined }, own };
  });
}

function changed(what: string): HelvinoError {
  return new HelvinoError('PLAN_CHANGED', `the schema is not what it was: ${what}`, {
    hint: 'make a new plan',
  });
}

/** The hash of the file's columns: of a staged row (`s`). */
export function stagedHash({ changes }: StagedTable): string {
  return rowHash(changes.columns.map((_, index) => `s.c${index}`));
}

/** … of the row in the table (`t`). */
export function tableHash({ changes }: StagedTable): string {
  return rowHash(changes.columns.map((name) => column('t', name)));
}

/** That a row of the table (`t`) has the key of a staged one. */
export function joinStaged({ changes, table }: StagedTable): string {
  return changes
    .key!.map((name) => sameValue(table, name, column('t', name), `s.c${changes.columns.indexOf(name)}`))
    .join(' and ');
}

export async function createStage(client: Client, staged: StagedTable): Promise<void> {
  const { table, changes, number } = staged;
  const columns = changes.columns.map(
    (name, index) => `${column('t', name)}::${columnOf(table, name).base} as c${index}`,
  );
  await query(
    client,
    `create temporary table hv_s_${number} on commit drop as
     select null::"char" as op, null::bytea as expect, null::int as n, ${columns.join(', ')} from ${from(table)} t where false`,
  );
}

/** Throws PLAN_INVALID when the file holds other rows than its header says. */
export async function loadStage(
  client: Client,
  reader: ChangesetReader,
  { signal, onBytes }: { signal: AbortSignal; onBytes: (bytes: number) => void },
): Promise<void> {
  let open: { readonly table: number; readonly writer: CopyWriter } | undefined;
  try {
    for await (const { table, lines } of reader.rows()) {
      signal.throwIfAborted();
      if (open?.table !== table) {
        await open?.writer.end();
        open = undefined;
        open = { table, writer: await copyIn(client, `copy pg_temp.hv_s_${table} from stdin`) };
      }
      await open.writer.write(lines);
      onBytes(lines.length);
    }
    await open?.writer.end();
  } catch (thrown) {
    await open?.writer.fail();
    throw notRows(thrown, reader.file);
  }
}

/** Bytes that are no COPY text, or not in the database's encoding. */
function notRows(thrown: unknown, file: string): unknown {
  const state = thrown instanceof HelvinoError ? thrown.context.sqlstate : undefined;
  if (state !== '22P04' && state !== '22021') return thrown;
  return new HelvinoError(
    'PLAN_INVALID',
    `${file} holds something else than rows: ${String((thrown as Error).message)}`,
    {
      cause: thrown,
      hint: 'nothing was changed; make the plan again, or of an undo, look for another copy',
    },
  );
}

export async function checkCounts(
  client: Client,
  { changes, number }: StagedTable,
  file: string,
): Promise<void> {
  await query(client, `analyze pg_temp.hv_s_${number}`);
  const good = changes.key === null ? 'n >= 1' : 'true';
  const [row] = await query<{ i: number; u: number; d: number; all: number }>(
    client,
    `select count(*) filter (where op = 'i' and ${good})::float8 as i, count(*) filter (where op = 'u')::float8 as u,
       count(*) filter (where op = 'd' and ${good})::float8 as d, count(*)::float8 as all from pg_temp.hv_s_${number}`,
  );
  const { i, u, d, all } = row!;
  if (i === changes.insert && u === changes.revert && d === changes.remove && all === i + u + d) return;
  throw new HelvinoError('PLAN_INVALID', `${file} holds other rows of ${tableName(changes)} than it says`, {
    hint: 'make the plan again',
  });
}

/** Locks what is there of the staged rows, and copies it. */
export async function lockRows(client: Client, staged: StagedTable): Promise<void> {
  const { table, number, own } = staged;
  const values = own
    .map((name, index) => `${column('t', name)}::${columnOf(table, name).base} as x${index}`)
    .join(', ');
  const into = `create temporary table hv_o_${number} on commit drop as`;
  const chosen = `select s.op, s.ctid as sid, s.expect, s.n, t.tableoid as po, t.ctid as pc, ${tableHash(staged)} as h, ${stagedHash(staged)} as target, ${values}`;
  if (table.key !== undefined) {
    await query(
      client,
      `${into} ${chosen} from pg_temp.hv_s_${number} s join ${from(table)} t on ${joinStaged(staged)} for no key update of t`,
    );
  } else {
    await query(
      client,
      `create temporary table hv_l_${number} on commit drop as
       select t.tableoid as po, t.ctid as pc, ${tableHash(staged)} as h from ${from(table)} t
       where ${tableHash(staged)} in (select ${stagedHash(staged)} from pg_temp.hv_s_${number} s) for update of t;
       ${into} ${chosen} from pg_temp.hv_s_${number} s
       join (select *, row_number() over (partition by h order by po, pc) as n from pg_temp.hv_l_${number}) m
         on m.h = ${stagedHash(staged)} and m.n = s.n
       join ${from(table)} t on t.tableoid = m.po and t.ctid = m.pc`,
    );
  }
  await query(client, `analyze pg_temp.hv_o_${number}`);
}

/** Of a staged row and what is there of it (`o`, or none). */
function stateOf(keyed: boolean): string {
  if (!keyed) return `case when (s.op = 'i') = (o.sid is null) then 'pending' else 'done' end`;
  return `case
    when o.sid is null then case s.op when 'i' then 'pending' when 'd' then 'done' else 'moved' end
    when s.op = 'i' then case when o.h = o.target then 'done' else 'moved' end
    when o.h = s.expect then 'pending'
    when s.op = 'u' and o.h = o.target then 'done'
    else 'moved' end`;
}

/** What is done or moved is taken out of both tables. */
export async function sortOut(client: Client, staged: StagedTable): Promise<States> {
  const { number, table, changes } = staged;
  const keyed = table.key !== undefined;
  const [s, o] = [`pg_temp.hv_s_${number}`, `pg_temp.hv_o_${number}`];
  const joined = `${s} s left join ${o} o on o.sid = s.ctid`;
  const rows = await query<{ op: 'i' | 'u' | 'd'; state: string; count: number }>(
    client,
    `select op::text as op, state, count(*)::float8 as count from (select s.op, ${stateOf(keyed)} as state from ${joined}) x group by 1, 2`,
  );
  const count = (state: string, op?: string) =>
    rows
      .filter((row) => row.state === state && (op === undefined || row.op === op))
      .reduce((sum, row) => sum + row.count, 0);
  const moved = count('moved');
  const keys = keyed
    ? table.key!.map((name) => `s.c${changes.columns.indexOf(name)}`)
    : [stagedHash(staged), 's.n'];
  const samples =
    moved === 0
      ? []
      : await query<{ key: string }>(
          client,
          `select ${sampleKey(table, keys)} as key from ${joined} where ${stateOf(keyed)} = 'moved' limit 5`,
        );
  if (moved + count('done') > 0) {
    await execute(
      client,
      `delete from ${s} where ctid in (select s.ctid from ${joined} where ${stateOf(keyed)} <> 'pending')`,
    );
    await execute(client, `delete from ${o} o where not exists (select from ${s} s where s.ctid = o.sid)`);
    await query(client, `analyze ${s}; analyze ${o}`);
  }
  return {
    pending: { i: count('pending', 'i'), u: count('pending', 'u'), d: count('pending', 'd') },
    done: count('done'),
    moved,
    movedSamples: samples.map(({ key }) => key),
  };
}
