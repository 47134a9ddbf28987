/** The statements that change rows: removals first (their values may be wanted), then what comes back, then what is reverted. */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { execute, query, quoteIdentifier } from '../../postgres/index.ts';
import { removeFiring } from './remove-firing.ts';
import { column, columnOf, emptiable, from } from './row-sql.ts';
import { type ReferenceModel, type SchemaModel, tableName } from './schema-model.ts';
import { joinStaged, type StagedTable, stagedHash, tableHash } from './stage.ts';

/** Of a cycle that cannot be deferred: columns that are NULL at first, by table number. */
type Nulled = ReadonlyMap<number, readonly string[]>;

export function removeStatement({ table, number }: StagedTable): string {
  return `delete from ${from(table)} t using pg_temp.hv_o_${number} o where o.op = 'd' and t.tableoid = o.po and t.ctid = o.pc`;
}

export function insertStatement(
  { table, changes, number }: StagedTable,
  nulled: readonly string[] = [],
): string {
  const names = changes.columns.map(quoteIdentifier).join(', ');
  const values = changes.columns
    .map((name, index) => (nulled.includes(name) ? 'null' : `c${index}`))
    .join(', ');
  return `insert into ${table.id} (${names}) overriding system value select ${values} from pg_temp.hv_s_${number} where op = 'i'`;
}

/** Identity columns that are GENERATED ALWAYS cannot be set by UPDATE; what is left different is found at the end. */
export function revertStatement(staged: StagedTable): string {
  const { table, changes, number } = staged;
  const set = changes.columns
    .map((name, index) => [name, index] as const)
    .filter(([name]) => columnOf(table, name).identity !== 'always')
    .map(([name, index]) => `${quoteIdentifier(name)} = s.c${index}`);
  return `update ${from(table)} t set ${set.join(', ')} from pg_temp.hv_s_${number} s where s.op = 'u' and ${joinStaged(staged)}`;
}

/** Only while neither triggers nor foreign keys act: as removal and insertion, which no order of rows disturbs. */
function replaceStatements({ table, changes, own, number }: StagedTable): [string, string] {
  const values = own.map((name, index) => {
    const place = changes.columns.indexOf(name);
    return place < 0 ? `o.x${index}` : `s.c${place}`;
  });
  return [
    `delete from ${from(table)} t using pg_temp.hv_o_${number} o where o.op = 'u' and t.tableoid = o.po and t.ctid = o.pc`,
    `insert into ${table.id} (${own.map(quoteIdentifier).join(', ')}) overriding system value
     select ${values.join(', ')} from pg_temp.hv_s_${number} s join pg_temp.hv_o_${number} o on o.sid = s.ctid where s.op = 'u'`,
  ];
}

export interface Changing {
  readonly staged: readonly StagedTable[];
  readonly pending: ReadonlyMap<StagedTable, { readonly i: number; readonly u: number; readonly d: number }>;
  readonly model: SchemaModel;
  /** Neither triggers nor foreign keys act. */
  readonly replica: boolean;
  readonly signal: AbortSignal;
}

/** Throws PLAN_CHANGED when a statement touched other rows than were staged. */
export async function changeRows(client: Client, changing: Changing): Promise<void> {
  const { staged, pending, replica, signal } = changing;
  const nulled = replica ? new Map() : nulledColumns(changing);
  const run = async (one: StagedTable, wanted: number, text: string) => {
    signal.throwIfAborted();
    if (wanted === 0) return;
    const touched = await execute(client, text);
    if (touched !== wanted)
      throw new HelvinoError(
        'PLAN_CHANGED',
        `${touched} rows of ${tableName(one.table)} were touched where ${wanted} were meant: a trigger or rule interferes`,
        { hint: 'nothing was changed; see --triggers' },
      );
  };
  if (replica)
    for (const one of staged.toReversed()) await run(one, pending.get(one)!.d, removeStatement(one));
  else {
    const leaving = staged.filter((one) => pending.get(one)!.d > 0);
    await removeFiring(client, { ...changing, leaving });
  }
  const revertAll = async () => {
    for (const one of staged) await revert(client, one, { wanted: pending.get(one)!.u, replica, run });
  };
  // A unique value may be free only once a row is reverted; but foreign keys that act want what is referred to first.
  if (replica) await revertAll();
  for (const one of staged) await run(one, pending.get(one)!.i, insertStatement(one, nulled.get(one.number)));
  for (const one of staged)
    if (nulled.has(one.number) && pending.get(one)!.i > 0)
      await execute(client, fillStatement(one, nulled.get(one.number)!));
  if (!replica) await revertAll();
}

async function revert(
  client: Client,
  one: StagedTable,
  {
    wanted,
    replica,
    run,
  }: {
    wanted: number;
    replica: boolean;
    run: (one: StagedTable, wanted: number, text: string) => Promise<void>;
  },
): Promise<void> {
  if (wanted === 0) return;
  const { table, changes } = one;
  const fixed = changes.columns.some(
    (name) => columnOf(table, name).identity === 'always' && !changes.key!.includes(name),
  );
  const [away, back] = replaceStatements(one);
  if (replica && fixed) {
    await run(one, wanted, away);
    return run(one, wanted, back);
  }
  await query(client, 'savepoint helvino_revert');
  try {
    await run(one, wanted, revertStatement(one));
    await query(client, 'release savepoint helvino_revert');
  } catch (thrown) {
    // Two rows that had exchanged a unique value, or what an exclusion constraint keeps apart: no order of updates brings them back.
    const exchanged =
      thrown instanceof HelvinoError &&
      (thrown.context.sqlstate === '23505' || thrown.context.sqlstate === '23P01');
    if (!replica || !exchanged) throw thrown;
    await query(client, 'rollback to savepoint helvino_revert');
    await run(one, wanted, away);
    await run(one, wanted, back);
  }
}

/** With foreign keys that act at once, in a cycle of tables: references to tables that come later wait. */
function nulledColumns({ staged, pending, model }: Changing): Nulled {
  const place = new Map(staged.map((one) => [one.table.id, one]));
  const found = new Map<number, string[]>();
  for (const reference of model.references) {
    const [child, parent] = [place.get(reference.child), place.get(reference.parent)];
    if (!child || !parent || !reference.enforced || reference.deferrable || parent.number <= child.number)
      continue;
    if (pending.get(child)!.i === 0 || pending.get(parent)!.i === 0) continue;
    found.set(child.number, [...(found.get(child.number) ?? []), ...breakable(child, reference)]);
  }
  return found;
}

function breakable({ table }: StagedTable, reference: ReferenceModel): readonly string[] {
  const free = emptiable(table, reference.childColumns);
  if (table.key !== undefined && free.length > 0) return free;
  throw new HelvinoError(
    'SERVER_SETTING',
    `the tables of ${reference.name} refer to each other, and the constraint can neither be deferred nor be empty at first`,
    { hint: 'apply it as a role that may set session_replication_role' },
  );
}

function fillStatement(one: StagedTable, columns: readonly string[]): string {
  const set = columns.map((name) => `${quoteIdentifier(name)} = s.c${one.changes.columns.indexOf(name)}`);
  return `update ${from(one.table)} t set ${set.join(', ')} from pg_temp.hv_s_${one.number} s where s.op = 'i' and ${joinStaged(one)}`;
}

/** Every row that came or was reverted is what was wanted. Throws PLAN_CHANGED. */
export async function verifyRows(
  client: Client,
  one: StagedTable,
  { wanted, replica }: { readonly wanted: number; readonly replica: boolean },
): Promise<void> {
  if (wanted === 0) return;
  if (one.table.key === undefined) {
    // Nobody else could have changed them, and the whole table would be read.
    const interferes = one.table.triggers.some(({ always }) => always || !replica);
    return interferes ? verifyContents(client, one) : undefined;
  }
  const text = (value: (name: string, index: number) => string) =>
    `row(${one.changes.columns.map(value).join(', ')})::text`;
  const [row] = await query<{ good: number }>(
    client,
    // Not a condition of the join, for which the server would print every row of the table.
    `select count(*) filter (where ${text((name) => column('t', name))} = ${text((_, index) => `s.c${index}`)})::float8 as good
     from pg_temp.hv_s_${one.number} s join ${from(one.table)} t on ${joinStaged(one)} where s.op in ('i', 'u')`,
  );
  if (row!.good < wanted) throw otherwise(wanted - row!.good, one);
}

/** Without a key: of each content there are as many rows as it takes. */
async function verifyContents(client: Client, one: StagedTable): Promise<void> {
  const [row] = await query<{ bad: number }>(
    client,
    `select coalesce(sum(greatest(w.n - coalesce(f.n, 0), 0)), 0)::float8 as bad
     from (select ${stagedHash(one)} as h, max(s.n) as n from pg_temp.hv_s_${one.number} s where s.op = 'i' group by 1) w
     left join (select ${tableHash(one)} as h, count(*) as n from ${from(one.table)} t group by 1) f using (h)`,
  );
  if (row!.bad > 0) throw otherwise(row!.bad, one);
}

function otherwise(count: number, { table }: StagedTable): HelvinoError {
  return new HelvinoError(
    'PLAN_CHANGED',
    `${count} rows of ${tableName(table)} are not what was written: a trigger or a generated value changed them`,
    {
      hint: 'nothing was changed; --triggers off, as a role that may set session_replication_role, writes rows as they were',
    },
  );
}
