/** What a drill of any kind of backup has found so far, and the report that this becomes. */
import { arch, availableParallelism, hostname, release, totalmem, type } from 'node:os';
import type { Clock } from '../../base/clock.ts';
import { asHelvinoError, HelvinoError } from '../../base/errors.ts';
import { backupId } from '../../base/ids.ts';
import type { Progress } from '../../base/progress.ts';
import {
  amcheckDatabase,
  type ConnectionParams,
  connectSql,
  openDatabases,
  type ServerBinaries,
} from '../../postgres/index.ts';
import type { Manifest } from '../../repository/index.ts';
import type { Meter } from '../../storage/index.ts';
import { objectOfDamage } from '../stored-damage.ts';
import type { Exercise } from './exercise.ts';
import { type Loss, lossSeconds, objectiveChecks } from './objectives.ts';
import { Phases } from './phases.ts';
import {
  type Check,
  type DrillEnvironment,
  type DrillReport,
  type DrillTarget,
  findings,
  type PhaseName,
  verdictOf,
} from './report.ts';

type Look = () => Promise<Omit<Check, 'name' | 'seconds'>>;

export interface RecorderOptions {
  readonly manifest: Manifest;
  readonly program: string;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** When the preparation began; undefined: now. */
  readonly begun?: { readonly at: Date; readonly monotonic: number };
  /** What is read from the repository. */
  readonly meter: Meter;
  readonly exercise?: Exercise;
  readonly about?: DrillAbout;
}

/** What is said of a drill that is not found out by it. */
export interface DrillAbout {
  readonly copy?: string;
  readonly target?: DrillTarget;
  readonly operator?: string;
  readonly approver?: string;
  readonly remediation?: string;
  readonly retestOf?: string;
}

export const leftOut = 'left out by the plan';

export class DrillRecorder {
  /** The server that was started. */
  binaries: ServerBinaries | undefined;
  /** Seconds from the start of the restore until the server had the data. */
  recoverySeconds: number | undefined;
  /** Bytes of WAL that recovery has to replay. */
  walBytes: number | undefined;
  /** How old what was recovered is, by the moment that was wanted. */
  loss: Loss | undefined;
  /** The time of the newest transaction that was recovered, if the target says none. */
  recoveredTo: Date | undefined;
  readonly #options: RecorderOptions;
  readonly #names: readonly string[];
  readonly #checks: Check[] = [];
  readonly #started: Date;
  readonly #begun: number;
  readonly #phases: Phases;
  #restoring = 0;
  #answered: number | undefined;

  /** `names`: the checks that should run; a missing one is `unproven` in the report. */
  constructor(options: RecorderOptions, names: readonly string[]) {
    const { clock, meter, begun } = options;
    this.#options = options;
    this.#names = names;
    this.#started = begun?.at ?? clock.now();
    this.#begun = begun?.monotonic ?? clock.monotonic();
    this.#phases = new Phases(clock, meter);
    this.#phases.enter('prepare', this.#begun);
  }

  get started(): Date {
    return this.#started;
  }

  enter(phase: PhaseName): void {
    if (phase === 'restore') this.#restoring = this.#options.clock.monotonic();
    this.#phases.enter(phase);
  }

  recovered(): void {
    const now = this.#options.clock.monotonic();
    this.recoverySeconds = (now - this.#restoring) / 1000;
    if (!this.#options.exercise?.application) this.#answered = now;
  }

  /** The service is back: what comes later is no part of the recovery time. */
  answered(): void {
    this.#answered = this.#options.clock.monotonic();
  }

  skips(name: string): boolean {
    return this.#options.exercise?.skip.includes(name) === true;
  }

  /** Runs one check; what it throws becomes `failed`, or `unproven` where it says nothing about the backup. */
  async check(name: string, look: Look): Promise<boolean> {
    const { clock, progress, signal } = this.#options;
    signal.throwIfAborted();
    if (this.skips(name)) {
      this.#checks.push({ name, state: 'unproven', detail: leftOut, seconds: 0 });
      return true;
    }
    progress.phase(`drill: ${name}`);
    const begun = clock.monotonic();
    const seconds = () => (clock.monotonic() - begun) / 1000;
    try {
      const check = { name, ...(await look()), seconds: seconds() };
      this.#checks.push(check);
      return check.state !== 'failed';
    } catch (thrown) {
      this.#checks.push({ name, ...this.#finding(thrown), seconds: seconds() });
      return false;
    }
  }

  /** What a failure says of the backup. Throws what says nothing about it. */
  #finding(thrown: unknown): Pick<Check, 'state' | 'detail' | 'damaged'> {
    this.#options.signal.throwIfAborted();
    const error = asHelvinoError(thrown);
    if (!saysSomething(error)) throw error;
    throwIfFull([error.message, ...logOf(error)].join('\n'));
    return {
      state: error.code === 'BINARIES_NOT_FOUND' ? 'unproven' : 'failed',
      detail: error.message,
      damaged: objectOfDamage(error, `backup ${this.#options.manifest.id}`),
    };
  }

  /** Several checks that one look answers; when it throws, all have failed. */
  async checks(
    names: readonly string[],
    look: () => Promise<readonly Omit<Check, 'seconds'>[]>,
  ): Promise<void> {
    const { clock, progress } = this.#options;
    const begun = clock.monotonic();
    progress.phase(`drill: ${names.join(' and ')}`);
    const add = (check: Check) =>
      this.#checks.push(
        this.skips(check.name) ? { name: check.name, state: 'unproven', detail: leftOut, seconds: 0 } : check,
      );
    try {
      const found = names.every((name) => this.skips(name))
        ? names.map((name) => ({ name, state: 'unproven' as const, detail: leftOut }))
        : await look();
      const seconds = (clock.monotonic() - begun) / 1000;
      for (const check of found) add({ ...check, seconds });
    } catch (thrown) {
      const finding = this.#finding(thrown);
      for (const name of names) add({ name, ...finding, seconds: 0 });
    }
  }

  /** A server that found no room looks like one that is damaged. `log`: what it said. Throws TARGET_TOO_SMALL. */
  judgeLog(log: string): void {
    if (this.#checks.some(({ state }) => state !== 'passed')) throwIfFull(log);
  }

  report(): DrillReport {
    const { manifest, clock, program, exercise, about, meter } = this.#options;
    const phases = this.#phases.all();
    const rtoSeconds = this.#answered === undefined ? undefined : (this.#answered - this.#begun) / 1000;
    const ran = new Set(this.#checks.map((check) => check.name));
    const missing = this.#names
      .filter((name) => !ran.has(name))
      .map((name): Check => ({ name, state: 'unproven', detail: 'did not run', seconds: 0 }));
    const objectives = exercise?.objectives;
    const { binaries, loss } = this;
    const checks = [
      ...this.#checks,
      ...missing,
      ...objectiveChecks({ objectives, rtoSeconds, loss, application: exercise?.application !== undefined }),
    ];
    const restored = phases.find(({ name }) => name === 'restore');
    return {
      id: backupId(this.#started),
      database: manifest.database,
      backup: manifest.id,
      verdict: verdictOf(checks),
      checks,
      started: this.#started.toISOString(),
      finished: clock.now().toISOString(),
      recoverySeconds: this.recoverySeconds,
      bytes: manifest.totals.bytes,
      server: binaries && `PostgreSQL ${binaries.version} (${binaries.source}: ${binaries.binDir})`,
      program,
      plan: exercise?.plan,
      copy: about?.copy,
      target: about?.target && {
        ...about.target,
        time: about.target.time ?? this.recoveredTo?.toISOString(),
      },
      phases,
      objectives,
      measured: {
        rtoSeconds,
        rpoSeconds: lossSeconds(loss),
        walBytes: this.walBytes,
        bytesRead: meter.bytes,
        requests: meter.requests,
        bytesPerSecond:
          restored && restored.seconds > 0 ? (restored.bytes ?? 0) / restored.seconds : undefined,
      },
      operator: about?.operator,
      approver: about?.approver,
      environment: environment(),
      issue: issueOf(checks, about),
    };
  }
}

function environment(): DrillEnvironment {
  return {
    host: hostname(),
    os: `${type()} ${release()} ${arch()}`,
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    node: process.version,
  };
}

function issueOf(checks: readonly Check[], about: DrillAbout | undefined): DrillReport['issue'] {
  const found = checks
    .filter(({ state }) => state === 'failed')
    .map(({ name, detail }) => `${name}: ${detail}`);
  const { remediation, retestOf } = about ?? {};
  if (found.length === 0 && remediation === undefined && retestOf === undefined) return undefined;
  return { findings: found, remediation, retestOf };
}

/** amcheck of every table and index of every database of a server. */
export async function amcheckServer(
  connection: ConnectionParams,
  options: { readonly progress: Progress; readonly signal: AbortSignal },
): Promise<Omit<Check, 'name' | 'seconds'>> {
  const failed: string[] = [];
  const unproven: string[] = [];
  let passed = 0;
  for (const database of await openDatabases(connection)) {
    const client = await connectSql(connection, { database });
    try {
      for (const object of await amcheckDatabase(client, options)) {
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

function logOf({ context }: HelvinoError): string[] {
  return Array.isArray(context.log) ? context.log.map(String) : [];
}

function throwIfFull(said: string): void {
  const line = said.split('\n').find((one) => one.includes('No space left on device'));
  if (line !== undefined)
    throw new HelvinoError('TARGET_TOO_SMALL', `the disk of the drill is full: ${line.trim()}`, {
      hint: 'name a folder with more room: --directory, or drill.directory in helvino.yaml',
    });
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
    'STORAGE_ARCHIVED',
  ].includes(error.code);
}
