/**
 * `helvino rescue apply` and `undo`: a file of changes into the live database, in one transaction. Order: rows are staged, what is
 * there is locked and checked against what the file expects, parents are locked, rows are changed and checked, the file that
 * undoes it is made durable, and only then the transaction commits.
 */
import { rm } from 'node:fs/promises';
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { query } from '../../postgres/index.ts';
import { advanceSequences } from './advance-sequences.ts';
import { type Changing, changeRows, verifyRows } from './change-rows.ts';
import { ChangesetReader } from './changeset-file.ts';
import type { ChangesetHeader } from './changeset-header.ts';
import { checkReferences, lockParents } from './check-references.ts';
import { readSchema } from './read-schema.ts';
import { tableName } from './schema-model.ts';
import { identify, pinSettings, rollback, type ServerIdentity, withTheirSettings } from './session.ts';
import { mayBeReplica } from './side-effects.ts';
import {
  checkCounts,
  createStage,
  loadStage,
  lockRows,
  matchTables,
  type StagedTable,
  type States,
  sortOut,
} from './stage.ts';
import type { AppliedTable, ApplyOptions, ApplyResult, UndoOptions } from './types.ts';
import { type EarlierRun, earlierRun, statusOf, writeUndo } from './undo-file.ts';

/**
 * Running it again is harmless: rows that are as wanted are left alone. Throws PLAN_INVALID (a damaged file, or a plan with
 * problems), PLAN_CHANGED (rows are no longer what the plan saw, and `onMoved` is `stop`, or the file is another; nothing was changed),
 * TARGET_NOT_EMPTY (the undo file is another's), REPOSITORY_BUSY, what the server answers. SERVER_GONE during the commit
 * leaves it open whether it was done: run it again, it says so.
 */
export async function applyRescue(options: ApplyOptions): Promise<ApplyResult> {
  await using reader = await openShown(options.planFile, options.sha256);
  const { header } = reader;
  if (header.kind === 'undo')
    throw new HelvinoError('PLAN_INVALID', `${options.planFile} is an undo file`, {
      hint: 'helvino rescue undo FILE',
    });
  const { problems } = header.summary;
  if (problems.length > 0)
    throw new HelvinoError('PLAN_INVALID', `the plan cannot be applied as it is: ${problems.join('; ')}`, {
      hint: 'decide what is to become of it, and make the plan again: --on-conflict, --on-schema-change',
    });
  return await applyChanges(options, reader, options.undoFile);
}

/** Throws as applyRescue does; rows that were changed since the apply stop it, unless `onMoved` is `skip`. */
export async function undoRescue(options: UndoOptions): Promise<ApplyResult> {
  await using reader = await openShown(options.undoFile, options.sha256);
  if (reader.header.kind !== 'undo')
    throw new HelvinoError('PLAN_INVALID', `${options.undoFile} is no undo file`, {
      hint: 'helvino rescue apply FILE applies a plan',
    });
  return await applyChanges(options, reader, options.redoFile);
}

async function openShown(file: string, sha256: string | undefined): Promise<ChangesetReader> {
  const reader = await ChangesetReader.open(file);
  if (sha256 === undefined || reader.sha256 === sha256) return reader;
  await reader[Symbol.asyncDispose]();
  throw new HelvinoError('PLAN_CHANGED', `${file} has the SHA-256 ${reader.sha256}, not ${sha256}`, {
    hint: 'it is not the file that was shown, or told of: nothing was changed; look at it with helvino rescue show',
  });
}

type Run = Omit<ApplyOptions, 'planFile' | 'undoFile'>;

async function applyChanges(options: Run, reader: ChangesetReader, undoFile: string): Promise<ApplyResult> {
  const { now, clock, dryRun } = options;
  const begun = clock.monotonic();
  const { header } = reader;
  try {
    const { identity, ...mode } = await begin(options, header);
    const earlier = dryRun ? 'none' : await earlierRun(now, undoFile, header.id);
    const work = await stageAll(options, reader, mode);
    const applied = work.staged.map((one) => resultOf(one, work.states.get(one)!));
    const common = {
      plan: header.id,
      database: identity.database,
      tables: applied,
      triggers: mode.replica ? 'off' : 'fire',
    } as const;
    const seconds = () => (clock.monotonic() - begun) / 1000;
    if (applied.every(({ inserted, reverted, removed }) => inserted + reverted + removed === 0)) {
      const undo = earlier === 'committed' || earlier === 'unknown' ? undoFile : undefined;
      const warnings = await whyNothing(now, header, earlier);
      return {
        ...common,
        state: 'nothing-to-do',
        undoFile: undo,
        sequences: [],
        warnings,
        seconds: seconds(),
      };
    }
    await makeRoom(earlier, undoFile);
    const { sequences, warnings } = await change(options, work);
    if (dryRun)
      return { ...common, state: 'dry-run', undoFile: undefined, sequences, warnings, seconds: seconds() };
    const facts = { file: undoFile, plan: header, identity, program: options.program };
    await writeUndo(now, work, facts);
    await commit(now, undoFile);
    return { ...common, state: 'applied', undoFile, sequences, warnings, seconds: seconds() };
  } catch (thrown) {
    throw withHint(thrown);
  } finally {
    await rollback(now);
  }
}

/** What the server refuses most often here, and what to do. https://www.postgresql.org/docs/current/errcodes-appendix.html */
const hints: Readonly<Record<string, string>> = {
  '55P03':
    'nothing was changed: another session holds locks on these rows; wait for it, or raise --lock-timeout',
  '57014': 'nothing was changed; raise --statement-timeout',
  '42501': 'nothing was changed: --url names a role that may read and write these tables',
  '22P02':
    'nothing was changed: a value of then does not fit its type of now, e.g. a renamed label of an enum',
  '22001': 'nothing was changed: a value of then is too long for its column of now',
  '23502':
    'nothing was changed: a row of then does not fit the table of now; leave it away with --table, or change the table',
  '23514':
    'nothing was changed: a row of then does not fit the table of now; leave it away with --table, or change the table',
  '23505': 'nothing was changed: another row has this value now; make a new plan',
  '23P01': 'nothing was changed: another row has this place now; make a new plan',
  P0001:
    'nothing was changed: a trigger refused; --triggers off, as a role that may set session_replication_role',
};

function withHint(thrown: unknown): unknown {
  if (!(thrown instanceof HelvinoError) || thrown.ownHint !== undefined) return thrown;
  const { code, message, cause, context } = thrown;
  const hint = hints[String(context.sqlstate ?? '')];
  return hint === undefined ? thrown : new HelvinoError(code, message, { cause, context, hint });
}

interface Begun {
  readonly identity: ServerIdentity;
  readonly replica: boolean;
  /** What the session's settings were before they were pinned. */
  readonly settings: Readonly<Record<string, string>>;
}

async function begin(options: Run, header: ChangesetHeader): Promise<Begun> {
  const { now, lockTimeoutMs, statementTimeoutMs, triggers } = options;
  await query(now, 'begin isolation level read committed read write');
  const [row] = await query<{ mode: string }>(now, `select current_setting('synchronous_commit') as mode`);
  const settings = await pinSettings(now, {
    lock_timeout: String(lockTimeoutMs),
    statement_timeout: String(statementTimeoutMs),
    work_mem: '64MB',
    // The commit is not said to be done before it is.
    ...(row!.mode === 'off' ? { synchronous_commit: 'local' } : {}),
  });
  const [lock] = await query<{ mine: boolean }>(
    now,
    `select pg_try_advisory_xact_lock(hashtextextended('helvino rescue', 0)) as mine`,
  );
  if (!lock!.mine)
    throw new HelvinoError('REPOSITORY_BUSY', 'another rescue is being applied to this database', {
      hint: 'wait for it, and run this again',
    });
  const identity = await identify(now);
  refuseOther(header, identity);
  const may = await mayBeReplica(now);
  if (triggers === 'off' && !may)
    throw new HelvinoError('SERVER_AUTH', 'the role may not set session_replication_role', {
      hint: 'connect as a superuser, or GRANT SET ON PARAMETER session_replication_role TO it; or --triggers fire',
    });
  const replica = triggers !== 'fire' && may;
  if (replica) await query(now, 'set local session_replication_role = replica');
  else await query(now, 'set constraints all deferred');
  return { identity, replica, settings };
}

function refuseOther(header: ChangesetHeader, identity: ServerIdentity): void {
  const other = header.system !== null && identity.system !== undefined && header.system !== identity.system;
  if (!other && header.database === identity.database) return;
  throw new HelvinoError(
    'SERVER_WRONG_CLUSTER',
    other
      ? `the file is for another cluster (${header.system}, this is ${identity.system})`
      : `the file is for the database ${header.database}, this is ${identity.database}`,
    { hint: 'connect to the database that it was made for' },
  );
}

interface Work extends Changing, Omit<Begun, 'identity'> {
  readonly states: ReadonlyMap<StagedTable, States>;
}

async function stageAll(options: Run, reader: ChangesetReader, mode: Omit<Begun, 'identity'>): Promise<Work> {
  const { now, progress, signal, onMoved, triggers } = options;
  const model = await readSchema(now);
  const staged = matchTables(reader.header.tables, model);
  const firing =
    mode.replica || triggers === 'fire' ? [] : staged.filter(({ table }) => table.triggers.length > 0);
  if (firing.length > 0)
    throw new HelvinoError(
      'SERVER_AUTH',
      `the role may not turn triggers off, and ${firing.map(({ table }) => tableName(table)).join(', ')} have some`,
      {
        hint: '--triggers fire lets them fire; or GRANT SET ON PARAMETER session_replication_role (PostgreSQL 15)',
      },
    );
  for (const one of staged) await createStage(now, one);
  progress.phase('sending rows', reader.bytes, 'bytes');
  await loadStage(now, reader, { signal, onBytes: (bytes) => progress.advance(bytes) });
  progress.phase('comparing with what is there now', staged.length, 'items');
  const states = new Map<StagedTable, States>();
  for (const one of staged) {
    signal.throwIfAborted();
    await checkCounts(now, one, reader.file);
    await lockRows(now, one);
    states.set(one, await sortOut(now, one));
    progress.advance(1);
  }
  if (onMoved === 'stop') refuseMoved(states, reader.header.kind === 'undo');
  const pending = new Map([...states].map(([one, state]) => [one, state.pending]));
  return { staged, states, pending, model, ...mode, signal };
}

function refuseMoved(states: ReadonlyMap<StagedTable, States>, undo: boolean): void {
  const moved = [...states].filter(([, state]) => state.moved > 0);
  if (moved.length === 0) return;
  const list = moved.map(
    ([{ table }, state]) => `${state.moved} of ${tableName(table)} (${state.movedSamples.join('; ')})`,
  );
  throw new HelvinoError(
    'PLAN_CHANGED',
    `rows were changed since the ${undo ? 'rescue' : 'plan'}: ${list.join(', ')}`,
    {
      hint: undo
        ? 'nothing was changed; --on-moved skip leaves these rows as they are and undoes the rest'
        : 'nothing was changed; make a new plan, or --on-moved skip leaves these rows as they are',
      context: {
        moved: Object.fromEntries(moved.map(([{ table }, state]) => [tableName(table), state.moved])),
      },
    },
  );
}

async function change(options: Run, work: Work): Promise<{ sequences: string[]; warnings: string[] }> {
  const { now, progress } = options;
  const { staged, pending, replica } = work;
  const disturbed = new Set(
    staged.filter((one) => {
      const { u, d } = pending.get(one)!;
      return u + d > 0;
    }),
  );
  progress.phase('writing rows');
  if (replica) await lockParents(now, { ...work, disturbed });
  await withTheirSettings(now, work.settings, async () => {
    await changeRows(now, work);
    // Deferred constraints speak now, while nothing is said to be done.
    await query(now, 'set constraints all immediate');
  });
  progress.phase('checking what was written');
  for (const one of staged) {
    const { i, u } = pending.get(one)!;
    await verifyRows(now, one, { wanted: i + u, replica });
  }
  await checkReferences(now, { ...work, disturbed });
  // A sequence does not go back with the transaction.
  return options.dryRun ? { sequences: [], warnings: [] } : advanceSequences(now, work);
}

/** What an earlier run left that was rolled back undoes nothing. */
async function makeRoom(earlier: EarlierRun, undoFile: string): Promise<void> {
  if (earlier === 'rolled back') await rm(undoFile);
  if (earlier !== 'committed' && earlier !== 'unknown') return;
  throw new HelvinoError(
    'TARGET_NOT_EMPTY',
    `${undoFile} undoes an earlier run of this, ${earlier === 'committed' ? 'which was committed' : 'of which the server knows nothing any more'}; since then rows have gone or changed again`,
    { hint: 'to do it once more, name another file with --undo; nothing was changed' },
  );
}

async function whyNothing(now: Client, header: ChangesetHeader, earlier: EarlierRun): Promise<string[]> {
  if (earlier === 'committed') return ['an earlier run of this was committed'];
  if (header.kind === 'undo' && (await statusOf(now, header.undoes.xid)) === 'aborted')
    return ['the run that this would undo was never committed'];
  return ['every row is already as it is wanted'];
}

async function commit(now: Client, undoFile: string): Promise<void> {
  try {
    await query(now, 'commit');
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code === 'SERVER_GONE')
      throw new HelvinoError(
        'SERVER_GONE',
        `the connection broke during the commit, so it is not known whether it was done: ${thrown.message}`,
        { cause: thrown, hint: `keep ${undoFile}, and run the same command again: it says so` },
      );
    await rm(undoFile, { force: true });
    throw thrown;
  }
}

function resultOf({ table }: StagedTable, { pending, done, moved }: States): AppliedTable {
  return {
    table: tableName(table),
    inserted: pending.i,
    reverted: pending.u,
    removed: pending.d,
    done,
    moved,
  };
}
