/**
 * `helvino restore --to-database`: the guide's steps. A dump goes into a new database beside the one it is to replace; only
 * when it is there whole and was compared with what was dumped, both are renamed at once. The replaced one is kept.
 */
import type { Client } from 'pg';
import type { Clock } from '../../base/clock.ts';
import { asHelvinoError, HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { majorOf } from '../../catalog/index.ts';
import {
  applyDatabaseProperties,
  type ClientPrograms,
  type ConnectionParams,
  connectSql,
  findClientPrograms,
  liftLimits,
  quoteIdentifier,
  readDatabaseProperties,
} from '../../postgres/index.ts';
import { checkContent } from '../drill/check-content.ts';
import type { Check } from '../drill/report.ts';
import {
  type ApplicationSteps,
  awaitHealth,
  runCommands,
  startCommands,
  stopCommands,
} from './application.ts';
import { createDatabase, type DatabaseLocale, localeWords } from './create-database.ts';
import type { DumpSource } from './dump-source.ts';
import { dumpedTables } from './dumped-tables.ts';
import { isSelective, loadDump, loadGlobals } from './load-dump.ts';
import { readLogicalSource } from './logical-source.ts';
import { listKept, markRestoring, nameBeside, nameRestored, swapDatabases } from './swap.ts';
import type { Selection } from './toc.ts';

export interface RestoreDatabaseOptions {
  readonly source: DumpSource;
  /** To the server; as a role that may create databases and, for a swap, owns the one to be replaced. */
  readonly connection: ConnectionParams;
  /** The database that the dump becomes. */
  readonly database: string;
  readonly selection: Selection;
  readonly jobs: number;
  readonly owners: boolean;
  readonly rights: boolean;
  /** Restore roles and tablespaces first. */
  readonly globals: boolean;
  readonly application: ApplicationSteps;
  readonly binDirs: readonly string[];
  readonly stagingDirectory?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface RestoreDatabasePlan {
  /** A database of this name is there: it will be replaced. */
  readonly replaces: boolean;
  /** The name of the new database until it takes its place. */
  readonly temporary: string;
  /** The name under which the replaced one is kept. */
  readonly keptAs: string | undefined;
  readonly server: string;
  readonly steps: readonly string[];
  /** New databases that earlier restores of this one have left: they were cut off, or differed, or go on. */
  readonly leftovers: readonly string[];
}

export interface RestoreDatabaseResult {
  readonly database: string;
  readonly from: string;
  readonly keptAs: string | undefined;
  readonly checks: readonly Omit<Check, 'seconds'>[];
  readonly tables: readonly {
    readonly schema: string;
    readonly table: string;
    readonly rows: string | null;
  }[];
  readonly steps: readonly string[];
  readonly warnings: readonly string[];
  readonly seconds: number;
}

/** Looks and refuses; changes nothing. */
export async function planRestoreDatabase(options: RestoreDatabaseOptions): Promise<RestoreDatabasePlan> {
  const client = await connectAside(options.connection, { avoid: options.database, signal: options.signal });
  try {
    return await planWith(client, options);
  } finally {
    await client.end();
  }
}

/** A connection to another database than `avoid`, which will be renamed. */
export async function connectAside(
  connection: ConnectionParams,
  { avoid, signal }: { avoid?: string; signal: AbortSignal },
): Promise<Client> {
  let failure: unknown;
  for (const aside of new Set(['postgres', connection.database, 'template1'])) {
    if (aside === avoid) continue;
    try {
      const client = await connectSql(connection, { database: aside, signal });
      // A broken connection is noticed by the next query; without a listener it would end the process.
      client.on('error', () => undefined);
      await liftLimits(client);
      return client;
    } catch (thrown) {
      failure ??= thrown;
    }
  }
  throw failure;
}

async function planWith(client: Client, options: RestoreDatabaseOptions): Promise<RestoreDatabasePlan> {
  const { source, database, selection, clock, application } = options;
  const { rows } = await client.query<{
    version: string;
    text: string;
    there: boolean;
    may: boolean;
    standby: boolean;
  }>(
    `select current_setting('server_version_num') as version, current_setting('server_version') as text,
       exists (select from pg_database where datname = $1) as there, pg_is_in_recovery() as standby,
       (select rolcreatedb or rolsuper from pg_roles where rolname = current_user) as may`,
    [database],
  );
  const { version, text, there, may, standby } = rows[0]!;
  if (Buffer.byteLength(database) > 63 || ['template0', 'template1', 'postgres'].includes(database))
    throw new HelvinoError('USAGE', `"${database}" cannot be the name of a restored database`, {
      hint: 'choose another name',
    });
  if (standby) throw new HelvinoError('SERVER_SETTING', 'the server is a standby: it takes no writes');
  if (!may)
    throw new HelvinoError('SERVER_AUTH', `the role ${options.connection.user} may not create databases`, {
      hint: 'ALTER ROLE … CREATEDB, or connect as another role with --url',
    });
  if (source.major !== undefined && majorOf(Number(version)) < source.major)
    throw new HelvinoError(
      'SERVER_VERSION',
      `the dump is of PostgreSQL ${source.major}, the server is ${text.split(' ')[0]}`,
      {
        hint: `restore it into PostgreSQL ${source.major} or newer`,
      },
    );
  if (there && isSelective(selection))
    throw new HelvinoError(
      'USAGE',
      `the database ${database} is there, and schemas or tables alone cannot replace it`,
      {
        hint: 'restore them into a new database with another name, and copy from there',
      },
    );
  const now = clock.now();
  const keptAs = there ? nameBeside(database, 'before', now) : undefined;
  const steps = [
    ...stopCommands(application).map((command) => `run: ${command}`),
    ...(options.globals ? ['restore roles and tablespaces'] : []),
    `restore ${source.name} into a new database`,
    'compare row counts and content with what was dumped',
    there ? `rename ${database} to ${keptAs}, and the new one to ${database}` : `name it ${database}`,
    ...application.migrate.map((command) => `run: ${command}`),
    ...startCommands(application).map((command) => `run: ${command}`),
    ...(application.healthUrl ? [`wait until ${application.healthUrl} is healthy`] : []),
  ];
  const temporary = nameBeside(database, 'restoring', now);
  const left = (await listKept(client)).filter((one) => one.helvino === 'restoring' && one.name === database);
  const leftovers = left.map(({ kept }) => kept);
  return { replaces: there, temporary, keptAs, server: text.split(' ')[0]!, steps, leftovers };
}

/** Everything that is done over it is done as the role. */
function asRole(connection: ConnectionParams, role: string | undefined): ConnectionParams {
  if (role === undefined) return connection;
  const option = `-c role=${role.replaceAll(/[\\ ]/g, '\\$&')}`;
  return { ...connection, options: [connection.options, option].filter(Boolean).join(' ') };
}

/** Throws CHECK_FAILED when what was restored is not what was dumped: then nothing was replaced. */
export async function restoreDatabase(options: RestoreDatabaseOptions): Promise<RestoreDatabaseResult> {
  const { clock, source, database, application, progress } = options;
  const begun = clock.monotonic();
  const client = await connectAside(options.connection, { avoid: options.database, signal: options.signal });
  try {
    const plan = await planWith(client, options);
    const major = majorOf(Number((await client.query('show server_version_num')).rows[0].server_version_num));
    const programs = await findClientPrograms(major, { env: options.env, extraDirs: options.binDirs });
    const run = new RestoreRun(options, { client, plan, programs });
    for (const left of plan.leftovers) progress.note('warn', leftoverWords(left));
    options.signal.throwIfAborted();
    let stopped = 0;
    try {
      progress.phase('stopping the application');
      for (const command of stopCommands(application)) {
        await runCommands([command], application, options);
        stopped++;
      }
      if (stopped > 0) run.steps.push(stoppedStep);
      await run.load();
      await run.takePlace();
    } catch (thrown) {
      // As it was before: the old database is still in its place. What was never stopped must not be started a second time; a
      // `systemctl stop` that a signal has cut off goes on in systemd.
      if (stopped > 0 || options.signal.aborted)
        await runCommands(startCommands(application), application, {
          ...options,
          signal: new AbortController().signal,
        }).catch((failed: unknown) =>
          progress.note('warn', `the application was not started: ${(failed as Error).message}`),
        );
      throw thrown;
    }
    await run.bringBackApplication();
    const { checks, tables, steps, warnings } = run;
    const seconds = (clock.monotonic() - begun) / 1000;
    return { database, from: source.name, keptAs: plan.keptAs, checks, tables, steps, warnings, seconds };
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** For people. */
export function leftoverWords(left: string): string {
  return `${left} is what an earlier restore has left (cut off, or found different), unless that one still runs: \`helvino swap confirm ${left}\` drops it`;
}

const stoppedStep = 'the application was stopped';
const startedStep = 'the application was started';

interface RunParts {
  readonly client: Client;
  readonly plan: RestoreDatabasePlan;
  readonly programs: ClientPrograms;
}

class RestoreRun {
  checks: readonly Omit<Check, 'seconds'>[] = [];
  tables: RestoreDatabaseResult['tables'] = [];
  readonly steps: string[] = [];
  readonly warnings: string[] = [];
  readonly #options: RestoreDatabaseOptions;
  readonly #parts: RunParts;

  constructor(options: RestoreDatabaseOptions, parts: RunParts) {
    this.#options = options;
    this.#parts = parts;
  }

  /** A new database with all of it, compared. Removed again when loading fails; kept to look at when it differs. */
  async load(): Promise<void> {
    const { source, connection, database, globals } = this.#options;
    const { client, plan, programs } = this.#parts;
    if (globals)
      for (const what of ['tablespaces', 'roles'] as const)
        this.#warn(await loadGlobals(what, client.database ?? 'postgres', { ...this.#options, programs }));
    const properties = plan.replaces ? await readDatabaseProperties(client, database) : source.properties;
    const owner = await this.#create(properties?.owner);
    try {
      // What has no owner in the dump belongs to the database's owner, who is often not the role that restores.
      const whole = source.database !== undefined && this.#options.owners;
      const as = whole ? connection : asRole(connection, owner);
      const place = { connection: as, programs, database: plan.temporary, tablespaces: true };
      const taken = await loadDump({ ...this.#options, ...place });
      this.steps.push(`restored ${source.name}`);
      // What is replaced keeps its rights and settings, also where those of the dump are left out.
      if (properties && (this.#options.rights || plan.replaces))
        this.#warn(await applyDatabaseProperties(client, plan.temporary, properties));
      await this.#check(taken);
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError && thrown.code === 'CHECK_FAILED'))
        await client
          .query(`drop database if exists ${quoteIdentifier(plan.temporary)} with (force)`)
          .catch(() => undefined);
      throw thrown;
    }
  }

  async takePlace(): Promise<void> {
    const { source, database, clock, progress } = this.#options;
    const { client, plan } = this.#parts;
    progress.phase('taking its place');
    if (plan.keptAs === undefined) {
      const { temporary } = plan;
      await nameRestored(client, { temporary, name: database, comment: source.properties?.comment ?? null });
      this.steps.push(`named it ${database}`);
      return;
    }
    const { comment } = await readDatabaseProperties(client, database);
    await swapDatabases(client, {
      name: database,
      replacement: plan.temporary,
      keepAs: plan.keptAs,
      mark: { helvino: 'replaced', name: database, by: source.name, at: clock.now().toISOString(), comment },
      comment,
    });
    this.steps.push(`replaced ${database}; the one before is kept as ${plan.keptAs}`);
  }

  /** Migrations, start, health. What fails here says how to go back. */
  async bringBackApplication(): Promise<void> {
    const { application, progress } = this.#options;
    try {
      progress.phase('running migrations');
      await runCommands(application.migrate, application, this.#options);
      if (application.migrate.length > 0) this.steps.push('migrations ran');
      progress.phase('starting the application');
      await runCommands(startCommands(application), application, this.#options);
      if (startCommands(application).length > 0) this.steps.push(startedStep);
      if (application.healthUrl === undefined) return;
      progress.phase('asking for its health');
      this.steps.push(await awaitHealth(application, this.#options));
    } catch (thrown) {
      const error = asHelvinoError(thrown);
      const { keptAs } = this.#parts.plan;
      const stopped = this.steps.includes(stoppedStep) && !this.steps.includes(startedStep);
      const still = stopped ? '; the application is still stopped' : '';
      throw new HelvinoError(error.code, `the database is restored, but ${error.message}${still}`, {
        cause: thrown,
        context: { ...error.context, keptAs, steps: this.steps },
        hint: keptAs === undefined ? error.hint : `mend it, or go back with \`helvino swap undo ${keptAs}\``,
      });
    }
  }

  /** Returns the owner that it has, if not us. */
  async #create(owner: string | undefined): Promise<string | undefined> {
    const { source, database, owners, progress, connection } = this.#options;
    const { client, plan } = this.#parts;
    progress.phase(`creating ${plan.temporary}`);
    const like = plan.replaces ? await localeOf(client, database) : source.database;
    const words = like ? [localeWords(client, like)] : [];
    // What is replaced keeps its owner, also where the dump's owners are left out.
    const wanted = owners || plan.replaces ? owner : undefined;
    const roles = await client.query('select from pg_roles where rolname = $1', [wanted ?? null]);
    const known = roles.rows.length > 0 ? wanted : undefined;
    if (wanted !== known) this.#warn([`the role ${wanted}, who owned the database, is not here`]);
    if (known !== undefined) words.push(`owner ${quoteIdentifier(known)}`);
    await createDatabase(client, plan.temporary, words);
    const at = this.#options.clock.now().toISOString();
    await markRestoring(client, plan.temporary, { name: database, by: source.name, at });
    return known === connection.user ? undefined : known;
  }

  async #check(taken: Set<string> | undefined): Promise<void> {
    const { source, connection, progress, signal } = this.#options;
    const { client, plan } = this.#parts;
    const wanted = (table: { schema: string; table: string }) =>
      taken === undefined || taken.has(`${table.schema}.${table.table}`);
    if (source.database === undefined)
      this.checks = [
        { name: 'row counts', state: 'unproven', detail: 'a plain file does not say what it should hold' },
      ];
    else
      this.checks = await checkContent({
        connection,
        facts: source,
        recorded: source.recorded,
        placeOf: () => plan.temporary,
        only: wanted,
        readTables: dumpedTables,
        progress,
        signal,
      });
    const there = await connectSql(connection, { database: plan.temporary, signal });
    try {
      await liftLimits(there);
      progress.phase('gathering statistics');
      await there.query('analyze');
      const tables = await dumpedTables(there, { content: false, progress, signal });
      this.tables = tables.filter(wanted).map(({ schema, table, rows }) => ({ schema, table, rows }));
    } finally {
      await there.end();
    }
    const failed = this.checks.filter((check) => check.state === 'failed');
    if (failed.length === 0) return;
    throw new HelvinoError(
      'CHECK_FAILED',
      `what was restored is not what was dumped: ${failed.map((c) => c.detail).join('; ')}`,
      {
        hint: `nothing was replaced; the new database is left as ${plan.temporary} to look at, drop it when you have`,
        context: { checks: this.checks, database: plan.temporary, server: client.host },
      },
    );
  }

  #warn(lines: readonly string[]): void {
    for (const line of lines) {
      this.warnings.push(line);
      this.#options.progress.note('warn', line);
    }
  }
}

async function localeOf(client: Client, database: string): Promise<DatabaseLocale | undefined> {
  return (await readLogicalSource(client, [database])).databases[0];
}
