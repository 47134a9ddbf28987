/** The servers that a plan reads, and the temporary tables that it makes on them. */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { copyIn, copyOut, query } from '../../postgres/index.ts';
import { createClosureTables, type TableNumbers } from './closure.ts';
import type { Comparison, TablePair } from './compare-schemas.ts';
import { column, columnOf, from, identityOf, rowHash } from './row-sql.ts';
import type { ReferenceModel, SchemaModel, TableId } from './schema-model.ts';
import { pinSettings } from './session.ts';

export interface PlanSpace extends Comparison {
  readonly clients: {
    readonly before: Client;
    readonly now: Client;
    readonly accident: Client | undefined;
  };
  readonly numbers: TableNumbers;
  /** Foreign keys as they are now, whose tables and columns were there before: number → reference. */
  readonly enforced: readonly ReferenceModel[];
  readonly signal: AbortSignal;
}

/** `k0, k1 …`: what tells a row apart between servers; content hash and ordinal for a table without a key. */
export function outerNames({ now }: TablePair): string[] {
  return now.key === undefined ? ['k0', 'k1'] : now.key.map((_, index) => `k${index}`);
}

/** … with their types, as columns of a temporary table. Collations come along. */
export function outerColumns(pair: TablePair, side: 'before' | 'now'): string {
  const table = pair[side];
  if (table.key === undefined) return `select null::bytea as k0, null::int as k1 where false`;
  const { names, expressions } = identityOf(table);
  return `select ${expressions.map((one, i) => `${one} as ${names[i]}`).join(', ')} from ${from(table)} t where false`;
}

/** The hash of the columns that are in both, over `t`. */
export function hashOf(pair: TablePair): string {
  return rowHash(pair.columns.map((name) => column('t', name)));
}

/** On the live server these are made before its read-only transaction begins; rows may go into them there all the same. */
export async function createNowTables(space: PlanSpace): Promise<void> {
  const { now } = space.clients;
  const down = downIds(space);
  await createClosureTables(now, space.now, { numbers: space.numbers, prefix: 'c', tables: down });
  for (const pair of space.pairs) {
    if (pair.now.key === undefined) await createContentTables(now, pair);
    await query(now, `create temporary table hv_e_${pair.number} as ${outerColumns(pair, 'now')}`);
    for (const [index, unique] of pair.now.uniques.entries()) {
      const values = unique.expressions.map((one, at) => `${one} as e${at}`).join(', ');
      await query(
        now,
        `create temporary table hv_q_${pair.number}_${index} as
         select k.*, v.* from (${outerColumns(pair, 'now')}) k cross join (select ${values} from ${from(pair.now)} where false) v`,
      );
    }
  }
  for (const [index, reference] of space.enforced.entries())
    await createReferenceTable(now, space.now, { name: `hv_f_${index}`, reference });
}

export async function createBeforeTables(space: PlanSpace): Promise<void> {
  const { before } = space.clients;
  await createClosureTables(before, space.before, {
    numbers: space.numbers,
    prefix: 'c',
    tables: downIds(space),
  });
  for (const pair of space.pairs) {
    const outer = outerColumns(pair, 'before');
    if (pair.before.key === undefined) await createContentTables(before, pair);
    for (const name of ['n', 'a'])
      await query(
        before,
        `create temporary table hv_${name}_${pair.number} as select *, null::bytea as h from (${outer}) k`,
      );
    await query(
      before,
      `create temporary table hv_d_${pair.number} as
       select *, ' '::"char" as class, null::bytea as nh, null::"char" as action from (${outer}) k;
       alter table pg_temp.hv_d_${pair.number} add parent boolean default false, add skip boolean default false, add round int default 0`,
    );
  }
  for (const [index, reference] of space.enforced.entries()) {
    await createReferenceTable(before, space.before, { name: `hv_f_${index}`, reference });
    await createReferenceTable(before, space.before, { name: `hv_g_${index}`, reference });
  }
}

export async function createAccidentTables(space: PlanSpace, model: SchemaModel): Promise<void> {
  const accident = space.clients.accident!;
  const tables = downIds(space).filter((id) => model.tables.has(id));
  await createClosureTables(accident, model, { numbers: space.numbers, prefix: 'c', tables });
  for (const pair of space.pairs)
    if (pair.now.key === undefined && model.tables.has(pair.id)) await createContentTables(accident, pair);
}

/** Rows without a key by content: hash, ordinal, place. `hv_r_N`: those that are to go. */
async function createContentTables(client: Client, pair: TablePair): Promise<void> {
  await query(
    client,
    `create temporary table hv_m_${pair.number} (k0 bytea, k1 int, o oid, c tid);
     create unique index on pg_temp.hv_m_${pair.number} (k0, k1);
     create temporary table hv_r_${pair.number} (k0 bytea, k1 int, h bytea)`,
  );
}

/** Values of a foreign key, in the types of the columns that they refer to. */
async function createReferenceTable(
  client: Client,
  model: SchemaModel,
  { name, reference }: { name: string; reference: ReferenceModel },
): Promise<void> {
  const parent = model.tables.get(reference.parent)!;
  const values = reference.parentColumns.map(
    (one, index) => `${column('t', one)}::${columnOf(parent, one).base} as f${index}`,
  );
  await query(
    client,
    `create temporary table ${name} as select ${values.join(', ')} from ${from(parent)} t where false`,
  );
}

export function downIds({ pairs }: Pick<Comparison, 'pairs'>): TableId[] {
  return pairs.filter(({ down }) => down).map(({ id }) => id);
}

/** From a query on one server into a table on another. Resolves to the number of rows. */
export async function ship(
  source: { readonly client: Client; readonly select: string },
  target: { readonly client: Client; readonly into: string },
): Promise<number> {
  const writer = await copyIn(target.client, `copy ${target.into} from stdin`);
  try {
    await copyOut(source.client, `copy (${source.select}) to stdout`, (rows) => writer.write(rows));
  } catch (thrown) {
    await writer.fail();
    throw thrown;
  }
  return writer.end();
}

/** Repeatable read, in which temporary tables can be made. */
export async function beginScratch(client: Client): Promise<void> {
  await query(client, 'begin isolation level repeatable read read write');
  await pinSettings(client, { statement_timeout: '0', lock_timeout: '0', work_mem: '64MB' });
}

/** Throws SERVER_SETTING on a standby: there are no temporary tables there. */
export async function refuseStandby(client: Client): Promise<void> {
  const [row] = await query<{ standby: boolean }>(client, 'select pg_is_in_recovery() as standby');
  if (row!.standby)
    throw new HelvinoError('SERVER_SETTING', 'the live server is a standby', {
      hint: 'plan and apply against the primary: a standby has no temporary tables',
    });
}
