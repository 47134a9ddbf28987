/** `helvino rescue plan`: from two or three states of the database to a file that says what would be changed. */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { randomHex } from '../../base/ids.ts';
import { query } from '../../postgres/index.ts';
import { ChangesetWriter } from './changeset-file.ts';
import type {
  ChangesetHeader,
  RowCounts,
  StoredSummary,
  TableChanges,
  TablePlan,
  UniqueConflict,
} from './changeset-header.ts';
import { compareSchemas, narrowTo, type TablePair } from './compare-schemas.ts';
import { cascadeSkips, findConflicts } from './conflicts.ts';
import { classify, closeAll, gatherHashes, noRows, samples } from './diff.ts';
import { missingObjects } from './large-objects.ts';
import { refersToLeaving } from './leaving.ts';
import { climb } from './parents.ts';
import {
  beginScratch,
  createAccidentTables,
  createBeforeTables,
  createNowTables,
  type PlanSpace,
  refuseStandby,
} from './plan-space.ts';
import { readSchema } from './read-schema.ts';
import { from } from './row-sql.ts';
import { type SchemaModel, type TableModel, tableName } from './schema-model.ts';
import { identify, pinSettings, rollback, type ServerIdentity } from './session.ts';
import { sideEffectsOf } from './side-effects.ts';
import type { PlanOptions, PlanSummary, RescuePolicies, TablePolicy } from './types.ts';
import { type ActionCounts, countActions, writeRows } from './write-plan.ts';

/**
 * Writes `file` and says what is in it. Throws USAGE (no such table, column, row), SERVER_SETTING (a standby),
 * PLAN_CHANGED (the schema changed meanwhile), what the servers answer, and what writing the file throws.
 */
export async function planRescue(options: PlanOptions): Promise<PlanSummary> {
  const { before, now, accident, progress } = options;
  const clients = [before, now, ...(accident ? [accident] : [])];
  try {
    progress.phase('comparing the schemas');
    const { space, accidentModel, identity } = await openSpace(options);
    progress.phase('looking for the rows that belong');
    const { roots } = await closeAll(space, { root: options.root, accidentModel });
    if (roots === 0) throw noRoot(options);
    const found = await compareRows(space, options);
    return await writePlan(space, options, { ...found, identity });
  } finally {
    for (const client of clients) await rollback(client);
    await now.query('discard temp').catch(() => undefined);
  }
}

function noRoot({ root, moments }: PlanOptions): HelvinoError {
  const where = Object.entries(root.where).map(([name, value]) => `${name}=${value}`);
  return new HelvinoError(
    'USAGE',
    `no row of ${root.table} had ${where.join(' and ')} ${moments ? `at ${moments.before}` : 'before'}`,
    { hint: 'check --root and --key, and the moment: it must be one at which the rows were still there' },
  );
}

/** All transactions are open when it resolves: that of the live server sees one moment, and can write nothing that lasts. */
async function openSpace(options: PlanOptions): Promise<{
  space: PlanSpace;
  accidentModel: SchemaModel | undefined;
  identity: ServerIdentity;
}> {
  const { before, now, accident, root, model, signal } = options;
  await beginScratch(before);
  const past = options.past ?? (await readSchema(before, model));
  await query(now, 'begin read write');
  await pinSettings(now);
  await refuseStandby(now);
  const present = await readSchema(now, model);
  refuseUnknown(options.policies, [past, present]);
  const comparison = compareSchemas(past, present, root);
  const space: PlanSpace = {
    ...comparison,
    clients: { before, now, accident },
    numbers: new Map(comparison.pairs.map(({ id, number }) => [id, number])),
    enforced: comparison.now.references.filter(({ enforced }) => enforced),
    signal,
  };
  await createNowTables(space);
  await query(now, 'commit');
  await query(now, 'begin isolation level repeatable read read only');
  await pinSettings(now, { statement_timeout: '0', work_mem: '64MB' });
  if (fingerprint(await readSchema(now, model)) !== fingerprint(present))
    throw new HelvinoError('PLAN_CHANGED', 'the schema changed while it was read', { hint: 'plan again' });
  await createBeforeTables(space);
  let accidentModel: SchemaModel | undefined;
  if (accident) {
    await beginScratch(accident);
    const third = await readSchema(accident, model);
    accidentModel = narrowTo(third, comparison.pairs);
    refuseOther(accidentModel, third, comparison);
    await createAccidentTables(space, accidentModel);
  }
  return { space, accidentModel, identity: await identify(now) };
}

/** Of a name that was mistyped the policy would be that of all others. */
function refuseUnknown({ tables = {} }: RescuePolicies, models: readonly SchemaModel[]): void {
  for (const name of Object.keys(tables)) {
    const known = models.some((model) =>
      [...model.tables.values()].some((one) => [one.id, tableName(one), one.name].includes(name)),
    );
    if (!known)
      throw new HelvinoError('USAGE', `a policy is given for ${name}, and there is no table ${name}`, {
        hint: 'write schema.table; see --table, and rescue.tables in helvino.yaml',
      });
  }
}

/** A table may not have been there at the accident; one with other columns cannot be compared. */
function refuseOther(usable: SchemaModel, all: SchemaModel, { pairs }: Pick<PlanSpace, 'pairs'>): void {
  const other = pairs.find(({ id, down }) => down && all.tables.has(id) && !usable.tables.has(id));
  if (other === undefined) return;
  throw new HelvinoError(
    'USAGE',
    `${tableName(other.now)} had other columns at the accident than before and now`,
    {
      hint: 'plan without --accident',
    },
  );
}

/** But for the estimates of rows. */
function fingerprint({ tables, references }: SchemaModel): string {
  return JSON.stringify([[...tables.values()].map((table) => ({ ...table, rows: 0 })), references]);
}

interface Found {
  readonly counts: ReadonlyMap<TablePair, RowCounts>;
  readonly conflicts: readonly UniqueConflict[];
  readonly problems: readonly string[];
}

async function compareRows(space: PlanSpace, { policies, progress, accident }: PlanOptions): Promise<Found> {
  const counts = new Map<TablePair, RowCounts>();
  progress.phase('comparing rows', space.pairs.length, 'items');
  for (const pair of space.pairs) {
    space.signal.throwIfAborted();
    counts.set(pair, noRows);
    if (pair.down) {
      await gatherHashes(space, pair, 'now');
      if (accident) await gatherHashes(space, pair, 'accident');
      const undoSince = policies.undoSince === true;
      counts.set(pair, await classify(space, pair, { policy: policyOf(pair, policies), undoSince }));
    } else await indexRows(space, pair);
    progress.advance(1);
  }
  progress.phase('looking for conflicts and for what rows refer to');
  const conflicts: UniqueConflict[] = [];
  const problems: string[] = [];
  for (let round = 0, more = true; more; round++) {
    for (const pair of space.pairs)
      conflicts.push(...(await findConflicts(space, pair, { round, onConflict: policies.onConflict })));
    if (policies.onConflict === 'skip') await cascadeSkips(space);
    const climbed = await climb(space, round);
    problems.push(...climbed.problems);
    more = climbed.added > 0;
  }
  problems.push(...(await refersToLeaving(space)));
  return { counts, conflicts, problems };
}

/** Rows of a table that are only referred to come to it later. */
async function indexRows(space: PlanSpace, pair: TablePair): Promise<void> {
  const names =
    pair.now.key === undefined ? 'k0, k1' : pair.now.key.map((_, index) => `k${index}`).join(', ');
  await query(space.clients.before, `create unique index on pg_temp.hv_d_${pair.number} (${names})`);
}

function policyOf({ now }: TablePair, { all, tables = {} }: RescuePolicies): TablePolicy {
  const own = tables[now.id] ?? tables[tableName(now)] ?? tables[now.name] ?? {};
  return { ...all, ...own };
}

async function writePlan(
  space: PlanSpace,
  options: PlanOptions,
  found: Found & { readonly identity: ServerIdentity },
): Promise<PlanSummary> {
  const { identity } = found;
  const actions = new Map<TablePair, ActionCounts>();
  for (const pair of space.pairs) actions.set(pair, await countActions(space, pair));
  const written = space.pairs.filter((pair) => {
    const { insert, revert, remove } = actions.get(pair)!;
    return insert + revert + remove > 0;
  });
  const summary = await summarize(space, options, { ...found, actions, written });
  const header: ChangesetHeader = {
    kind: 'plan',
    id: randomHex(8),
    made: identity.time,
    program: options.program,
    database: identity.database,
    system: identity.system ?? null,
    tables: written.map((pair) => changesOf(pair, actions.get(pair)!)),
    root: { table: options.root.table, where: { ...options.root.where } },
    summary,
  };
  options.progress.phase('writing the plan', written.length, 'items');
  const writer = await ChangesetWriter.create(options.file, header);
  try {
    for (const [table, pair] of written.entries()) {
      space.signal.throwIfAborted();
      await writeRows(space, pair, { writer, table });
      options.progress.advance(1);
    }
    const { bytes, sha256 } = await writer.close();
    const { id, made, database } = header;
    return { ...summary, root: options.root, id, file: options.file, bytes, sha256, database, made };
  } catch (thrown) {
    await writer.abandon();
    throw thrown;
  }
}

function changesOf({ now, columns }: TablePair, { insert, revert, remove }: ActionCounts): TableChanges {
  const fixed = now.columns.filter(({ name, identity }) => identity === 'always' && columns.includes(name));
  return {
    schema: now.schema,
    name: now.name,
    key: now.key ? [...now.key] : null,
    columns: [...columns],
    insert,
    revert,
    remove,
    partitioned: now.kind === 'partitioned',
    fixed: fixed.map(({ name }) => name),
  };
}

interface Writing extends Found {
  readonly actions: ReadonlyMap<TablePair, ActionCounts>;
  readonly written: readonly TablePair[];
}

async function summarize(
  space: PlanSpace,
  options: PlanOptions,
  { counts, actions, written, conflicts, problems }: Writing,
): Promise<StoredSummary> {
  const { policies, moments = { before: 'before' } } = options;
  const tables: TablePlan[] = [];
  for (const pair of space.pairs) {
    const rows = counts.get(pair)!;
    const own = actions.get(pair)!;
    if (!pair.down && own.insert === 0) continue;
    tables.push({
      table: tableName(pair.now),
      keyed: pair.now.key !== undefined,
      rows,
      ...own,
      samples: await samples(space, pair, rows),
    });
  }
  const objects: string[] = [];
  for (const pair of written) objects.push(...(await missingObjects(space, pair)));
  const stops = policies.onSchemaChange === 'stop';
  const stays = conflicts.filter(
    ({ table }) =>
      policies.onConflict === 'stop' ||
      (policies.onConflict === 'replace' &&
        space.pairs.find(({ now }) => tableName(now) === table)?.now.key === undefined),
  );
  return {
    moments: { ...moments },
    tables,
    conflicts: [...conflicts],
    problems: [
      ...space.problems,
      ...(await goneRows(space, options)),
      ...(stops ? space.changes : []),
      ...problems,
      ...stays.map(
        ({ table, index, rows }) =>
          `${table}: ${rows} rows have a value of ${index} that another row has now`,
      ),
    ],
    sideEffects: [
      ...(stops ? [] : space.changes),
      ...space.notes,
      ...sideEffectsOf(written.map(({ now }) => now)),
      ...objects,
    ],
    seconds: estimate(written, actions),
  };
}

/** Tables that are no longer there: whether any of their rows belonged is found by one step down. */
async function goneRows({ gone, clients }: PlanSpace, { root }: PlanOptions): Promise<string[]> {
  const problems: string[] = [];
  for (const { table, called } of gone) {
    const [row] = await query<{ some: boolean }>(
      clients.before,
      `select exists (select from ${from(table)}) as some`,
    );
    if (!row!.some) continue;
    const fate = called
      ? `is called ${called} now: give it its old name and schema back for the rescue`
      : await goneTo(clients.now, table);
    problems.push(`${tableName(table)}, whose rows may belong to ${root.table}, ${fate}`);
  }
  return problems;
}

/** Something else may have its name: an ordinary table that was attached as a partition stands for itself no more. */
async function goneTo(now: Client, { id }: TableModel): Promise<string> {
  const [found] = await query<{ partition: boolean }>(
    now,
    'select relispartition as partition from pg_class where oid = to_regclass($1)',
    [id],
  );
  if (!found) return 'is not there any more: make it again first';
  return found.partition
    ? 'is a partition of another table now: detach it for the rescue'
    : 'is no ordinary table any more: make it one again first';
}

/** Rows a second on two cores, with an index or two: measured by bench/rescue.ts. */
function estimate(written: readonly TablePair[], actions: ReadonlyMap<TablePair, ActionCounts>): number {
  let seconds = 0.5;
  for (const pair of written) {
    const { insert, revert, remove } = actions.get(pair)!;
    const indexes = 1 + 0.4 * pair.now.uniques.length;
    seconds += (insert / 30_000 + revert / 20_000) * indexes + remove / 40_000;
  }
  return Math.round(seconds * 10) / 10;
}
