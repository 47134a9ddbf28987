/**
 * One random case from a seed: a schema, rows, an accident, later work; then plan, apply, apply again and undo, each held
 * against the oracle. Three databases of one server are the moments.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { systemClock } from '../../../base/clock.ts';
import { HelvinoError } from '../../../base/errors.ts';
import { silentProgress } from '../../../base/progress.ts';
import { applyRescue, type PlanSummary, planRescue, type RescuePolicies, undoRescue } from '../index.ts';
import { victim } from './accident.ts';
import { declaredReferences, type MomentNames, makeMoments, plainName } from './moments.ts';
import {
  differences,
  type Expected,
  expectedState,
  type Moments,
  sameRow,
  uniqueProblems,
} from './oracle.ts';
import { Random } from './random.ts';
import { randomSchema } from './random-schema.ts';
import { rootKey, type SchemaSpec } from './schema.ts';
import {
  connect,
  connectRaw,
  danglingReferences,
  keyOf,
  type Row,
  readSequences,
  readState,
  rowsBy,
  type State,
} from './state.ts';

interface CaseOptions {
  /** Of a server that is used for nothing else. */
  readonly url: string;
  readonly major: number;
  readonly seed: number;
  /** Rows of a tenant in a table, at most. */
  readonly most?: number;
  /** As a role that cannot turn them off has it: foreign keys act. The schema then has no other triggers. */
  readonly fire?: boolean;
}

export interface CaseOutcome {
  /** `applied`, `nothing-to-do`, or `refused`: the oracle says, too, that it cannot be, or foreign keys act. */
  readonly outcome: string;
  readonly written: number;
  readonly removed: number;
}

const working = () => ({
  clock: systemClock,
  progress: silentProgress,
  signal: new AbortController().signal,
});

export async function rescueCase(options: CaseOptions): Promise<CaseOutcome> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'hv-rescue-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  return await examine(await prepare({ ...options, folder }, stack));
}

/** All moments are there, nothing is planned. */
async function prepare(
  options: CaseOptions & { readonly folder: string },
  stack: AsyncDisposableStack,
): Promise<Examination> {
  const random = new Random(options.seed);
  const schema = randomSchema(random, options.major, options.seed % 2 === 0);
  if (options.fire) for (const { after } of schema.tables) removeTriggers(after);
  const names = await makeMoments({ ...options, schema, random }, stack);
  const open = async (name: string) => {
    const client = await connectRaw(options.url, name);
    stack.defer(() => client.end());
    return client;
  };
  const now = await open(names.now);
  const moments: Moments = {
    before: await readState(await open(names.before), schema),
    accident: names.accident === undefined ? undefined : await readState(await open(names.accident), schema),
    now: await readState(now, schema),
  };
  return { ...options, schema, names, moments, now, policies: randomPolicies(random) };
}

/** For those who apply it themselves: the plan is written; `rescued` is what applying must lead to. */
export async function planCase(
  options: CaseOptions & { readonly folder: string },
  stack: AsyncDisposableStack,
): Promise<
  Pick<Examination, 'schema' | 'names' | 'now'> & { readonly lost: State; readonly rescued: State }
> {
  const one = await prepare(options, stack);
  await plan(one);
  const expected = expectedState(one.schema, one.moments, victim, one.policies.all);
  assert.ok(expected.problems.length === 0 && expected.written > 0, 'a case for another test');
  return { ...one, lost: one.moments.now, rescued: expected.state };
}

function removeTriggers(after: string[]): void {
  after.splice(0, after.length, ...after.filter((statement) => !statement.startsWith('create trigger')));
}

function randomPolicies(random: Random): RescuePolicies {
  const all = random.pick([
    { insert: true, revert: false, remove: false },
    { insert: true, revert: true, remove: false },
    { insert: true, revert: true, remove: true },
    { insert: true, revert: true, remove: true },
  ]);
  const onConflict = random.pick(['stop', 'skip', 'replace'] as const);
  return { all, onConflict, onSchemaChange: 'stop' };
}

interface Examination extends CaseOptions {
  readonly schema: SchemaSpec;
  readonly names: MomentNames;
  readonly moments: Moments;
  readonly now: pg.Client;
  readonly folder: string;
  readonly policies: RescuePolicies;
}

async function examine(one: Examination): Promise<CaseOutcome> {
  const { schema, moments, now, policies } = one;
  const expected = expectedState(schema, moments, victim, policies.all);
  const problems = [...expected.problems];
  if (problems.length === 0) problems.push(...(await uniqueProblems(now, moments.now, expected.state)));
  // Values that rows have exchanged cannot be put back one by one while foreign keys act.
  const mayRefuse = problems.length > 0 || one.fire === true;
  const others = await readOthers(now);
  const sequences = await readSequences(now);
  const refusal = await rescue(one).catch((thrown: unknown) => {
    if (thrown instanceof HelvinoError && mayRefuse && thrown.code !== 'INTERNAL') return thrown;
    throw thrown;
  });
  const found = await readState(now, schema);
  assert.deepEqual(await readOthers(now), others, 'what is not of the application is as it was');
  if (refusal instanceof HelvinoError) {
    assert.deepEqual(differences(moments.now, found), [], 'a refusal changes nothing');
    return { outcome: 'refused', written: 0, removed: 0 };
  }
  if (problems.length > 0) sane(one, found, expected.state);
  else assert.deepEqual(differences(expected.state, found), [], 'after apply');
  await checkSequences(one, sequences, expected);
  await applyAgain(one, found);
  if (refusal.state === 'applied') await undo(one, others);
  return { outcome: refusal.state, written: expected.written, removed: expected.removed };
}

async function rescue(one: Examination) {
  refuseProblems(await plan(one));
  return withClients(one, ({ now }) => applyRescue({ ...applying(one), now }));
}

function plan(one: Examination): Promise<PlanSummary> {
  return withClients(one, (clients) =>
    planRescue({
      ...working(),
      ...clients,
      model: { references: declaredReferences(one.schema) },
      root: { table: plainName(one.schema.root), where: { [rootKey]: victim } },
      policies: one.policies,
      file: join(one.folder, 'plan'),
      program: 'test',
    }),
  );
}

function refuseProblems({ problems, conflicts }: PlanSummary): void {
  if (problems.length === 0) return;
  throw new HelvinoError('CHECK_FAILED', problems.join('; '), { context: { conflicts } });
}

function applying({ folder, fire }: Examination) {
  return {
    ...working(),
    planFile: join(folder, 'plan'),
    undoFile: join(folder, 'undo'),
    dryRun: false,
    onMoved: 'stop',
    triggers: fire ? 'fire' : 'auto',
    lockTimeoutMs: 30_000,
    statementTimeoutMs: 0,
    program: 'test',
  } as const;
}

/** With connections of their own, as the program makes them. */
async function withClients<Result>(
  { url, names }: Examination,
  act: (clients: { before: pg.Client; accident: pg.Client | undefined; now: pg.Client }) => Promise<Result>,
): Promise<Result> {
  await using stack = new AsyncDisposableStack();
  const open = async (name: string) => {
    const client = await connect(url, name);
    stack.defer(() => client.end());
    return client;
  };
  const accidentClient = names.accident === undefined ? undefined : await open(names.accident);
  return await act({
    before: await open(names.before),
    accident: accidentClient,
    now: await open(names.now),
  });
}

/**
 * When what is wanted cannot be: no reference leads nowhere, and each row is what it is now, or what was wanted; it is gone only
 * where that was asked for.
 */
function sane({ schema, moments, policies }: Examination, found: State, wanted: State): void {
  assert.deepEqual(danglingReferences(schema, found), []);
  for (const table of schema.tables) {
    const goal = rowsBy(wanted.get(table)!, table.key);
    const now = rowsBy(moments.now.get(table)!, table.key);
    const there = rowsBy(found.get(table)!, table.key);
    for (const key of new Set([...goal.keys(), ...now.keys(), ...there.keys()])) {
      const row = there.get(key);
      const gone =
        row === undefined && (!now.has(key) || !goal.has(key) || policies.onConflict === 'replace');
      assert.ok(
        gone || sameRow(row, goal.get(key)) || sameRow(row, now.get(key)),
        `${table.name} ${key} is ${JSON.stringify(row)?.slice(0, 300)}`,
      );
    }
  }
}

/** All that the random schema makes beside its tables: log of triggers, what exists, which triggers are on. */
async function readOthers(client: pg.Client): Promise<unknown> {
  const statements = [
    `select id::text, what from public."trigger log" order by id`,
    `select c.relname, c.relnamespace::regnamespace::text as place, c.relkind, c.relrowsecurity from pg_class c where c.relnamespace::regnamespace::text !~ '^pg_' order by 1, 2`,
    `select tgrelid::regclass::text, tgname, tgenabled from pg_trigger order by 1, 2`,
    'select conname, convalidated, condeferrable from pg_constraint order by 1, oid',
  ];
  const results = [];
  for (const statement of statements) results.push((await client.query<Row>(statement)).rows);
  return results;
}

/** Forward only, and beyond every number that came back. */
async function checkSequences(
  { schema, moments, now }: Examination,
  before: ReadonlyMap<string, bigint>,
  expected: Expected,
): Promise<void> {
  const after = await readSequences(now);
  for (const [name, last] of before)
    assert.ok(after.get(name)! >= last, `${name} went from ${last} to ${after.get(name)}`);
  for (const table of schema.tables) {
    const present = rowsBy(moments.now.get(table)!, table.key);
    const come = expected.state.get(table)!.filter((row) => !present.has(keyOf(row, table.key)));
    for (const { name } of table.columns.filter(({ sequence }) => sequence)) {
      const owner = table.parent ?? table;
      const text = `select pg_get_serial_sequence(format('%I.%I', $1::text, $2::text), $3) as name`;
      const { rows } = await now.query<{ name: string }>(text, [owner.schema, owner.name, name]);
      const next = after.get(rows[0]!.name)!;
      for (const row of come)
        assert.ok(BigInt(row[name]!) < next, `${name} of ${table.name}: ${row[name]}, next is ${next}`);
    }
  }
}

async function applyAgain(one: Examination, found: State): Promise<void> {
  const again = { ...applying(one), undoFile: join(one.folder, 'undo-2') };
  const result = await withClients(one, ({ now }) => applyRescue({ ...again, now }));
  assert.equal(result.state, 'nothing-to-do');
  assert.deepEqual(differences(found, await readState(one.now, one.schema)), [], 'a second time');
}

async function undo(one: Examination, others: unknown): Promise<void> {
  const { planFile: _, ...rest } = applying(one);
  const redoFile = join(one.folder, 'redo');
  await withClients(one, ({ now }) => undoRescue({ ...rest, redoFile, now }));
  assert.deepEqual(differences(one.moments.now, await readState(one.now, one.schema)), [], 'after undo');
  assert.deepEqual(await readOthers(one.now), others);
}
