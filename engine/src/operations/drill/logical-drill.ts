/**
 * The drill of a dump: an empty server of the same major version, roles and every database loaded into it, and all compared
 * with the content of the snapshot that was dumped.
 */
import { join } from 'node:path';
import { type LogicalFacts, logicalFacts, majorOf } from '../../catalog/index.ts';
import {
  type ClientPrograms,
  type ConnectionParams,
  connectSql,
  findBinaries,
  findClientPrograms,
  freePort,
  initCluster,
  type LocalServer,
  quoteIdentifier,
  type Scratch,
  startLocalServer,
} from '../../postgres/index.ts';
import { createDatabase, localeWords } from '../logical/create-database.ts';
import { dumpInBackup } from '../logical/dump-source.ts';
import { dumpedTables } from '../logical/dumped-tables.ts';
import { loadDump, loadGlobals } from '../logical/load-dump.ts';
import { checkContent, type RecordedTable } from './check-content.ts';
import type { Drill, RunOptions } from './drill.ts';
import {
  dataChecks,
  type ExaminationInput,
  examine,
  exercise,
  exerciseChecks,
  listening,
  lossOfBackup,
  needsNetwork,
} from './examination.ts';
import { DrillRecorder } from './recorder.ts';
import { type Check, findings } from './report.ts';

const checkNames = ['start', 'roles', 'restore', 'row counts', 'content', ...dataChecks];

type Outcome = Omit<Check, 'name' | 'seconds'>;

export class LogicalDrill implements Drill {
  readonly recorder: DrillRecorder;
  readonly #options: RunOptions;
  readonly #facts: LogicalFacts;
  #server: LocalServer | undefined;
  #programs: ClientPrograms | undefined;
  #port: number | undefined;
  #restored = false;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#facts = logicalFacts(options.manifest);
    this.recorder = new DrillRecorder(options, [...checkNames, ...exerciseChecks(options.exercise)]);
  }

  /** Steps depend on each other: after a failed one those that need it do not run. */
  async all(scratch: Scratch): Promise<void> {
    const { recorder } = this;
    if (!(await recorder.check('start', () => this.#start(scratch)))) return;
    recorder.enter('restore');
    await recorder.check('roles', () => this.#roles());
    await recorder.check('restore', () => this.#restore(scratch));
    if (!this.#restored) return;
    recorder.recovered();
    recorder.enter('verify');
    await recorder.checks(['row counts', 'content'], () => this.#content());
    const input = this.#examination();
    await examine(input);
    await exercise(input);
  }

  #examination(): ExaminationInput {
    const { recorder } = this;
    const wanted = this.#options.wanted ?? recorder.started;
    const oldest = this.#facts.databases.map(({ snapshot }) => snapshot).sort()[0];
    return {
      options: this.#options,
      recorder,
      server: this.#server!,
      connection: this.#connection,
      superuser: 'postgres',
      port: this.#port,
      later: undefined,
      dumped: true,
      wanted,
      until: false,
      loss: this.#options.exercise && lossOfBackup({ ended: oldest }, wanted),
    };
  }

  log(): string {
    return this.#server?.log() ?? '';
  }

  async stop(): Promise<void> {
    await this.#server?.stop('immediate').catch(() => undefined);
  }

  /** As the superuser `postgres`, in the database of that name. */
  get #connection(): ConnectionParams {
    return { ...this.#server!.connection, database: 'postgres' };
  }

  async #start(scratch: Scratch): Promise<Outcome> {
    const { binDirs, clientDirs, fetchServers, env, readyTimeoutMs, signal } = this.#options;
    const major = majorOf(this.#facts.serverVersion);
    this.#programs = await findClientPrograms(major, { env, extraDirs: clientDirs ?? binDirs });
    const binaries = await findBinaries(major, { env, extraDirs: binDirs, fetch: fetchServers });
    this.recorder.binaries = binaries;
    const dataDir = join(scratch.directory, 'data');
    await initCluster({ binaries, dataDir, checksums: true });
    const runDir = scratch.directory;
    this.#port = needsNetwork(this.#options) ? await freePort() : undefined;
    const settings = listening(this.#port);
    this.#server = await startLocalServer({ binaries, dataDir, runDir, settings, readyTimeoutMs, signal });
    return {
      state: 'passed',
      detail: `an empty PostgreSQL ${binaries.version}, and pg_restore ${this.#programs.version}`,
    };
  }

  async #roles(): Promise<Outcome> {
    if (this.#facts.globals === 'none')
      return { state: 'unproven', detail: 'the backup has no roles (logical.globals is off)' };
    const source = await this.#dump(this.#facts.databases[0]!.name);
    const problems = await loadGlobals('roles', 'postgres', { ...this.#options, ...this.#loading, source });
    if (problems.length > 0)
      return {
        state: 'failed',
        detail: `${problems.length} could not be made`,
        findings: findings(problems),
      };
    const client = await connectSql(this.#connection);
    try {
      const { rows } = await client.query<{ n: string }>(
        `select count(*) as n from pg_roles where rolname !~ '^pg_'`,
      );
      return { state: 'passed', detail: `${rows[0]!.n} roles, ${this.#facts.globals}` };
    } finally {
      await client.end();
    }
  }

  get #loading(): { programs: ClientPrograms; connection: ConnectionParams } {
    return { programs: this.#programs!, connection: this.#connection };
  }

  #dump(name: string): ReturnType<typeof dumpInBackup> {
    const { repository, manifest, identities } = this.#options;
    return dumpInBackup(repository, { manifest, identities, name });
  }

  async #restore(scratch: Scratch): Promise<Outcome> {
    const notes: string[] = [];
    for (const { name } of this.#facts.databases) {
      try {
        notes.push(...(await this.#load(name, scratch)));
      } catch (thrown) {
        const why = this.#saysNothing((thrown as Error).message);
        if (why === undefined) throw thrown;
        return { state: 'unproven', detail: `${name}: ${(thrown as Error).message} (${why})` };
      }
    }
    this.#restored = true;
    const names = this.#facts.databases.map((d) => d.name).join(', ');
    return { state: 'passed', detail: [names, ...notes].join('; ') };
  }

  /** Why a failure is no finding about the dump; undefined when it is. */
  #saysNothing(message: string): string | undefined {
    if (/extension ".*" is not available|could not open extension control file/.test(message))
      return 'the server of the drill has no such extension';
    if (this.#facts.globals === 'none' && /role ".*" does not exist/.test(message))
      return 'roles are not in the backup, and a dump of the plain format needs them';
    return undefined;
  }

  async #load(name: string, scratch: Scratch): Promise<string[]> {
    const source = await this.#dump(name);
    const notes = name === 'postgres' ? [] : await this.#create(name);
    const globals = this.#facts.globals !== 'none';
    await loadDump({
      ...this.#options,
      ...this.#loading,
      source,
      database: name,
      selection: { schemas: [], tables: [] },
      jobs: 1,
      owners: globals,
      rights: globals,
      // Places on the source's disks.
      tablespaces: false,
      stagingDirectory: scratch.directory,
    });
    return notes;
  }

  /** A locale that is not here must not end the drill: rows and hashes do not depend on it. */
  async #create(name: string): Promise<string[]> {
    const facts = this.#facts.databases.find((d) => d.name === name)!;
    const client = await connectSql(this.#connection);
    try {
      const { rows } = await client.query('select from pg_roles where rolname = $1', [facts.owner]);
      const owner = rows.length > 0 ? [`owner ${quoteIdentifier(facts.owner)}`] : [];
      try {
        await createDatabase(client, name, [localeWords(client, facts), ...owner]);
        return [];
      } catch {
        const plain = { encoding: facts.encoding, collate: 'C', ctype: 'C' };
        await createDatabase(client, name, [localeWords(client, plain), ...owner]);
        return [`${name} with the locale C, since ${facts.locale ?? facts.collate} is not on this machine`];
      }
    } finally {
      await client.end();
    }
  }

  async #content(): Promise<Omit<Check, 'seconds'>[]> {
    const { repository, manifest, progress, signal } = this.#options;
    const recorded: RecordedTable[] = [];
    for await (const value of repository.section(manifest, 'tables')) recorded.push(value as RecordedTable);
    return checkContent({
      connection: this.#connection,
      facts: this.#facts,
      recorded,
      readTables: dumpedTables,
      content: !this.recorder.skips('content'),
      progress,
      signal,
    });
  }
}
